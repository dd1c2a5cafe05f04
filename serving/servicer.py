"""TF Serving's gRPC services, on a ModelStore.

Predict, GetModelMetadata and GetModelStatus. The other calls of the protocol answer
UNIMPLEMENTED. One place turns errors into status codes: `_STATUS`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving import codec
from serving.errors import (
    InvalidRequestError,
    ModelNotFoundError,
    ServingError,
    UnknownSignatureError,
)
from serving.model_store import LoadedModel, ModelStore

_STATUS: dict[type[ServingError], grpc.StatusCode] = {
    InvalidRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    UnknownSignatureError: grpc.StatusCode.FAILED_PRECONDITION,
    ModelNotFoundError: grpc.StatusCode.NOT_FOUND,
}
SIGNATURE_DEF = "signature_def"  # the one metadata field that TF Serving has

_Method = TypeVar("_Method", bound=Callable[..., Any])


def _answering_errors(method: _Method) -> _Method:
    """Ends the call with the status of a ServingError."""

    @functools.wraps(method)
    def call(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(self, request, context)
        except ServingError as error:
            code = _STATUS.get(type(error), grpc.StatusCode.INTERNAL)
            context.abort(code, str(error))

    return call  # type: ignore[return-value]


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]
    """tensorflow.serving.PredictionService."""

    def __init__(self, store: ModelStore):
        self._store = store

    @_answering_errors
    def Predict(
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        """Runs a signature on the tensors of the request."""
        model = _find(self._store, request.model_spec)
        key = request.model_spec.signature_name or tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
        if key not in model.functions:
            raise UnknownSignatureError(f'Serving signature key "{key}" not found.')
        outputs = _call(model, key, codec.decode_inputs(request))
        if request.output_filter:
            unknown = [name for name in request.output_filter if name not in outputs]
            if unknown:
                raise InvalidRequestError(
                    f"output tensor alias not found in signature: {unknown[0]} Outputs expected to "
                    f"be in the set {{{','.join(sorted(outputs))}}}."
                )
            outputs = {name: outputs[name] for name in request.output_filter}
        response = predict_pb2.PredictResponse()
        _describe(model, self._store.name, key, response.model_spec)
        codec.encode_outputs(outputs, response)
        return response

    @_answering_errors
    def GetModelMetadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """The signatures of a version."""
        model = _find(self._store, request.model_spec)
        if not request.metadata_field:
            raise InvalidRequestError(
                "GetModelMetadataRequest must specify at least one metadata_field"
            )
        for field in request.metadata_field:
            if field != SIGNATURE_DEF:
                raise InvalidRequestError(f"Metadata field {field} is not supported")
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = self._store.name
        response.model_spec.version.value = model.version
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name, definition in model.signature_defs.items():
            signatures.signature_def[name].CopyFrom(definition)
        response.metadata[SIGNATURE_DEF].Pack(signatures)
        return response


class ModelService(model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[misc]
    """tensorflow.serving.ModelService."""

    def __init__(self, store: ModelStore):
        self._store = store

    @_answering_errors
    def GetModelStatus(
        self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.ServicerContext
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """The state of every known version, or of the one asked for."""
        _check_name(request.model_spec)
        name = request.model_spec.name
        statuses = self._store.statuses() if name == self._store.name else []
        if request.model_spec.HasField("version"):
            version = request.model_spec.version.value
            statuses = [status for status in statuses if status.version == version]
            if not statuses:
                raise ModelNotFoundError(f"Could not find version {version} of model {name}")
        if not statuses:
            raise ModelNotFoundError(f"Could not find any versions of model {name}")
        response = get_model_status_pb2.GetModelStatusResponse()
        for status in statuses:
            entry = response.model_version_status.add()
            entry.version = status.version
            entry.state = status.state.value
            if status.error:
                entry.status.error_code = grpc.StatusCode.UNKNOWN.value[0]
                entry.status.error_message = status.error
        return response


def _check_name(spec: model_pb2.ModelSpec) -> None:
    if not spec.name:
        raise InvalidRequestError("ModelSpec has no name specified.")


def _find(store: ModelStore, spec: model_pb2.ModelSpec) -> LoadedModel:
    _check_name(spec)
    version = spec.version.value if spec.HasField("version") else None
    if spec.name != store.name:
        asked = f"Latest({spec.name})" if version is None else f"Specific({spec.name}, {version})"
        raise ModelNotFoundError(f"Servable not found for request: {asked}")
    if spec.version_label:
        raise InvalidRequestError(f"Unrecognized servable version label: {spec.version_label}")
    return store.get(version)


def _call(model: LoadedModel, key: str, arrays: dict[str, Any]) -> dict[str, tf.Tensor]:
    """Runs one signature, after checking that the inputs fit it."""
    function = model.functions[key]
    expected: dict[str, tf.TensorSpec] = function.structured_input_signature[1]
    if len(arrays) != len(expected):
        raise InvalidRequestError(
            "input size does not match signature: "
            f"{len(arrays)}!={len(expected)} len({{{','.join(sorted(arrays))}}}) != "
            f"len({{{','.join(sorted(expected))}}})."
        )
    for name, array in arrays.items():
        if name not in expected:
            raise InvalidRequestError(
                f"input tensor alias not found in signature: {name}. Inputs expected to be in the "
                f"set {{{','.join(sorted(expected))}}}."
            )
        spec = expected[name]
        came = tf.as_dtype(array.dtype) if array.dtype != object else tf.string
        if came != spec.dtype or not spec.shape.is_compatible_with(array.shape):
            raise InvalidRequestError(
                f"input {name} is {came.name} of shape {list(array.shape)}, and {spec.dtype.name} "
                f"of shape {spec.shape.as_list()} is expected."
            )
    tensors = {name: tf.constant(array, expected[name].dtype) for name, array in arrays.items()}
    try:
        outputs: dict[str, tf.Tensor] = function(**tensors)
    except tf.errors.InvalidArgumentError as error:
        raise InvalidRequestError(" ".join(error.message.split())) from error
    return outputs


def _describe(model: LoadedModel, name: str, key: str, spec: model_pb2.ModelSpec) -> None:
    spec.name = name
    spec.version.value = model.version
    spec.signature_name = key

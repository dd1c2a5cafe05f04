"""The meaning of PredictionService's calls on one version of a model. No gRPC, HTTP or threads.

Each function turns a request into a `Call`: the signature to run, its inputs, and the conversion
of its outputs to the answer. The scheduler decides when a call runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    inference_pb2,
    input_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from serving.errors import InvalidRequestError, NotSupportedError, PreconditionError
from serving.server import tensors
from serving.server.models.saved_model import Arrays, LoadedModel, Signature

SIGNATURE_DEF: Final = "signature_def"  # the only metadata field that TF Serving supports
_DEFAULT: Final = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
_CLASSIFY: Final = tf.saved_model.CLASSIFY_METHOD_NAME
_REGRESS: Final = tf.saved_model.REGRESS_METHOD_NAME
_INPUTS: Final = "inputs"  # the input name that Classify and Regress require
_CLASSES, _SCORES, _OUTPUTS = "classes", "scores", "outputs"

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """A request that was checked against the model."""

    signature: Signature
    inputs: Arrays
    answer: Callable[[Arrays], Answer]
    """Converts the signature's outputs to the answer; raises InvalidRequestError."""

    def run(self) -> Answer:
        """Runs the call in this thread."""
        return self.answer(self.signature.run(self.inputs))


def signature(model: LoadedModel, name: str) -> Signature:
    """The signature with this name, or the default signature if the name is empty.

    Raises:
      PreconditionError: the model does not have it.
    """
    key = name or _DEFAULT
    if key not in model.signatures:
        raise PreconditionError(f'Serving signature key "{key}" not found.')
    return model.signatures[key]


def predict(
    model: LoadedModel, request: predict_pb2.PredictRequest
) -> Call[predict_pb2.PredictResponse]:
    """Any signature on tensors."""
    chosen = signature(model, request.model_spec.signature_name)
    inputs = {name: tensors.decode(name, tensor) for name, tensor in request.inputs.items()}
    chosen.check(inputs)
    wanted = _wanted(chosen, request.output_filter)

    def answer(outputs: Arrays) -> predict_pb2.PredictResponse:
        response = predict_pb2.PredictResponse()
        _describe(model, request.model_spec.name, chosen.name, response.model_spec)
        for name in wanted:
            tensors.encode(outputs[name], response.outputs[name], model.options.tensor_content)
        return response

    return Call(chosen, inputs, answer)


def classify(
    model: LoadedModel, request: classification_pb2.ClassificationRequest
) -> Call[classification_pb2.ClassificationResponse]:
    """A signature with classes and scores, on tf.Example protos."""
    call = _on_examples(model, request.model_spec, request.input, _CLASSIFY)

    def answer(outputs: Arrays) -> classification_pb2.ClassificationResponse:
        response = classification_pb2.ClassificationResponse()
        _describe(model, request.model_spec.name, call.signature.name, response.model_spec)
        response.result.CopyFrom(call.answer(outputs).classification_result)
        return response

    return Call(call.signature, call.inputs, answer)


def regress(
    model: LoadedModel, request: regression_pb2.RegressionRequest
) -> Call[regression_pb2.RegressionResponse]:
    """A signature with one number for each tf.Example proto."""
    call = _on_examples(model, request.model_spec, request.input, _REGRESS)

    def answer(outputs: Arrays) -> regression_pb2.RegressionResponse:
        response = regression_pb2.RegressionResponse()
        _describe(model, request.model_spec.name, call.signature.name, response.model_spec)
        response.result.CopyFrom(call.answer(outputs).regression_result)
        return response

    return Call(call.signature, call.inputs, answer)


def multi_inference(
    model: LoadedModel, request: inference_pb2.MultiInferenceRequest
) -> list[Call[inference_pb2.InferenceResult]]:
    """Several signatures on the same examples; a call for each."""
    calls: list[Call[inference_pb2.InferenceResult]] = []
    seen: set[str] = set()
    for task in request.tasks:
        if task.model_spec.name != request.tasks[0].model_spec.name:
            raise InvalidRequestError(
                "All ModelSpecs in a MultiInferenceRequest must access the same model name."
            )
        key = task.model_spec.signature_name or _DEFAULT
        if key in seen:
            raise InvalidRequestError(f"Duplicate evaluation of signature: {key}")
        if key not in model.signatures:
            raise InvalidRequestError(f"Requested signature not found in model graph: {key}")
        if task.method_name not in (_CLASSIFY, _REGRESS):
            raise NotSupportedError(f"Unsupported signature method_name: {task.method_name}")
        calls.append(_on_examples(model, task.model_spec, request.input, task.method_name))
        seen.add(key)
    return calls


def metadata(
    model: LoadedModel, request: get_model_metadata_pb2.GetModelMetadataRequest
) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """The signatures of a version."""
    if not request.metadata_field:
        raise InvalidRequestError(
            "GetModelMetadataRequest must specify at least one metadata_field"
        )
    for field in request.metadata_field:
        if field != SIGNATURE_DEF:
            raise InvalidRequestError(f"Metadata field {field} is not supported")
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = request.model_spec.name
    response.model_spec.version.value = model.version
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for name, definition in model.signature_defs.items():
        signatures.signature_def[name].CopyFrom(definition)
    response.metadata[SIGNATURE_DEF].Pack(signatures)
    return response


def _wanted(chosen: Signature, output_filter: Sequence[str]) -> Sequence[str]:
    outputs = chosen.definition.outputs
    for position, name in enumerate(output_filter):
        if name not in outputs:
            raise InvalidRequestError(
                f"output tensor alias not found in signature: {name} Outputs expected to be in the "
                f"set {{{','.join(sorted(outputs))}}}."
            )
        if name in output_filter[:position]:
            raise InvalidRequestError(f"duplicate output tensor alias: {name}")
    return tuple(output_filter) or tuple(outputs)


def _on_examples(
    model: LoadedModel, spec: model_pb2.ModelSpec, given: input_pb2.Input, method: str
) -> Call[inference_pb2.InferenceResult]:
    key = spec.signature_name or _DEFAULT
    if key not in model.signatures:
        raise InvalidRequestError(f"No signature was found with the name: {key}")
    chosen = model.signatures[key]
    _check_method(chosen.definition, method, model.options.check_method_names)
    inputs = {_INPUTS: _serialized(given)}
    chosen.check(inputs)
    count = len(inputs[_INPUTS])

    def answer(outputs: Arrays) -> inference_pb2.InferenceResult:
        result = inference_pb2.InferenceResult()
        _describe(model, spec.name, key, result.model_spec)
        if method == _CLASSIFY:
            _fill_classes(result.classification_result, outputs, count)
        else:
            _fill_values(result.regression_result, outputs, count)
        return result

    return Call(chosen, inputs, answer)


def _check_method(definition: meta_graph_pb2.SignatureDef, method: str, check_name: bool) -> None:
    if check_name and definition.method_name != method:
        kind = "classification" if method == _CLASSIFY else "regression"
        raise InvalidRequestError(
            f"Expected {kind} signature method_name to be {method}. Was: {definition.method_name}"
        )
    if len(definition.inputs) != 1:
        raise InvalidRequestError("Expected one input Tensor.")
    if _INPUTS not in definition.inputs:
        kind = "classification" if method == _CLASSIFY else "regression"
        raise PreconditionError(
            f"No {kind} inputs found in SignatureDef: expected an input named {_INPUTS}."
        )
    expected = {_CLASSES, _SCORES} if method == _CLASSIFY else {_OUTPUTS}
    if not expected & set(definition.outputs):
        raise PreconditionError(
            f"The signature has no output named {' or '.join(sorted(expected))}."
        )


def _serialized(given: input_pb2.Input) -> NDArray[np.object_]:
    """The serialized examples of a request, string [count], each merged with the context."""
    if given.WhichOneof("kind") == "example_list_with_context":
        examples = given.example_list_with_context.examples
        context = given.example_list_with_context.context.SerializeToString()
    else:
        examples, context = given.example_list.examples, b""
    if not examples:
        raise InvalidRequestError("Input is empty.")
    # Concatenated serialized protos are merged when they are parsed.
    return np.array([context + example.SerializeToString() for example in examples], object)


def _fill_classes(
    result: classification_pb2.ClassificationResult, outputs: Arrays, count: int
) -> None:
    columns = [_matrix(outputs, name, count) for name in (_CLASSES, _SCORES)]
    labels, scores = columns
    if labels is not None and scores is not None and labels.shape != scores.shape:
        raise InvalidRequestError("Tensors class and score should match in dim_size(1).")
    for row in range(count):
        entry = result.classifications.add()
        width = next(column.shape[1] for column in columns if column is not None)
        for position in range(width):
            one = entry.classes.add()
            if labels is not None:
                one.label = labels[row, position]
            if scores is not None:
                one.score = scores[row, position]


def _matrix(outputs: Arrays, name: str, count: int) -> NDArray[Any] | None:
    if name not in outputs:
        return None
    array = outputs[name]
    if array.ndim != 2 or len(array) != count:
        raise InvalidRequestError(
            f"Expected Tensor shape: [{count} num_classes] but got {list(array.shape)}"
        )
    return array


def _fill_values(result: regression_pb2.RegressionResult, outputs: Arrays, count: int) -> None:
    values = outputs[_OUTPUTS]
    if values.shape not in ((count,), (count, 1)):
        raise InvalidRequestError(
            f"Expected Tensor shape: [{count}] or [{count} 1] but got {list(values.shape)}"
        )
    for value in values.ravel():
        result.regressions.add(value=value)


def _describe(model: LoadedModel, name: str, key: str, spec: model_pb2.ModelSpec) -> None:
    spec.name = name
    spec.version.value = model.version
    spec.signature_name = key

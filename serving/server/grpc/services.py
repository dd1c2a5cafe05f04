"""TF Serving's gRPC services.

Requests are parsed here, and not by gRPC, so that an invalid message gets a status and a sentence
as every other mistake does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError, Message
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

from serving.errors import InvalidRequestError
from serving.server.grpc.service_descriptors import MODEL_SERVICE, PREDICTION_SERVICE
from serving.server.metrics import GRPC
from serving.server.request_handler import RequestHandler, failure

_LONGEST_DETAILS: Final = 1000  # gRPC closes the connection if the headers exceed 16 KB


def create(handler: RequestHandler) -> list[grpc.GenericRpcHandler]:
    """The handlers of PredictionService and ModelService."""
    prediction, model = PredictionService(handler), ModelService(handler)
    return [
        grpc.method_handlers_generic_handler(
            PREDICTION_SERVICE,
            {
                "Predict": _method(prediction.predict, predict_pb2.PredictRequest),
                "Classify": _method(prediction.classify, classification_pb2.ClassificationRequest),
                "Regress": _method(prediction.regress, regression_pb2.RegressionRequest),
                "MultiInference": _method(
                    prediction.multi_inference, inference_pb2.MultiInferenceRequest
                ),
                "GetModelMetadata": _method(
                    prediction.metadata, get_model_metadata_pb2.GetModelMetadataRequest
                ),
            },
        ),
        grpc.method_handlers_generic_handler(
            MODEL_SERVICE,
            {
                "GetModelStatus": _method(model.status, get_model_status_pb2.GetModelStatusRequest),
                "HandleReloadConfigRequest": _method(
                    model.reload, model_management_pb2.ReloadConfigRequest
                ),
            },
        ),
    ]


def _method(
    answer: Callable[[Any], Awaitable[Message]], kind: type[Message]
) -> grpc.RpcMethodHandler:
    """The handler of one method; an error ends the call with its status and message."""

    async def call(content: bytes, context: grpc.aio.ServicerContext) -> bytes | None:
        try:
            response = await answer(_parsed(content, kind))
            return bytes(response.SerializeToString())
        except Exception as error:
            code, message = failure(error, kind.DESCRIPTOR.name)
            await context.abort(code, message[:_LONGEST_DETAILS])
        return None

    return grpc.unary_unary_rpc_method_handler(call)


def _parsed(content: bytes, kind: type[Message]) -> Message:
    try:
        return kind.FromString(content)
    except DecodeError as error:
        raise InvalidRequestError(
            f"the message cannot be parsed; expected {kind.DESCRIPTOR.full_name} in protobuf's "
            "binary format."
        ) from error


class PredictionService:
    """tensorflow.serving.PredictionService."""

    def __init__(self, handler: RequestHandler):
        self._handler = handler

    async def predict(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        """Runs a signature on the tensors of the request."""
        answer = self._handler.predict(request)
        return await self._handler.measured(answer, request.model_spec.name, "Predict", GRPC)

    async def classify(
        self, request: classification_pb2.ClassificationRequest
    ) -> classification_pb2.ClassificationResponse:
        """Classes and scores for tf.Example protos."""
        answer = self._handler.classify(request)
        return await self._handler.measured(answer, request.model_spec.name, "Classify", GRPC)

    async def regress(
        self, request: regression_pb2.RegressionRequest
    ) -> regression_pb2.RegressionResponse:
        """A number for each tf.Example proto."""
        answer = self._handler.regress(request)
        return await self._handler.measured(answer, request.model_spec.name, "Regress", GRPC)

    async def multi_inference(
        self, request: inference_pb2.MultiInferenceRequest
    ) -> inference_pb2.MultiInferenceResponse:
        """Several signatures on the same examples."""
        answer = self._handler.multi_inference(request)
        name = request.tasks[0].model_spec.name if request.tasks else ""
        return await self._handler.measured(answer, name, "MultiInference", GRPC)

    async def metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """The signatures of a version."""
        return self._handler.metadata(request)


class ModelService:
    """tensorflow.serving.ModelService."""

    def __init__(self, handler: RequestHandler):
        self._handler = handler

    async def status(
        self, request: get_model_status_pb2.GetModelStatusRequest
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """The states of all known versions, or of the requested one."""
        return self._handler.status(request)

    async def reload(
        self, request: model_management_pb2.ReloadConfigRequest
    ) -> model_management_pb2.ReloadConfigResponse:
        """Replaces the list of models; answers when the new models are available."""
        await self._handler.reload(request.config)
        return model_management_pb2.ReloadConfigResponse()

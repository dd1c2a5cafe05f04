"""TF Serving's gRPC services."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias, TypeVar

import grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from serving.errors import ServingError
from serving.server.metrics import GRPC
from serving.server.models import model_config
from serving.server.request_handler import RequestHandler, status_of

_log = logging.getLogger(__name__)

_LONGEST_DETAILS: Final = 1000  # gRPC closes the connection if the headers exceed 16 KB

_Context: TypeAlias = grpc.aio.ServicerContext
_Method = TypeVar("_Method", bound=Callable[..., Awaitable[Any]])


def _answering_errors(method: _Method) -> _Method:
    """Ends a call that raises an error with the error's status and message."""

    @functools.wraps(method)
    async def call(self: Any, request: Any, context: _Context) -> Any:
        try:
            return await method(self, request, context)
        except ServingError as error:
            await context.abort(status_of(error), str(error)[:_LONGEST_DETAILS])
        except Exception as error:
            _log.exception("%s failed", method.__name__)
            await context.abort(grpc.StatusCode.INTERNAL, repr(error)[:_LONGEST_DETAILS])

    return call  # type: ignore[return-value]


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]
    """tensorflow.serving.PredictionService."""

    def __init__(self, handler: RequestHandler):
        self._handler = handler

    @_answering_errors
    async def Predict(
        self, request: predict_pb2.PredictRequest, context: _Context
    ) -> predict_pb2.PredictResponse:
        """Runs a signature on the tensors of the request."""
        answer = self._handler.predict(request)
        return await self._handler.measured(answer, request.model_spec.name, "Predict", GRPC)

    @_answering_errors
    async def Classify(
        self, request: classification_pb2.ClassificationRequest, context: _Context
    ) -> classification_pb2.ClassificationResponse:
        """Classes and scores for tf.Example protos."""
        answer = self._handler.classify(request)
        return await self._handler.measured(answer, request.model_spec.name, "Classify", GRPC)

    @_answering_errors
    async def Regress(
        self, request: regression_pb2.RegressionRequest, context: _Context
    ) -> regression_pb2.RegressionResponse:
        """A number for each tf.Example proto."""
        answer = self._handler.regress(request)
        return await self._handler.measured(answer, request.model_spec.name, "Regress", GRPC)

    @_answering_errors
    async def MultiInference(
        self, request: inference_pb2.MultiInferenceRequest, context: _Context
    ) -> inference_pb2.MultiInferenceResponse:
        """Several signatures on the same examples."""
        answer = self._handler.multi_inference(request)
        name = request.tasks[0].model_spec.name if request.tasks else ""
        return await self._handler.measured(answer, name, "MultiInference", GRPC)

    @_answering_errors
    async def GetModelMetadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: _Context
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """The signatures of a version."""
        return self._handler.metadata(request)


class ModelService(model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[misc]
    """tensorflow.serving.ModelService."""

    def __init__(self, handler: RequestHandler):
        self._handler = handler

    @_answering_errors
    async def GetModelStatus(
        self, request: get_model_status_pb2.GetModelStatusRequest, context: _Context
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """The states of all known versions, or of the requested one."""
        return self._handler.status(request)

    @_answering_errors
    async def HandleReloadConfigRequest(
        self, request: model_management_pb2.ReloadConfigRequest, context: _Context
    ) -> model_management_pb2.ReloadConfigResponse:
        """Replaces the list of models; answers when the new models are available."""
        models = model_config.parse(request.config)
        # In a thread: loading models would block the event loop.
        await asyncio.to_thread(self._handler.models.reload, models)
        return model_management_pb2.ReloadConfigResponse()

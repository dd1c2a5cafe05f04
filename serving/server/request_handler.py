"""Shared by gRPC and REST: finds the model of a request, runs it, and counts it.

`failure` is the one place that maps errors to status codes and messages.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Mapping
from typing import Any, Final, TypeVar

import grpc
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)
from tensorflow_serving.config import model_server_config_pb2

from serving import errors
from serving.server import inference
from serving.server.inference import Call
from serving.server.metrics import Metrics
from serving.server.models import model_config
from serving.server.models.model_config import ReloadPolicy
from serving.server.models.registry import ModelRegistry
from serving.server.scheduling import slicing
from serving.server.scheduling.input_memory import InputMemory
from serving.server.scheduling.scheduler import Scheduler

_log = logging.getLogger(__name__)

_STATUS: Final[dict[type[Exception], grpc.StatusCode]] = {
    errors.InvalidRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.PreconditionError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ModelNotFoundError: grpc.StatusCode.NOT_FOUND,
    errors.NotSupportedError: grpc.StatusCode.UNIMPLEMENTED,
    errors.ForbiddenError: grpc.StatusCode.PERMISSION_DENIED,
    errors.OverloadedError: grpc.StatusCode.UNAVAILABLE,
    errors.TooLargeError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.ModelLoadError: grpc.StatusCode.UNKNOWN,  # as TF Serving, for a list of models
}

Answer = TypeVar("Answer")


def failure(error: Exception, request: str) -> tuple[grpc.StatusCode, str]:
    """The status code and the message of an error.

    The client gets INTERNAL and an id for an unexpected error; the log has the traceback.

    Args:
      error: the error.
      request: the name of the request, for the log.
    """
    if isinstance(error, errors.ServingError):
        return _status(error), str(error)
    error_id = uuid.uuid4().hex[:12]
    _log.error("internal error %s in %s", error_id, request, exc_info=error)
    return _status(error), f"internal error {error_id}; see the server's log."


def _status(error: Exception) -> grpc.StatusCode:
    return _STATUS.get(type(error), grpc.StatusCode.INTERNAL)


class RequestHandler:
    """Answers requests, in any event loop. All methods raise ServingError.

    Args:
      models: the served models.
      scheduler: runs requests.
      metrics: counts requests.
      slice_rows: the maximum number of examples that run at once; 0 for no limit.
      max_rows: the maximum number of examples in a request; 0 for no limit.
      reload_policy: which lists of models a client may set.
    """

    def __init__(
        self,
        models: ModelRegistry,
        scheduler: Scheduler,
        metrics: Metrics,
        slice_rows: int,
        max_rows: int,
        reload_policy: ReloadPolicy,
    ):
        self.models = models
        self._scheduler = scheduler
        self._metrics = metrics
        self._slice_rows = slice_rows
        self._max_rows = max_rows
        self._reload_policy = reload_policy
        self._input_memory = InputMemory()

    async def predict(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        """Runs any signature on tensors."""
        with self.models.use(_spec(request)) as model:
            return await self._run(inference.predict(model, request))

    async def classify(
        self, request: classification_pb2.ClassificationRequest
    ) -> classification_pb2.ClassificationResponse:
        """Runs a classification signature on tf.Example protos."""
        with self.models.use(_spec(request)) as model:
            return await self._run(inference.classify(model, request))

    async def regress(
        self, request: regression_pb2.RegressionRequest
    ) -> regression_pb2.RegressionResponse:
        """Runs a regression signature on tf.Example protos."""
        with self.models.use(_spec(request)) as model:
            return await self._run(inference.regress(model, request))

    async def multi_inference(
        self, request: inference_pb2.MultiInferenceRequest
    ) -> inference_pb2.MultiInferenceResponse:
        """Runs several signatures on the same examples."""
        if not request.tasks:
            raise errors.InvalidRequestError("Inference request is missing tasks.")
        response = inference_pb2.MultiInferenceResponse()
        with self.models.use(_spec(request.tasks[0])) as model:
            for call in inference.multi_inference(model, request):
                response.results.append(await self._run(call))
        return response

    def inputs_of(self, spec: model_pb2.ModelSpec) -> Mapping[str, meta_graph_pb2.TensorInfo]:
        """The inputs of the signature that a request names."""
        with self.models.use(spec) as model:
            chosen = inference.signature(model, spec.signature_name)
            inputs: Mapping[str, meta_graph_pb2.TensorInfo] = chosen.definition.inputs
            return inputs

    def metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """The signatures of a version."""
        with self.models.use(_spec(request)) as model:
            return inference.metadata(model, request)

    def status(
        self, request: get_model_status_pb2.GetModelStatusRequest
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """The states of all known versions, or of the requested one; a label is ignored."""
        response = get_model_status_pb2.GetModelStatusResponse()
        for status in self.models.statuses(_spec(request)):
            entry = response.model_version_status.add()
            entry.version = status.version
            entry.state = status.state.value
            code = grpc.StatusCode.UNKNOWN if status.error else grpc.StatusCode.OK
            entry.status.error_code = code.value[0]
            entry.status.error_message = status.error
        return response

    async def reload(self, config: model_server_config_pb2.ModelServerConfig) -> None:
        """Replaces the list of models; returns when the new models are available."""
        models = model_config.parse(config)
        self._reload_policy.check(models)
        # In a thread: loading models would block the event loop.
        await asyncio.to_thread(self.models.reload, models)

    async def measured(
        self, answer: Awaitable[Answer], model: str, api: str, entry_point: str
    ) -> Answer:
        """Waits for an answer and counts it, whatever the outcome."""
        start_s = time.monotonic()
        status = grpc.StatusCode.OK
        try:
            return await answer
        except asyncio.CancelledError:
            status = grpc.StatusCode.CANCELLED
            raise
        except Exception as error:
            status = _status(error)
            raise
        finally:
            known = model if model in self.models else ""
            seconds = time.monotonic() - start_s
            self._metrics.record(known, api, entry_point, status.name, seconds)

    async def _run(self, call: Call[Answer]) -> Answer:
        rows = max((len(array) for array in call.inputs.values() if array.ndim), default=0)
        if 0 < self._max_rows < rows:
            raise errors.TooLargeError(
                f"the request has {rows} examples; the maximum is {self._max_rows} "
                "(--max_request_rows). Send several requests."
            )
        with self._input_memory.reserved(call.inputs):
            outputs = await slicing.run_in_slices(
                self._scheduler, call.signature, call.inputs, self._slice_rows
            )
        return call.answer(outputs)


def _spec(request: Any) -> model_pb2.ModelSpec:
    if not request.HasField("model_spec"):
        raise errors.InvalidRequestError("Missing ModelSpec")
    spec: model_pb2.ModelSpec = request.model_spec
    return spec

"""Starts the server, and stops it without dropping a request.

gRPC runs in the event loop of the caller, the REST API in a thread with one of its own, so
that parsing a large JSON document delays no gRPC request.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
import uvicorn
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from starlette.applications import Starlette
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from serving import codec
from serving.errors import InvalidRequestError, PreconditionError, ServerStartError, ServingError
from serving.server import (
    grpc_services,
    metrics,
    model_config,
    rest,
    service_descriptors,
    text_protos,
)
from serving.server.batching import Batching, BatchingParameters
from serving.server.flags import Flags
from serving.server.metrics import Metrics
from serving.server.model_config import ServedModel
from serving.server.models import Models
from serving.server.requests import Requests
from serving.server.scheduling import OneByOne, Scheduler
from serving.server.service_descriptors import MODEL_SERVICE, PREDICTION_SERVICE
from serving.server.versions import LoadOptions

_log = logging.getLogger(__name__)

GRACE_S: Final = 10.0
"""How long requests in flight may take when the server is stopped."""


@dataclass(frozen=True)
class Addresses:
    """Where a server listens."""

    grpc: str
    rest: str | None


@contextlib.asynccontextmanager
async def running(flags: Flags) -> AsyncIterator[Addresses]:
    """A server, from entry to exit. Models may still be loading: they are NOT_FOUND until then.

    Raises:
      ServerStartError: a file says something that is not understood, or an address cannot be
        listened on.
    """
    _allow_many_connections()
    models = _models(flags)
    scheduler = _scheduler(flags)
    measured = Metrics()
    requests = Requests(models, scheduler, measured)
    server, healthy = _grpc_server(requests)
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(scheduler.stop)
        address = _listen(server, f"{flags.host}:{flags.port}", flags.ssl_config_file)
        await _set_health(healthy, False)

        def on_change(is_ready: bool) -> None:
            asyncio.run_coroutine_threadsafe(_set_health(healthy, is_ready), loop)

        models.start(on_change)
        stack.callback(models.stop)
        await server.start()
        stack.push_async_callback(server.stop, GRACE_S)
        stack.push_async_callback(healthy.enter_graceful_shutdown)
        rest_address = None
        if flags.rest_api_port:
            rest_address = f"{flags.host}:{flags.rest_api_port}"
            path = _metrics_path(flags.monitoring_config_file)
            timeout_s = flags.rest_api_timeout_in_ms / 1000
            api = rest.application(requests, measured, timeout_s, path)
            await stack.enter_async_context(_rest_server(api, flags.host, flags.rest_api_port))
        if flags.model_config_file and flags.model_config_file_poll_wait_seconds > 0:
            stack.enter_context(_ConfigWatch(models, flags))
        yield Addresses(address, rest_address)


def _models(flags: Flags) -> Models:
    try:
        return Models(
            _configured(flags),
            LoadOptions(
                warm_up=flags.enable_model_warmup,
                max_retries=flags.max_num_load_retries,
                retry_interval_s=flags.load_retry_interval_micros / 1e6,
            ),
            flags.file_system_poll_wait_seconds,
            flags.allow_version_labels_for_unavailable_models,
        )
    except InvalidRequestError as error:
        raise ServerStartError(f"{flags.model_config_file}: {error}") from error
    except PreconditionError as error:
        raise ServerStartError(
            f"{flags.model_config_file}: {error}; nothing is, at the start: "
            "--allow_version_labels_for_unavailable_models=true lets labels wait."
        ) from error


def _configured(flags: Flags) -> list[ServedModel]:
    if flags.model_config_file:
        return model_config.parse(text_protos.model_server_config(flags.model_config_file))
    assert flags.model_base_path is not None
    return [ServedModel(flags.model_name, flags.model_base_path)]


def _scheduler(flags: Flags) -> Scheduler:
    if not flags.enable_batching:
        return OneByOne()
    if flags.batching_parameters_file is None:
        return Batching(BatchingParameters())
    message = text_protos.batching_parameters(flags.batching_parameters_file)
    return Batching(BatchingParameters.from_message(message))


def _metrics_path(file: Path | None) -> str | None:
    if file is None:
        return None
    config = text_protos.monitoring_config(file).prometheus_config
    return (config.path or metrics.DEFAULT_PATH) if config.enable else None


def _grpc_server(requests: Requests) -> tuple[grpc.aio.Server, health.aio.HealthServicer]:
    server = grpc.aio.server(
        options=[
            # Two servers on one port would share its requests without a word.
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", codec.MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", codec.MAX_MESSAGE_BYTES),
        ],
    )
    healthy = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        grpc_services.PredictionService(requests), server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(
        grpc_services.ModelService(requests), server
    )
    names = (PREDICTION_SERVICE, MODEL_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server, service_descriptors.pool())
    return server, healthy


def _listen(server: grpc.aio.Server, address: str, ssl_config_file: Path | None) -> str:
    try:
        if ssl_config_file is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, _credentials(ssl_config_file))
    except RuntimeError as error:
        raise ServerStartError(
            f"{address} cannot be listened on: another program has it; take another --port."
        ) from error
    return f"{address.rpartition(':')[0]}:{port}"


def _credentials(file: Path) -> grpc.ServerCredentials:
    config = text_protos.ssl_config(file)
    if not config.server_key or not config.server_cert:
        raise ServerStartError(f"{file}: server_key and server_cert are expected, as PEM texts.")
    if config.client_verify and not config.custom_ca:
        raise ServerStartError(f"{file}: client_verify needs custom_ca, whose clients are let in.")
    return grpc.ssl_server_credentials(
        [(config.server_key.encode(), config.server_cert.encode())],
        root_certificates=config.custom_ca.encode() or None,
        require_client_auth=config.client_verify,
    )


async def _set_health(healthy: health.aio.HealthServicer, is_ready: bool) -> None:
    Status = health_pb2.HealthCheckResponse
    for service in (health.OVERALL_HEALTH, PREDICTION_SERVICE, MODEL_SERVICE):
        await healthy.set(service, Status.SERVING if is_ready else Status.NOT_SERVING)


@contextlib.asynccontextmanager
async def _rest_server(api: Starlette, host: str, port: int) -> AsyncIterator[None]:
    """The REST API in a thread of its own, from entry to exit."""
    config = uvicorn.Config(
        api,
        host,
        port,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=int(GRACE_S),
    )
    server = uvicorn.Server(config)
    try:
        socket = config.bind_socket()
    except (OSError, SystemExit) as error:
        raise ServerStartError(
            f"{host}:{port} cannot be listened on: another program has it; take another "
            "--rest_api_port."
        ) from error
    thread = threading.Thread(target=server.run, args=([socket],), name="rest", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        await asyncio.to_thread(thread.join, GRACE_S + 1)
        socket.close()


class _ConfigWatch(contextlib.AbstractContextManager[None]):
    """Reads `--model_config_file` again and again; one that is not understood changes nothing."""

    def __init__(self, models: Models, flags: Flags):
        self._models = models
        self._flags = flags
        self._last = _configured(flags)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch config", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stopped.set()

    def _watch(self) -> None:
        while not self._stopped.wait(self._flags.model_config_file_poll_wait_seconds):
            try:
                configs = _configured(self._flags)
                if configs != self._last:
                    self._models.reload(configs)
                    self._last = configs
            except ServingError as error:
                _log.error("%s: %s", self._flags.model_config_file, error)
            except Exception:  # a watcher that ends would go unnoticed
                _log.exception("%s cannot be applied", self._flags.model_config_file)


def _allow_many_connections() -> None:
    """Each is an open file, and the usual limit for these is 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

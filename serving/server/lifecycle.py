"""Starts the server, and stops it without dropping a request.

gRPC runs in the caller's event loop, the REST API in a thread with a loop of its own: while it
converts large arrays, gRPC requests are answered. (While it parses JSON they wait: Python's parser
holds the interpreter's lock; a document of 60 MB takes 1.7 s.)
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from serving import addresses
from serving.errors import InvalidRequestError, PreconditionError, ServerStartError, ServingError
from serving.server import config_files, connection_limits, metrics
from serving.server.flags import Flags
from serving.server.grpc import server as grpc_server
from serving.server.metrics import Metrics
from serving.server.models import model_config
from serving.server.models.model_config import ModelConfig, ReloadPolicy
from serving.server.models.registry import ModelRegistry
from serving.server.models.saved_model import ModelOptions
from serving.server.models.versions import LoadOptions
from serving.server.request_handler import RequestHandler
from serving.server.rest import api
from serving.server.rest.server import RestServer
from serving.server.scheduling.batching import Batching, BatchingParameters
from serving.server.scheduling.scheduler import Scheduler, Unbatched

_log = logging.getLogger(__name__)

GRACE_S: Final = 10.0
"""The time that requests in flight have to finish when the server stops."""

_LOAD_GRACE_S: Final = 3.0  # the time that a version has to finish loading after that


@dataclass(frozen=True)
class Addresses:
    """The addresses that a server listens on."""

    grpc: str
    rest: str | None


@contextlib.asynccontextmanager
async def running(flags: Flags) -> AsyncIterator[Addresses]:
    """A context with a running server.

    As TF Serving's, it listens once every model has an available version, or one that failed to
    load: before that, a client must not mistake it for a server that is ready.

    Raises:
      ServerStartError: a file contains a mistake, or an address is not available.
    """
    for warning in flags.warnings:
        _log.warning("%s", warning)
    limits = connection_limits.from_open_files()
    models = _models(flags)
    scheduler = _scheduler(flags)
    metrics_path = _metrics_path(flags.monitoring_config_file)
    measured = Metrics()
    handler = RequestHandler(
        models,
        scheduler,
        measured,
        flags.request_slice_rows,
        flags.max_request_rows,
        reload_policy(flags),
    )
    server, healthy = grpc_server.create(handler, limits.grpc, flags.grpc_channel_arguments)
    credentials = grpc_server.credentials(flags.ssl_config_file)
    addresses.check_free(flags.host, flags.port, "--port")
    addresses.check_free(flags.host, flags.rest_api_port, "--rest_api_port")
    loop = asyncio.get_running_loop()
    looks_once = flags.file_system_poll_wait_seconds == 0
    settled = asyncio.Event()
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(scheduler.stop)
        await healthy.set(False)

        def on_change(is_ready: bool) -> None:
            asyncio.run_coroutine_threadsafe(healthy.set(is_ready), loop)
            if models.is_settled or looks_once:
                loop.call_soon_threadsafe(settled.set)

        _log.info("watching the folders of the models; the ports open after the first load")
        models.start(on_change)
        stack.callback(models.stop, _LOAD_GRACE_S)
        if flags.model_config_file and flags.model_config_file_poll_wait_seconds > 0:
            stack.enter_context(_ConfigWatch(models, flags))
        if flags.file_system_poll_wait_seconds >= 0:  # below 0, no version is looked for
            await settled.wait()
        host = flags.host.strip("[]")
        in_url = f"[{host}]" if ":" in host else host
        address = grpc_server.listen(server, f"{in_url}:{flags.port}", credentials)
        if flags.grpc_socket_path:
            path = Path(flags.grpc_socket_path).resolve()
            grpc_server.listen(server, f"unix:{path}", None)
        await server.start()
        stops: list[Callable[[], Awaitable[None]]] = [functools.partial(server.stop, GRACE_S)]

        async def finish_requests() -> None:
            await healthy.stop()  # first: load balancers must send no further requests
            await asyncio.gather(*(stop() for stop in stops))

        stack.push_async_callback(finish_requests)
        rest_address = None
        if flags.rest_api_port:
            rest_address = f"{in_url}:{flags.rest_api_port}"
            application = api.application(
                handler,
                measured,
                flags.rest_api_timeout_in_ms / 1000,
                metrics_path,
                flags.rest_api_enable_cors_support,
            )
            rest = RestServer(
                application,
                host,
                flags.rest_api_port,
                limits,
                flags.rest_api_timeout_in_ms / 1000,
                GRACE_S,
            )
            stops.append(rest.stop)
        yield Addresses(address, rest_address)


def _models(flags: Flags) -> ModelRegistry:
    try:
        return ModelRegistry(
            _configured(flags),
            LoadOptions(
                warm_up=flags.num_request_iterations_for_warmup * flags.enable_model_warmup,
                max_retries=flags.max_num_load_retries,
                retry_interval_s=flags.load_retry_interval_micros / 1e6,
                model=_model_options(flags),
            ),
            flags.file_system_poll_wait_seconds,
            flags.allow_version_labels_for_unavailable_models,
        )
    except InvalidRequestError as error:
        raise ServerStartError(f"{flags.model_config_file}: {error}") from error
    except PreconditionError as error:
        raise ServerStartError(
            f"{flags.model_config_file}: {error}. No version is available when the server starts; "
            "to use labels, set --allow_version_labels_for_unavailable_models=true."
        ) from error


def _model_options(flags: Flags) -> ModelOptions:
    both = flags.tensorflow_session_parallelism
    return ModelOptions(
        check_shapes=flags.enable_input_shape_check,
        check_method_names=flags.enable_signature_method_name_check,
        tensor_content=flags.enable_serialization_as_tensor_content,
        tags=flags.saved_model_tags,
        intra_op_threads=flags.tensorflow_intra_op_parallelism or both,
        inter_op_threads=flags.tensorflow_inter_op_parallelism or both,
    )


def reload_policy(flags: Flags) -> ReloadPolicy:
    """The lists of models that clients may set; none on a network without client certificates."""
    is_allowed = flags.enable_reload_config
    if is_allowed is None:
        is_mutual = bool(
            flags.ssl_config_file and config_files.ssl_config(flags.ssl_config_file).client_verify
        )
        is_allowed = is_mutual or addresses.is_loopback(flags.host)
    roots = flags.reload_config_roots
    return ReloadPolicy(is_allowed, roots or tuple(m.base_path.parent for m in _configured(flags)))


def _configured(flags: Flags) -> list[ModelConfig]:
    if flags.model_config_file:
        return model_config.parse(config_files.model_server_config(flags.model_config_file))
    assert flags.model_base_path is not None
    return [ModelConfig(flags.model_name, flags.model_base_path)]


def _scheduler(flags: Flags) -> Scheduler:
    if not flags.enable_batching:
        return Unbatched()
    if flags.batching_parameters_file is None:
        return Batching(BatchingParameters())
    message = config_files.batching_parameters(flags.batching_parameters_file)
    return Batching(BatchingParameters.from_message(message))


def _metrics_path(file: Path | None) -> str | None:
    if file is None:
        return None
    config = config_files.monitoring_config(file).prometheus_config
    return (config.path or metrics.DEFAULT_PATH) if config.enable else None


class _ConfigWatch(contextlib.AbstractContextManager[None]):
    """Reads `--model_config_file` at intervals; a file with a mistake changes nothing."""

    def __init__(self, models: ModelRegistry, flags: Flags):
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
            except Exception:  # the watcher must not end
                _log.exception("cannot apply %s", self._flags.model_config_file)

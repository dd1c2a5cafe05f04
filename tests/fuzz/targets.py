"""What is fuzzed: each target reads untrusted bytes, and raises only its documented errors.

A target is a function of bytes. It returns for good input and for a documented error; anything else
that it raises, a crash or a hang is a finding. What needs TensorFlow is imported in the functions,
because the process that starts the others does not need it.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import io
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import grpc
import numpy as np
from PIL import Image

from components.images import idx_format
from pipeline.kubeflow.cluster import cluster_config
from pipeline.settings import pipeline_config
from pipeline.settings.errors import ConfigError
from serving import images, version_folders
from serving.errors import InvalidRequestError, ModelLoadError, ServerStartError, ServingError

SAMPLES = Path(__file__).parents[1] / "data" / "digits"
CONFIGS = pipeline_config.SHIPPED
CLUSTER_CONFIG = Path(cluster_config.__file__).parent / "configs" / "kubeflow.toml"
SERVER_CONFIGS = Path(images.__file__).parent / "deploy" / "kubernetes" / "config"


@dataclass(frozen=True)
class Target:
    """One parser of untrusted input."""

    run: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]
    """Good inputs, which the fuzzer changes."""


@functools.cache
def _scratch() -> Path:
    """A folder of this process, removed at its end."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _file(name: str, content: bytes) -> Path:
    path = _scratch() / name
    path.write_bytes(content)
    return path


# Files


def idx_file(data: bytes) -> None:
    """An IDX file of images or labels, raw or gzip-compressed."""
    for dimensions in (1, 3):
        with contextlib.suppress(idx_format.IdxFormatError):
            idx_format.IdxReader(io.BytesIO(data), dimensions, "file").read()


def _idx_files() -> Iterator[bytes]:
    for path in SAMPLES.glob("t10k-*"):
        yield path.read_bytes()
    yield idx_format.serialize(np.zeros((2, 28, 28), np.uint8))
    yield idx_format.serialize(np.zeros(3, np.uint8))


def picture(data: bytes) -> None:
    """A picture in any format, for `mnist-tfx predict`."""
    with contextlib.suppress(InvalidRequestError):
        images.read(_file("picture", data))


def _pictures() -> Iterator[bytes]:
    gray = Image.fromarray(np.arange(28 * 28, dtype=np.uint8).reshape(28, 28))
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "ICO"):
        path = _scratch() / f"seed.{kind.lower()}"
        gray.save(path, kind)
        yield path.read_bytes()
    gray.convert("RGBA").save(_scratch() / "seed.png")
    yield (_scratch() / "seed.png").read_bytes()


def array(data: bytes) -> None:
    """A .npy array, for `mnist-tfx predict`."""
    with contextlib.suppress(InvalidRequestError):
        images.read(_file("array.npy", data))


def _arrays() -> Iterator[bytes]:
    for dtype in (np.uint8, np.float32, ">f8"):
        path = _scratch() / "seed.npy"
        np.save(path, np.zeros((1, 28, 28), dtype))
        yield path.read_bytes()


# Configuration


def configuration(data: bytes) -> None:
    """A configuration file, and the same text as one override."""
    with contextlib.suppress(ConfigError):
        pipeline_config.load(_file("configuration.toml", data))
    with contextlib.suppress(ConfigError):
        pipeline_config.load(overrides=[data.decode("utf-8", "replace")])


def _configurations() -> Iterator[bytes]:
    for path in CONFIGS.glob("*.toml"):
        yield path.read_bytes()
    yield b'extends = "local"\n[trainer]\nepochs = 2\n'
    yield b"trainer.epochs=2"


def cluster_file(data: bytes) -> None:
    """A cluster file, and the same text as one override."""
    with contextlib.suppress(ConfigError):
        cluster_config.load(_file("cluster.toml", data))
    with contextlib.suppress(ConfigError):
        cluster_config.load(overrides=[data.decode("utf-8", "replace")])


def _cluster_files() -> Iterator[bytes]:
    yield CLUSTER_CONFIG.read_bytes()
    yield b'extends = "kubeflow"\n[storage]\nroot = "gs://bucket/path"\n'
    yield b"defaults.memory_limit=2Gi"


def schema_file(data: bytes) -> None:
    """A schema in protobuf's text format."""
    path = _file("schema.pbtxt", data)
    with contextlib.suppress(ConfigError):
        pipeline_config.load(overrides=[f"validation.schema='{path}'"])


def _schema_files() -> Iterator[bytes]:
    for path in pipeline_config.SCHEMAS.glob("*.pbtxt"):
        yield path.read_bytes()


# The model server


@functools.cache
def _models_folder() -> Path:
    """A folder with the toy model as version 1; it is small, and has all kinds of signatures."""
    from doubles import saved_models

    folder = _scratch() / "toy"
    saved_models.export_toy(folder / "1")
    return folder


@functools.cache
def _handler() -> Any:
    from serving.server.metrics import Metrics
    from serving.server.models.model_config import ModelConfig, ReloadPolicy
    from serving.server.models.registry import ModelRegistry
    from serving.server.models.versions import LoadOptions
    from serving.server.request_handler import RequestHandler
    from serving.server.scheduling.scheduler import Unbatched

    models = ModelRegistry([], LoadOptions())
    models.reload([ModelConfig("toy", _models_folder(), labels={"stable": 1})])
    policy = ReloadPolicy(False, (_models_folder(),))
    return RequestHandler(models, Unbatched(), Metrics(), 64, 1000, policy)


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


class _RejectedError(Exception):
    """The status of a call that a servicer ended."""


class _Context:
    """The part of gRPC's ServicerContext that the services use."""

    async def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        assert code is not grpc.StatusCode.INTERNAL, details
        assert details
        raise _RejectedError(code)


METHODS = ("Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata")


def grpc_request(data: bytes) -> None:
    """A request of any method of both gRPC services; the first byte chooses the method."""
    from serving.server.grpc import services
    from serving.server.grpc.service_descriptors import MODEL_SERVICE, PREDICTION_SERVICE

    paths = [f"/{PREDICTION_SERVICE}/{name}" for name in METHODS]
    paths += [f"/{MODEL_SERVICE}/{n}" for n in ("GetModelStatus", "HandleReloadConfigRequest")]
    path = paths[data[0] % len(paths)] if data else paths[0]
    (method,) = (
        found
        for handler in services.create(_handler())
        if (found := handler.service(_CallDetails(path))) is not None
    )
    with contextlib.suppress(_RejectedError):
        _loop().run_until_complete(method.unary_unary(data[1:], _Context()))


@dataclass
class _CallDetails:
    method: str
    invocation_metadata: tuple[Any, ...] = ()


def _grpc_requests() -> Iterator[bytes]:
    import tensorflow as tf
    from tensorflow_serving.apis import (
        classification_pb2,
        get_model_metadata_pb2,
        get_model_status_pb2,
        inference_pb2,
        model_management_pb2,
        predict_pb2,
    )

    predict = predict_pb2.PredictRequest()
    predict.model_spec.name = "toy"
    for name in ("a", "b"):
        predict.inputs[name].CopyFrom(tf.make_tensor_proto([1.0, 2.0]))
    yield b"\0" + predict.SerializeToString()
    predict.model_spec.signature_name = "double"
    predict.inputs.clear()
    predict.inputs["text"].CopyFrom(tf.make_tensor_proto([b"x"]))
    yield b"\0" + predict.SerializeToString()
    classify = classification_pb2.ClassificationRequest()
    classify.model_spec.name = "toy"
    classify.model_spec.signature_name = "regress"
    example = classify.input.example_list.examples.add()
    example.features.feature["text"].bytes_list.value.append(b"x")
    for number in (1, 2):  # the messages of Classify and Regress have the same fields
        yield bytes([number]) + classify.SerializeToString()
    several = inference_pb2.MultiInferenceRequest(input=classify.input)
    several.tasks.add(model_spec=classify.model_spec, method_name="tensorflow/serving/regress")
    yield b"\3" + several.SerializeToString()
    metadata = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    metadata.model_spec.name = "toy"
    yield b"\4" + metadata.SerializeToString()
    status = get_model_status_pb2.GetModelStatusRequest(model_spec=metadata.model_spec)
    yield b"\5" + status.SerializeToString()
    reload = model_management_pb2.ReloadConfigRequest()
    reload.config.model_config_list.config.add(
        name="toy", base_path="/models/toy", model_platform="tensorflow"
    )
    yield b"\6" + reload.SerializeToString()


def rest_request(data: bytes) -> None:
    """An HTTP request: a first line of method and path, then the body; gzip if it is packed."""
    head, _, body = data.partition(b"\n")
    method, _, path = head.decode("latin1").partition(" ")
    headers = [(b"content-length", str(len(body)).encode())]
    if body.startswith(idx_format.GZIP_MAGIC):
        headers.append((b"content-encoding", b"gzip"))
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET" if method == "GET" else "POST",
        "path": path if path.startswith("/") else "/v1/models/toy:predict",
        "raw_path": b"",
        "query_string": b"",
        "root_path": "",
        "headers": headers,
    }
    sent: list[dict[str, Any]] = []
    waiting = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if not waiting.is_set():
            waiting.set()
            return {"type": "http.request", "body": body, "more_body": False}
        await asyncio.Event().wait()  # the client stays connected
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message)

    _loop().run_until_complete(_application()(scope, receive, send))
    assert sent[0]["status"] not in (500, 503, 504), sent


@functools.cache
def _application() -> Any:
    from serving.server.metrics import DEFAULT_PATH, Metrics
    from serving.server.rest import api

    return api.application(_handler(), Metrics(), 30.0, DEFAULT_PATH)


def _rest_requests() -> Iterator[bytes]:
    yield b'POST /v1/models/toy:predict\n{"inputs": {"a": [1, 2], "b": [3.5, -1e3]}}'
    yield b'POST /v1/models/toy:predict\n{"instances": [{"a": 1, "b": 2}]}'
    double = b'{"signature_name": "double", "instances": ["x", {"b64": "eA=="}]}'
    yield b"POST /v1/models/toy/versions/1:predict\n" + double
    regress = b'{"signature_name": "regress", "context": {}, "examples": [{"text": "x"}]}'
    yield b"POST /v1/models/toy:regress\n" + regress
    yield b"POST /v1/models/toy/labels/stable:classify\n" + regress
    yield b"GET /v1/models/toy/metadata\n"
    yield b"GET /v1/models\n"
    yield b"GET /monitoring/prometheus/metrics\n"


def server_config(data: bytes) -> None:
    """Each configuration file of the server."""
    from serving.server import config_files
    from serving.server.models import model_config
    from serving.server.scheduling.batching import BatchingParameters

    path = _file("server.config", data)
    errors = (ServerStartError, InvalidRequestError)
    with contextlib.suppress(*errors):
        BatchingParameters.from_message(config_files.batching_parameters(path))
    with contextlib.suppress(*errors):
        config_files.ssl_config(path)
    with contextlib.suppress(*errors):
        config_files.monitoring_config(path)
    with contextlib.suppress(ServingError):
        models = model_config.parse(config_files.model_server_config(path))
        model_config.ReloadPolicy(True, (path.parent,)).check(models)


def _server_configs() -> Iterator[bytes]:
    for path in SERVER_CONFIGS.glob("*.config"):
        yield path.read_bytes()
    yield b'server_key: "k" server_cert: "c" custom_ca: "a" client_verify: true\n'


def warm_up(data: bytes) -> None:
    """The warm-up file of a model."""
    from serving import warm_up_file
    from serving.server.models import warm_up as warming

    folder = _scratch() / "warm"
    path = folder / warm_up_file.PATH
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    with contextlib.suppress(ModelLoadError):
        warming.run(_toy(), folder)


@functools.cache
def _toy() -> Any:
    from serving.server.models import saved_model

    return saved_model.load(_models_folder() / "1", 1)


def _warm_up_files() -> Iterator[bytes]:
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    from serving import warm_up_file

    seeds = list(_grpc_requests())
    for seed in seeds[:2]:
        record = prediction_log_pb2.PredictionLog()
        request = predict_pb2.PredictRequest.FromString(seed[1:])
        record.predict_log.request.CopyFrom(request)
        path = _scratch() / "seed.tfrecord"
        warm_up_file.write(path, [record])
        yield path.read_bytes()


def model_folder(data: bytes) -> None:
    """The folders of a model: names of versions, and damage to one version's files.

    The last byte chooses the damaged file, the two before it the place; the rest are names of
    folders, separated by line breaks, and then the bytes that are written.
    """
    from serving.server.models.model_config import ModelConfig
    from serving.server.models.versions import LoadOptions, Versions

    base = _scratch() / "models"
    shutil.rmtree(base, ignore_errors=True)
    version = base / "7"
    shutil.copytree(_models_folder() / "1", version)
    names, _, written = data.partition(b"\0")
    for name in names.split(b"\n")[:5]:
        text = name.decode("utf-8", "replace").replace("/", "")[:100]
        with contextlib.suppress(OSError, ValueError):
            (base / text).mkdir(exist_ok=True)
    files = sorted(path for path in version.rglob("*") if path.is_file())
    if len(written) >= 3:
        place, chosen = struct.unpack_from("<HB", written, len(written) - 3)
        content = bytearray(files[chosen % len(files)].read_bytes())
        start = place % (len(content) + 1)
        content[start : start + len(written) - 3] = written[:-3]
        files[chosen % len(files)].write_bytes(content)
    version_folders.find_too_large(base)
    versions = Versions(ModelConfig("m", base), LoadOptions(max_retries=0))
    versions.refresh()
    versions.close()


def _model_folders() -> Iterator[bytes]:
    yield b""
    yield b"8\n9\n.staging-10\n-1\n99999999999999999999"
    yield b"007\0\x08\x01\x12\0\0\x01"


TARGETS = {
    "idx_file": Target(idx_file, _idx_files),
    "picture": Target(picture, _pictures),
    "array": Target(array, _arrays),
    "configuration": Target(configuration, _configurations),
    "cluster_file": Target(cluster_file, _cluster_files),
    "schema_file": Target(schema_file, _schema_files),
    "grpc_request": Target(grpc_request, _grpc_requests),
    "rest_request": Target(rest_request, _rest_requests),
    "server_config": Target(server_config, _server_configs),
    "warm_up": Target(warm_up, _warm_up_files),
    "model_folder": Target(model_folder, _model_folders),
}

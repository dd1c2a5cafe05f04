"""TF Serving's REST API, an ASGI application.

POST /v1/models/MODEL[/versions/N|/labels/L]:predict, :classify, :regress
GET  /v1/models                                           the states of all models
GET  /v1/models/MODEL[/versions/N|/labels/L]              the states of the versions
GET  /v1/models/MODEL[/versions/N|/labels/L]/metadata     the signatures
GET  /monitoring/prometheus/metrics                       metrics, if enabled
"""

from __future__ import annotations

import asyncio
import json
import re
import zlib
from collections.abc import Awaitable, Mapping
from typing import Any, Final, TypeVar

import grpc
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from serving import errors, version_folders
from serving.limits import MAX_MESSAGE_BYTES
from serving.server import inference, metrics
from serving.server.metrics import REST, Metrics
from serving.server.request_handler import RequestHandler, failure
from serving.server.rest import documents, json_values

_Answer = TypeVar("_Answer")

_MODELS: Final = "/v1/models"
_VERSION: Final = r"(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_MODEL: Final = rf"/v1/models/(?P<model>[^/:]+){_VERSION}"
_INFERENCE_PATH: Final = re.compile(rf"(?i){_MODEL}:(?P<method>predict|classify|regress)")
_STATUS_PATH: Final = re.compile(rf"(?i){_MODEL}(?P<metadata>/metadata)?")

_GZIP: Final = 16 + zlib.MAX_WBITS  # the window size of a gzip stream, for zlib
_HTTP_STATUS: Final = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
}
_CLIENT_CLOSED_REQUEST: Final = 499  # nginx's number


class _TooLargeError(Exception):
    """The body exceeds MAX_MESSAGE_BYTES."""


def application(
    handler: RequestHandler,
    measured: Metrics,
    timeout_s: float,
    metrics_path: str | None,
    allow_any_origin: bool = False,
) -> Starlette:
    """The application.

    Args:
      handler: answers the requests.
      measured: the metrics.
      timeout_s: the time-out of a request.
      metrics_path: the path of the metrics; None for none.
      allow_any_origin: whether web pages of other origins may use the API.
    """
    api = _Api(handler, timeout_s)

    async def show_metrics(_: Request) -> Response:
        return Response(measured.text(), media_type=metrics.CONTENT_TYPE)

    routes = [Route("/v1/{path:path}", api.answer, methods=["GET", "POST"])]
    if metrics_path:
        routes.insert(0, Route(metrics_path, show_metrics))
    middleware = []
    if allow_any_origin:
        methods = ["GET", "POST"]
        middleware = [
            Middleware(
                CORSMiddleware, allow_origins=["*"], allow_methods=methods, allow_headers=["*"]
            )
        ]
    return Starlette(routes=routes, middleware=middleware)


class _Api:
    def __init__(self, handler: RequestHandler, timeout_s: float):
        self._handler = handler
        self._timeout_s = timeout_s

    async def answer(self, request: Request) -> Response:
        """Answers any request."""
        if "transfer-encoding" in request.headers and "content-length" in request.headers:
            # A proxy may use the other one, and see other requests in the same bytes.
            message = "the request has both Transfer-Encoding and Content-Length; expected one"
            return _error(400, message, {"Connection": "close"})
        try:
            async with asyncio.timeout(self._timeout_s):
                return _json(200, await self._dispatch(request))
        except asyncio.CancelledError:  # by uvicorn, when the grace is over
            return _error(503, "the server is stopping")
        except TimeoutError:
            return _error(504, f"the request timed out after {self._timeout_s:g} s")
        except ClientDisconnect:
            return _error(_CLIENT_CLOSED_REQUEST, "the client disconnected")  # nobody reads it
        except _TooLargeError:
            return _error(413, f"the body has more than {MAX_MESSAGE_BYTES} bytes")
        except Exception as error:
            code, message = failure(error, request.method)
            return _error(_HTTP_STATUS.get(code, 500), message)

    async def _dispatch(self, request: Request) -> dict[str, Any]:
        path = request.scope["path"]  # decoded, unlike the path of the URL
        if request.method == "POST" and (asked := _INFERENCE_PATH.fullmatch(path)):
            api = asked["method"].lower()
            body = await _body(request)
            method = {
                "predict": self._predict,
                "classify": self._classify,
                "regress": self._regress,
            }[api]
            answer = method(_spec(asked), body)
            answer = self._handler.measured(answer, asked["model"], api.capitalize(), REST)
            return await _while_connected(request, answer)
        if request.method == "GET" and path.lower().rstrip("/") == _MODELS:
            return {"models": [self._model(name) for name in self._handler.models.names]}
        if request.method == "GET" and (asked := _STATUS_PATH.fullmatch(path)):
            spec = _spec(asked)
            if not asked["metadata"]:
                states = get_model_status_pb2.GetModelStatusRequest(model_spec=spec)
                return documents.status_answer(self._handler.status(states))
            wanted = get_model_metadata_pb2.GetModelMetadataRequest(
                model_spec=spec, metadata_field=[inference.SIGNATURE_DEF]
            )
            return documents.metadata_answer(self._handler.metadata(wanted))
        raise errors.InvalidRequestError(f"Malformed request: {request.method} {path}")

    def _model(self, name: str) -> dict[str, Any]:
        spec = model_pb2.ModelSpec(name=name)
        try:
            status = self._handler.status(
                get_model_status_pb2.GetModelStatusRequest(model_spec=spec)
            )
        except errors.ModelNotFoundError:  # no version has appeared
            status = get_model_status_pb2.GetModelStatusResponse()
        return {"name": name, **documents.status_answer(status)}

    async def _predict(self, spec: model_pb2.ModelSpec, body: bytes) -> dict[str, Any]:
        parsed = documents.parse_predict(body)
        spec.signature_name = parsed.signature_name
        request = predict_pb2.PredictRequest(model_spec=spec)
        documents.fill_predict(request, parsed, self._handler.inputs_of(spec))
        return documents.predict_answer(await self._handler.predict(request), parsed.layout)

    async def _classify(self, spec: model_pb2.ModelSpec, body: bytes) -> dict[str, Any]:
        request = classification_pb2.ClassificationRequest(model_spec=spec)
        documents.fill_examples(request, body)
        return documents.classify_answer(await self._handler.classify(request))

    async def _regress(self, spec: model_pb2.ModelSpec, body: bytes) -> dict[str, Any]:
        request = regression_pb2.RegressionRequest(model_spec=spec)
        documents.fill_examples(request, body)
        return documents.regress_answer(await self._handler.regress(request))


async def _while_connected(request: Request, answer: Awaitable[_Answer]) -> _Answer:
    """Waits for an answer; cancels it if the client disconnects.

    Raises:
      ClientDisconnect: the client disconnected.
    """
    answering = asyncio.ensure_future(answer)
    disconnected = asyncio.create_task(_wait_for_disconnect(request))
    try:
        await asyncio.wait((answering, disconnected), return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            raise ClientDisconnect
        return answering.result()
    finally:
        answering.cancel()
        disconnected.cancel()


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _spec(asked: re.Match[str]) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=asked["model"])
    if asked["version"]:
        version = version_folders.parse(asked["version"])
        if version is None:
            raise errors.InvalidRequestError(
                f"Failed to convert version: {asked['version']} to numeric."
            )
        spec.version.value = version
    if asked["label"]:
        spec.version_label = asked["label"]
    return spec


async def _body(request: Request) -> bytes:
    """The body of a request, unpacked.

    Raises:
      InvalidRequestError: its encoding is not supported, or it is damaged.
      _TooLargeError: it exceeds MAX_MESSAGE_BYTES, as it is or unpacked.
    """
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding not in ("gzip", "identity"):
        raise errors.InvalidRequestError(
            f"Content-Encoding is {json_values.quote(encoding)}; expected gzip or none"
        )
    unpacked = zlib.decompressobj(_GZIP) if encoding == "gzip" else None
    body = bytearray()
    async for chunk in request.stream():
        if unpacked is None:
            body += chunk
        else:
            try:
                body += unpacked.decompress(chunk, MAX_MESSAGE_BYTES + 1 - len(body))
            except zlib.error as error:
                raise errors.InvalidRequestError("the body is not valid gzip data") from error
            if unpacked.unused_data:  # zlib would keep and copy all that follows
                raise errors.InvalidRequestError("the body continues after its gzip data")
        if len(body) > MAX_MESSAGE_BYTES:
            raise _TooLargeError
    if unpacked is not None and not unpacked.eof:
        raise errors.InvalidRequestError("the body is not complete gzip data")
    return bytes(body)


def _json(
    status: int, document: dict[str, Any], headers: Mapping[str, str] | None = None
) -> Response:
    content = json.dumps(document, indent=1)  # NaN stays NaN, as in TF Serving
    return Response(content, status, headers, media_type="application/json")


def _error(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return _json(status, {"error": message}, headers)

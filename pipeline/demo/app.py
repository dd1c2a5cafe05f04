"""The requests of the page. Blocking work runs in Starlette's thread pool.

The page is for the person at this machine. A page of another site must not be able to use it:
requests need a local Host, and changes an Origin that is this page.
"""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from pipeline.demo import answers, overview
from pipeline.local import dataset_source
from pipeline.runs import releases
from pipeline.runs.workspace import Workspace
from pipeline.settings.errors import DataError, PipelineError
from serving import images, version_folders
from serving.client import Client
from serving.errors import ModelNotFoundError, ServingError
from serving.polarity import Polarity

STATIC: Final = Path(__file__).with_name("static")
HOSTS: Final = ("127.0.0.1", "localhost")

_MAX_JSON_BYTES: Final = 1 << 10
_MAX_PICTURE_BYTES: Final = 8 << 20
_MAX_PIXELS: Final = 25_000_000
_POLICY: Final = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
# A report has its own style sheet, and pictures as data; no script.
_REPORT_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; sandbox"
)


@dataclass(frozen=True)
class Demo:
    """What the page shows.

    Args:
      workspace: the runs and versions.
      client: the client of the model.
      check: raises ServingError if the model server has ended.
      data: the folder with test images; None without any.
    """

    workspace: Workspace
    client: Client
    check: Callable[[], None]
    data: Path | None

    @property
    def name(self) -> str:
        """The name of the model."""
        return self.client.model


class BadRequestError(Exception):
    """The request is invalid; the message is one sentence."""


def create(demo: Demo) -> Starlette:
    """The application."""
    own = _Requests(demo)
    return Starlette(
        routes=[
            Route("/", own.page),
            Route("/api/answer", own.answer, methods=["POST"]),
            Route("/api/shifts", own.shifts, methods=["POST"]),
            Route("/api/layers", own.layers, methods=["POST"]),
            Route("/api/workspace", own.workspace),
            Route("/api/progress", own.progress),
            Route("/api/digit", own.digit),
            Route("/api/rollback", own.rollback, methods=["POST"]),
            Route("/report/{run_id}", own.report),
            Route("/card/{version:int}", own.card),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS),
            Middleware(_SameOrigin),
        ],
        exception_handlers={
            BadRequestError: lambda _, error: _error(str(error), 400),
            DataError: lambda _, error: _error(str(error), 404),
            PipelineError: lambda _, error: _error(str(error), 409),
            ModelNotFoundError: lambda _, error: _error("no model is served yet.", 503),
            ServingError: lambda _, error: _error(str(error), 502),
            Exception: lambda _, error: _error(f"unexpected error: {error}", 500),
        },
    )


class _Requests:
    def __init__(self, demo: Demo):
        self._demo = demo

    async def page(self, _: Request) -> Response:
        return FileResponse(STATIC / "index.html")

    async def answer(self, request: Request) -> Response:
        return await self._ask(request, answers.answer)

    async def shifts(self, request: Request) -> Response:
        return await self._ask(request, answers.shifts)

    async def layers(self, request: Request) -> Response:
        return await self._ask(request, answers.layers)

    async def _ask(
        self, request: Request, question: Callable[[Client, NDArray[np.uint8]], Any]
    ) -> Response:
        picture = await _picture(request)
        self._demo.check()
        return JSONResponse(await run_in_threadpool(question, self._demo.client, picture))

    def workspace(self, _: Request) -> Response:
        return JSONResponse(overview.overview(self._demo.workspace, self._demo.name))

    def progress(self, _: Request) -> Response:
        return JSONResponse(overview.progress(self._demo.workspace))

    def report(self, request: Request) -> Response:
        path = overview.report_of(self._demo.workspace, request.path_params["run_id"])
        if path is None:
            return _error("this run has no report, or it was removed.", 404)
        return FileResponse(path, headers={"Content-Security-Policy": _REPORT_POLICY})

    def card(self, request: Request) -> Response:
        folder = self._demo.workspace.serving(self._demo.name)
        for path in version_folders.cards(folder, request.path_params["version"]):
            if path.suffix == ".html":
                return FileResponse(path, headers={"Content-Security-Policy": _REPORT_POLICY})
        return _error("this version has no model card.", 404)

    def digit(self, _: Request) -> Response:
        return _png(_random_digit(self._demo.data))

    async def rollback(self, request: Request) -> Response:
        version = (await _json(request)).get("version")
        if type(version) is not int:  # true is an int, too
            raise BadRequestError('expected {"version": NUMBER}.')
        before, after = await run_in_threadpool(
            releases.roll_back, self._demo.workspace, self._demo.name, version
        )
        return JSONResponse({"before": before, "after": after})


class _SameOrigin(BaseHTTPMiddleware):
    """Rejects requests that a page of another site makes; adds the headers of every answer."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        own = f"{request.url.scheme}://{request.headers.get('host', '')}"
        origin = request.headers.get("origin", own)
        site = request.headers.get("sec-fetch-site", "same-origin")
        if request.method != "GET" and (origin != own or site != "same-origin"):
            return _error("this request comes from another site.", 403)
        response = await call_next(request)
        for name, value in _POLICY.items():
            response.headers.setdefault(name, value)
        return response


async def _picture(request: Request) -> NDArray[np.uint8]:
    """The picture in the body as an image [28, 28]."""
    body = await _body(request, _MAX_PICTURE_BYTES)
    # A drawing is white on black; for the photo of a sheet, the edge decides.
    given = request.query_params.get("polarity", Polarity.WHITE_ON_BLACK)
    try:
        polarity = Polarity(given)
        return await run_in_threadpool(images.read_picture, io.BytesIO(body), polarity, _MAX_PIXELS)
    except Exception as error:  # Pillow raises many kinds for a damaged picture
        raise BadRequestError(f"the picture cannot be read: {images.reason(error)}.") from error


async def _json(request: Request) -> dict[str, Any]:
    try:
        value = json.loads(await _body(request, _MAX_JSON_BYTES))
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise BadRequestError("expected a JSON object.")
    return value


async def _body(request: Request, limit: int) -> bytes:
    """The body, if it has at most `limit` bytes."""
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > limit:
            raise BadRequestError(f"{limit / 2**20:g} MiB are the maximum of a request.")
    return bytes(content)


def _random_digit(folder: Path | None) -> NDArray[np.uint8]:
    if folder is None:
        raise DataError("there are no test images; `mnist-tfx data` downloads MNIST.")
    return random.choice(dataset_source.read_test_split(folder).images)  # noqa: S311 - no secret


def _png(image: NDArray[np.uint8]) -> Response:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return Response(file.getvalue(), media_type="image/png")


def _error(message: str, status: int) -> JSONResponse:
    return JSONResponse({"error": message}, status)

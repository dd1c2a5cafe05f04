"""The REST API's status codes, including errors that a client cannot cause."""

import asyncio
import re

import httpx
import pytest

from serving import errors
from serving.server.metrics import Metrics
from serving.server.rest import api


class Failing:
    """Stands for the request handler."""

    def __init__(self, error: Exception):
        self._error = error

    def status(self, request: object) -> None:
        raise self._error


async def _get(error: Exception) -> httpx.Response:
    app = api.application(Failing(error), Metrics(), 30, None)  # type: ignore[arg-type]
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.get("/v1/models/mnist")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.InvalidRequestError("so"), 400),
        (errors.PreconditionError("so"), 400),
        (errors.ModelNotFoundError("so"), 404),
        (errors.NotSupportedError("so"), 501),
        (errors.OverloadedError("so"), 503),
        (errors.TooLargeError("so"), 429),
        (errors.ServingError("so"), 500),
    ],
)
def test_every_error_has_its_status(error: Exception, status: int) -> None:
    response = asyncio.run(_get(error))
    assert response.status_code == status
    assert response.json() == {"error": "so"}


def test_an_unexpected_error_is_500_with_an_id_that_is_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    response = asyncio.run(_get(RuntimeError("so")))
    assert response.status_code == 500
    told = re.fullmatch(
        r"internal error ([0-9a-f]{12}); see the server's log\.", response.json()["error"]
    )
    assert told is not None
    assert f"internal error {told[1]} in GET" in caplog.text
    assert "RuntimeError: so" in caplog.text

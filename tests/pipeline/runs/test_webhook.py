"""The notice about a run, sent to a real HTTP server."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from doubles import kfp_api
from werkzeug import Request, Response

from pipeline.runs import events, webhook
from pipeline.runs.run_record import RunRecord
from serving import addresses

SECRET = "T0P-S3CRET"
PUSHED = events.Outcome(
    test_images=300,
    accuracy=0.98,
    accuracy_change=-0.001,
    loss=0.05,
    digit_accuracy={"0": 0.97},
    rejections=(),
    pushed="/serving/mnist/12",
    artifacts="/a",
    tensorboard="/t",
    report="/runs/r/report.html",
)


class Service:
    """Keeps what it gets; answers with `statuses`, then with 200."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []
        self.statuses: list[int] = []
        self.url = ""

    def answer(self, request: Request) -> Response:
        assert request.method == "POST" and request.path == f"/{SECRET}"
        assert request.headers["Content-Type"] == "application/json"
        self.bodies.append(json.loads(request.get_data()))
        headers = {"Location": "/login"}  # of a redirect; otherwise ignored
        return Response(status=self.statuses.pop(0) if self.statuses else 200, headers=headers)


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    with kfp_api.serving(service.answer) as url:
        service.url = f"{url}/{SECRET}"
        yield service


def _record(**changes: Any) -> RunRecord:
    push = events.NodeChanged(node="AtomicPusher", state="done")
    values = dict(run_id="r", pipeline="mnist", seconds=9.5, exit_code=0, nodes=(push,))
    return RunRecord.model_validate({**values, "outcome": PUSHED, **changes})


def _send(service: Service, record: RunRecord) -> str:
    return webhook.send(webhook.notice_of(record), {webhook.VARIABLE: service.url})


def test_a_push_is_told(service: Service) -> None:
    assert _send(service, _record()) == ""
    assert service.bodies == [
        {
            "format": 1,
            "pipeline": "mnist",
            "run_id": "r",
            "result": "pushed",
            "exit_code": 0,
            "message": "",
            "rejections": [],
            "accuracy": 0.98,
            "accuracy_change": -0.001,
            "version": 12,
            "report": "/runs/r/report.html",
            "seconds": 9.5,
        }
    ]


def test_a_rejection_is_told_with_its_reasons(service: Service) -> None:
    outcome = PUSHED.model_copy(update={"pushed": None, "rejections": ("too low",)})
    assert _send(service, _record(outcome=outcome, exit_code=3, message="not pushed")) == ""
    gate = events.NodeChanged(node="AnomalyGate", state="failed", rejections=("label: 12",))
    assert _send(service, _record(outcome=None, exit_code=3, nodes=(gate,))) == ""
    model, data = service.bodies
    assert (model["result"], model["rejections"]) == ("rejected", ["too low"])
    assert (data["result"], data["rejections"]) == ("rejected", ["label: 12"])
    assert model["version"] is data["accuracy"] is None


def test_a_cached_or_interrupted_run_is_not_told(service: Service) -> None:
    assert _send(service, _record(nodes=())) == ""
    assert _send(service, _record(exit_code=None)) == ""
    assert service.bodies == []


def test_it_is_sent_again_if_the_service_fails(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "_PAUSE_S", 0)
    service.statuses = [503, 500]
    assert _send(service, _record()) == ""
    assert len(service.bodies) == 3


@pytest.mark.parametrize(
    ("url", "statuses", "reason"),
    [
        (None, [403, 403, 403], r"did not accept it \(status 403\)"),
        (None, [302, 302, 302], r"did not accept it \(status 302\)"),
        (f"ftp://x/{SECRET}", [], "MNIST_TFX_WEBHOOK is not an https or http URL"),
        (f"https://[{SECRET}", [], r"did not accept it \(ValueError\)"),
    ],
)
def test_a_failure_is_a_sentence_without_the_address(
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
    url: str | None,
    statuses: list[int],
    reason: str,
) -> None:
    monkeypatch.setattr(webhook, "_PAUSE_S", 0)
    service.statuses = statuses
    found = webhook.send(webhook.notice_of(_record()), {webhook.VARIABLE: url or service.url})
    assert re.search(reason, found), found
    assert SECRET not in found


def test_no_service_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "_PAUSE_S", 0)
    url = f"http://127.0.0.1:{addresses.free_port()}/{SECRET}"
    found = webhook.send(webhook.notice_of(_record()), {webhook.VARIABLE: url})
    assert "did not accept it ([Errno 111] Connection refused)" in found
    assert SECRET not in found

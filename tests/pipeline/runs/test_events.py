"""Events pass through a log record and a line of JSON without change."""

import io
import logging
from datetime import UTC
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.runs import events


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def logger(stream: io.StringIO) -> logging.Logger:
    logger = logging.Logger("events")
    logger.addHandler(events.JsonLines(stream))
    return logger


def _without_time(event: events.Event) -> events.Event:
    assert event.time is not None and event.time.tzinfo == UTC
    return event.model_copy(update={"time": None})


@pytest.mark.parametrize(
    "event",
    [
        events.Planned(run_id="r", nodes=("A", "B")),
        events.NodeChanged(node="A", state="failed", seconds=1.5, message="m", rejections=("x",)),
        events.Progress(node="A", done=5, total=None, unit="images"),
        events.RunEnded(run_id="r", exit_code=3, message="m", seconds=2.5),
        events.Answer(
            image="idx:1", label=None, prediction=3, probability=0.5, latency_ms=1, version=2
        ),
        events.NotAnswered(message="no"),
    ],
)
def test_an_event_arrives_as_it_was_sent(
    event: events.Event, logger: logging.Logger, stream: io.StringIO
) -> None:
    events.emit(logger, event)
    (line,) = stream.getvalue().splitlines()
    assert _without_time(events.parse(line)) == event


def test_other_log_records_are_no_events(logger: logging.Logger, stream: io.StringIO) -> None:
    logger.warning("noise")
    assert stream.getvalue() == ""


def test_the_log_of_the_trainer_is_parsed(logger: logging.Logger, stream: io.StringIO) -> None:
    """The trainer does not import this module: its records are plain dicts."""
    values: dict[str, Any] = dict(
        step=1, steps=2, epoch=1, epochs=1, loss=0.5, accuracy=0.9, images_per_s=100.0
    )
    logger.info("step 1", extra={"event": {"kind": "training", **values}})
    assert _without_time(events.parse(stream.getvalue())) == events.Training(**values)


def test_invalid_arguments_are_rejected() -> None:
    with pytest.raises(ValidationError):
        events.parse('{"kind": "nonsense"}')

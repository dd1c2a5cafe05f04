"""The events of a run: how the process that runs the pipeline informs the one that shows it.

They travel as lines of JSON. In the process that runs the pipeline they are log records with an
attribute `event`, so that the trainer, which must not import this module, can emit events, too.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TextIO

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, TypeAdapter

NodeState = Literal["waiting", "running", "cached", "resolved", "done", "failed"]
"""`resolved` is the end of a resolver, which queries the metadata store in every run and is never
cached; `done` that of any other node."""


# The second name is that of older records in a workspace.
_REJECTIONS = Field(validation_alias=AliasChoices("rejections", "refusals"))


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True)

    time: datetime | None = None
    """When it was emitted; None in records of older releases."""


class Planned(_Event):
    """The nodes of the run, in a possible order of execution."""

    kind: Literal["planned"] = "planned"
    run_id: str
    nodes: tuple[str, ...]


class NodeChanged(_Event):
    """A node started or ended."""

    kind: Literal["node"] = "node"
    node: str
    state: NodeState
    seconds: float = 0.0
    message: str = ""
    """Why it failed or, on Kubeflow, cannot start, in one line."""

    rejections: Annotated[tuple[str, ...], _REJECTIONS] = ()
    """What the gate rejected; empty if the node is none, or rejected nothing. The gates of the
    data fail; those of the model do not, so that the report is written."""


class Training(_Event):
    """The progress of the training."""

    kind: Literal["training"] = "training"
    step: int
    steps: int
    epoch: int
    epochs: int
    loss: float
    accuracy: float
    images_per_s: float


class Progress(_Event):
    """The progress of another node."""

    kind: Literal["progress"] = "progress"
    node: str
    done: int
    total: int | None = None
    """None: not known, or as in an earlier event of the node."""

    unit: str


class Evaluated(_Event):
    """A run that stops after the Evaluator reached its end; the locations of the results."""

    kind: Literal["evaluated"] = "evaluated"
    evaluation: str
    model: str
    """The SavedModel's folder."""

    model_run: str
    """The folder of the training's logs."""


class Outcome(_Event):
    """The run reached its end: the evaluation, and the push."""

    kind: Literal["outcome"] = "outcome"
    test_images: int
    accuracy: float
    loss: float
    calibration_error: float | None = None
    accuracy_change: float | None = None
    """Candidate minus champion; None without a champion."""

    gates_off: tuple[str, ...] = ()
    """The keys of the limits that are only reported."""

    digit_accuracy: dict[str, float]
    rejections: Annotated[tuple[str, ...], _REJECTIONS]
    """Why the model was not blessed; empty if it was."""

    pushed: str | None
    """The folder of the pushed version, of this run or of the run that it repeats; None if the
    model was rejected."""

    is_new_version: bool = True
    """False if the served version had the model's files already."""

    artifacts: str
    """The folder of all components' artifacts."""

    tensorboard: str
    """The folder of TensorBoard's logs."""

    report: str | None = None
    """The report's HTML file."""

    @property
    def worst_digit(self) -> str:
        """The digit with the lowest accuracy."""
        return min(self.digit_accuracy, key=lambda digit: self.digit_accuracy[digit])


class Candidate(BaseModel):
    """A digit that an image may show."""

    model_config = ConfigDict(frozen=True)

    digit: int
    probability: float


class Answer(_Event):
    """The served model's answer for one image."""

    kind: Literal["answer"] = "answer"
    image: str
    label: int | None
    """The true digit, if known."""

    prediction: int
    probability: float
    top: tuple[Candidate, ...] = ()
    """The three most probable digits."""

    latency_ms: float
    version: int
    remark: str = ""
    """Why the answer may be wrong: the image, or a low probability; else empty."""


class RunEnded(_Event):
    """The last event of a run."""

    kind: Literal["run_ended"] = "run_ended"
    run_id: str
    exit_code: int
    message: str
    """Why the run did not end with a pushed model; empty if it did."""

    seconds: float


class NotAnswered(_Event):
    """The model was pushed, but the model server did not answer."""

    kind: Literal["not_answered"] = "not_answered"
    message: str


Event = Annotated[
    Planned
    | NodeChanged
    | Training
    | Progress
    | Evaluated
    | Outcome
    | Answer
    | NotAnswered
    | RunEnded,
    Field(discriminator="kind"),
]
_event: TypeAdapter[Event] = TypeAdapter(Event)


def parse(line: str) -> Event:
    """Parses a line; raises pydantic.ValidationError if it is not an event."""
    return _event.validate_json(line)


def to_json(event: _Event) -> str:
    """An event as one line of JSON."""
    return event.model_dump_json()


def emit(logger: logging.Logger, event: _Event) -> None:
    """Logs an event."""
    values = event.model_dump()
    logger.info("%s", values, extra={"event": values})


class JsonLines(logging.Handler):
    """Writes the events among the log records to a stream, one in each line."""

    def __init__(self, stream: TextIO):
        super().__init__()
        self._stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        """Writes the event of a record, if it has one."""
        values: dict[str, Any] | None = getattr(record, "event", None)
        if values is not None:
            event = _event.validate_python({**values, "time": datetime.now(UTC)})
            self._stream.write(to_json(event) + "\n")
            self._stream.flush()

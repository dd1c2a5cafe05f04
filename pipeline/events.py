"""What happens in a run, as values: how a process that runs the pipeline tells one that shows it.

They travel as lines of JSON. In the process that runs the pipeline they are log
records with an attribute `event`, so that code that may not know of this module,
the trainer's, can take part.
"""

from __future__ import annotations

import logging
from typing import Annotated, Any, Literal, TextIO

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

NodeState = Literal["waiting", "running", "cached", "resolved", "done", "failed"]
"""`resolved` is a resolver's `done`: it asks the metadata store every time, and is never cached."""


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True)


class Planned(_Event):
    """The run has these nodes, in an order in which they can run."""

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
    """Why it failed, in one line."""

    refusals: tuple[str, ...] = ()
    """Where it failed because a gate said no: what it found."""


class LayerTable(_Event):
    """The network, as Keras prints it."""

    kind: Literal["layer_table"] = "layer_table"
    text: str


class Training(_Event):
    """Where the training is."""

    kind: Literal["training"] = "training"
    step: int
    steps: int
    epoch: int
    epochs: int
    loss: float
    accuracy: float
    images_per_s: float


class Evaluated(_Event):
    """A run that was to end there reached the Evaluator. Where its results are."""

    kind: Literal["evaluated"] = "evaluated"
    evaluation: str
    model: str
    """The SavedModel's folder."""

    model_run: str
    """The folder of what the training left."""


class Outcome(_Event):
    """The run reached its end. What the Evaluator found and what was pushed."""

    kind: Literal["outcome"] = "outcome"
    test_images: int
    accuracy: float
    loss: float
    calibration_error: float | None = None
    digit_accuracy: dict[str, float]
    refusals: tuple[str, ...]
    """Why the model was not blessed; empty where it was."""

    pushed: str | None
    """The version's folder, where the model was pushed, in this run or in the one it repeats."""

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


class Answer(_Event):
    """What a served model said about one image."""

    kind: Literal["answer"] = "answer"
    image: str
    label: int | None
    """What the image shows, where that is known."""

    prediction: int
    probability: float
    latency_ms: float
    version: int


class NotAnswered(_Event):
    """The model was pushed, and the model server did not answer."""

    kind: Literal["not_answered"] = "not_answered"
    message: str


Event = Annotated[
    Planned | NodeChanged | LayerTable | Training | Evaluated | Outcome | Answer | NotAnswered,
    Field(discriminator="kind"),
]
_event: TypeAdapter[Event] = TypeAdapter(Event)


def parse(line: str) -> Event:
    """Raises pydantic.ValidationError where the line is not an event."""
    return _event.validate_json(line)


def emit(logger: logging.Logger, event: _Event) -> None:
    """Logs an event, for whichever handler is listening."""
    values = event.model_dump()
    logger.info("%s", values, extra={"event": values})


class JsonLines(logging.Handler):
    """Writes the events among the log records to a stream, one a line."""

    def __init__(self, stream: TextIO):
        super().__init__()
        self._stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        """Writes the record's event, if it has one."""
        values: dict[str, Any] | None = getattr(record, "event", None)
        if values is not None:
            self._stream.write(_event.validate_python(values).model_dump_json() + "\n")
            self._stream.flush()

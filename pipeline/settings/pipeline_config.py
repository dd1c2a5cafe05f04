"""The configuration of the pipeline: one validated, frozen value, read from a TOML file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from google.protobuf import text_format
from pydantic import Field, ValidationError, field_validator, model_validator
from tensorflow_metadata.proto.v0 import schema_pb2

from pipeline.settings import mistakes, toml_settings
from pipeline.settings.beam_config import BeamConfig, InProcessRunner
from pipeline.settings.errors import ConfigError
from pipeline.settings.toml_settings import Section
from trainer import features
from trainer.hparams import HyperParameters

SHIPPED: Final = Path(__file__).parent / "configs"
SCHEMAS: Final = Path(__file__).parent / "schemas"
DEFAULT: Final = "local.toml"
CLUSTER_PREFIX: Final = "kubeflow."
"""Of the keys in `--set` that are in the cluster file."""

REPORT: Final = "report"
"""Instead of a limit: the value is reported, and stops nothing."""

NO_SPANS: Final = "none"

Share = Annotated[float, Field(ge=0, le=1)]
Limit: TypeAlias = Share | Literal["report"]
Span: TypeAlias = int | Literal["latest"]


class DataConfig(Section):
    """The data, and its splits."""

    dataset: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    """The name of the data set. "mnist" is downloaded and verified by its digests."""

    class_names: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=40)], ...],
        Field(strict=False, min_length=features.NUM_CLASSES, max_length=features.NUM_CLASSES),
    ] = features.CLASS_NAMES
    """The name of each class, in the order of the labels; for the report."""

    eval_fraction: Annotated[float, Field(gt=0, lt=0.5)]
    """The fraction of the training images that becomes the split `eval`."""

    span: Annotated[int, Field(ge=0)] | Literal["none", "latest"]
    """The span to ingest, for data that arrives in spans; "none" for a single folder."""

    span_folder: str
    """The folder of a span below the data's folder: a path with {SPAN}, and with {VERSION} if a
    span may arrive again; its highest version is ingested."""

    train_spans: Annotated[int, Field(ge=1)]
    """The maximum number of spans to train on: this one, and accepted earlier ones."""

    @field_validator("class_names")
    @classmethod
    def _are_different(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise ValueError("expected ten different names")
        return names

    @field_validator("span_folder")
    @classmethod
    def _contains_the_span(cls, folder: str) -> str:
        specs = re.findall(r"\{.*?\}", folder)
        if specs not in (["{SPAN}"], ["{SPAN}", "{VERSION}"]) or folder.startswith("/"):
            raise ValueError(
                "expected a path below the data's folder, such as span-{SPAN} or "
                "span-{SPAN}/version-{VERSION}"
            )
        return folder.strip("/")

    @property
    def chosen_span(self) -> Span | None:
        """The span to ingest; None if the data does not arrive in spans."""
        return None if self.span == NO_SPANS else self.span


class ValidationConfig(Section):
    """The conditions for data."""

    schema_text: Annotated[str, Field(alias="schema")]
    """The reviewed schema, in text format. In a file, `schema` is the name of the schema file."""

    class_balance: Annotated[tuple[Share, ...], Field(strict=False)]
    """The expected share of each class; the sum is 1."""

    max_share_change: Limit
    """The maximum difference of a class's share from `class_balance`, in any split."""

    max_skew: Limit
    """The maximum Jensen-Shannon divergence, 0 to 1, of the distributions of labels and of
    brightness in `eval` and `test` from those in `train`."""

    max_drift: Limit
    """The same, of each split from the last accepted data."""

    max_duplicates: Annotated[int, Field(ge=0)] | Literal["report"]
    """The maximum number of images of `eval`, and of `test`, that are training images as well."""

    min_label_agreement: Limit
    """The minimum fraction of images whose nearest class mean is that of their label."""

    @field_validator("schema_text")
    @classmethod
    def _is_a_schema(cls, text: str) -> str:
        try:
            text_format.Parse(text, schema_pb2.Schema())
        except text_format.ParseError as error:
            raise ValueError(f"expected a schema in text format: line:column {error}") from error
        except RecursionError as error:
            raise ValueError("expected a schema in text format: nested too deeply") from error
        return text

    @field_validator("class_balance")
    @classmethod
    def _is_a_distribution(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        if len(shares) != features.NUM_CLASSES or abs(sum(shares) - 1) > 1e-3:
            raise ValueError(
                f"expected {features.NUM_CLASSES} shares with the sum 1; got {len(shares)} with "
                f"the sum {sum(shares):.4f}"
            )
        return shares


class EvaluationConfig(Section):
    """The conditions for a model on the test split."""

    min_accuracy: Limit
    min_digit_accuracy: Limit
    """For each class separately."""

    max_loss: Annotated[float, Field(gt=0)] | Literal["report"]
    max_calibration_error: Limit
    """The maximum expected calibration error: the mean difference of confidence and accuracy."""

    max_accuracy_drop: Limit
    """The maximum drop compared with the champion (see ChampionResolver)."""

    max_digit_accuracy_drop: Limit
    """The same for each class separately."""


class RobustnessConfig(Section):
    """The corruptions of test images, and the conditions for a model on them."""

    images: Annotated[int, Field(ge=1)]
    """The number of test images for each corruption and strength; translations are made in each
    of four directions."""

    seed: Annotated[int, Field(ge=0, lt=2**31)]
    """Chooses these images, and seeds the random corruptions."""

    strengths: dict[str, Annotated[tuple[int, ...], Field(strict=False)]]
    """The strengths of each corruption (components/images/corruptions.py)."""

    min_accuracy: dict[str, dict[str, Share]]
    """By corruption and strength. All others are reported only."""

    @field_validator("strengths")
    @classmethod
    def _are_known(cls, strengths: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        from components.images.corruptions import CORRUPTIONS  # imports NumPy

        for name, chosen in strengths.items():
            if name not in CORRUPTIONS:
                raise ValueError(f"{name} is not a corruption; known are {', '.join(CORRUPTIONS)}")
            possible = range(1, CORRUPTIONS[name].strengths + 1)
            if not set(chosen) <= set(possible):
                raise ValueError(
                    f"the strengths of {name} are {list(chosen)}; expected numbers from 1 to "
                    f"{possible[-1]}"
                )
        return strengths

    @model_validator(mode="after")
    def _limits_are_measured(self) -> Self:
        for name, limits in self.min_accuracy.items():
            measured = self.strengths.get(name, ())
            for strength in limits:
                if strength not in map(str, measured):
                    raise ValueError(
                        f"min_accuracy.{name} sets a limit for strength {strength}; "
                        f"strengths.{name} contains only {list(measured)}"
                    )
        return self


class ServingConfig(Section):
    """Validation by a model server, and serving."""

    server: Literal["auto", "tensorflow_model_server", "docker", "embedded"]
    """The server that ServerValidator and a local run start; "auto" is the first available."""

    validation_requests: Annotated[int, Field(ge=1, le=1000)]
    """The number of test images that ServerValidator sends, one in each request."""

    max_latency_ms: Annotated[float, Field(gt=0)]
    """The maximum of the 99th percentile of their latencies."""

    keep_versions: Annotated[int, Field(ge=1, le=1000)]
    """The number of pushed versions to keep."""

    sample_requests: Annotated[int, Field(ge=0, le=1000)]
    """The number of test images that a run sends to the pushed model at its end."""


class PipelineConfig(Section):
    """The whole configuration; a section of the file for each part."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
    """The name of the pipeline in the metadata store, and of the served model."""

    data: DataConfig
    validation: ValidationConfig
    trainer: HyperParameters
    evaluation: EvaluationConfig
    robustness: RobustnessConfig
    serving: ServingConfig
    beam: BeamConfig = InProcessRunner()

    def gates_off(self) -> list[str]:
        """The keys of the limits that are only reported, such as "validation.max_drift"."""
        sections = {"validation": self.validation, "evaluation": self.evaluation}
        return [
            f"{name}.{key}"
            for name, section in sections.items()
            for key, value in section.model_dump().items()
            if value == REPORT
        ]


def load(file: str | Path = DEFAULT, overrides: Iterable[str] = ()) -> PipelineConfig:
    """Reads a configuration; the arguments and errors are those of `toml_settings.read`."""
    overrides = list(overrides)
    for override in overrides:
        if override.startswith(CLUSTER_PREFIX):
            raise ConfigError(
                f"--set {override}: this key is in the cluster file, which only the commands with "
                "the option --cluster read."
            )
    return toml_settings.read(PipelineConfig, file, SHIPPED, overrides, _read_schema)


def shipped() -> list[str]:
    """The file names of the shipped configurations."""
    return sorted(path.name for path in SHIPPED.glob("*.toml"))


def changed_recipe(recipe: HyperParameters, changes: Mapping[str, Any]) -> HyperParameters:
    """The recipe with the changes of one run.

    Raises:
      ConfigError: a hyper-parameter is unknown, or its value is invalid.
    """
    try:
        return recipe.changed(changes)
    except ValidationError as error:
        found = mistakes.find(error, HyperParameters)
        raise ConfigError(
            mistakes.text(found, lambda each: f"recipe.{each.key}" if each.key else "recipe")
        ) from error


def _read_schema(values: dict[str, Any], config_file: Path, source: str) -> None:
    """Replaces the name of a schema file by its content."""
    section = values.get("validation")
    if not isinstance(section, dict) or "schema" not in section:
        return
    name = section["schema"]
    if not isinstance(name, str):
        raise ConfigError(
            f"{source}: validation.schema is {name!r}; expected the name of a schema file, "
            "such as mnist.pbtxt."
        )
    for folder in (config_file.parent, SCHEMAS):
        if toml_settings.is_file(folder / name):
            section["schema"] = toml_settings.read_text(folder / name)
            return
    known = ", ".join(sorted(path.name for path in SCHEMAS.glob("*.pbtxt")))
    raise ConfigError(
        f"{source}: validation.schema is {name}; expected a file in {config_file.parent}, an "
        f"absolute path, or one of {known}."
    )

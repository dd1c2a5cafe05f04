"""The configuration of the pipeline: one validated, frozen value, read from a TOML file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from google.protobuf import text_format
from pydantic import Field, ValidationError, field_validator, model_validator
from tensorflow_metadata.proto.v0 import schema_pb2

from pipeline import settings_file
from pipeline.errors import ConfigError
from pipeline.settings_file import Section
from trainer import features
from trainer.hparams import HyperParameters

SHIPPED: Final = Path(__file__).parent / "configs"
SCHEMAS: Final = Path(__file__).parent / "schemas"
DEFAULT: Final = "local.toml"

REPORT: Final = "report"
"""In the place of a limit: what is measured is shown, and stops nothing."""

Share = Annotated[float, Field(ge=0, le=1)]
Limit: TypeAlias = Share | Literal["report"]


class DataConfig(Section):
    """Which data, and how it is split."""

    dataset: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    """The data set's name. "mnist" is fetched and checked against its digests."""

    eval_fraction: Annotated[float, Field(gt=0, lt=0.5)]
    """The share of the training images that becomes the split `eval`."""

    span: Annotated[int, Field(ge=0)] | Literal["none", "latest"]
    """Which span of data that keeps coming; "none" for a folder with just the four files."""

    span_folder: str
    """Where a span's four files are, below the data's folder: a path with {SPAN}, and with
    {VERSION} where a span may come again; the highest version is taken then."""

    train_spans: Annotated[int, Field(ge=1)]
    """How many spans are trained on: this one, and accepted ones before it."""

    @field_validator("span_folder")
    @classmethod
    def _has_a_place_for_the_span(cls, folder: str) -> str:
        specs = re.findall(r"\{.*?\}", folder)
        if specs not in (["{SPAN}"], ["{SPAN}", "{VERSION}"]) or folder.startswith("/"):
            raise ValueError(
                "a path below the data's folder is expected, such as span-{SPAN} or "
                "span-{SPAN}/version-{VERSION}"
            )
        return folder.strip("/")


class ValidationConfig(Section):
    """What the data must be like."""

    schema_text: Annotated[str, Field(alias="schema")]
    """The reviewed schema, in text format. In a file, `schema` names the file that has it."""

    class_balance: Annotated[tuple[Share, ...], Field(strict=False)]
    """The expected share of each class; they sum to 1."""

    max_share_change: Limit
    """How far the share of a class may be from `class_balance`, in any split."""

    max_skew: Limit
    """How far `eval` and `test` may be from `train`: the Jensen-Shannon divergence, from 0 to 1,
    of the label's and of the brightness's distribution."""

    max_drift: Limit
    """The same, of each split from that of the span that was accepted last."""

    max_duplicates: Annotated[int, Field(ge=0)] | Literal["report"]
    """How many images of `eval` and `test` may be in the training data, too, to the pixel."""

    min_label_agreement: Limit
    """The share of images that must look most like the mean image of their own class."""

    @field_validator("schema_text")
    @classmethod
    def _is_a_schema(cls, text: str) -> str:
        try:
            text_format.Parse(text, schema_pb2.Schema())
        except text_format.ParseError as error:
            raise ValueError(f"not a schema, at line and column {error}") from error
        return text

    @field_validator("class_balance")
    @classmethod
    def _is_a_distribution(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        if len(shares) != features.NUM_CLASSES or abs(sum(shares) - 1) > 1e-3:
            raise ValueError(
                f"{len(shares)} shares that sum to {sum(shares):.4f}, and {features.NUM_CLASSES} "
                "that sum to 1 are expected"
            )
        return shares


class EvaluationConfig(Section):
    """What a model must reach on the test split to be pushed."""

    min_accuracy: Limit
    min_digit_accuracy: Limit
    """For each class on its own."""

    max_loss: Annotated[float, Field(gt=0)] | Literal["report"]
    max_calibration_error: Limit
    """The expected calibration error: how far confidence is from accuracy."""

    max_accuracy_drop: Limit
    """How much worse than the champion, the model that was pushed before, it may be."""

    max_digit_accuracy_drop: Limit
    """The same for each class on its own."""


class RobustnessConfig(Section):
    """Which corruptions of test images are looked at, and what a model must reach there."""

    images: Annotated[int, Field(ge=1)]
    """How many images of the test split, for each corruption and strength; translations are made
    in each of four directions."""

    seed: Annotated[int, Field(ge=0, lt=2**31)]
    """Chooses them, and what is random in a corruption."""

    strengths: dict[str, Annotated[tuple[int, ...], Field(strict=False)]]
    """The strengths of each corruption of components/corruptions.py."""

    min_accuracy: dict[str, dict[str, Share]]
    """By corruption and strength. What is not named is reported only."""

    @field_validator("strengths")
    @classmethod
    def _are_known(cls, strengths: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        from components.corruptions import CORRUPTIONS  # imports SciPy

        for name, chosen in strengths.items():
            if name not in CORRUPTIONS:
                raise ValueError(f"there is no {name}: known are {', '.join(CORRUPTIONS)}")
            possible = range(1, CORRUPTIONS[name].strengths + 1)
            if not set(chosen) <= set(possible):
                raise ValueError(
                    f"the strengths of {name} are {list(chosen)}, and numbers from 1 to "
                    f"{possible[-1]} are expected"
                )
        return strengths

    @model_validator(mode="after")
    def _gates_are_looked_at(self) -> Self:
        for name, limits in self.min_accuracy.items():
            for strength in limits:
                if strength not in map(str, self.strengths.get(name, ())):
                    raise ValueError(
                        f"min_accuracy has {name} at strength {strength}, and strengths.{name} "
                        f"is {list(self.strengths.get(name, ()))}"
                    )
        return self


class ServingConfig(Section):
    """What a model server must do with a model, and what is done with a pushed one."""

    server: Literal["auto", "tensorflow_model_server", "docker", "embedded"]
    """Which server ServerValidator and a local run start; "auto" takes the first that is there."""

    validation_requests: Annotated[int, Field(ge=1, le=1000)]
    """How many images of the test split ServerValidator asks for, one a request."""

    max_latency_ms: Annotated[float, Field(gt=0)]
    """How long 99 of 100 of these requests may take at most."""

    keep_versions: Annotated[int, Field(ge=1, le=1000)]
    """How many pushed versions are kept."""

    sample_requests: Annotated[int, Field(ge=0, le=1000)]
    """How many images of the test split the pushed model is asked for at the end of a run."""


class PipelineConfig(Section):
    """The whole configuration; a section of the file for each part."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
    """Names the pipeline in the metadata store and the model in the model server."""

    data: DataConfig
    validation: ValidationConfig
    trainer: HyperParameters
    evaluation: EvaluationConfig
    robustness: RobustnessConfig
    serving: ServingConfig


def load(file: str | Path = DEFAULT, overrides: Iterable[str] = ()) -> PipelineConfig:
    """Reads a configuration; the arguments and errors are those of `settings_file.read`."""
    return settings_file.read(PipelineConfig, file, SHIPPED, overrides, _read_schema)


def shipped() -> list[str]:
    """The names of the configurations that come with the project."""
    return sorted(path.name for path in SHIPPED.glob("*.toml"))


def changed_recipe(recipe: HyperParameters, changes: Mapping[str, Any]) -> HyperParameters:
    """The recipe with changes that are one run's.

    Raises:
      ConfigError: there is no such hyper-parameter, or its value is wrong.
    """
    try:
        return recipe.changed(changes)
    except ValidationError as error:
        raise ConfigError(settings_file.explain(error, HyperParameters, "recipe")) from error


def _read_schema(values: dict[str, Any], config_file: Path) -> None:
    """Replaces the name of a schema file by the text in it."""
    section = values.get("validation")
    if not isinstance(section, dict):
        return
    name = section.get("schema")
    if not isinstance(name, str):
        raise ConfigError(
            f"{config_file}: validation.schema is {name!r}; the name of a schema file is "
            "expected, such as mnist.pbtxt."
        )
    for folder in (config_file.parent, SCHEMAS):
        if (folder / name).is_file():
            section["schema"] = (folder / name).read_text(encoding="utf-8")
            return
    known = ", ".join(sorted(path.name for path in SCHEMAS.glob("*.pbtxt")))
    raise ConfigError(
        f"{config_file}: validation.schema is {name}, which is neither beside that file nor one of "
        f"{known}."
    )

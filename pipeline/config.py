"""The configuration of the pipeline: one validated, frozen value, read from a TOML file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from google.protobuf import text_format
from pydantic import Field, ValidationError, field_validator
from tensorflow_metadata.proto.v0 import schema_pb2

from pipeline import settings_file
from pipeline.errors import ConfigError
from pipeline.settings_file import Section
from trainer import features
from trainer.hparams import HyperParameters

SHIPPED: Final = Path(__file__).parent / "configs"
SCHEMAS: Final = Path(__file__).parent / "schemas"
DEFAULT: Final = "local.toml"

Share = Annotated[float, Field(ge=0, le=1)]


class DataConfig(Section):
    """Which data, and how it is split."""

    dataset: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    """The data set's name. "mnist" is fetched and checked against its digests."""

    eval_fraction: Annotated[float, Field(gt=0, lt=0.5)]
    """The share of the training images that becomes the split `eval`."""


class ValidationConfig(Section):
    """What the data must be like."""

    schema_text: Annotated[str, Field(alias="schema")]
    """The reviewed schema, in text format. In a file, `schema` names the file that has it."""

    class_balance: Annotated[tuple[Share, ...], Field(strict=False)]
    """The expected share of each class; they sum to 1."""

    max_share_change: Share
    """How far the share of a class may be from `class_balance`, in any split."""

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

    min_accuracy: Share
    min_digit_accuracy: Share
    """For each class on its own."""

    max_loss: Annotated[float, Field(gt=0)]
    max_accuracy_drop: Share
    """How much worse than the champion, the model that was pushed before, it may be."""


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

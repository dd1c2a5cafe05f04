"""The configuration of the pipeline: one validated, frozen value, read from a TOML file."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Final

from google.protobuf import text_format
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from tensorflow_metadata.proto.v0 import schema_pb2

from pipeline.errors import ConfigError
from trainer import features
from trainer.hparams import HyperParameters

SHIPPED: Final = Path(__file__).parent / "configs"
SCHEMAS: Final = Path(__file__).parent / "schemas"
DEFAULT: Final = "local.toml"

Share = Annotated[float, Field(ge=0, le=1)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class DataConfig(_Section):
    """Which data, and how it is split."""

    dataset: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    """The data set's name. "mnist" is fetched and checked against its digests."""

    eval_fraction: Annotated[float, Field(gt=0, lt=0.5)]
    """The share of the training images that becomes the split `eval`."""


class ValidationConfig(_Section):
    """What the data must be like."""

    schema_text: str
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


class EvaluationConfig(_Section):
    """What a model must reach on the test split to be pushed."""

    min_accuracy: Share
    min_digit_accuracy: Share
    """For each class on its own."""

    max_loss: Annotated[float, Field(gt=0)]
    max_accuracy_drop: Share
    """How much worse than the champion, the model that was pushed before, it may be."""


class ServingConfig(_Section):
    """What is done with a pushed model."""

    sample_requests: Annotated[int, Field(ge=0, le=1000)]
    """How many images of the test split the pushed model is asked for at the end of a run."""


class PipelineConfig(_Section):
    """The whole configuration; a section of the file for each part."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    """Names the pipeline in the metadata store and the model in the model server."""

    data: DataConfig
    validation: ValidationConfig
    trainer: HyperParameters
    evaluation: EvaluationConfig
    serving: ServingConfig


def load(file: str | Path = DEFAULT, overrides: Iterable[str] = ()) -> PipelineConfig:
    """Reads a configuration.

    Args:
      file: a path, or the name of a shipped file, with or without `.toml`.
      overrides: "section.key=value", the value in TOML's syntax; what is not TOML is a string.

    Raises:
      ConfigError: there is no such file, it is not TOML, or a key or a value is wrong.
    """
    path = _find(file)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a TOML file: {error}.") from error
    overridden = set()
    for override in overrides:
        key, value = _parse_override(override)
        _set(values, key, value)
        overridden.add(key)
    _read_schema(values, path)
    try:
        return PipelineConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error, path, overridden)) from error


def shipped() -> list[str]:
    """The names of the configurations that come with the project."""
    return sorted(path.name for path in SHIPPED.glob("*.toml"))


def _find(file: str | Path) -> Path:
    path = Path(file)
    if path.is_file():
        return path
    in_package = SHIPPED / path.with_suffix(".toml").name
    if path.name == str(path) and in_package.is_file():
        return in_package
    raise ConfigError(
        f"there is no configuration {file}: give the path of a TOML file, or one of "
        f"{', '.join(shipped())}."
    )


def _parse_override(override: str) -> tuple[str, Any]:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(
            f"--set {override}: expected section.key=value, such as trainer.epochs=2."
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    return key.strip(), value


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {key}: {section} is a value, not a section.")
    values[last] = value


def _read_schema(values: dict[str, Any], config_file: Path) -> None:
    """Replaces `validation.schema`, a file's name, by the text in it."""
    section = values.get("validation")
    if not isinstance(section, dict):
        return
    name = section.pop("schema", None)
    if not isinstance(name, str):
        if "schema_text" not in section:
            raise ConfigError(
                f"{config_file}: validation.schema is {name!r}; the name of a schema file is "
                "expected, such as mnist.pbtxt."
            )
        return
    for folder in (config_file.parent, SCHEMAS):
        if (folder / name).is_file():
            section["schema_text"] = (folder / name).read_text(encoding="utf-8")
            return
    known = ", ".join(sorted(path.name for path in SCHEMAS.glob("*.pbtxt")))
    raise ConfigError(
        f"{config_file}: validation.schema is {name}, which is neither beside that file nor one of "
        f"{known}."
    )


def _explain(error: ValidationError, path: Path, overridden: set[str]) -> str:
    lines = []
    for item in error.errors():
        # pydantic names the branch of a union as if it were a key: keep our own keys only.
        key = ".".join(str(part) for part in item["loc"][:2])
        if item["type"] == "extra_forbidden":
            known = _keys_beside(key)
            close = difflib.get_close_matches(key.rpartition(".")[2], known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}."
            message = f"unknown key; {hint}"
        elif item["type"] == "missing":
            message = "is missing."
        elif key == "validation.schema_text":
            key = "validation.schema"
            message = f"{item['msg'].removeprefix('Value error, ')}."
        else:
            said = item["msg"].removeprefix("Value error, ").removeprefix("Input ")
            message = f"{item['input']!r}: {said}."
        source = f"--set {key}" if key in overridden else f"{path}: {key}"
        lines.append(f"{source}: {message}")
    return "\n".join(dict.fromkeys(lines))


def _keys_beside(key: str) -> list[str]:
    section, dot, _ = key.rpartition(".")
    model: type[BaseModel] = PipelineConfig
    if dot:
        annotation = PipelineConfig.model_fields[section].annotation
        assert isinstance(annotation, type)
        model = annotation
    return sorted(name.replace("schema_text", "schema") for name in model.model_fields)

"""Reads a validated model from a TOML file; every mistake names its key, its file and the cure."""

from __future__ import annotations

import difflib
import tomllib
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import ConfigError

_LONGEST_SHOWN: Final = 80  # characters of a wrong value


class Section(BaseModel):
    """A part of a file: frozen, and with no keys but its own."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, populate_by_name=True
    )


Model = TypeVar("Model", bound=Section)


def read(
    model: type[Model],
    file: str | Path,
    shipped_in: Path,
    overrides: Iterable[str] = (),
    prepare: Callable[[dict[str, Any], Path], None] = lambda values, path: None,
    prefix: str = "",
) -> Model:
    """Reads and validates a file.

    Args:
      model: what the file holds.
      file: a path, or the name of a shipped file, with or without `.toml`.
      shipped_in: the folder of the shipped files of this kind.
      overrides: "section.key=value", the value in TOML's syntax; what is not TOML is a string.
      prepare: changes the values before they are validated, given the file's path.
      prefix: what the keys of `overrides` were said with, for messages.

    Raises:
      ConfigError: there is no such file, it is not TOML, or a key or a value is wrong.
    """
    path = _find(file, shipped_in)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a TOML file: {error}.") from error
    overridden = {}
    for override in overrides:
        key, value = parse_override(override)
        _set(values, key, value)
        overridden[key] = f"--set {prefix}{key}"
    prepare(values, path)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(explain(error, model, str(path), overridden)) from error


def parse_override(
    override: str, option: str = "--set", example: str = "trainer.epochs=2"
) -> tuple[str, Any]:
    """The key and the value in "key=value".

    Raises:
      ConfigError: it is not of that form; the message names `option` and the example.
    """
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"{option} {override}: expected section.key=value, such as {example}.")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    return key.strip(), value


def explain(
    error: ValidationError, model: type[BaseModel], source: str, said: Mapping[str, str] = {}
) -> str:
    """One line for each mistake.

    Args:
      error: what pydantic found.
      model: what it was validating.
      source: where the values are from, such as a file.
      said: for a key that is from elsewhere, what to call it instead.
    """
    lines: dict[str, str] = {}
    for item in error.errors():
        key, section = _locate(model, item["loc"])
        if item["type"] == "extra_forbidden":
            known = sorted(field.alias or name for name, field in section.model_fields.items())
            close = difflib.get_close_matches(key.rpartition(".")[2], known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}."
            message = f"unknown key; {hint}"
        elif item["type"] == "missing":
            message = "is missing."
        elif item["type"] == "union_tag_invalid":
            key = f"{key}.{item['ctx']['discriminator'].strip(chr(39))}"
            message = f"{item['ctx']['tag']!r}: should be {item['ctx']['expected_tags']}."
        else:
            reason = item["msg"].removeprefix("Value error, ").removeprefix("Input ")
            value = repr(item["input"])
            is_shown = len(value) <= _LONGEST_SHOWN and not isinstance(item["input"], dict)
            message = f"{value}: {reason}." if is_shown else f"{reason}."
        override = next(
            (
                name
                for name in said
                if key
                and (f"{key}.".startswith(f"{name}.") or f"{name}.".startswith(f"{key}."))
                and (item["type"] == "extra_forbidden" or not name.startswith(f"{key}."))
            ),
            None,
        )
        where = said[override] if override else f"{source}: {key}" if key else source
        # A union fails once for each branch; of these, words that may stand there are named, too.
        if where in lines and item["type"] == "literal_error":
            lines[where] = f"{lines[where].removesuffix('.')}, or {item['ctx']['expected']}."
        lines.setdefault(where, f"{where}: {message}")
    return "\n".join(lines.values())


def _find(file: str | Path, shipped_in: Path) -> Path:
    path = Path(file)
    if path.is_file():
        return path
    in_package = shipped_in / path.with_suffix(".toml").name
    if path.name == str(path) and in_package.is_file():
        return in_package
    shipped = ", ".join(sorted(path.name for path in shipped_in.glob("*.toml")))
    raise ConfigError(
        f"there is no configuration {file}: give the path of a TOML file, or one of {shipped}."
    )


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {key}: {section} is a value, not a section.")
    values[last] = value


def _locate(model: type[BaseModel], location: tuple[int | str, ...]) -> tuple[str, type[BaseModel]]:
    """The key that pydantic's location stands for, and the section that it is in.

    A location also has what no file has, such as the branch of a union.
    """
    key, section, annotation = "", model, typing.cast(Any, model)
    for part in location:
        branches = list(_branches(annotation))
        models = [branch for branch in branches if _is_model(branch)]
        container = next((b for b in branches if typing.get_origin(b) in (dict, tuple, list)), None)
        fields = {
            field.alias or name: (found, field.annotation)
            for found in models
            for name, field in found.model_fields.items()
        }
        if part in fields:
            section, annotation = fields[str(part)]
            key = f"{key}.{part}" if key else str(part)
        elif container is not None:
            annotation = next(a for a in typing.get_args(container)[::-1] if a is not Ellipsis)
            key = f"{key}[{part}]" if isinstance(part, int) else f"{key}.{part}"
        elif models and part == location[-1]:  # an unknown key
            return f"{key}.{part}" if key else str(part), models[0]
    return key, section


def _branches(annotation: Any) -> Iterable[Any]:
    """The types that a value of this annotation may have."""
    if typing.get_origin(annotation) is typing.Annotated:
        yield from _branches(typing.get_args(annotation)[0])
    elif isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        for branch in typing.get_args(annotation):
            yield from _branches(branch)
    else:
        yield annotation


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)

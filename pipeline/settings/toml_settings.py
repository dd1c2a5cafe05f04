"""Reads a validated model from a TOML file; every mistake names its file, its key and the cure.

A file may extend another: with `extends = "local"` it starts from that file's values, and states
only what differs. Sections are merged key by key; a value that is a table of its own, such as
`robustness.strengths`, replaces the other file's as a whole.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from pipeline.settings import mistakes
from pipeline.settings.errors import ConfigError

EXTENDS: Final = "extends"


class Section(BaseModel):
    """A part of a file: frozen, without unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, populate_by_name=True
    )


def matching(pattern: str, expected: str) -> AfterValidator:
    """A validator for strings that match this pattern; `expected` completes its message."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(f"expected {expected}")
        return value

    return AfterValidator(check)


Model = TypeVar("Model", bound=Section)
Prepare = Callable[[dict[str, Any], Path, str], None]


@dataclass
class Values:
    """The values of a file and of the files that it extends, before they are validated."""

    tree: dict[str, Any]
    sources: dict[str, str] = field(default_factory=dict)
    """Where each value comes from, by its key such as "trainer.epochs": a file or an option."""

    def source_of(self, key: str, is_unknown: bool = False) -> tuple[str, str]:
        """Where a value comes from: the key that was set there, and the file or option.

          Args:
            key: the key of the value.
            is_unknown: whether the key may be a table that only exists because of what was set
              within it.

        An option that sets a part of the value is named instead of the file with the rest.

          Returns:
            Two empty texts if nothing set it.
        """
        for name, source in reversed(self.sources.items()):
            if name.startswith(f"{key}.") and (is_unknown or source.startswith("--set ")):
                return name, source
        parts = key.replace("[", ".[").split(".")
        for length in range(len(parts), 0, -1):
            name = ".".join(parts[:length])
            if name in self.sources:
                return name, self.sources[name]
        return "", ""


def read(
    model: type[Model],
    file: str | Path,
    shipped_in: Path,
    overrides: Iterable[str] = (),
    prepare: Prepare = lambda values, path, source: None,
    prefix: str = "",
    kind: str = "configuration",
) -> Model:
    """Reads and validates a file.

    Args:
      model: the content of the file.
      file: a path, or the name of a shipped file, with or without `.toml`.
      shipped_in: the folder of the shipped files of this kind.
      overrides: "section.key=value", the value in TOML's syntax; what is not TOML is a string.
      prepare: changes the values of one file, or of one override, before they are merged. It
        gets the values, the path of the file, and the source for messages.
      prefix: the prefix of the keys of `overrides` on the command line, for messages.
      kind: what the file is, for messages.

    Raises:
      ConfigError: the file does not exist, is not TOML, or a key or a value is wrong.
    """
    path = _find(file, shipped_in, f"the {kind} {file}")
    values = _load(model, path, shipped_in, prepare, ())
    for override in overrides:
        key, value = parse_override(override, f"--set {prefix}")
        _set(values, key, _prepared(key, value, prepare, path), f"--set {prefix}{key}")
    try:
        return model.model_validate(values.tree)
    except ValidationError as error:
        found = [_with_prefix(each, values, prefix) for each in mistakes.find(error, model)]
        raise ConfigError(
            mistakes.text(found, lambda mistake: _place(mistake, values, path))
        ) from error


def parse_override(
    override: str, option: str, example: str = "trainer.epochs=2"
) -> tuple[str, Any]:
    """The key and the value in "key=value".

    Raises:
      ConfigError: it does not have that form; the message names `option` and `example`.
    """
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"{option}{override}: expected KEY=VALUE, such as {example}.")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text.strip()
    return key.strip(), value


def is_file(path: Path) -> bool:
    """Whether a file exists; False for a name that no file can have, such as one too long."""
    return _holds(path.is_file)


def _holds(check: Callable[[], bool]) -> bool:
    try:
        return check()
    except (OSError, ValueError):
        return False


def read_text(path: Path) -> str:
    """The content of a text file.

    Raises:
      ConfigError: it cannot be read, or it is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}.") from error


def _load(
    model: type[BaseModel],
    path: Path,
    shipped_in: Path,
    prepare: Prepare,
    extending: tuple[Path, ...],
) -> Values:
    try:
        tree = tomllib.loads(read_text(path))
    except ValueError as error:  # also of a number with more than 4300 digits
        raise ConfigError(f"{path} is not a TOML file: {error}.") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: its values are nested too deeply.") from error
    extended = tree.pop(EXTENDS, None)
    prepare(tree, path, str(path))
    values = Values({})
    if extended is not None:
        if not isinstance(extended, str):
            raise ConfigError(f"{path}: {EXTENDS} is {extended!r}; expected the name of a file.")
        beside = path.parent / extended
        named = f"{path}: {EXTENDS} is {extended!r}; the file"
        base = _find(beside if is_file(beside) else extended, shipped_in, named)
        chain = (*extending, path.resolve())
        if base.resolve() in chain:
            raise ConfigError(f"{path}: {EXTENDS} is {extended!r}, which extends this file.")
        values = _load(model, base, shipped_in, prepare, chain)
    _merge(model, values, tree, str(path))
    return values


def _merge(model: type[BaseModel], values: Values, tree: Mapping[str, Any], source: str) -> None:
    """Puts the values of a file over those of the file that it extends."""

    def merge(annotation: Any, base: dict[str, Any], own: Mapping[str, Any], prefix: str) -> None:
        for name, value in own.items():
            key = f"{prefix}{name}"
            inner = mistakes.inner_type(annotation, name)
            if isinstance(value, dict) and mistakes.is_section(inner):
                merge(inner, base.setdefault(name, {}), value, f"{key}.")
                continue
            base[name] = value
            values.sources[key] = source

    merge(model, values.tree, tree, "")


def _set(values: Values, key: str, value: Any, source: str) -> None:
    *sections, last = key.split(".")
    tree = values.tree
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"{source}: {section} is a value, not a section.")
    tree[last] = value
    values.sources = {
        name: named
        for name, named in values.sources.items()
        if not name.startswith(f"{key}.")  # what the file had there is replaced
    }
    values.sources[key] = source


def _prepared(key: str, value: Any, prepare: Prepare, path: Path) -> Any:
    """The value of an override, after `prepare` was called with it."""
    *sections, last = key.split(".")
    tree: dict[str, Any] = {}
    inner = tree
    for section in sections:
        inner = inner.setdefault(section, {})
    inner[last] = value
    prepare(tree, path, "--set")
    return inner[last]


def _with_prefix(mistake: mistakes.Mistake, values: Values, prefix: str) -> mistakes.Mistake:
    """A mistake in an option: the key that it suggests has the prefix of the options, too."""
    _, source = values.source_of(mistake.key, mistake.is_unknown)
    if not (mistake.suggestion and source.startswith("--set ")):
        return mistake
    return mistake._replace(message=mistakes.suggesting(prefix + mistake.suggestion))


def _place(mistake: mistakes.Mistake, values: Values, path: Path) -> str:
    """Where a mistake is: "FILE: KEY", or the option that set the value."""
    if mistake.is_missing or not mistake.key:  # in no file: name the one that was read
        return f"{path}: {mistake.key}" if mistake.key else str(path)
    name, source = values.source_of(mistake.key, mistake.is_unknown)
    if source.startswith("--set "):
        is_within = mistake.key.startswith(f"{name}[")
        return source + (mistake.key.removeprefix(name) if is_within else "")
    return f"{source or path}: {mistake.key}"


def _find(file: str | Path, shipped_in: Path, named: str) -> Path:
    """The path of a file, or of a shipped one; `named` is the subject of the error's message."""
    path = Path(file)
    if is_file(path):
        return path
    if path.name and path.name == str(path):
        in_package = shipped_in / path.with_suffix(".toml").name
        if is_file(in_package):
            return in_package
    shipped = ", ".join(sorted(path.name for path in shipped_in.glob("*.toml")))
    problem = "is a folder" if _holds(path.is_dir) else "does not exist"
    raise ConfigError(f"{named} {problem}; give the path of a TOML file, or one of {shipped}.")

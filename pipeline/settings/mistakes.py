"""Validation errors of pydantic as sentences about keys in a file."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, ValidationError

_LONGEST_SHOWN: Final = 80  # characters of a wrong value

_WORDS: Final = {
    "should be greater than or equal to": "the minimum is",
    "should be less than or equal to": "the maximum is",
    "should be greater than": "expected more than",
    "should be less than": "expected less than",
    "should be a valid dictionary": "expected a table",
    "should be": "expected",
    "should have": "expected",
    "should match": "expected",
}
Location = tuple[int | str, ...]
"""Pydantic's way to a value. It also names what no file contains, such as a branch of a union."""


class Mistake(NamedTuple):
    """One mistake in a configuration."""

    key: str
    """Such as "trainer.epochs" or "secrets[0].name"; empty for the configuration as a whole."""

    message: str
    is_missing: bool = False
    is_unknown: bool = False
    alternative: str = ""
    """A value that is valid as well, where the value may have several types."""


def find(error: ValidationError, model: type[BaseModel]) -> list[Mistake]:
    """The mistakes that pydantic found in the values of `model`."""
    return [_mistake(item, model) for item in error.errors()]


def text(found: Sequence[Mistake], place: Callable[[Mistake], str]) -> str:
    """One line for each mistake; `place` says where it is."""
    lines: dict[str, str] = {}
    for mistake in found:
        where = place(mistake)
        if where not in lines:
            lines[where] = f"{where}: {mistake.message}"
        elif mistake.alternative:  # pydantic reports each branch of a union
            lines[where] = f"{lines[where].removesuffix('.')}, or {mistake.alternative}."
    return "\n".join(lines.values())


def _mistake(item: Any, model: type[BaseModel]) -> Mistake:
    location: Location = item["loc"]
    kind = item["type"]
    if kind == "extra_forbidden":
        key, annotation = _locate(model, location[:-1])
        name = str(location[-1])
        return Mistake(_join(key, name), _unknown(name, annotation), is_unknown=True)
    key, _ = _locate(model, location)
    if kind == "missing":
        return Mistake(
            key, "missing; set this key, or extend a file that sets it.", is_missing=True
        )
    if kind == "union_tag_invalid":
        context = item["ctx"]
        key = _join(key, context["discriminator"].strip("'"))
        expected = " or ".join(context["expected_tags"].split(", "))
        return Mistake(key, f"{context['tag']!r}: expected {expected}.")
    if kind == "union_tag_not_found":
        tag = item["ctx"]["discriminator"].strip("'")
        return Mistake(key, f"expected a table with the key {tag}.")
    reason = _plain(item["msg"])
    value = repr(item["input"])
    is_shown = len(value) <= _LONGEST_SHOWN and not isinstance(item["input"], dict)
    message = f"{value}: {reason}." if is_shown else f"{reason}."
    alternative = item["ctx"]["expected"] if kind == "literal_error" else ""
    return Mistake(key, message, alternative=alternative)


def _plain(reason: str) -> str:
    """Pydantic's reason in the project's words."""
    reason = reason.removeprefix("Value error, ").removeprefix("Input ")
    for theirs, ours in _WORDS.items():
        reason = reason.replace(theirs, ours, 1)
    return reason


def _unknown(name: str, annotation: Any) -> str:
    known = sorted(
        {
            field.alias or field_name
            for branch in _branches(annotation)
            if _is_model(branch)
            for field_name, field in branch.model_fields.items()
        }
    )
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"unknown key; did you mean {close[0]}?"
    return f"unknown key; the known keys are {', '.join(known)}."


def _locate(model: type[BaseModel], location: Location) -> tuple[str, Any]:
    """The key that a location stands for, and the type of its value."""
    key, annotation = "", typing.cast(Any, model)
    for part in location:
        inner = inner_type(annotation, part)
        if inner is None:  # not in the file: a branch of a union, or pydantic's "[key]"
            continue
        annotation = inner
        key = f"{key}[{part}]" if isinstance(part, int) else _join(key, part)
    return key, annotation


def inner_type(annotation: Any, part: int | str) -> Any | None:
    """The type of a field, a key or an item within a value; None if there is none of that name."""
    branches = list(_branches(annotation))
    for branch in branches:
        if _is_model(branch):
            for name, field in branch.model_fields.items():
                if part == (field.alias or name):
                    return field.annotation
    for branch in branches:
        if typing.get_origin(branch) in (dict, list, tuple):
            return next(a for a in typing.get_args(branch)[::-1] if a is not Ellipsis)
    return None


def is_section(annotation: Any) -> bool:
    """Whether a type is a section of a file, or a table of sections.

    A value of several types, such as `metadata` in the cluster file, is not: its keys depend on
    the type.
    """
    branches = [branch for branch in _branches(annotation) if branch is not type(None)]
    if len(branches) != 1:
        return False
    if typing.get_origin(branches[0]) is dict:
        return is_section(typing.get_args(branches[0])[1])
    return _is_model(branches[0])


def _branches(annotation: Any) -> Iterator[Any]:
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


def _join(key: str, part: object) -> str:
    return f"{key}.{part}" if key else str(part)

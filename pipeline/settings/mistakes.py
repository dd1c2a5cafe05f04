"""Validation errors of pydantic as sentences about keys in a file."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, ValidationError

_LONGEST_SHOWN: Final = 80  # characters of a wrong value

_REASONS: Final = {
    "greater_than_equal": "the minimum is {ge}",
    "less_than_equal": "the maximum is {le}",
    "greater_than": "expected more than {gt}",
    "less_than": "expected less than {lt}",
    "int_type": "expected an integer",
    "float_type": "expected a number",
    "string_type": "expected a text",
    "bool_type": "expected true or false",
    "tuple_type": "expected a list",
    "dict_type": "expected a table",
    "model_type": "expected a table",
    "model_attributes_type": "expected a table",
    "literal_error": "expected {expected}",
    "too_short": "expected {min_length} or more items",
    "too_long": "expected {max_length} items or fewer",
    "string_too_short": "expected {min_length} or more characters",
    "string_too_long": "expected {max_length} characters or fewer",
    "string_pattern_mismatch": "expected a text that matches {pattern}",
    "value_error": "{error}",
}
"""What was expected, for each kind of pydantic's errors; the names in braces are in its context."""

Location = tuple[int | str, ...]
"""Pydantic's way to a value. It also names what no file contains, such as a branch of a union."""


class Mistake(NamedTuple):
    """One mistake in a configuration."""

    key: str
    """Such as "trainer.epochs" or "secrets[0].name"; empty for the configuration as a whole."""

    message: str
    is_missing: bool = False
    is_unknown: bool = False
    suggestion: str = ""
    """The key that may be meant instead of one that is unknown."""

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
        section, annotation = _locate(model, location[:-1])
        name = str(location[-1])
        return _unknown(name, section, annotation)
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
    context = {name: _shown(value) for name, value in item.get("ctx", {}).items()}
    theirs = item["msg"].replace("Input should be", "expected")
    reason = _REASONS[kind].format(**context) if kind in _REASONS else theirs
    value = repr(item["input"])
    is_shown = len(value) <= _LONGEST_SHOWN and not isinstance(item["input"], dict)
    message = f"{value}: {reason}." if is_shown else f"{reason}."
    alternative = item["ctx"]["expected"] if kind == "literal_error" else ""
    return Mistake(key, message, alternative=alternative)


def _shown(value: Any) -> Any:
    """A limit, without decimals that are zero."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def suggesting(key: str) -> str:
    """The message for an unknown key that is similar to this one."""
    return f"unknown key; did you mean {key}?"


def _unknown(name: str, section: str, annotation: Any) -> Mistake:
    """An unknown key; suggests a similar one in its section or within it."""
    key = _join(section, name)
    known = {inner: _join(section, inner) for inner, _ in _keys(annotation)}
    within: dict[str, str] = {}
    for inner in _keys_within(annotation):
        within.setdefault(inner.rpartition(".")[2], _join(section, inner))
    for keys in (known, within):
        if close := difflib.get_close_matches(name, keys, n=1):
            found = keys[close[0]]
            return Mistake(key, suggesting(found), is_unknown=True, suggestion=found)
    message = f"unknown key; the known keys are {', '.join(sorted(known))}."
    return Mistake(key, message, is_unknown=True)


def _keys(annotation: Any) -> Iterator[tuple[str, Any]]:
    """The keys of a section, and the types of their values."""
    for branch in _branches(annotation):
        if _is_model(branch):
            for name, field in branch.model_fields.items():
                yield field.alias or name, field.annotation


def _keys_within(annotation: Any) -> Iterator[str]:
    """The keys of a section and of the sections in it, such as "trainer.epochs"."""
    for key, inner in _keys(annotation):
        yield key
        yield from (f"{key}.{deeper}" for deeper in _keys_within(inner))


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
    for key, inner in _keys(annotation):
        if part == key:
            return inner
    for branch in _branches(annotation):
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

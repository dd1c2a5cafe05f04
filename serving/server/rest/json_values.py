"""JSON values to arrays of the types in a signature, and arrays to JSON values."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from serving.errors import InvalidRequestError

BASE64: Final = "b64"
"""Bytes are {"b64": text}."""

_HIGHEST_RANK: Final = 254  # TensorFlow's
_LONGEST_QUOTE: Final = 100


def to_array(name: str, value: Any, dtype: tf.DType) -> NDArray[Any]:
    """Nested lists as an array.

    Raises:
      InvalidRequestError: the lists differ in length, or a value has another type.
    """
    shape: list[int] = []
    level = value
    while isinstance(level, list) and len(shape) < _HIGHEST_RANK:
        shape.append(len(level))
        if not level:
            break
        level = level[0]
    leaves: list[Any] = []
    try:
        _collect(name, value, shape, 0, _converter(dtype), leaves)
        if dtype == tf.string:
            array = np.empty(len(leaves), object)
            array[:] = leaves
        else:
            array = np.array(leaves, dtype.as_numpy_dtype)
        return array.reshape(shape)
    except (OverflowError, ValueError) as error:
        raise InvalidRequestError(
            f"input {name} has a value outside the range of {dtype.name}"
        ) from error


def to_values(array: NDArray[Any], is_bytes: bool) -> Any:
    """An array as nested lists; `is_bytes` if an array of strings contains bytes, not text."""
    if array.dtype == object:
        return _texts(array.tolist(), is_bytes)
    if array.dtype == np.float32:
        flat = np.array([decimal(value) for value in array.ravel()], np.float64)
        return flat.reshape(array.shape).tolist()
    return array.tolist()


def decimal(value: float) -> float:
    """The shortest decimal number with the same 32-bit value, as TF Serving prints it.

    Such as 0.1, where Python's conversion to 64 bits gives 0.10000000149011612.
    """
    return float(str(np.float32(value)))


def is_base64(value: Any) -> bool:
    """Whether a value represents bytes."""
    return isinstance(value, dict) and list(value) == [BASE64] and isinstance(value[BASE64], str)


def decoded(value: Mapping[str, str]) -> bytes:
    """The bytes that a value represents.

    Raises:
      InvalidRequestError: the text is not base64.
    """
    try:
        return base64.b64decode(value[BASE64], validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequestError("Unable to base64 decode") from error


def quote(value: Any) -> str:
    """A value for an error message, truncated if it is long."""
    try:
        text = repr(value)
    except RecursionError:
        return "..."
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}..."


def _collect(
    name: str,
    value: Any,
    shape: list[int],
    level: int,
    convert: Callable[[Any], Any],
    leaves: list[Any],
) -> None:
    if level == len(shape):
        leaves.append(convert(value))
        return
    if not isinstance(value, list) or len(value) != shape[level]:
        size = len(value) if isinstance(value, list) else "not a list"
        raise InvalidRequestError(
            f"Encountered list at unexpected size: {size} at level: {level} of input {name} "
            f"expected size: {shape[level]}"
        )
    for item in value:
        _collect(name, item, shape, level + 1, convert, leaves)


def _converter(dtype: tf.DType) -> Callable[[Any], Any]:
    """The function that checks a value against a type and converts it."""

    def convert(value: Any) -> Any:
        kind = type(value)
        if dtype == tf.string:
            if kind is str:
                return value.encode()
            if is_base64(value):
                return decoded(value)
        elif dtype == tf.bool:
            if kind is bool:
                return value
        elif dtype.is_floating:
            if kind is float or kind is int:
                return float(value)
        elif dtype.is_integer and kind is int:
            return value
        raise InvalidRequestError(
            f"JSON Value: {quote(value)} Type: {kind.__name__} is not of expected type: "
            f"{dtype.name}"
        )

    return convert


def _texts(value: Any, is_bytes: bool) -> Any:
    if isinstance(value, list):
        return [_texts(item, is_bytes) for item in value]
    if is_bytes:
        return {BASE64: base64.b64encode(value).decode()}
    return value.decode("utf-8", errors="replace")

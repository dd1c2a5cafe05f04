"""JSON values to arrays of the types in a signature, and arrays to JSON values."""

from __future__ import annotations

import base64
import binascii
import itertools
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from serving.errors import InvalidRequestError
from serving.server.tensors import MAX_RANK

BASE64: Final = "b64"
"""Bytes are {"b64": text}."""

_LONGEST_QUOTE: Final = 100


def to_array(name: str, value: Any, dtype: tf.DType) -> NDArray[Any]:
    """Nested lists as an array.

    Raises:
      InvalidRequestError: the lists differ in length, or a value has another type.
    """
    shape, leaves = _flattened(name, value)
    _check_types(leaves, dtype)
    try:
        if dtype == tf.string:
            array = np.empty(len(leaves), object)
            array[:] = [leaf.encode() if type(leaf) is str else decoded(leaf) for leaf in leaves]
        else:
            # Through float64: NumPy's bfloat16 rejects integers of more than 63 bits.
            first = np.float64 if dtype.is_floating else dtype.as_numpy_dtype
            array = np.array(leaves, first).astype(dtype.as_numpy_dtype, copy=False)
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


def _flattened(name: str, value: Any) -> tuple[list[int], list[Any]]:
    """The shape of nested lists, and their values in order.

    Works level by level: a Python call for each value would take longer than a small model.
    """
    shape: list[int] = []
    items = [value]
    while items and isinstance(items[0], list) and len(shape) < MAX_RANK:
        size = len(items[0])
        for item in items:
            if not isinstance(item, list) or len(item) != size:
                came = len(item) if isinstance(item, list) else "not a list"
                raise InvalidRequestError(
                    f"Encountered list at unexpected size: {came} at level: {len(shape)} of input "
                    f"{name} expected size: {size}"
                )
        shape.append(size)
        items = list(itertools.chain.from_iterable(items))
    return shape, items


def _check_types(leaves: list[Any], dtype: tf.DType) -> None:
    """Raises InvalidRequestError if a value is not of the type."""
    allowed: set[type] = set()
    if dtype == tf.string:
        allowed = {str, dict}
    elif dtype == tf.bool:
        allowed = {bool}
    elif dtype.is_floating:
        allowed = {float, int}
    elif dtype.is_integer:
        allowed = {int}
    came = set(map(type, leaves))
    if came <= allowed and dict not in came:
        return
    for leaf in leaves:
        kind = type(leaf)
        if kind not in allowed or (kind is dict and not is_base64(leaf)):
            raise InvalidRequestError(
                f"JSON Value: {quote(leaf)} Type: {kind.__name__} is not of expected type: "
                f"{dtype.name}"
            )


def _texts(value: Any, is_bytes: bool) -> Any:
    if isinstance(value, list):
        return [_texts(item, is_bytes) for item in value]
    if is_bytes:
        return {BASE64: base64.b64encode(value).decode()}
    return value.decode("utf-8", errors="replace")

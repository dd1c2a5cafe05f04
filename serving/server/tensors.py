"""NumPy arrays to the protocol's tensors and back.

A tensor's values are either in `tensor_content`, as the bytes of the array, or in a list of their
own type, such as `float_val`. Clients may send either. A list that is shorter than the shape is
filled up with its last value, and an empty one with zeros, as TensorFlow does
(`Tensor::FromProto`). Answers contain complete lists, as TF Serving's do, because many clients read
`outputs[...].float_val` directly.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.framework import tensor_pb2, types_pb2

from serving.errors import InvalidRequestError
from serving.limits import MAX_MESSAGE_BYTES

MAX_RANK: Final = 64
"""The largest number of dimensions: NumPy's, since TensorFlow's is 254."""

_STRING_BYTES: Final = 64  # about what Python and TensorFlow need for an empty string
_LONGEST_SHAPE: Final = 8  # in a message


class _Type:
    """One of TensorFlow's types; its properties are looked up once, not for every request."""

    def __init__(self, dtype: tf.DType, field: str):
        self.name = dtype.name
        self.number = dtype.as_datatype_enum
        self.dtype = np.dtype(dtype.as_numpy_dtype)
        self.field = field  # the list of a TensorProto that holds the values
        self.is_string = dtype == tf.string
        self.has_bits = dtype in (tf.float16, tf.bfloat16)  # the list has the bits of each value
        self.bytes_in_memory = _STRING_BYTES if self.is_string else dtype.size


_TYPES: Final = (
    _Type(tf.float32, "float_val"),
    _Type(tf.float64, "double_val"),
    _Type(tf.int64, "int64_val"),
    _Type(tf.int32, "int_val"),
    _Type(tf.int16, "int_val"),
    _Type(tf.int8, "int_val"),
    _Type(tf.uint8, "int_val"),
    _Type(tf.uint16, "int_val"),
    _Type(tf.uint32, "uint32_val"),
    _Type(tf.uint64, "uint64_val"),
    _Type(tf.bool, "bool_val"),
    _Type(tf.string, "string_val"),
    _Type(tf.float16, "half_val"),
    _Type(tf.bfloat16, "half_val"),
)
_BY_NUMBER: Final = {kind.number: kind for kind in _TYPES}
_BY_DTYPE: Final = {kind.dtype: kind for kind in _TYPES}


def decode(name: str, tensor: tensor_pb2.TensorProto) -> NDArray[Any]:
    """The array in a tensor.

    Raises:
      InvalidRequestError: the type is not supported, the array would be too large, or the values
        do not fit the type or the shape. No memory is allocated for the shape before this check.
    """
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    if tensor.tensor_shape.unknown_rank or min(shape, default=0) < 0 or len(shape) > MAX_RANK:
        raise _invalid(name, f"its shape is {_short(shape)}")
    count = math.prod(shape)
    kind = _BY_NUMBER.get(tensor.dtype)
    if kind is None:
        raise _invalid(name, f"type {_type_name(tensor.dtype)} is not supported")
    if count * kind.bytes_in_memory > MAX_MESSAGE_BYTES:
        raise _invalid(name, f"an array of shape {_short(shape)} is too large")
    content = b"" if kind.is_string else tensor.tensor_content
    if content:
        if len(content) != count * kind.dtype.itemsize:
            raise _invalid(
                name, f"{len(content)} bytes came for shape {_short(shape)} of {kind.name}"
            )
        # A view of the message's bytes: the array is only read.
        return _reshaped(name, np.frombuffer(content, kind.dtype), shape)
    values = _values(name, tensor, kind)
    if len(values) > count:
        raise _invalid(name, f"{len(values)} values came for shape {_short(shape)}")
    if len(values) < count:
        last = values[-1:] if len(values) else np.zeros(1, values.dtype)
        if kind.is_string and not len(values):
            last = np.array([b""], object)
        values = np.concatenate([values, np.repeat(last, count - len(values))])
    return _reshaped(name, values, shape)


def _reshaped(name: str, values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    try:
        return values.reshape(shape)
    except ValueError as error:  # an empty array, with dimensions whose product is too large
        raise _invalid(name, f"its shape is {_short(shape)}") from error


def bytes_in_memory(array: NDArray[Any]) -> int:
    """The memory of an array that `decode` made, in bytes; of strings, about."""
    if array.dtype.hasobject:
        return _STRING_BYTES * array.size + sum(map(len, array.flat))
    return array.nbytes


def _values(name: str, tensor: tensor_pb2.TensorProto, kind: _Type) -> NDArray[Any]:
    """The list of values, one-dimensional."""
    field = getattr(tensor, kind.field)
    try:
        # NumPy rejects integers outside the range of the type.
        if kind.has_bits:
            return np.fromiter(field, np.uint16, len(field)).view(kind.dtype)
        return np.fromiter(field, kind.dtype, len(field))
    except OverflowError as error:
        raise _invalid(name, f"a value is outside the range of {kind.name}") from error


def _invalid(name: str, reason: str) -> InvalidRequestError:
    return InvalidRequestError(f"input {name} is not a valid tensor: {reason}.")


def _short(shape: tuple[int, ...]) -> str:
    more = ", ..." if len(shape) > _LONGEST_SHAPE else ""
    return f"[{', '.join(map(str, shape[:_LONGEST_SHAPE]))}{more}]"


def _type_name(number: int) -> str:
    try:
        return str(types_pb2.DataType.Name(number))
    except ValueError:
        return str(number)


def encode(array: NDArray[Any], tensor: tensor_pb2.TensorProto, as_content: bool = False) -> None:
    """Writes an array into an empty tensor, as a list of values or as `tensor_content`.

    Strings are always a list.
    """
    kind = _BY_DTYPE.get(array.dtype)
    tensor.dtype = kind.number if kind else tf.as_dtype(array.dtype).as_datatype_enum
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    if kind and (kind.is_string or not (as_content or kind.has_bits)):
        getattr(tensor, kind.field).extend(array.ravel().tolist())
    else:
        tensor.tensor_content = np.ascontiguousarray(array).tobytes()

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

# The list of a TensorProto that holds the values of each type.
_FIELDS: Final[dict[tf.DType, str]] = {
    tf.float32: "float_val",
    tf.float64: "double_val",
    tf.int64: "int64_val",
    tf.int32: "int_val",
    tf.int16: "int_val",
    tf.int8: "int_val",
    tf.uint8: "int_val",
    tf.uint16: "int_val",
    tf.uint32: "uint32_val",
    tf.uint64: "uint64_val",
    tf.bool: "bool_val",
    tf.string: "string_val",
    tf.float16: "half_val",
    tf.bfloat16: "half_val",
}
_DTYPES: Final = {dtype.as_datatype_enum: dtype for dtype in _FIELDS}
MAX_RANK: Final = 254  # TensorFlow's
_STRING_BYTES: Final = 64  # about what Python and TensorFlow need for an empty string
_LONGEST_SHAPE: Final = 8  # in a message


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
    dtype = _DTYPES.get(tensor.dtype)
    if dtype is None:
        raise _invalid(name, f"type {_type_name(tensor.dtype)} is not supported")
    if count * max(dtype.size, _STRING_BYTES * (dtype == tf.string)) > MAX_MESSAGE_BYTES:
        raise _invalid(name, f"an array of shape {_short(shape)} is too large")
    if tensor.tensor_content and dtype != tf.string:
        came = len(tensor.tensor_content)
        if came != count * dtype.size:
            raise _invalid(name, f"{came} bytes came for shape {_short(shape)} of {dtype.name}")
        # A view of the message's bytes: the array is only read.
        return np.frombuffer(tensor.tensor_content, dtype.as_numpy_dtype).reshape(shape)
    values = _values(name, tensor, dtype)
    if len(values) > count:
        raise _invalid(name, f"{len(values)} values came for shape {_short(shape)}")
    if len(values) < count:
        last = values[-1:] if len(values) else np.zeros(1, values.dtype)
        if dtype == tf.string and not len(values):
            last = np.array([b""], object)
        values = np.concatenate([values, np.repeat(last, count - len(values))])
    return values.reshape(shape)


def _values(name: str, tensor: tensor_pb2.TensorProto, dtype: tf.DType) -> NDArray[Any]:
    """The list of values, one-dimensional."""
    field = getattr(tensor, _FIELDS[dtype])
    try:
        # NumPy rejects integers outside the range of the type.
        if dtype in (tf.float16, tf.bfloat16):  # the list has the bits of each value
            return np.fromiter(field, np.uint16, len(field)).view(dtype.as_numpy_dtype)
        return np.fromiter(field, dtype.as_numpy_dtype, len(field))
    except OverflowError as error:
        raise _invalid(name, f"a value is outside the range of {dtype.name}") from error


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
    dtype = tf.string if array.dtype == object else tf.as_dtype(array.dtype)
    tensor.dtype = dtype.as_datatype_enum
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    has_list = dtype in _FIELDS and dtype not in (tf.float16, tf.bfloat16)
    if dtype != tf.string and (as_content or not has_list):
        tensor.tensor_content = np.ascontiguousarray(array).tobytes()
    else:
        getattr(tensor, _FIELDS[dtype]).extend(array.ravel().tolist())

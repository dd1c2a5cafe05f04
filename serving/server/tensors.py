"""NumPy arrays to the protocol's tensors and back.

A tensor's values are either in `tensor_content`, as the bytes of the array, or in a list of their
own type, such as `float_val`. Clients may send either. Answers contain lists, as TF Serving's do,
because many clients read `outputs[...].float_val` directly.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.framework import tensor_pb2

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
}


def decode(name: str, tensor: tensor_pb2.TensorProto) -> NDArray[Any]:
    """The array in a tensor.

    Raises:
      InvalidRequestError: the values do not fill the declared shape. No memory is allocated for
        the declared shape before this check.
    """
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    count = math.prod(shape)
    try:
        dtype = tf.as_dtype(tensor.dtype)
        if tensor.tensor_shape.unknown_rank or min(shape, default=0) < 0:
            raise ValueError(f"its shape is {list(shape)}")
        if dtype != tf.string and count * dtype.size > 4 * MAX_MESSAGE_BYTES:
            raise ValueError(f"its shape {list(shape)} is too large")
        if tensor.tensor_content and dtype != tf.string:
            # A view of the message's bytes: the array is only read.
            content = np.frombuffer(tensor.tensor_content, dtype.as_numpy_dtype)
            return content.reshape(shape)
        field = _FIELDS.get(dtype)
        if field and len(getattr(tensor, field)) != count:
            values = len(getattr(tensor, field))
            raise ValueError(f"it has {values} values for the shape {list(shape)}")
        array: NDArray[Any] = tf.make_ndarray(tensor)
    except (TypeError, ValueError) as error:
        raise InvalidRequestError(f"input {name} is not a valid tensor: {error}") from error
    return array


def encode(array: NDArray[Any], tensor: tensor_pb2.TensorProto) -> None:
    """Writes an array into an empty tensor, as a list of values."""
    dtype = tf.string if array.dtype == object else tf.as_dtype(array.dtype)
    tensor.dtype = dtype.as_datatype_enum
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    field = _FIELDS.get(dtype)
    if field:
        getattr(tensor, field).extend(array.ravel().tolist())
    else:
        tensor.tensor_content = np.ascontiguousarray(array).tobytes()

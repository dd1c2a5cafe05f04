"""NumPy arrays to the protocol's tensors and back; images to requests, answers to probabilities.

A tensor's values are either in `tensor_content`, as the bytes of the array, or in a list
of their own type, such as `float_val`. Clients may send either. Answers have lists, as TF
Serving's have: many clients read `outputs[...].float_val` directly.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import predict_pb2

from serving.errors import InvalidRequestError
from trainer import features

MAX_MESSAGE_BYTES: Final = 64 * 2**20

# The list of a TensorProto that holds values of each type.
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
_ROUNDING: Final = 1e-6


def predict_request(model: str, images: NDArray[np.generic]) -> predict_pb2.PredictRequest:
    """A request for the probabilities of these images.

    Args:
      model: the model's name.
      images: [batch, 28, 28]; uint8 in 0..255, or floating point in [0, 1].

    Raises:
      InvalidRequestError: another shape, another type of number, or numbers out of range.
    """
    expected = (features.HEIGHT_PX, features.WIDTH_PX)
    if images.ndim != 3 or images.shape[1:] != expected:
        raise InvalidRequestError(
            f"images of shape {images.shape} came, and [batch, {expected[0]}, {expected[1]}] is "
            "expected."
        )
    if not len(images):
        raise InvalidRequestError("no image came, and at least one is expected.")
    if images.dtype == np.uint8:
        signature = features.PREDICT_IMAGES
    elif np.issubdtype(images.dtype, np.floating):
        signature = features.PREDICT_FLOAT_IMAGES
        low, high = float(images.min()), float(images.max())
        if not (low >= 0 and high <= 1 + _ROUNDING):  # a NaN fails too
            raise InvalidRequestError(
                f"floats from {low:g} to {high:g} came, and floats in [0, 1] are expected: divide "
                "by 255, or send uint8."
            )
        images = images.astype(np.float32)
    else:
        raise InvalidRequestError(
            f"images of {images.dtype} came, and uint8 in 0..255 or floats in [0, 1] are expected."
        )
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    tensor = request.inputs[features.IMAGES]
    _describe(images, tensor)
    tensor.tensor_content = np.ascontiguousarray(images).tobytes()
    return request


def probabilities(response: predict_pb2.PredictResponse) -> NDArray[np.float32]:
    """The probabilities in an answer, float32 [batch, 10]."""
    return decode(features.PROBABILITIES, response.outputs[features.PROBABILITIES])


def decode(name: str, tensor: tensor_pb2.TensorProto) -> NDArray[Any]:
    """The array in a tensor.

    Raises:
      InvalidRequestError: its values do not fill the shape that it claims. The claim is not
        believed: what is sent in a few bytes takes no gigabytes here.
    """
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    count = math.prod(shape)
    try:
        dtype = tf.as_dtype(tensor.dtype)
        if tensor.tensor_shape.unknown_rank or min(shape, default=0) < 0:
            raise ValueError(f"its shape is {list(shape)}")
        if dtype != tf.string and count * dtype.size > 4 * MAX_MESSAGE_BYTES:
            raise ValueError(f"its shape is {list(shape)}, which is too large")
        if tensor.tensor_content and dtype != tf.string:
            # A copy that may be written to is not needed, and an alignment is.
            content = np.frombuffer(tensor.tensor_content, dtype.as_numpy_dtype)
            return content.reshape(shape)
        field = _FIELDS.get(dtype)
        if field and len(getattr(tensor, field)) != count:
            raise ValueError(f"{len(getattr(tensor, field))} values for the shape {list(shape)}")
        array: NDArray[Any] = tf.make_ndarray(tensor)
    except (TypeError, ValueError) as error:
        raise InvalidRequestError(f"input {name} is not a tensor: {error}") from error
    return array


def encode(array: NDArray[Any], tensor: tensor_pb2.TensorProto) -> None:
    """Puts an array into a tensor, as a list of values."""
    dtype = _describe(array, tensor)
    field = _FIELDS.get(dtype)
    if field:
        getattr(tensor, field).extend(array.ravel().tolist())
    else:
        tensor.tensor_content = np.ascontiguousarray(array).tobytes()


def _describe(array: NDArray[Any], tensor: tensor_pb2.TensorProto) -> tf.DType:
    dtype = tf.string if array.dtype == object else tf.as_dtype(array.dtype)
    tensor.dtype = dtype.as_datatype_enum
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    return dtype

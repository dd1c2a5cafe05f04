"""NumPy arrays to protocol messages and back."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow_serving.apis import predict_pb2

from serving.errors import InvalidRequestError
from trainer import features


def predict_request(model: str, images: NDArray[np.generic]) -> predict_pb2.PredictRequest:
    """A request for the probabilities of these images.

    Args:
      model: the model's name.
      images: [batch, 28, 28]; uint8 in 0..255, or floating point in [0, 1].

    Raises:
      InvalidRequestError: another shape or another type of number.
    """
    expected = (features.HEIGHT_PX, features.WIDTH_PX)
    if images.ndim != 3 or images.shape[1:] != expected:
        raise InvalidRequestError(
            f"images of shape {images.shape} came, and [batch, {expected[0]}, {expected[1]}] is "
            "expected."
        )
    if images.dtype == np.uint8:
        signature = features.PREDICT_IMAGES
    elif np.issubdtype(images.dtype, np.floating):
        signature = features.PREDICT_FLOAT_IMAGES
        images = images.astype(np.float32)
    else:
        raise InvalidRequestError(
            f"images of {images.dtype} came, and uint8 in 0..255 or floats in [0, 1] are expected."
        )
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    request.inputs[features.IMAGES].CopyFrom(tf.make_tensor_proto(images))
    return request


def probabilities(response: predict_pb2.PredictResponse) -> NDArray[np.float32]:
    """The probabilities in an answer, float32 [batch, 10]."""
    array: NDArray[np.float32] = tf.make_ndarray(response.outputs[features.PROBABILITIES])
    return array


def decode_inputs(request: predict_pb2.PredictRequest) -> dict[str, NDArray[np.generic]]:
    """The arrays in a request.

    Raises:
      InvalidRequestError: a tensor's content does not fit the shape and type that it claims.
    """
    arrays = {}
    for name, tensor in request.inputs.items():
        try:
            arrays[name] = tf.make_ndarray(tensor)
        except (TypeError, ValueError) as error:
            raise InvalidRequestError(f"input {name} is not a tensor: {error}") from error
    return arrays


def encode_outputs(outputs: Mapping[str, tf.Tensor], response: predict_pb2.PredictResponse) -> None:
    """Puts a signature's outputs into an answer."""
    for name, tensor in outputs.items():
        response.outputs[name].CopyFrom(tf.make_tensor_proto(tensor.numpy()))

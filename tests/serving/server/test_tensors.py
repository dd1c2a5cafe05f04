"""Arrays to messages and back."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from serving import codec
from serving.errors import InvalidRequestError


@pytest.mark.parametrize(
    ("images", "signature", "dtype"),
    [
        (np.full((2, 28, 28), 200, np.uint8), "predict_images", np.uint8),
        (np.full((2, 28, 28), 0.5, np.float64), "predict_float_images", np.float32),
    ],
)
def test_the_type_of_number_chooses_the_signature(
    images: np.ndarray, signature: str, dtype: type
) -> None:
    request = codec.predict_request("mnist", images)
    assert (request.model_spec.name, request.model_spec.signature_name) == ("mnist", signature)
    sent = codec.decode("images", request.inputs["images"])
    assert sent.dtype == dtype
    np.testing.assert_array_equal(sent, images)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((28, 28), np.uint8), r"shape \(28, 28\) came, and \[batch, 28, 28\]"),
        (np.zeros((1, 28, 27), np.uint8), r"shape \(1, 28, 27\)"),
        (np.zeros((1, 28, 28), np.int64), "images of int64 came, and uint8 in 0..255 or floats"),
        (np.zeros((0, 28, 28), np.uint8), "no image came"),
        (np.full((1, 28, 28), 255.0), "floats from 255 to 255 came, .*: divide by 255"),
        (np.full((1, 28, 28), np.nan), "floats from nan to nan came, and floats in"),
    ],
)
def test_what_the_model_cannot_take_is_refused_before_it_is_sent(
    images: np.ndarray, message: str
) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        codec.predict_request("mnist", images)


def test_a_tensor_that_does_not_hold_what_it_claims_is_refused() -> None:
    tensor = tf.make_tensor_proto(np.zeros((1, 28, 28), np.uint8))
    tensor.tensor_content = b"\x00" * 5
    with pytest.raises(InvalidRequestError, match="input images is not a tensor"):
        codec.decode("images", tensor)


@pytest.mark.parametrize(
    "array",
    [
        np.array([[1.5, -2], [0, 3]], np.float32),
        np.array([1e300, np.nan]),
        np.array([2**62, -1]),
        np.array([[[255]]], np.uint8),
        np.array([-3], np.int8),
        np.array([True, False]),
        np.array(7, np.int32),
        np.zeros((0, 3), np.float32),
        np.array([0.5], np.float16),
        np.array([b"a", b"\xff"], object),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_every_type_comes_back_as_it_was(array: np.ndarray) -> None:
    tensor = tensor_pb2.TensorProto()
    codec.encode(array, tensor)
    found = codec.decode("x", tensor)
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(found, array)
    np.testing.assert_array_equal(tf.make_ndarray(tensor), array)

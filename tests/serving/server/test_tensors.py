"""Arrays to tensors and back."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from serving.errors import InvalidRequestError
from serving.server import tensors


def test_a_tensor_whose_content_does_not_match_its_shape_is_refused() -> None:
    tensor = tf.make_tensor_proto(np.zeros((1, 28, 28), np.uint8))
    tensor.tensor_content = b"\x00" * 5
    with pytest.raises(InvalidRequestError, match="input images is not a valid tensor"):
        tensors.decode("images", tensor)


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
    tensors.encode(array, tensor)
    found = tensors.decode("x", tensor)
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(found, array)
    np.testing.assert_array_equal(tf.make_ndarray(tensor), array)

"""Arrays to tensors and back."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from serving.errors import InvalidRequestError
from serving.server import tensors


def _tensor(dtype: tf.DType, shape: list[int], **values: object) -> tensor_pb2.TensorProto:
    tensor = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum, **values)
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    return tensor


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (
            _tensor(tf.uint8, [1, 28, 28], tensor_content=b"12345"),
            "5 bytes came for shape [1, 28, 28] of uint8",
        ),
        (_tensor(tf.float32, [2], float_val=[1, 2, 3]), "3 values came for shape [2]"),
        (_tensor(tf.uint8, [1], int_val=[300]), "a value is outside the range of uint8"),
        (_tensor(tf.uint8, [1], int_val=[-1]), "a value is outside the range of uint8"),
        (_tensor(tf.float16, [1], half_val=[70000]), "a value is outside the range of float16"),
        (_tensor(tf.float32, [-1]), "its shape is [-1]"),
        (
            _tensor(tf.float32, [1] * 300, float_val=[1]),
            "its shape is [1, 1, 1, 1, 1, 1, 1, 1, ...",
        ),
        (_tensor(tf.float32, [1] * 65, float_val=[1]), "its shape is [1, 1, 1, 1, 1, 1, 1, 1, ..."),
        (_tensor(tf.float32, [0, 2**62, 2**62]), f"its shape is [0, {2**62}, {2**62}]"),
        (_tensor(tf.float32, [2**40]), "an array of shape [1099511627776] is too large"),
        (_tensor(tf.string, [2**21]), "an array of shape [2097152] is too large"),
        (_tensor(tf.resource, [1]), "type DT_RESOURCE is not supported"),
        (_tensor(tf.variant, [1], tensor_content=b"1"), "type DT_VARIANT is not supported"),
        (tensor_pb2.TensorProto(dtype=999), "type 999 is not supported"),  # type: ignore[arg-type]
        (tensor_pb2.TensorProto(), "type DT_INVALID is not supported"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_invalid_tensor_is_rejected(tensor: tensor_pb2.TensorProto, reason: str) -> None:
    with pytest.raises(InvalidRequestError) as raised:
        tensors.decode("x", tensor)
    assert str(raised.value).startswith(f"input x is not a valid tensor: {reason}")


def test_an_array_of_the_largest_rank_is_read() -> None:
    tensor = _tensor(tf.float32, [1] * tensors.MAX_RANK, float_val=[7])
    assert tensors.decode("x", tensor).item() == 7


@pytest.mark.parametrize(
    "tensor",
    [
        tf.make_tensor_proto(0.5, shape=[1, 28, 28]),
        _tensor(tf.float32, [4], float_val=[1, 2]),
        _tensor(tf.int64, [3]),
        _tensor(tf.string, [2, 2], string_val=[b"a"]),
        _tensor(tf.bfloat16, [2], half_val=[0x3F80]),
    ],
    ids=lambda tensor: tf.as_dtype(tensor.dtype).name,
)
def test_a_short_list_is_filled_up_as_tensorflow_does(tensor: tensor_pb2.TensorProto) -> None:
    found = tensors.decode("x", tensor)
    expected = tf.io.parse_tensor(tensor.SerializeToString(), tf.as_dtype(tensor.dtype)).numpy()
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(found, expected)


def test_an_empty_list_of_strings_is_filled_with_empty_strings() -> None:
    found = tensors.decode("x", _tensor(tf.string, [2]))
    assert found.tolist() == [b"", b""]


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

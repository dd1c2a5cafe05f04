"""JSON values as arrays of a signature's types."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from serving.errors import InvalidRequestError
from serving.server.rest import json_values


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        ([[1, 2], [3, 4]], tf.uint8, np.array([[1, 2], [3, 4]], np.uint8)),
        ([[0.5], [2]], tf.float32, np.array([[0.5], [2.0]], np.float32)),
        ([2**63, 1.5], tf.bfloat16, np.array([2.0**63, 1.5], tf.bfloat16.as_numpy_dtype)),
        ([True, False], tf.bool, np.array([True, False])),
        (["a", {"b64": "YWI="}], tf.string, np.array([b"a", b"ab"], object)),
        ([[], []], tf.float32, np.zeros((2, 0), np.float32)),
        (7, tf.int64, np.array(7)),
    ],
)
def test_lists_become_arrays(value: Any, dtype: tf.DType, expected: np.ndarray) -> None:
    array = json_values.to_array("x", value, dtype)
    assert array.dtype == expected.dtype
    np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        ([[1, 2], [3]], tf.uint8, "unexpected size: 1 at level: 1 of input x expected size: 2"),
        ([[1, 2], 3], tf.uint8, "unexpected size: not a list at level: 1"),
        ([1, [2]], tf.uint8, r"\[2\] Type: list is not of expected type: uint8"),
        ([1, True], tf.uint8, "True Type: bool is not of expected type: uint8"),
        ([1, 2.0], tf.int32, "2.0 Type: float is not of expected type: int32"),
        (["1"], tf.float32, "'1' Type: str is not of expected type: float32"),
        ([{"b64": 1}], tf.string, "Type: dict is not of expected type: string"),
        ([None], tf.float32, "None Type: NoneType is not of expected type: float32"),
        ([300], tf.uint8, "outside the range of uint8"),
        ([10**400], tf.bfloat16, "outside the range of bfloat16"),
        ([{"b64": "?"}], tf.string, "Unable to base64 decode"),
    ],
)
def test_other_values_are_rejected(value: Any, dtype: tf.DType, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        json_values.to_array("x", value, dtype)

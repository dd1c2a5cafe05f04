"""Images to requests: the signature, and the rejection of unsupported arrays."""

import numpy as np
import pytest
from doubles.model_server import predict_request

from serving.errors import InvalidRequestError
from serving.server import tensors


@pytest.mark.parametrize(
    ("images", "signature", "dtype"),
    [
        (np.full((2, 28, 28), 200, np.uint8), "predict_images", np.uint8),
        (np.full((2, 28, 28), 0.5, np.float64), "predict_float_images", np.float32),
    ],
)
def test_the_dtype_selects_the_signature(images: np.ndarray, signature: str, dtype: type) -> None:
    request = predict_request("mnist", images)
    assert (request.model_spec.name, request.model_spec.signature_name) == ("mnist", signature)
    sent = tensors.decode("images", request.inputs["images"])
    assert sent.dtype == dtype
    np.testing.assert_array_equal(sent, images)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            np.zeros((28, 28), np.uint8),
            r"shape of the images is \[28, 28\]; expected \[batch, 28, 28\]",
        ),
        (np.zeros((1, 28, 27), np.uint8), r"shape of the images is \[1, 28, 27\]"),
        (
            np.zeros((1, 28, 28), np.int64),
            "type of the images is int64; expected uint8 in 0..255 or floats",
        ),
        (np.zeros((0, 28, 28), np.uint8), "the batch is empty; expected at least 1 image"),
        (np.full((1, 28, 28), 255.0), r"floats from 255 to 255; expected \[0, 1\]. Divide by 255"),
        (np.full((1, 28, 28), np.nan), "floats from nan to nan; expected"),
    ],
)
def test_invalid_images_are_rejected_before_they_are_sent(images: np.ndarray, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        predict_request("mnist", images)

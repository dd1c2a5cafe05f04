"""Scaling: the same numbers from bytes, from pixels, and through the transform graph."""

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from components.images.idx_format import ImagesAndLabels
from trainer import features, preprocessing


def test_bytes_decode_to_the_same_pixels(test_digits: ImagesAndLabels) -> None:
    raw = tf.constant([image.tobytes() for image in test_digits.images[:5]])
    np.testing.assert_array_equal(preprocessing.decode_pixels(raw), test_digits.images[:5])


def test_no_images_are_no_pixels() -> None:
    assert preprocessing.decode_pixels(tf.constant([], tf.string)).shape == (0, 28, 28)


def test_pixels_are_divided_by_255() -> None:
    pixels = tf.constant([[[0, 51], [255, 102]]], tf.uint8)
    expected = np.array([[[[0.0], [0.2]], [[1.0], [0.4]]]], np.float32)
    np.testing.assert_allclose(preprocessing.scale_pixels(pixels), expected, rtol=1e-6)


def test_the_transform_graph_does_the_same(
    transform_graph: str, test_digits: ImagesAndLabels
) -> None:
    layer = tft.TFTransformOutput(transform_graph).transform_features_layer()
    raw = tf.constant([[image.tobytes()] for image in test_digits.images[:5]])
    transformed = layer({features.IMAGE: raw})
    expected = test_digits.images[:5, :, :, np.newaxis].astype(np.float32) / 255
    np.testing.assert_allclose(transformed[features.IMAGE], expected, rtol=1e-6)

"""The preprocessing of an image, shared by training and serving."""

from __future__ import annotations

import tensorflow as tf

from trainer import features


def preprocessing_fn(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """TensorFlow Transform's entry point.

    Args:
      inputs: a batch of ingested examples: IMAGE string [batch, 1], LABEL int64 [batch, 1]; other
        features are ignored.

    Returns:
      IMAGE float32 [batch, HEIGHT_PX, WIDTH_PX, 1] in [0, 1], LABEL int64 [batch].
    """
    return {
        features.IMAGE: scale_pixels(decode_pixels(tf.reshape(inputs[features.IMAGE], [-1]))),
        features.LABEL: tf.reshape(inputs[features.LABEL], [-1]),
    }


def decode_pixels(images: tf.Tensor) -> tf.Tensor:
    """Bytes, string [batch], to pixels, uint8 [batch, HEIGHT_PX, WIDTH_PX]."""
    # Without `fixed_length`, decode_raw fails on an empty batch.
    pixels = tf.io.decode_raw(images, tf.uint8, fixed_length=features.NUM_PIXELS)
    return tf.reshape(pixels, [-1, features.HEIGHT_PX, features.WIDTH_PX])


def scale_pixels(pixels: tf.Tensor) -> tf.Tensor:
    """uint8 [batch, height, width] in 0..255 to float32 [batch, height, width, 1] in [0, 1]."""
    return tf.cast(pixels, tf.float32)[..., tf.newaxis] / features.WHITE

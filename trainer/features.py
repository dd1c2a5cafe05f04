"""The data contract: the names of features, of the model's signatures and of their tensors.

Standard library only, so that a client can import it without TensorFlow.
"""

from __future__ import annotations

from typing import Final

# One example, as ingested. Serving needs IMAGE only. The summaries (height to maximum) are what
# data validation sees of the pixels: DECISIONS.md, "How an image is stored".
IMAGE: Final = "image"  # bytes: the pixels, row by row, one unsigned byte each
LABEL: Final = "label"  # int64, 0 to NUM_CLASSES - 1
INDEX: Final = "index"  # int64, the position in the IDX file, which identifies the image
IMAGE_HEIGHT_PX: Final = "image_height_px"  # int64
IMAGE_WIDTH_PX: Final = "image_width_px"  # int64
PIXEL_MEAN: Final = "pixel_mean"  # float32, 0 to 255
PIXEL_MIN: Final = "pixel_min"  # int64, 0 to 255
PIXEL_MAX: Final = "pixel_max"  # int64, 0 to 255

HEIGHT_PX: Final = 28
WIDTH_PX: Final = 28
NUM_PIXELS: Final = HEIGHT_PX * WIDTH_PX
NUM_CLASSES: Final = 10
CLASS_NAMES: Final = tuple(str(digit) for digit in range(NUM_CLASSES))
WHITE: Final = 255  # the largest pixel value; 0 is black, the background

# One example, as transformed: IMAGE is float32 [HEIGHT_PX, WIDTH_PX, 1] in [0, 1]; LABEL is an
# int64 scalar.

# Signatures of the exported model, and the names of their tensors.
SERVING_DEFAULT: Final = "serving_default"  # EXAMPLES -> PROBABILITIES, PREDICTED_CLASS
PREDICT_IMAGES: Final = "predict_images"  # IMAGES, uint8 in 0..255 -> the same
PREDICT_FLOAT_IMAGES: Final = "predict_float_images"  # IMAGES, float32 in [0, 1] -> the same
CLASSIFY: Final = "classify"  # INPUTS -> CLASSES, SCORES (TF Serving's Classify API)
FEATURE_MAPS: Final = "feature_maps"  # IMAGES, uint8 in 0..255 -> CONVOLUTION and POOLING outputs

EXAMPLES: Final = "examples"  # string [batch]: serialized tf.Example protos, no label needed
IMAGES: Final = "images"  # [batch, HEIGHT_PX, WIDTH_PX]
INPUTS: Final = "inputs"  # string [batch]: the input name that the Classify API requires
PROBABILITIES: Final = "probabilities"  # float32 [batch, NUM_CLASSES], rows sum to 1
PREDICTED_CLASS: Final = "predicted_class"  # int64 [batch]
CLASSES: Final = "classes"  # string [batch, NUM_CLASSES]
SCORES: Final = "scores"  # float32 [batch, NUM_CLASSES]
# One output for each layer, numbered from 1 in the order of the network, such as "pooling_3":
# float32 [batch, height, width, SHOWN_CHANNELS], the first channels of the layer.
CONVOLUTION: Final = "convolution"
POOLING: Final = "pooling"
SHOWN_CHANNELS: Final = 16

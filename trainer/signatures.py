"""The signatures of the exported model.

| signature | input | output | used by |
|---|---|---|---|
| serving_default | serialized tf.Example | probabilities, predicted_class | Predict, Evaluator |
| predict_images | uint8 images | the same | Predict, smallest request |
| predict_float_images | float32 images in [0, 1] | the same | Predict |
| classify | serialized tf.Example | classes, scores | Classify |
| feature_maps | uint8 images | the first channels of each convolution and pooling | the demo |

All share the same scaling and the same network. An example needs no label.
"""

from __future__ import annotations

import functools

import keras
import tensorflow as tf
import tensorflow_transform as tft

from trainer import features, preprocessing


class ServedModel(tf.Module):  # type: ignore[misc]
    """The network with its preprocessing, as a SavedModel.

    Args:
      network: the trained network: images float32 [batch, 28, 28, 1] in [0, 1] to
        probabilities float32 [batch, 10].
      transform: the transform graph that produced the training data.
    """

    def __init__(self, network: keras.Model, transform: tft.TFTransformOutput):
        super().__init__()
        # Track TensorFlow's variables, not the Keras variables that wrap them. With Keras'
        # variables the SavedModel contains a second set; TF Serving restores that set, the
        # signatures read the first, and every request fails with FAILED_PRECONDITION.
        # The optimizer is not tracked either: its state is twice the size of the network.
        self.weights = [weight.value for weight in network.weights]
        self._infer = functools.partial(network, training=False)
        self._layers = functools.partial(_feature_maps(network), training=False)
        self.transform_layer = transform.transform_features_layer()
        self._image_spec = {features.IMAGE: transform.raw_feature_spec()[features.IMAGE]}

    def export(self, folder: str) -> None:
        """Writes the SavedModel with all signatures into `folder`."""
        examples = tf.TensorSpec([None], tf.string, features.EXAMPLES)
        inputs = tf.TensorSpec([None], tf.string, features.INPUTS)
        shape = [None, features.HEIGHT_PX, features.WIDTH_PX]
        uint8_images = tf.TensorSpec(shape, tf.uint8, features.IMAGES)
        float_images = tf.TensorSpec(shape, tf.float32, features.IMAGES)
        signatures = {
            features.SERVING_DEFAULT: self.predict_examples.get_concrete_function(examples),
            features.PREDICT_IMAGES: self.predict_images.get_concrete_function(uint8_images),
            features.PREDICT_FLOAT_IMAGES: self.predict_float_images.get_concrete_function(
                float_images
            ),
            features.CLASSIFY: self.classify_examples.get_concrete_function(inputs),
            features.FEATURE_MAPS: self.feature_maps.get_concrete_function(uint8_images),
        }
        tf.saved_model.save(self, folder, signatures)
        # TensorFlow 2 sets every signature's method name to Predict, and TF Serving's Classify
        # rejects that with `--enable_signature_method_name_check`.
        updater = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(folder)
        updater.replace_method_name(
            features.CLASSIFY, tf.saved_model.CLASSIFY_METHOD_NAME, tags=[tf.saved_model.SERVING]
        )
        updater.save()

    @tf.function
    def predict_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Serialized examples, string [batch]."""
        return _prediction(self._probabilities_of_examples(examples))

    @tf.function
    def predict_images(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Pixels, uint8 [batch, 28, 28] in 0..255."""
        return _prediction(self._infer(preprocessing.scale_pixels(_checked(images))))

    @tf.function
    def predict_float_images(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scaled pixels, float32 [batch, 28, 28] in [0, 1]."""
        # Without this check ReLU would turn NaN into 0, and the answer would look valid.
        images = tf.debugging.assert_all_finite(_checked(images), "a pixel is NaN or infinite")
        return _prediction(self._infer(images[..., tf.newaxis]))

    @tf.function
    def classify_examples(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Serialized examples, string [batch]; the output has the form of the Classify API."""
        scores = self._probabilities_of_examples(inputs)
        classes = tf.constant([features.CLASS_NAMES])
        return {
            features.CLASSES: tf.repeat(classes, tf.shape(scores)[0], axis=0),
            features.SCORES: scores,
        }

    @tf.function
    def feature_maps(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Pixels, uint8 [batch, 28, 28] in 0..255, to what the layers make of them."""
        outputs = self._layers(preprocessing.scale_pixels(_checked(images)))
        return {name: maps[..., : features.SHOWN_CHANNELS] for name, maps in outputs.items()}

    def _probabilities_of_examples(self, examples: tf.Tensor) -> tf.Tensor:
        parsed = tf.io.parse_example(examples, self._image_spec)
        # The transform graph would pad short images and truncate long ones.
        tf.debugging.assert_equal(
            tf.strings.length(parsed[features.IMAGE]),
            features.NUM_PIXELS,
            f"an image must have {features.NUM_PIXELS} bytes, one for each pixel",
        )
        return self._infer(self.transform_layer(parsed)[features.IMAGE])


def _feature_maps(network: keras.Model) -> keras.Model:
    """The same layers; the outputs are those of the convolutions and poolings, by name."""
    kinds = {
        features.CONVOLUTION: keras.layers.Conv2D,
        features.POOLING: (keras.layers.MaxPooling2D, keras.layers.AveragePooling2D),
    }
    outputs = {
        f"{name}_{number}": layer.output
        for name, kind in kinds.items()
        for number, layer in enumerate(
            (layer for layer in network.layers if isinstance(layer, kind)), start=1
        )
    }
    return keras.Model(network.inputs, outputs)


def _checked(images: tf.Tensor) -> tf.Tensor:
    """The images; the model rejects another shape when it runs.

    TF Serving does not compare the shape of a request with the signature's. Without this check
    [4, 27, 28] gets an answer, and [28, 28] makes oneDNN's convolution end the server's process.
    """
    return tf.raw_ops.EnsureShape(input=images, shape=[None, features.HEIGHT_PX, features.WIDTH_PX])


def _prediction(probabilities: tf.Tensor) -> dict[str, tf.Tensor]:
    return {
        features.PROBABILITIES: probabilities,
        features.PREDICTED_CLASS: tf.argmax(probabilities, axis=-1),
    }

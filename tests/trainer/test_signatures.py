"""The exported model: every signature gives the same answer."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from components.images import idx_pair
from components.images.idx_format import ImagesAndLabels
from trainer import features


def _serialized(digits: ImagesAndLabels, keys: set[str]) -> tf.Tensor:
    records = []
    for example in idx_pair.make_examples(digits):
        for key in set(example.features.feature) - keys:
            del example.features.feature[key]
        records.append(example.SerializeToString())
    return tf.constant(records)


@pytest.fixture(scope="module")
def sample(test_digits: ImagesAndLabels) -> ImagesAndLabels:
    return ImagesAndLabels(test_digits.images[:32], test_digits.labels[:32])


def test_every_signature_gives_the_same_probabilities(
    exported_model: Path, sample: ImagesAndLabels
) -> None:
    module = tf.saved_model.load(str(exported_model))
    examples = _serialized(sample, {features.IMAGE})
    answers = {
        features.SERVING_DEFAULT: {features.EXAMPLES: examples},
        features.PREDICT_IMAGES: {features.IMAGES: tf.constant(sample.images)},
        features.PREDICT_FLOAT_IMAGES: {
            features.IMAGES: tf.constant(sample.images.astype(np.float32) / 255)
        },
        features.CLASSIFY: {features.INPUTS: examples},
    }
    assert set(module.signatures) == {*answers, features.FEATURE_MAPS}
    found = {key: module.signatures[key](**inputs) for key, inputs in answers.items()}
    expected = found[features.PREDICT_IMAGES][features.PROBABILITIES].numpy()
    assert expected.shape == (32, 10)
    np.testing.assert_allclose(expected.sum(axis=1), 1, rtol=1e-5)
    assert np.ptp(expected[:, 0]) > 0, "the answer depends on the image"
    for key, outputs in found.items():
        name = features.SCORES if key == features.CLASSIFY else features.PROBABILITIES
        np.testing.assert_allclose(outputs[name], expected, rtol=1e-5, atol=1e-7, err_msg=key)
    np.testing.assert_array_equal(
        found[features.SERVING_DEFAULT][features.PREDICTED_CLASS], expected.argmax(axis=1)
    )


def test_an_example_with_its_label_is_answered_too(
    exported_model: Path, sample: ImagesAndLabels
) -> None:
    signature = tf.saved_model.load(str(exported_model)).signatures[features.SERVING_DEFAULT]
    everything = {features.IMAGE, features.LABEL, features.PIXEL_MEAN}
    with_label = signature(examples=_serialized(sample, everything))
    without = signature(examples=_serialized(sample, {features.IMAGE}))
    np.testing.assert_array_equal(
        with_label[features.PROBABILITIES], without[features.PROBABILITIES]
    )


def test_classify_is_marked_for_the_classify_api(exported_model: Path) -> None:
    saved = saved_model_pb2.SavedModel.FromString((exported_model / "saved_model.pb").read_bytes())
    signature = saved.meta_graphs[0].signature_def[features.CLASSIFY]
    assert signature.method_name == "tensorflow/serving/classify"
    assert set(signature.inputs) == {"inputs"}
    assert set(signature.outputs) == {"classes", "scores"}


def test_classes_are_the_digits_in_order(exported_model: Path, sample: ImagesAndLabels) -> None:
    signature = tf.saved_model.load(str(exported_model)).signatures[features.CLASSIFY]
    outputs = signature(inputs=_serialized(sample, {features.IMAGE}))
    assert outputs[features.CLASSES].numpy()[-1].tolist() == [b"%d" % digit for digit in range(10)]


def test_a_tensorflow_1_session_finds_the_weights(
    exported_model: Path, sample: ImagesAndLabels
) -> None:
    """TF Serving restores the variables of the graph; it does not read the tree of objects."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        graph = tf.compat.v1.saved_model.load(session, ["serve"], str(exported_model))
        signature = graph.signature_def[features.PREDICT_IMAGES]
        found = session.run(
            signature.outputs[features.PROBABILITIES].name,
            {signature.inputs[features.IMAGES].name: sample.images},
        )
    module = tf.saved_model.load(str(exported_model))
    expected = module.signatures[features.PREDICT_IMAGES](images=tf.constant(sample.images))
    np.testing.assert_allclose(found, expected[features.PROBABILITIES], rtol=1e-5, atol=1e-7)


def test_feature_maps_are_the_outputs_of_the_layers(
    exported_model: Path, sample: ImagesAndLabels
) -> None:
    signature = tf.saved_model.load(str(exported_model)).signatures[features.FEATURE_MAPS]
    maps = {n: v.numpy() for n, v in signature(images=tf.constant(sample.images)).items()}
    sizes = {name: found.shape[1:] for name, found in maps.items()}
    assert sizes == {
        "convolution_1": (28, 28, 16),
        "pooling_1": (14, 14, 16),
        "convolution_2": (14, 14, 16),
        "convolution_3": (14, 14, 16),
        "pooling_2": (7, 7, 16),
        "convolution_4": (7, 7, 16),
        "convolution_5": (7, 7, 16),
        "pooling_3": (3, 3, 16),
    }
    assert all(found.min() == 0 and found.max() > 0 for found in maps.values()), "after ReLU"
    blocks = maps["convolution_3"].reshape(32, 7, 2, 7, 2, 16)
    np.testing.assert_array_equal(maps["pooling_2"], blocks.max(axis=(2, 4)))

"""The reference network: its parameters, its layers, its learning rate."""

import keras
import numpy as np
import pytest

from trainer import model
from trainer.hparams import HyperParameters


def test_the_network_is_the_reference() -> None:
    network = model.build_model(HyperParameters(), steps=1)
    assert network.count_params() == 1_413_834
    assert [type(layer).__name__ for layer in network.layers] == [
        *("Conv2D", "MaxPooling2D"),
        *("Conv2D", "Conv2D", "MaxPooling2D"),
        *("Conv2D", "Conv2D", "MaxPooling2D"),
        *("Flatten", "Dense", "Dropout", "Dense", "Dropout", "Dense"),
    ]
    convolutions = [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [(c.filters, c.kernel_size, c.padding) for c in convolutions] == [
        (64, (7, 7), "same"),
        (128, (3, 3), "same"),
        (128, (3, 3), "same"),
        (256, (3, 3), "same"),
        (256, (3, 3), "same"),
    ]
    assert network.loss.name == "sparse_categorical_crossentropy"
    assert not network.loss.get_config()["from_logits"]
    probabilities = network(np.zeros((2, 28, 28, 1), np.float32))
    np.testing.assert_allclose(np.sum(probabilities, axis=1), 1, rtol=1e-5)


def test_average_pooling_has_the_same_parameters() -> None:
    network = model.build_model(HyperParameters(pooling="average"), steps=1)
    kinds = {type(layer).__name__ for layer in network.layers}
    assert "AveragePooling2D" in kinds
    assert "MaxPooling2D" not in kinds
    assert network.count_params() == model.PARAMETERS


def test_the_layer_table_is_keras_own() -> None:
    table = model.layer_table(model.build_model(HyperParameters(), steps=1))
    assert "Total params: 1,413,834" in table
    assert "(None, 7, 7, 256)" in table


def test_one_cycle_rises_for_three_tenths_and_then_falls_to_zero() -> None:
    hparams = HyperParameters(schedule="one_cycle", learning_rate=0.01)
    rate = model.build_model(hparams, steps=100).optimizer._learning_rate
    values = [float(rate(step)) for step in (0, 15, 30, 65, 100)]
    assert values == pytest.approx([0.0004, 0.0052, 0.01, 0.005, 0.0], abs=1e-6)


def test_he_initialization_scales_the_weights_of_all_layers_but_the_last() -> None:
    """He et al. (2015): the standard deviation is the root of 2 / inputs of a unit."""
    recipe = HyperParameters(kernel_initializer="he_normal", seed=3)
    keras.utils.set_random_seed(recipe.seed)
    *hidden, last = (
        layer.kernel.numpy() for layer in model.build_model(recipe, steps=1).layers if layer.weights
    )
    for kernel in hidden:
        inputs = np.prod(kernel.shape[:-1])
        assert kernel.std() == pytest.approx(np.sqrt(2 / inputs), rel=0.05)
    inputs, outputs = last.shape
    assert last.std() == pytest.approx(np.sqrt(2 / (inputs + outputs)), rel=0.1)

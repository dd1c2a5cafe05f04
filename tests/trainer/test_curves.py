"""The curves of a training: means of the last steps, not since the start of an epoch."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.report import training_facts
from trainer import model
from trainer.curves import Curves
from trainer.dataset import Split


class Recorder(keras.callbacks.Callback):  # type: ignore[misc]
    """The loss of each batch, from Keras' running mean."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []
        self._sum = 0.0

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        total = (logs or {})["loss"] * (batch + 1)
        self.losses.append(total - (self._sum if batch else 0.0))
        self._sum = total


def test_a_point_is_the_mean_of_the_steps_since_the_one_before(tmp_path: Path) -> None:
    """150 steps in two epochs: 75 windows of two steps; the epoch ends within one of them."""
    rng = np.random.default_rng(0)
    split = Split(rng.random((300, 28, 28, 1), np.float32), rng.integers(0, 10, 300))
    keras.utils.set_random_seed(1)
    network = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    schedule = keras.optimizers.schedules.PolynomialDecay(0.01, 150, 0.0)
    network.compile(
        keras.optimizers.SGD(schedule), model.loss(label_smoothing=0.1), metrics=["accuracy"]
    )
    batches = tf.data.Dataset.from_tensor_slices((split.images, split.labels)).batch(4)
    recorder = Recorder()
    network.fit(
        batches,
        epochs=2,
        validation_data=batches,
        callbacks=[recorder, Curves(str(tmp_path), 150, split)],
        verbose=0,
    )
    facts = training_facts.gather(str(tmp_path))
    points = facts.train["loss"]
    assert [step for step, _ in points] == list(range(2, 151, 2))
    windows = np.array(recorder.losses).reshape(75, 2)
    expected = windows.mean(axis=1)
    expected[37] = windows[37, 1]  # step 75 ends the first epoch
    np.testing.assert_allclose([value for _, value in points], expected, rtol=1e-3)
    rates = facts.train["learning_rate"]
    assert rates[0][1] == pytest.approx(0.01 * (1 - 2 / 150), rel=0.02)
    assert rates[-1][1] == pytest.approx(0, abs=1e-3)
    assert [step for step, _ in facts.held_out["loss"]] == sorted([*range(15, 151, 15), 75, 150])
    whole = network.evaluate(batches, verbose=0)
    assert facts.held_out["loss"][-1][1] == pytest.approx(whole[0], rel=1e-4)
    sample = network.evaluate(split.images[:256], split.labels[:256], verbose=0)
    assert facts.held_out["loss"][-2][1] == pytest.approx(sample[0], rel=1e-4)
    assert facts.held_out["accuracy"][-2][1] == pytest.approx(sample[1])

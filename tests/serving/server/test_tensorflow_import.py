"""The server loads and runs a model without Keras."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from serving.server import tensorflow_import
tensorflow_import.without_keras()
import tensorflow as tf
from serving.server.models import saved_model
signature = tf.saved_model.load(sys.argv[1]).signatures["predict_images"]
outputs = signature(images=tf.zeros([2, 28, 28], tf.uint8))
print(outputs["probabilities"].shape, "keras" in sys.modules, "tf_keras" in sys.modules)
import keras
keras.optimizers.Adam()
tensorflow_import.without_keras()
print("keras.src.optimizers" in sys.modules)
"""


@pytest.mark.parametrize("legacy_keras", ["0", "1"])
def test_a_model_runs_without_keras_and_keras_can_be_imported_later(
    exported_model: Path, legacy_keras: str
) -> None:
    """TFX sets the variable, and a server that a component starts inherits it."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, exported_model],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "TF_USE_LEGACY_KERAS": legacy_keras},
    )
    assert done.stdout.splitlines() == ["(2, 10) False False", "True"]

"""One version: its answers, and that it is freed completely."""

import gc
import shutil
import weakref
from pathlib import Path

import numpy as np
import pytest
from doubles.model_server import digits_answer
from tensorflow.core.protobuf import saved_model_pb2

from components.images.idx_format import ImagesAndLabels
from serving.errors import InvalidRequestError
from serving.server.models import saved_model
from trainer import features


def test_a_session_gives_the_models_answer(
    exported_model: Path, test_digits: ImagesAndLabels
) -> None:
    model = saved_model.load(exported_model, 3)
    images = test_digits.images[:8]
    outputs = model.signatures[features.PREDICT_IMAGES].run({features.IMAGES: images})
    expected = digits_answer(exported_model, images)
    np.testing.assert_allclose(outputs[features.PROBABILITIES], expected, rtol=1e-4, atol=1e-6)
    assert "__saved_model_init_op" not in model.signatures
    model.close()


def test_a_closed_model_frees_its_memory(exported_model: Path) -> None:
    """It is freed at once, before Python's garbage collector looks for cycles."""
    gc.disable()
    try:
        model = saved_model.load(exported_model, 3)
        graph = weakref.ref(model._session.graph)
        assert graph() is not None
        model.close()
        assert graph() is None
    finally:
        gc.enable()


def test_an_error_of_the_model_is_one_line(exported_model: Path) -> None:
    model = saved_model.load(exported_model, 3)
    signature = model.signatures[features.SERVING_DEFAULT]
    with pytest.raises(InvalidRequestError, match="Feature: image .* is required") as raised:
        signature.run({features.EXAMPLES: np.array([b""], object)})
    assert "\n" not in str(raised.value)
    model.close()


def test_an_input_without_a_declared_shape_accepts_every_shape(
    toy_model: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(toy_model, tmp_path / "toy")
    file = folder / "saved_model.pb"
    content = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for tensor in content.meta_graphs[0].signature_def["serving_default"].inputs.values():
        tensor.ClearField("tensor_shape")
    file.write_bytes(content.SerializeToString())
    model = saved_model.load(folder, 1)
    signature = model.signatures["serving_default"]
    inputs = {"a": np.array([1, 2], np.float32), "b": np.array([3, 4], np.float32)}
    signature.check(inputs)
    assert signature.run(inputs)["total"].tolist() == [4, 6]
    assert not signature.is_sliceable
    model.close()

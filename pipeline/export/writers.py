"""The formats: each writes a file from a SavedModel, and runs it.

A file takes what the signature `predict_images` takes: uint8 images [batch, 28, 28] in 0..255, not
scaled. The scaling is a part of the exported model, as it is a part of the SavedModel.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.export.format import Format
from pipeline.settings.errors import ConfigError, PipelineError
from trainer import features

_OPSET: Final = 18  # of ONNX: understood by ONNX Runtime since 1.14 (2023)

Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""From images [batch, 28, 28] to probabilities [batch, 10]."""


class _Writer(NamedTuple):
    suffix: str
    modules: tuple[str, ...]
    write: Callable[[Path, Path], None]
    load: Callable[[Path], Run]


def suffix(target: Format) -> str:
    """The suffix of a file, such as ".onnx"."""
    return _WRITERS[target].suffix


def check(target: Format, output: Path) -> None:
    """Checks that a file can be written in a format.

    Raises:
      ConfigError: the file has another suffix.
      PipelineError: a package is missing.
    """
    writer = _WRITERS[target]
    if output.suffix != writer.suffix:
        raise ConfigError(f"-o {output}: expected the name of a {writer.suffix} file.")
    for module in writer.modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise PipelineError(
                f"the format {target} requires the package {error.name}; install "
                "mnist-tfx[pipeline,export]."
            ) from error


def export(model: Path, target: Format, output: Path) -> Run:
    """Writes a file that `check` accepts, complete or not at all; returns what runs it.

    Args:
      model: the folder of the SavedModel.
      target: the format.
      output: the file.

    Raises:
      PipelineError: the file cannot be written.
    """
    writer = _WRITERS[target]
    partial = output.with_name(f".partial-{output.name}")  # keeps the suffix, which Keras reads
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        writer.write(model, partial)
        partial.replace(output)
    except OSError as error:
        raise PipelineError(f"cannot write {output} ({error.strerror}).") from error
    finally:
        with contextlib.suppress(OSError):  # the first error counts
            partial.unlink(missing_ok=True)
    return writer.load(output)


def saved_model(model: Path) -> Run:
    """The signature of the SavedModel itself."""
    loaded = _loaded(model)  # kept: a signature does not keep the variables

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        outputs = loaded.signatures[features.PREDICT_IMAGES](**{features.IMAGES: images})
        return np.asarray(outputs[features.PROBABILITIES])

    return run


def _loaded(model: Path) -> Any:
    import tensorflow as tf

    return tf.saved_model.load(str(model))


def _write_litert(model: Path, output: Path) -> None:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(model), signature_keys=[features.PREDICT_IMAGES]
    )
    output.write_bytes(converter.convert())


def _load_litert(file: Path) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_path=str(file)).get_signature_runner(features.PREDICT_IMAGES)

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(runner(**{features.IMAGES: images})[features.PROBABILITIES])

    return run


def _write_onnx(model: Path, output: Path) -> None:
    import tensorflow as tf
    import tf2onnx

    loaded = _loaded(model)  # kept: a signature does not keep the variables
    signature = loaded.signatures[features.PREDICT_IMAGES]
    shape = [None, features.HEIGHT_PX, features.WIDTH_PX]
    spec = tf.TensorSpec(shape, tf.uint8, features.IMAGES)

    @tf.function(input_signature=[spec])
    def predict(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return dict(signature(images=images))

    proto, _ = tf2onnx.convert.from_function(predict, input_signature=[spec], opset=_OPSET)
    output.write_bytes(proto.SerializeToString())


def _load_onnx(file: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        (found,) = session.run([features.PROBABILITIES], {features.IMAGES: images})
        return np.asarray(found)

    return run


def _write_keras(model: Path, output: Path) -> None:
    """The network of the Trainer with the weights of the SavedModel, and its scaling."""
    import keras

    from trainer.hparams import HyperParameters
    from trainer.model import build_model

    loaded = _loaded(model)
    graph = loaded.signatures[features.PREDICT_IMAGES].graph.as_graph_def()
    operations = {node.op for function in graph.library.function for node in function.node_def}
    network = build_model(
        HyperParameters(pooling="average" if "AvgPool" in operations else "max"), steps=1
    )
    network.set_weights([weight.numpy() for weight in loaded.weights])
    shape = (features.HEIGHT_PX, features.WIDTH_PX)
    keras.Sequential(
        [
            keras.Input(shape, dtype="uint8", name=features.IMAGES),
            keras.layers.Rescaling(1 / features.WHITE),
            keras.layers.Reshape((*shape, 1)),
            *network.layers,
        ],
        name="mnist",
    ).save(output)


def _load_keras(file: Path) -> Run:
    import keras

    network = keras.models.load_model(file)

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(network.predict(images, verbose=0))

    return run


_WRITERS: Final = {
    Format.LITERT: _Writer(".tflite", ("ai_edge_litert",), _write_litert, _load_litert),
    Format.ONNX: _Writer(".onnx", ("tf2onnx", "onnxruntime"), _write_onnx, _load_onnx),
    Format.KERAS: _Writer(".keras", (), _write_keras, _load_keras),
}

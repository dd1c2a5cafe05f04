"""One version of a model: a SavedModel, loaded as TF Serving loads it.

That is as a graph in a session, with the graph's own operation to restore its variables.
`tf.saved_model.load` goes by the tree of Python objects instead, and answers from models
that TF Serving cannot answer from.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2

from serving.errors import InvalidRequestError, ModelLoadError, ServingError

Arrays = Mapping[str, NDArray[Any]]

_INITIALIZER: Final = "__saved_model_init_op"  # listed among the signatures, and none
_LONGEST_REASON: Final = 300


class Signature:
    """One signature of a loaded version. Safe to call from several threads.

    Attributes:
      name: the signature's key.
      definition: its names, types and shapes.
    """

    def __init__(
        self,
        name: str,
        definition: meta_graph_pb2.SignatureDef,
        session: tf.compat.v1.Session,
    ):
        self.name = name
        self.definition = definition
        self._inputs = {
            alias: (tf.as_dtype(info.dtype), tf.TensorShape(info.tensor_shape))
            for alias, info in definition.inputs.items()
        }
        self._outputs = tuple(definition.outputs)
        options = config_pb2.CallableOptions()
        options.feed.extend(definition.inputs[alias].name for alias in self._inputs)
        options.fetch.extend(definition.outputs[alias].name for alias in self._outputs)
        # Not make_callable: with inputs that is session.run, which makes and checks a table of
        # them for every request, and takes 0.2 ms longer.
        self._run = session._make_callable_from_options(options)

    def check(self, inputs: Arrays) -> None:
        """Raises InvalidRequestError where the inputs do not fit; TF Serving's words for it."""
        given, expected = (",".join(sorted(names)) for names in (inputs, self._inputs))
        if len(inputs) != len(self._inputs):
            extra = ",".join(sorted(set(inputs) - set(self._inputs)))
            missing = ",".join(sorted(set(self._inputs) - set(inputs)))
            raise InvalidRequestError(
                f"input size does not match signature: {len(inputs)}!={len(self._inputs)} "
                f"len({{{given}}}) != len({{{expected}}}). Sent extra: {{{extra}}}. "
                f"Missing but required: {{{missing}}}."
            )
        for name, array in inputs.items():
            if name not in self._inputs:
                raise InvalidRequestError(
                    f"input tensor alias not found in signature: {name}. Inputs expected to be in "
                    f"the set {{{expected}}}."
                )
            dtype, shape = self._inputs[name]
            came = tf.string if array.dtype.kind in "OS" else tf.as_dtype(array.dtype)
            if came != dtype or not shape.is_compatible_with(array.shape):
                wanted = "any shape" if shape.rank is None else f"shape {shape.as_list()}"
                raise InvalidRequestError(
                    f"input {name} is {came.name} of shape {list(array.shape)}, and {dtype.name} "
                    f"of {wanted} is expected."
                )

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """The outputs for inputs that `check` let pass.

        Raises:
          InvalidRequestError: the model refuses the values.
          ServingError: the model failed.
        """
        try:
            outputs = self._run(*(inputs[alias] for alias in self._inputs))
        except tf.errors.InvalidArgumentError as error:
            is_empty = any(array.shape[:1] == (0,) for array in inputs.values())
            hint = "an empty batch came, and this model takes none: " if is_empty else ""
            raise InvalidRequestError(f"{hint}{_one_line(error)}") from error
        except (tf.errors.OpError, RuntimeError, MemoryError) as error:
            raise ServingError(f"the model failed: {_one_line(error)}") from error
        return dict(zip(self._outputs, outputs, strict=True))


class LoadedModel:
    """One version, ready to answer.

    Attributes:
      version: its number.
      signature_defs: what the file says of every signature.
      signatures: those that can be run.
    """

    def __init__(self, folder: Path, version: int):
        self.version = version
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        try:
            with self._session.graph.as_default():
                loaded = tf.compat.v1.saved_model.load(
                    self._session, [tf.saved_model.SERVING], str(folder)
                )
            self.signature_defs: Mapping[str, meta_graph_pb2.SignatureDef] = loaded.signature_def
            self.signatures = {
                name: Signature(name, definition, self._session)
                for name, definition in self.signature_defs.items()
                if name != _INITIALIZER
            }
        except BaseException:
            self._session.close()
            raise

    def close(self) -> None:
        """Frees all of it. No signature may be running, and none can be run any more."""
        self._session.close()
        self.signatures = {}
        del self._session
        # A graph's objects refer to each other: without this, dozens of megabytes of versions
        # that are gone would gather until Python looks by itself.
        gc.collect()


def load(folder: Path, version: int) -> LoadedModel:
    """Loads one version.

    Raises:
      ModelLoadError: the folder does not hold a whole SavedModel.
    """
    try:
        return LoadedModel(folder, version)
    except Exception as error:  # TensorFlow raises many kinds for a damaged folder
        raise ModelLoadError(
            f"version {version} at {folder} cannot be loaded: {_one_line(error)}"
        ) from error


def _one_line(error: Exception) -> str:
    said = error.message if isinstance(error, tf.errors.OpError) else str(error)
    # TensorFlow adds where in the graph it happened, line by line.
    text = " ".join((said or type(error).__name__).split("\n\nDetected at")[0].split())
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}..."

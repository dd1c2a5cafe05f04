"""One version of a model: a SavedModel, loaded as TF Serving loads it.

TF Serving loads a graph into a session, and restores the variables with the graph's own operation.
`tf.saved_model.load` restores the tree of Python objects instead, and can answer from models that
TF Serving cannot answer from.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2

from serving.errors import InvalidRequestError, ModelLoadError, ServingError

Arrays = Mapping[str, NDArray[Any]]
"""Inputs or outputs of a signature, by name."""

_INITIALIZER: Final = "__saved_model_init_op"  # listed among the signatures, but not one
_LONGEST_REASON: Final = 300
_CALLING_THREAD: Final = -1  # RunOptions.inter_op_thread_pool


@dataclass(frozen=True)
class ModelOptions:
    """How a version is loaded, and how its requests are checked and answered."""

    check_shapes: bool = True
    """Whether to compare the shapes of a request with those in the signature."""

    check_method_names: bool = False
    """Whether Classify and Regress require a signature with their method name."""

    tensor_content: bool = False
    """Whether answers to Predict contain bytes instead of lists of values."""

    tags: frozenset[str] = frozenset({tf.saved_model.SERVING})
    """The tags of the graph to load."""

    intra_op_threads: int = 0
    """Threads that one operation uses; 0 for the number of processors."""

    inter_op_threads: int = 0
    """Threads that run the operations of a request; 0 for the thread that calls the signature,
    which saves handing them over: 0.05 ms of a request."""


class Signature:
    """One signature of a loaded version. Thread-safe.

    Attributes:
      name: the signature's key.
      definition: the names, types and shapes of its inputs and outputs.
      is_sliceable: whether every input and output has a batch dimension of any size, so that a
        large request can run in slices.
    """

    def __init__(
        self,
        name: str,
        definition: meta_graph_pb2.SignatureDef,
        session: tf.compat.v1.Session,
        options: ModelOptions,
    ):
        self.name = name
        self.definition = definition
        self._options = options
        self._inputs = {alias: _Input(info) for alias, info in definition.inputs.items()}
        self._outputs = tuple(definition.outputs)
        self._batched = [name for name, info in definition.inputs.items() if _has_batch(info)]
        self.is_sliceable = len(self._batched) == len(definition.inputs) and all(
            map(_has_batch, definition.outputs.values())
        )
        endpoints = config_pb2.CallableOptions()
        endpoints.feed.extend(definition.inputs[alias].name for alias in self._inputs)
        endpoints.fetch.extend(definition.outputs[alias].name for alias in self._outputs)
        if not options.inter_op_threads:
            endpoints.run_options.inter_op_thread_pool = _CALLING_THREAD
        # Not make_callable: with inputs it calls session.run, which builds and checks a table of
        # inputs for every request, and takes 0.2 ms longer.
        self._run = session._make_callable_from_options(endpoints)

    def check(self, inputs: Arrays) -> None:
        """Raises InvalidRequestError if the inputs do not fit; with TF Serving's messages.

        TF Serving leaves shapes to the model. Some kernels end the process on a wrong rank, such as
        oneDNN's convolution, so only a list of numbers for a column [n, 1] may differ here.
        """
        if inputs.keys() != self._inputs.keys():
            raise InvalidRequestError(_wrong_names(set(inputs), set(self._inputs)))
        for name, array in inputs.items():
            self._inputs[name].check(name, array, self._options.check_shapes)
        if self._batched and all(inputs[name].shape[:1] == (0,) for name in self._batched):
            # Some kernels fail on an empty batch, and some do not: it depends on the processor.
            raise InvalidRequestError("the batch is empty; expected at least 1 example.")

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """The outputs for inputs that `check` accepted.

        Raises:
          InvalidRequestError: the model rejects the values.
          ServingError: the model failed.
        """
        try:
            outputs = self._run(*(inputs[alias] for alias in self._inputs))
        except tf.errors.InvalidArgumentError as error:
            raise InvalidRequestError(_one_line(error)) from error
        except UnicodeDecodeError as error:
            # A message that quotes bytes of the request; TensorFlow cannot convert it to text.
            text = bytes(error.object).decode(errors="replace")
            raise InvalidRequestError(_shortened(text)) from error
        except (tf.errors.OpError, RuntimeError, MemoryError) as error:
            raise ServingError(f"the model failed: {_one_line(error)}") from error
        return dict(zip(self._outputs, outputs, strict=True))


class _Input:
    """The declared type and shape of one input; kept so that a check of a request is short."""

    def __init__(self, info: meta_graph_pb2.TensorInfo):
        self._dtype = tf.as_dtype(info.dtype)
        self._numpy_dtype = np.dtype(self._dtype.as_numpy_dtype)
        self._are_strings = self._dtype == tf.string
        shape = _shape(info)
        self._sizes: list[int | None] | None = None if shape.rank is None else shape.as_list()
        self._is_column = self._sizes == [None, 1]

    def check(self, name: str, array: NDArray[Any], check_shape: bool) -> None:
        """Raises InvalidRequestError if an array has another type or shape."""
        are_strings = array.dtype.kind in "OS"
        if not (self._are_strings if are_strings else array.dtype == self._numpy_dtype):
            came = tf.string if are_strings else tf.as_dtype(array.dtype)
            raise InvalidRequestError(f"input {name} is {came.name}; expected {self._dtype.name}.")
        if check_shape and not self._fits(array.shape):
            raise InvalidRequestError(
                f"input {name} has the shape {list(array.shape)}; expected {self._sizes}."
            )

    def _fits(self, shape: tuple[int, ...]) -> bool:
        if self._sizes is None or (self._is_column and len(shape) == 1):
            return True
        return len(shape) == len(self._sizes) and all(
            declared is None or came == declared
            for came, declared in zip(shape, self._sizes, strict=True)
        )


class LoadedModel:
    """One version, ready to answer.

    Attributes:
      version: its number.
      options: how it is loaded, and how requests are checked and answered.
      signature_defs: the definitions of all signatures in the file.
      signatures: the signatures that can run.
    """

    def __init__(self, folder: Path, version: int, options: ModelOptions):
        self.version = version
        self.options = options
        config = config_pb2.ConfigProto(
            intra_op_parallelism_threads=options.intra_op_threads,
            inter_op_parallelism_threads=options.inter_op_threads,
        )
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
        try:
            with self._session.graph.as_default():
                loaded = tf.compat.v1.saved_model.load(
                    self._session, list(options.tags), str(folder)
                )
            self.signature_defs: Mapping[str, meta_graph_pb2.SignatureDef] = loaded.signature_def
            self.signatures = {
                name: Signature(name, definition, self._session, options)
                for name, definition in self.signature_defs.items()
                if name != _INITIALIZER
            }
        except BaseException:
            self._session.close()
            raise

    def close(self) -> None:
        """Frees the memory; afterwards no signature can run.

        One that is still running, for a request that was cancelled, fails, or ends as usual; the
        memory is freed after that.
        """
        self._session.close()
        self.signatures = {}
        del self._session
        # The objects of a graph refer to each other. Without this call dozens of megabytes of
        # unloaded versions would accumulate until Python collects them.
        gc.collect()


def load(folder: Path, version: int, options: ModelOptions | None = None) -> LoadedModel:
    """Loads one version.

    Args:
      folder: the folder of the version.
      version: its number.
      options: how to load it, and how to check and answer requests.

    Raises:
      ModelLoadError: the folder does not contain a complete SavedModel.
    """
    try:
        return LoadedModel(folder, version, options or ModelOptions())
    except Exception as error:  # TensorFlow raises many kinds for a damaged folder
        raise ModelLoadError(
            f"version {version} at {folder} failed to load: {_one_line(error)}"
        ) from error


def _shape(info: meta_graph_pb2.TensorInfo) -> tf.TensorShape:
    """The declared shape; a signature that was made by hand may declare none."""
    return tf.TensorShape(info.tensor_shape if info.HasField("tensor_shape") else None)


def _has_batch(info: meta_graph_pb2.TensorInfo) -> bool:
    """Whether the first dimension of a tensor may have any size."""
    shape = _shape(info)
    return bool(shape.rank) and shape[0] is None


def _wrong_names(given: set[str], expected: set[str]) -> str:
    """TF Serving's message for inputs whose names are not those of the signature."""
    listed, all_expected = (",".join(sorted(names)) for names in (given, expected))
    if len(given) != len(expected):
        extra, missing = (",".join(sorted(n)) for n in (given - expected, expected - given))
        return (
            f"input size does not match signature: {len(given)}!={len(expected)} "
            f"len({{{listed}}}) != len({{{all_expected}}}). Sent extra: {{{extra}}}. "
            f"Missing but required: {{{missing}}}."
        )
    unknown = min(given - expected)
    return (
        f"input tensor alias not found in signature: {unknown}. Inputs expected to be in the set "
        f"{{{all_expected}}}."
    )


def _one_line(error: Exception) -> str:
    message = error.message if isinstance(error, tf.errors.OpError) else str(error)
    return _shortened(message or type(error).__name__)


def _shortened(message: str) -> str:
    # TensorFlow appends the place in the graph, over several lines.
    text = " ".join(message.split("\n\nDetected at")[0].split())
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}..."

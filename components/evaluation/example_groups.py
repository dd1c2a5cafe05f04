"""TFMA's extractors, from files to groups of examples that are in the same slices.

TFMA makes an element of each example, which costs more than the inference of this network. Here an
element is a group, and the metrics are sums over arrays (`group_metrics.py`). TFX's Evaluator finds
the extractors by the name `custom_extractors`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import apache_beam as beam
import numpy as np
from numpy.typing import NDArray
from tensorflow_model_analysis import constants, types
from tensorflow_model_analysis.extractors import (
    extractor,
    features_extractor,
    labels_extractor,
    predictions_extractor,
    slice_key_extractor,
)
from tensorflow_model_analysis.proto import config_pb2
from tensorflow_model_analysis.slicer import slicer_lib

from components.names.node_ids import NodeId
from trainer import features

_log = logging.getLogger(__name__)


class _ProgressLog:
    """Logs the number of evaluated images, at most once a second.

    For programs, the log record has an attribute `event`: a dict with `kind`, `node`, `done` and
    `unit`.
    """

    INTERVAL_S: Final = 1.0

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done = 0
        self._last_s = 0.0

    def add(self, images: int) -> None:
        """Counts images."""
        with self._lock:
            self._done += images
            now_s = time.monotonic()
            if now_s - self._last_s < self.INTERVAL_S:
                return
            self._last_s = now_s
            done = self._done
        event = {"kind": "progress", "node": NodeId.EVALUATOR, "done": done, "unit": "images"}
        _log.info("%d images evaluated", done, extra={"event": event})


_progress = _ProgressLog()  # one for the process: Beam copies the functions of a pipeline


def custom_extractors(
    eval_shared_model: Any, eval_config: config_pb2.EvalConfig, tensor_adapter_config: Any
) -> list[extractor.Extractor]:
    """TFMA's extractors for features, labels and predictions; then batches are split into groups.

    Args:
      eval_shared_model: the model; a list if there is a champion.
      eval_config: TFMA's configuration.
      tensor_adapter_config: None; the Evaluator has no schema.
    """
    del tensor_adapter_config
    slicing = [slicer_lib.SingleSliceSpec(spec=spec) for spec in eval_config.slicing_specs]
    return [
        features_extractor.FeaturesExtractor(eval_config=eval_config),
        extractor.Extractor(stage_name="NameInput", ptransform=beam.Map(_name_input)),
        labels_extractor.LabelsExtractor(eval_config=eval_config),
        predictions_extractor.PredictionsExtractor(
            eval_config=eval_config, eval_shared_model=eval_shared_model
        ),
        extractor.Extractor(
            # TFMA's evaluators run after the stage of this name.
            stage_name=slice_key_extractor.SLICE_KEY_EXTRACTOR_STAGE_NAME,
            ptransform=beam.FlatMap(groups, slicing),
        ),
    ]


def _name_input(batch: types.Extracts) -> types.Extracts:
    """Adds the serialized examples to the features, under the name of the model's input.

    Without this, TFMA passes them without a name, and TensorFlow first formats an error message
    with all of them.
    """
    named = {features.EXAMPLES: np.ravel(batch[constants.INPUT_KEY])}
    return {**batch, constants.FEATURES_KEY: {**batch[constants.FEATURES_KEY], **named}}


def groups(
    batch: types.Extracts, slicing: Sequence[slicer_lib.SingleSliceSpec]
) -> Iterator[types.Extracts]:
    """Splits a batch into groups of examples that are in the same slices.

    Args:
      batch: TFMA's extracts of a batch: arrays with one row for each example.
      slicing: how TFMA makes slices.

    Yields:
      TFMA's extracts of each group: labels [count, 1] and probabilities [count, classes] (by model,
      if there are several), the feature INDEX [count, 1], and the slices.
    """
    labels = batch[constants.LABELS_KEY]
    positions = batch[constants.FEATURES_KEY][features.INDEX]
    probabilities = _probabilities(batch[constants.PREDICTIONS_KEY])
    columns = sorted({column for spec in slicing for column in _columns(spec)})
    found = [np.ravel(batch[constants.FEATURES_KEY][name]).tolist() for name in columns]
    rows = list(zip(*found, strict=True)) or [()] * len(labels)
    slices_of = {
        row: frozenset(
            slicer_lib.get_slices_for_features_dicts([], _features(columns, row), slicing)
        )
        for row in set(rows)
    }
    _progress.add(len(rows))
    members: dict[frozenset[Any], list[int]] = {}
    for index, row in enumerate(rows):
        members.setdefault(slices_of[row], []).append(index)
    for slices, group in members.items():
        yield {
            constants.FEATURES_KEY: {features.INDEX: _take(positions, group)},
            constants.SLICE_KEY_TYPES_KEY: slicer_lib.slice_keys_to_numpy_array(list(slices)),
            constants.LABELS_KEY: _take(labels, group),
            constants.PREDICTIONS_KEY: _take(probabilities, group),
        }


def _features(columns: Sequence[str], row: Sequence[Any]) -> dict[str, NDArray[Any]]:
    return {name: np.array([value]) for name, value in zip(columns, row, strict=True)}


def _columns(spec: slicer_lib.SingleSliceSpec) -> Iterator[str]:
    proto = spec.to_proto()
    yield from (*proto.feature_keys, *proto.feature_values)


def _probabilities(predictions: Any) -> Any:
    """The probabilities among the outputs of a model; by model, if there are several."""
    if not isinstance(predictions, Mapping):
        return predictions
    if features.PROBABILITIES in predictions:
        return predictions[features.PROBABILITIES]
    return {model: _probabilities(outputs) for model, outputs in predictions.items()}


def _take(values: Any, rows: list[int]) -> Any:
    if isinstance(values, Mapping):
        return {name: _take(value, rows) for name, value in values.items()}
    return values[rows]

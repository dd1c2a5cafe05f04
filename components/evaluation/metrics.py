"""The metrics of an evaluation, by the names that they have in TFMA's results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from tensorflow_model_analysis.proto import metrics_for_slice_pb2

from components.evaluation.slices import Slice

EXAMPLES: Final = "example_count"
ACCURACY: Final = "sparse_categorical_accuracy"
LOSS: Final = "sparse_categorical_crossentropy"
CALIBRATION_ERROR: Final = "expected_calibration_error"
CALIBRATION_BINS: Final = "calibration_bins"
WORST_MISTAKES: Final = "worst_mistakes"
CONFUSION_MATRIX: Final = "multi_class_confusion_matrix_plot"
LABELS: Final = {
    ACCURACY: "accuracy",
    LOSS: "loss",
    CALIBRATION_ERROR: "calibration error",
    EXAMPLES: "number of test images",
}
"""The metrics for people."""

# The names of the models in TFMA's configuration and results.
CANDIDATE, CHAMPION = "candidate", "champion"

Metric: TypeAlias = metrics_for_slice_pb2.MetricsForSlice.MetricKeyAndValue
Metrics: TypeAlias = Mapping[Slice, Sequence[Metric]]
"""TFMA's values, by slice."""

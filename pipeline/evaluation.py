"""What TFMA measures, and the thresholds that a model must pass to be blessed."""

from __future__ import annotations

import json

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2

from pipeline.config import EvaluationConfig
from trainer import features

ACCURACY = "sparse_categorical_accuracy"
LOSS = "sparse_categorical_crossentropy"
CONFUSION_MATRIX = "multi_class_confusion_matrix_plot"


def eval_config(config: EvaluationConfig) -> tfma.EvalConfig:
    """TFMA's configuration: the metrics, overall and for each digit, and the thresholds.

    Where there is no champion yet, TFX's Evaluator drops what compares with it.
    """
    return tfma.EvalConfig(
        model_specs=[_model_spec("candidate"), _model_spec("champion", is_baseline=True)],
        slicing_specs=[tfma.SlicingSpec(), tfma.SlicingSpec(feature_keys=[features.LABEL])],
        metrics_specs=[
            tfma.MetricsSpec(
                metrics=[
                    tfma.MetricConfig(class_name="ExampleCount"),
                    tfma.MetricConfig(
                        class_name="SparseCategoricalAccuracy",
                        config=_named(ACCURACY),
                        threshold=tfma.MetricThreshold(
                            value_threshold=_at_least(config.min_accuracy),
                            change_threshold=tfma.GenericChangeThreshold(
                                absolute={"value": -config.max_accuracy_drop},
                                direction=tfma.MetricDirection.HIGHER_IS_BETTER,
                            ),
                        ),
                        per_slice_thresholds=[_for_each_digit(config.min_digit_accuracy)],
                    ),
                    tfma.MetricConfig(
                        class_name="SparseCategoricalCrossentropy",
                        config=_named(LOSS),
                        threshold=tfma.MetricThreshold(
                            value_threshold=tfma.GenericValueThreshold(
                                upper_bound={"value": config.max_loss}
                            )
                        ),
                    ),
                    tfma.MetricConfig(
                        class_name="MultiClassConfusionMatrixPlot",
                        config=json.dumps({"name": CONFUSION_MATRIX, "thresholds": [0.0]}),
                    ),
                ]
            )
        ],
    )


def _model_spec(name: str, is_baseline: bool = False) -> tfma.ModelSpec:
    return tfma.ModelSpec(
        name=name,
        signature_name=features.SERVING_DEFAULT,
        prediction_key=features.PROBABILITIES,
        label_key=features.LABEL,
        is_baseline=is_baseline,
    )


def _for_each_digit(min_accuracy: float) -> config_pb2.PerSliceMetricThreshold:
    return config_pb2.PerSliceMetricThreshold(
        slicing_specs=[tfma.SlicingSpec(feature_keys=[features.LABEL])],
        threshold=tfma.MetricThreshold(value_threshold=_at_least(min_accuracy)),
    )


def _at_least(bound: float) -> tfma.GenericValueThreshold:
    return tfma.GenericValueThreshold(lower_bound={"value": bound})


def _named(name: str) -> str:
    return json.dumps({"name": name})

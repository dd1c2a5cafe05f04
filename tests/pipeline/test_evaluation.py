"""The model's gate: where each threshold holds, and how a refusal reads.

TFMA itself evaluates predictions that are made up here, through the Evaluator's own
configuration and writers.
"""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma
from numpy.typing import NDArray

from pipeline import evaluation
from pipeline.config import EvaluationConfig
from trainer import features

THRESHOLDS = EvaluationConfig(
    min_accuracy=0.9, min_digit_accuracy=0.5, max_loss=0.5, max_accuracy_drop=0.01
)


class _Lookup(tf.Module):
    """A "model" whose prediction for an example stands in the example."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, features.EXAMPLES)])
    def predict(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        spec = {self.key: tf.io.FixedLenFeature([features.NUM_CLASSES], tf.float32)}
        return {features.PROBABILITIES: tf.io.parse_example(examples, spec)[self.key]}

    def __init__(self, key: str):
        super().__init__()
        self.key = key


def _verdict(
    folder: Path, candidate: NDArray[np.int64], champion: NDArray[np.int64] | None = None
) -> evaluation.Verdict:
    """The verdict on 1,000 examples, 100 of each digit, with these predictions."""
    labels = np.arange(1000) % 10
    config = evaluation.eval_config(THRESHOLDS)
    has_champion = champion is not None
    config = tfma.utils.update_eval_config_with_defaults(
        config, has_baseline=has_champion, rubber_stamp=True
    )
    predictions = {"candidate": candidate, "champion": champion if has_champion else candidate}
    models = []
    for spec in config.model_specs:
        name = "champion" if spec.is_baseline else "candidate"
        module = _Lookup(name)
        path = str(folder / name)
        tf.saved_model.save(module, path, {features.SERVING_DEFAULT: module.predict})
        models.append(
            tfma.default_eval_shared_model(path, model_name=spec.name, eval_config=config)
        )
    records = str(folder / "examples")
    with tf.io.TFRecordWriter(records) as writer:
        for index, label in enumerate(map(int, labels)):
            example = tf.train.Example()
            example.features.feature[features.LABEL].int64_list.value.append(label)
            for name, predicted in predictions.items():
                row = np.full(10, 0.01)
                row[predicted[index]] = 0.91
                example.features.feature[name].float_list.value.extend(row)
            writer.write(example.SerializeToString())
    output = str(folder / "evaluation")
    tfma.run_model_analysis(
        eval_shared_model=models if has_champion else models[0],
        eval_config=config,
        data_location=records,
        output_path=output,
    )
    return evaluation.read_verdict(output)


def _with_mistakes(mistakes: dict[int, int]) -> NDArray[np.int64]:
    """Right predictions, but for this many of each digit."""
    labels = np.arange(1000) % 10
    predicted = labels.copy()
    for digit, count in mistakes.items():
        predicted[np.flatnonzero(labels == digit)[:count]] = (digit + 1) % 10
    return predicted


def test_a_good_model_is_blessed_and_measured(tmp_path: Path) -> None:
    verdict = _verdict(tmp_path, _with_mistakes({3: 20, 7: 5}))
    assert verdict.refusals == ()
    assert verdict.examples == 1000
    assert verdict.accuracy == pytest.approx(0.975)
    assert verdict.digit_accuracy["3"] == pytest.approx(0.8)
    assert verdict.digit_accuracy["7"] == pytest.approx(0.95)
    assert verdict.digit_accuracy["0"] == 1
    loss = -(0.975 * np.log(0.91) + 0.025 * np.log(0.01))
    assert verdict.loss == pytest.approx(loss, abs=1e-3)


def test_one_bad_digit_is_enough_to_refuse(tmp_path: Path) -> None:
    verdict = _verdict(tmp_path, _with_mistakes({8: 60}))
    assert verdict.accuracy == pytest.approx(0.94)
    assert verdict.refusals == ("accuracy on the digit 8 is 0.4000, and at least 0.5 is asked for",)


def test_accuracy_and_loss_hold_for_all_digits_together(tmp_path: Path) -> None:
    verdict = _verdict(tmp_path, _with_mistakes(dict.fromkeys(range(10), 11)))
    assert verdict.refusals == (
        "accuracy is 0.8900, and at least 0.9 is asked for",
        "loss is 0.5905, and at most 0.5 is allowed",
    )


def test_the_champion_may_be_better_by_so_much_only(tmp_path: Path) -> None:
    champion = _with_mistakes({})
    close = _verdict(tmp_path / "close", _with_mistakes({1: 9}), champion)
    assert close.refusals == ()
    assert close.accuracy == pytest.approx(0.991), "the candidate's own, not the champion's"
    far = _verdict(tmp_path / "far", _with_mistakes({1: 20}), champion)
    assert far.refusals == ("accuracy is 0.0200 below the champion's, and 0.01 is allowed",)

"""The model's gates: where each threshold applies, and the message of a rejection.

TFMA evaluates synthetic predictions, with the Evaluator's own configuration and writers.
"""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma
from numpy.typing import NDArray

from components.evaluation import (
    calibration,
    example_groups,
    metrics,
    results,
    slice_features,
)
from components.evaluation.results import Evaluation
from components.evaluation.slices import Slice
from pipeline.graph import eval_config
from pipeline.settings.pipeline_config import EvaluationConfig, RobustnessConfig
from trainer import features

THRESHOLDS = EvaluationConfig(
    min_accuracy=0.9,
    min_digit_accuracy=0.5,
    max_loss=0.5,
    max_calibration_error=0.2,
    max_accuracy_drop=0.01,
    max_digit_accuracy_drop=0.05,
)
ROBUSTNESS = RobustnessConfig(
    images=100,
    seed=1,
    strengths={"translate": (1, 2), "rotate": (3,)},
    min_accuracy={"translate": {"1": 0.8, "2": 0.6}},
)
LABELS = np.arange(1000) % 10


class _Lookup(tf.Module):  # type: ignore[misc]
    """A model that returns the prediction that the example contains."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, features.EXAMPLES)])
    def predict(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        spec = {self.key: tf.io.FixedLenFeature([features.NUM_CLASSES], tf.float32)}
        return {features.PROBABILITIES: tf.io.parse_example(examples, spec)[self.key]}

    def __init__(self, key: str):
        super().__init__()
        self.key = key


def _evaluate(
    folder: Path,
    candidate: NDArray[np.int64],
    champion: NDArray[np.int64] | None = None,
    thresholds: EvaluationConfig = THRESHOLDS,
    wrong_when_moved: tuple[int, int] = (0, 0),
    robustness: RobustnessConfig = ROBUSTNESS,
) -> Evaluation:
    """The result of TFMA's evaluation of 1,000 examples, 100 of each digit.

    The first 100 also occur translated by one and two pixels to the left and to the right, and
    rotated. `wrong_when_moved` is the number of wrong predictions for the 100 images that are
    translated to the left by one and by two pixels.
    """
    config = eval_config.create(thresholds, robustness, "digest")
    has_champion = champion is not None
    config = tfma.utils.update_eval_config_with_defaults(
        config, has_baseline=has_champion, rubber_stamp=True
    )
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
    other = candidate if champion is None else champion

    def example(index: int, corruption: str, strength: int, direction: str, wrong: bool) -> bytes:
        made = tf.train.Example()
        feature = made.features.feature
        feature[features.LABEL].int64_list.value.append(int(LABELS[index]))
        feature[features.INDEX].int64_list.value.append(index)
        feature[slice_features.CORRUPTION].bytes_list.value.append(corruption.encode())
        feature[slice_features.STRENGTH].int64_list.value.append(strength)
        feature[slice_features.DIRECTION].bytes_list.value.append(direction.encode())
        for name, predicted in (("candidate", candidate), ("champion", other)):
            row = np.full(10, 0.01)
            row[(predicted[index] + wrong) % 10] = 0.91
            feature[name].float_list.value.extend(row)
        return bytes(made.SerializeToString())

    with tf.io.TFRecordWriter(records) as writer:
        for index in range(1000):
            writer.write(example(index, "identity", 0, "", False))
        for index in range(100):
            writer.write(example(index, "rotate", 3, "", True))
            for strength, mistakes in zip((1, 2), wrong_when_moved, strict=True):
                is_wrong = index < mistakes
                writer.write(example(index, "translate", strength, "left", is_wrong))
                writer.write(example(index, "translate", strength, "right", False))
    output = str(folder / "evaluation")
    tfma.run_model_analysis(
        eval_shared_model=models if has_champion else models[0],
        eval_config=config,
        extractors=example_groups.custom_extractors(
            models if has_champion else models[0], config, None
        ),
        data_location=records,
        output_path=output,
    )
    return results.read(output)


def _with_mistakes(mistakes: dict[int, int]) -> NDArray[np.int64]:
    """Correct predictions, except for this many of each digit, from its last example backwards."""
    predicted = LABELS.copy()
    for digit, count in mistakes.items():
        wrong = np.flatnonzero(digit == LABELS)[::-1][:count]
        predicted[wrong] = (digit + 1) % 10
    return predicted


def test_a_good_model_is_blessed_and_measured(tmp_path: Path) -> None:
    found = _evaluate(tmp_path, _with_mistakes({3: 20, 7: 5}), wrong_when_moved=(30, 40))
    assert found.rejections == ()
    assert all(gate.passed for gate in found.gates)
    own = found.overall.candidate
    assert own.examples == 1000
    assert own.accuracy == pytest.approx(0.975)
    assert found.overall.champion is None
    assert found.digit_accuracy["3"] == pytest.approx(0.8)
    assert found.digit_accuracy["7"] == pytest.approx(0.95)
    assert found.digit_accuracy["0"] == 1
    loss = -(0.975 * np.log(0.91) + 0.025 * np.log(0.01))
    assert own.loss == pytest.approx(loss, abs=1e-3)
    probabilities = np.full((1000, 10), 0.01)
    probabilities[range(1000), _with_mistakes({3: 20, 7: 5})] = 0.91
    expected = calibration.expected_calibration_error(calibration.bin_sums(probabilities, LABELS))
    assert own.calibration_error == pytest.approx(expected, abs=1e-5)
    assert expected == pytest.approx(0.975 - 0.91)
    low, high = own.intervals[metrics.LOSS]
    assert low < own.loss < high
    losses = np.where(np.arange(1000) < 25, -np.log(0.01), -np.log(0.91))
    width = 2 * 2.093 * losses.std() / np.sqrt(1000)  # Student's t with 19 degrees of freedom
    assert (high - low) / width == pytest.approx(1, abs=0.15), "an estimate from 20 subsets"
    assert own.accuracy_interval == pytest.approx((0.9633, 0.9830), abs=1e-4), "Wilson's"
    assert found.digits[0].candidate.accuracy_interval == pytest.approx((0.9630, 1), abs=1e-4)
    matrix = np.diag([100] * 10)
    matrix[3, 3:5] = 80, 20
    matrix[7, 7:9] = 95, 5
    confusion = results.read_confusion_matrix(str(tmp_path / "evaluation"))
    np.testing.assert_array_equal(confusion, matrix, err_msg="of the clean images")
    kept = results.read_predictions(str(tmp_path / "evaluation"))
    np.testing.assert_allclose(kept.bins, calibration.bin_sums(probabilities, LABELS), rtol=1e-6)
    wrong = [*range(803, 1000, 10), *range(957, 1000, 10)]
    assert [index for index, _, _ in kept.worst_mistakes] == sorted(wrong), "all equally bad"
    for index, label, answer in kept.worst_mistakes:
        assert label == LABELS[index]
        np.testing.assert_allclose(answer, probabilities[index], rtol=1e-6)


def test_one_bad_digit_is_enough_to_reject(tmp_path: Path) -> None:
    found = _evaluate(tmp_path, _with_mistakes({8: 60}))
    assert found.overall.candidate.accuracy == pytest.approx(0.94)
    assert found.rejections == ("accuracy on digit 8 is 0.4000; the minimum is 0.5",)
    assert [gate.slice for gate in found.gates if not gate.passed] == [Slice(digit=8)]


def test_accuracy_and_loss_hold_for_all_digits_together(tmp_path: Path) -> None:
    found = _evaluate(tmp_path, _with_mistakes(dict.fromkeys(range(10), 11)))
    assert found.rejections == (
        "accuracy is 0.8900; the minimum is 0.9",
        "loss is 0.5905; the maximum is 0.5",
    )


def test_an_overconfident_model_is_rejected(tmp_path: Path) -> None:
    strict = THRESHOLDS.model_copy(update={"max_calibration_error": 0.03})
    found = _evaluate(tmp_path, _with_mistakes({3: 50}), thresholds=strict)
    assert found.rejections == ("calibration error is 0.0400; the maximum is 0.03",)


def test_a_candidate_is_rejected_if_the_champion_is_better_by_more_than_the_limit(
    tmp_path: Path,
) -> None:
    champion = _with_mistakes({7: 5})
    close = _evaluate(tmp_path / "close", _with_mistakes({1: 4, 2: 4, 7: 5}), champion)
    assert close.rejections == ()
    assert close.overall.candidate.accuracy == pytest.approx(0.987), "not the champion's"
    assert close.overall.champion is not None
    assert close.overall.champion.accuracy == pytest.approx(0.995)
    assert close.overall.accuracy_change is not None
    low, high = close.overall.accuracy_change
    assert low < -0.008 < high
    width = 2 * 2.093 * np.sqrt(0.008 * 0.992 / 1000)  # Student's t with 19 degrees of freedom
    assert (high - low) / width == pytest.approx(1, abs=0.3)
    assert close.digits[7].accuracy_change == (0, 0), "paired: both make the same mistakes"
    mistakes = dict.fromkeys(range(5), 4) | {7: 5}
    far = _evaluate(tmp_path / "far", _with_mistakes(mistakes), champion)
    assert far.rejections == ("accuracy is 0.0200 below the champion's; the limit is 0.01",)


def test_better_overall_and_worse_on_one_digit_is_rejected(tmp_path: Path) -> None:
    champion = _with_mistakes({0: 20, 1: 20, 4: 2})
    found = _evaluate(tmp_path, _with_mistakes({4: 12}), champion)
    assert found.overall.champion is not None
    assert found.overall.candidate.accuracy > found.overall.champion.accuracy + 0.02
    assert found.rejections == (
        "accuracy on digit 4 is 0.1000 below the champion's; the limit is 0.05",
    )


def test_translations_are_gates_and_other_corruptions_are_reported(tmp_path: Path) -> None:
    """All rotated images are wrong, and 90 of 100 that are translated two pixels to the left."""
    found = _evaluate(tmp_path, _with_mistakes({}), wrong_when_moved=(28, 90))
    assert found.rejections == ("accuracy under translate 2 is 0.5500; the minimum is 0.6",)
    assert found.corruptions == ["rotate", "translate"]
    (rotated,) = found.robustness("rotate")
    assert (rotated.slice.strength, rotated.candidate.accuracy) == (3, 0)
    moved = found.robustness("translate")
    assert [(one.slice.strength, one.candidate.examples) for one in moved] == [(1, 200), (2, 200)]
    assert moved[0].candidate.images == 50, "as if each were there in all four directions"
    low, high = moved[0].candidate.accuracy_interval
    assert (low, high) == pytest.approx((0.7388, 0.9305), abs=1e-3), "of 50 images, not of 200"
    left, right = (found.robustness("translate", direction) for direction in ("left", "right"))
    assert [one.candidate.accuracy for one in left] == pytest.approx([0.72, 0.1])
    assert [one.candidate.accuracy for one in right] == [1, 1]
    assert found.overall.candidate.accuracy == 1, "corrupted images are not in it"


def test_an_image_that_is_moved_in_several_directions_counts_once(tmp_path: Path) -> None:
    candidate = LABELS.copy()
    candidate[:10] = (candidate[:10] + 1) % 10
    found = _evaluate(tmp_path, candidate, champion=LABELS)
    both, left = found.robustness("translate")[0], found.robustness("translate", "left")[0]
    assert (both.candidate.examples, left.candidate.examples) == (200, 100)
    assert both.accuracy_change is not None
    assert both.accuracy_change == pytest.approx(left.accuracy_change)
    low, high = both.accuracy_change
    width = 2 * 2.093 * np.sqrt(0.1 * 0.9 / 100)
    assert (high - low) / width == pytest.approx(1, abs=0.3)
    intervals = both.candidate.intervals, left.candidate.intervals
    assert intervals[0][metrics.LOSS] == pytest.approx(intervals[1][metrics.LOSS])


def test_report_only_stops_nothing(tmp_path: Path) -> None:
    all_reported = EvaluationConfig(
        min_accuracy="report",
        min_digit_accuracy="report",
        max_loss="report",
        max_calibration_error="report",
        max_accuracy_drop="report",
        max_digit_accuracy_drop="report",
    )
    found = _evaluate(
        tmp_path,
        _with_mistakes(dict.fromkeys(range(10), 90)),
        thresholds=all_reported,
        robustness=ROBUSTNESS.model_copy(update={"min_accuracy": {}}),
    )
    assert found.overall.candidate.accuracy == pytest.approx(0.1)
    assert found.rejections == ()
    (gate,) = found.gates
    assert (gate.title, gate.shown) == ("number of test images", "1,000"), (
        "TFX blesses nothing without one"
    )

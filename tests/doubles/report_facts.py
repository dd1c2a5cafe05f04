"""The facts of a run, for tests of its pages: invented numbers, real images."""

from __future__ import annotations

import numpy as np

from components.evaluation.gates import Gate
from components.evaluation.metrics import ACCURACY
from components.evaluation.results import Evaluation, Interval, Scores, SliceScores
from components.evaluation.slices import Slice
from components.images.idx_format import ImagesAndLabels
from components.report.data_facts import DataFacts, Measurement, SplitFacts
from components.report.model_facts import Mistake, ModelFacts
from components.report.run_facts import RunFacts
from components.report.training_facts import TrainingFacts
from trainer.training_cost import TrainingCost


def _scores(examples: int, accuracy: float) -> Scores:
    return Scores(examples, examples, accuracy, 0.1, 0.02, {ACCURACY: Interval(0.1, 0.2)})


def _slice(where: Slice, accuracy: float, champion: float | None) -> SliceScores:
    return SliceScores(
        slice=where,
        candidate=_scores(100, accuracy),
        champion=None if champion is None else _scores(100, champion),
        accuracy_change=None if champion is None else Interval(-0.01, 0.03),
    )


def evaluation(champion: float | None = None, rejections: tuple[str, ...] = ()) -> Evaluation:
    slices = [_slice(Slice(), 0.97, champion)]
    slices += [_slice(Slice(digit=digit), 0.9 + digit / 100, champion) for digit in range(10)]
    for strength in (1, 2):
        where = Slice(corruption="translate", strength=strength)
        slices.append(_slice(where, 0.9 / strength, champion))
        for direction in ("left", "right", "up", "down"):
            moved = where._replace(direction=direction)
            slices.append(_slice(moved, 0.8 / strength, champion))
    slices.append(_slice(Slice(corruption="rotate", strength=3), 0.5, champion))
    gates = (
        Gate(ACCURACY, Slice(), 0.97, 0.95, True, False, passed=True),
        Gate(ACCURACY, Slice(digit=4), -0.1, -0.05, True, True, passed=not rejections),
        Gate(ACCURACY, Slice(corruption="translate", strength=1), 0.9, 0.8, True, False, True),
    )
    return Evaluation(tuple(slices), gates, rejections)


def facts(test_digits: ImagesAndLabels) -> RunFacts:
    shares = np.full(10, 0.1)
    split = SplitFacts(300, shares, (np.linspace(0, 255, 11), shares), 33.3, 11.2)
    probabilities = np.array([0.01] * 10, np.float32)
    probabilities[3], probabilities[8] = 0.7, 0.22
    mistake = Mistake(17, test_digits.images[17], 8, 3, probabilities)
    bins = np.zeros((3, 15))
    bins[:, 9:] = [[2.0] * 6, [1.3] * 6, [1.0] * 6]
    return RunFacts(
        pipeline="digits",
        created_at="2026-01-01 12:00 UTC",
        run_id="run-7",
        data=DataFacts(
            splits={"train": split, "eval": split, "test": split},
            samples=np.stack([test_digits.images[:12]] * 10),
            measurements=(
                Measurement("skew", "brightness, test and train", 0.012, 0.05),
                Measurement("images and labels", "label agreement, test", 0.82, 0.7, True),
                Measurement("class balance", "labels, test", 0.004, None),
            ),
            anomalies=(),
            span=3,
            trained_spans=(2, 3),
            reference_span=2,
        ),
        training=TrainingFacts(
            train={"loss": [(50, 2.0), (100, 0.5)], "accuracy": [(50, 0.3), (100, 0.9)]},
            held_out={"loss": [(100, 0.4)], "accuracy": [(100, 0.93)]},
            cost=TrainingCost(12.0, 100, 3200, 3200 / 12),
        ),
        evaluation=evaluation(),
        confusion=np.diag([30] * 10) + np.eye(10, k=1, dtype=int),
        model=ModelFacts(300, 1, (mistake,), bins),
        class_names=[str(digit) for digit in range(10)],
        expected_shares=[0.1] * 10,
        robustness_images=100,
        corrupted={
            "translate": test_digits.images[:3],
            "rotate": test_digits.images[:2],
        },
        provenance={"data, sha256": "ab" * 32, "code, sha256": "cd" * 32},
        artifacts=[("model", "12", "/artifacts/Trainer/model/12")],
        versions={"tfx": "1.21.0"},
        recipe={"seed": 1, "pooling": "max"},
        gates_off=["validation.max_share_change"],
        configuration='{"name": "digits"}',
    )

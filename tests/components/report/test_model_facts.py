"""The worst mistakes: the image of each, and the memory that they keep."""

import tracemalloc

import numpy as np
import pytest

from components.evaluation import results
from components.images.example_split import ExampleSplit
from components.report import model_facts

IMAGES = 2_000
MISTAKES = 100


def test_each_mistake_has_its_own_image(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, 28, 28), np.uint8)
    indices = 3 * np.arange(IMAGES)
    test = ExampleSplit(
        records=[b""] * IMAGES,
        pixels=[image.tobytes() for image in pixels],
        labels=np.zeros(IMAGES, np.int64),
        indices=indices,
    )
    chosen = np.random.default_rng(1).permutation(IMAGES)[:MISTAKES]
    worst = [(int(indices[place]), 0, [0.25, 0.75] + [0.0] * 8) for place in chosen]
    kept = results.Predictions(np.zeros((1, 3)), worst)
    monkeypatch.setattr(results, "read_predictions", lambda uri: kept)
    monkeypatch.setattr(results, "read_confusion_matrix", lambda uri: np.eye(10, dtype=np.int64))
    tracemalloc.start()
    found = model_facts.gather("", test)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [mistake.index for mistake in found.worst] == [index for index, _, _ in worst]
    for mistake, place in zip(found.worst, chosen, strict=True):
        assert np.array_equal(mistake.image, pixels[place])
        assert mistake.predicted == 1
    assert peak < pixels.nbytes

"""Fixtures of the trainer's tests."""

import numpy as np
import pytest
from doubles import trainings

from components.images.idx_format import ImagesAndLabels


@pytest.fixture(scope="module")
def training_files(
    tmp_path_factory: pytest.TempPathFactory, test_digits: ImagesAndLabels
) -> dict[str, list[str]]:
    """Digits in TFRecord files, in arbitrary order."""
    folder = tmp_path_factory.mktemp("examples")
    order = np.random.default_rng(5).permutation(len(test_digits.images))
    paths = {}
    for name, chosen in (("train", order[:240]), ("eval", order[240:])):
        path = folder / f"{name}.gz"
        trainings.write(path, test_digits, chosen)
        paths[name] = [str(path)]
    return paths

"""Intervals of metrics: the delete-a-group jackknife, with 20 subsets of the images.

The estimate is that of TFMA's own jackknife if all subsets contain images. If some contain none,
the formula uses the number of the others instead of 20. TFMA divides the elements of its pipeline
at random, and computes each sample in 60 transforms of Beam. Here, each metric keeps one sum for
each subset, in an array. An image is always in the same subset: each run gives the same interval,
copies of an image stay together, and so do the answers of two models.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from tensorflow_model_analysis.api import types

SUBSETS: Final = 20  # as in TFMA

Floats: TypeAlias = NDArray[np.floating]


def subset_sums(values: Floats, indices: NDArray[np.integer]) -> Floats:
    """Sums values by subset.

    Args:
      values: [count, ...], one row for each example.
      indices: [count], the position of each example's image in its file.

    Returns:
      float64 [SUBSETS, ...].
    """
    sums = np.zeros((SUBSETS, *values.shape[1:]))
    np.add.at(sums, _hashed(indices) % SUBSETS, values)
    return sums


def leave_one_out(sums: Floats, metric: Callable[[Any], float]) -> NDArray[np.float64]:
    """A metric of all images, and of all images but those of each subset.

    Args:
      sums: [SUBSETS, ...], of each subset; all 0 for a subset without images.
      metric: computes the metric from the sum over images; NaN for no images.

    Returns:
      [1 + SUBSETS], NaN for a subset without images. To compare two models, subtract their arrays.
    """
    total = sums.sum(axis=0)
    with np.errstate(invalid="ignore"):  # 0 / 0
        without = [metric(total - subset) if subset.any() else np.nan for subset in sums]
        return np.array([metric(total), *without])


def estimate(values: NDArray[np.float64]) -> types.ValueWithTDistribution | float:
    """The metric as TFMA reports it.

    Args:
      values: [1 + SUBSETS], from `leave_one_out`, or a difference of two.

    Returns:
      The metric with its standard error. A float, without a standard error, if fewer than two
      subsets contain images.
    """
    everything, without = float(values[0]), values[1:][np.isfinite(values[1:])]
    count = len(without)
    if count < 2:
        return everything
    pseudo_values = count * everything - (count - 1) * without
    return types.ValueWithTDistribution(
        sample_mean=float(without.mean()),
        sample_standard_deviation=float(pseudo_values.std(ddof=1) / np.sqrt(count)),
        sample_degrees_of_freedom=count - 1,
        unsampled_value=everything,
    )


def _hashed(indices: NDArray[np.integer]) -> NDArray[np.uint64]:
    """Pseudo-random numbers, because the digits of a file may be sorted, or alternate.

    SplitMix64 (G. Steele, D. Lea and C. Flood, *Fast Splittable Pseudorandom Number Generators*,
    2014).
    """
    state = indices.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))

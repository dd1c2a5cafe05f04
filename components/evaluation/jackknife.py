"""Intervals of metrics: the delete-a-group jackknife, with 20 subsets of the images.

The estimate is that of TFMA's own jackknife. TFMA divides the elements of its pipeline at random,
and computes each sample in 60 transforms of Beam; here a metric sums each subset by itself, in an
array. An image is always in the same subset: each run gives the same interval, copies of an image
stay together, and so do the answers of two models.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from tensorflow_model_analysis.api import types

SUBSETS: Final = 20  # as in TFMA

Floats = NDArray[np.floating]


def subset_sums(values: Floats, indices: NDArray[np.integer]) -> Floats:
    """Sums values by subset.

    Args:
      values: [count, ...], one row for each image.
      indices: [count], the positions of the images in their file.

    Returns:
      [SUBSETS, ...].
    """
    membership = np.eye(SUBSETS)[:, _mixed(indices) % SUBSETS]
    return np.asarray(np.tensordot(membership, values, axes=1))


def values_without(sums: Floats, value: Callable[[Any], float]) -> NDArray[np.float64]:
    """A metric of all images, and of all images but those of each subset.

    Args:
      sums: [SUBSETS, ...], of each subset.
      value: the metric, from the sum over images; NaN without images.

    Returns:
      [1 + SUBSETS]. Differences of two metrics can be computed element by element.
    """
    total = sums.sum(axis=0)
    with np.errstate(invalid="ignore"):  # 0 / 0
        return np.array([value(total), *(value(total - subset) for subset in sums)])


def estimate(values: NDArray[np.float64]) -> types.ValueWithTDistribution | float:
    """The metric as TFMA reports it.

    Args:
      values: from `values_without`, or a difference of two.

    Returns:
      The metric with its standard error; without, if all images are in one subset.
    """
    everything, without = float(values[0]), values[1:]
    if not np.isfinite(without).all():
        return everything
    pseudo_values = SUBSETS * everything - (SUBSETS - 1) * without
    return types.ValueWithTDistribution(
        sample_mean=float(without.mean()),
        sample_standard_deviation=float(pseudo_values.std(ddof=1) / np.sqrt(SUBSETS)),
        sample_degrees_of_freedom=SUBSETS - 1,
        unsampled_value=everything,
    )


def _mixed(indices: NDArray[np.integer]) -> NDArray[np.uint64]:
    """A pseudo-random number for each index, as in a file the digits may be sorted or alternate.

    SplitMix64 (G. Steele, D. Lea and C. Flood, *Fast Splittable Pseudorandom Number Generators*,
    2014).
    """
    state = indices.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))

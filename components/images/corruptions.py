"""Corruptions of images, to measure robustness with. NumPy and SciPy only.

The names, strengths and parameters are those of MNIST-C (N. Mu and J. Gilmer, *MNIST-C: A
Robustness Benchmark for Computer Vision*, 2019, arXiv:1906.02337; the parameters are in the
authors' `corruptions.py`, github.com/google-research/mnist-c). The benchmark itself uses one
strength of each, `Corruption.benchmark_strength`. The differences are:

  * `translate` moves by whole pixels along one axis, left, right, up or down, without blur;
    MNIST-C's moves along both axes at once.
  * `motion_blur` uses the kernel of ImageMagick, which MNIST-C calls: a half Gaussian along a
    line. The results are not identical byte by byte.

All random numbers come from the generator that is passed in: the same seed gives the same images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
"""uint8 [count, height, width]."""

TRANSLATE: Final = "translate"
DIRECTIONS: Final[Mapping[str, tuple[int, int]]] = {  # rows down, columns right
    "left": (0, -1),
    "right": (0, 1),
    "up": (-1, 0),
    "down": (1, 0),
}
_WHITE: Final = 255.0


class Corruption(NamedTuple):
    """One kind of corruption.

    `apply` takes images, a strength from 1 to `strengths`, and a random generator.
    """

    strengths: int
    benchmark_strength: int
    apply: Callable[[Images, int, np.random.Generator], Images]


def shift(images: Images, direction: str, pixels: int) -> Images:
    """The images moved by whole pixels; the uncovered edge is black."""
    down, right = (pixels * step for step in DIRECTIONS[direction])
    _, height, width = images.shape
    moved = np.zeros_like(images)
    moved[:, max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = images[
        :, max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)
    ]
    return moved


def _translate(images: Images, strength: int, rng: np.random.Generator) -> Images:
    directions = rng.choice(list(DIRECTIONS), len(images))
    return np.concatenate(
        [
            shift(image[np.newaxis], direction, strength)
            for image, direction in zip(images, directions, strict=True)
        ]
    )


def _rotate(images: Images, strength: int, rng: np.random.Generator) -> Images:
    """By 0.2 to 1 radian, clockwise or counter-clockwise."""
    angles = 0.2 * strength * rng.choice([-1, 1], len(images))
    return _warp(images, _matrices(np.cos(angles), -np.sin(angles), np.sin(angles), np.cos(angles)))


def _shear(images: Images, strength: int, rng: np.random.Generator) -> Images:
    """By an angle of 0.2 to 1 radian, to the left or to the right."""
    angles = 0.2 * strength * rng.choice([-1, 1], len(images))
    return _warp(images, _matrices(1, -np.sin(angles), 0, np.cos(angles)))


def _scale(images: Images, strength: int, rng: np.random.Generator) -> Images:
    """To 0.9 ... 0.5 of the size."""
    factor = np.full(len(images), 1 / (1 - 0.1 * strength))
    return _warp(images, _matrices(factor, 0, 0, factor))


def _shot_noise(images: Images, strength: int, rng: np.random.Generator) -> Images:
    """Poisson noise: 60 to 3 photons for a white pixel."""
    photons = (60, 25, 12, 5, 3)[strength - 1]
    return _to_bytes(rng.poisson(images / _WHITE * photons) / photons)


def _impulse_noise(images: Images, strength: int, rng: np.random.Generator) -> Images:
    """3 % to 27 % of the pixels become black or white."""
    share = (0.03, 0.06, 0.09, 0.17, 0.27)[strength - 1]
    is_hit = rng.random(images.shape) < share
    salt = np.where(rng.random(images.shape) < 0.5, np.uint8(_WHITE), np.uint8(0))
    return np.where(is_hit, salt, images)


def _glass_blur(images: Images, strength: int, rng: np.random.Generator) -> Images:
    """Gaussian blur, random swaps of neighbouring pixels, and Gaussian blur again."""
    from scipy import ndimage  # slow; the configuration imports this module for the strengths

    sigma, reach, rounds = ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))[
        strength - 1
    ]
    blurred = ndimage.gaussian_filter(images / _WHITE, (0, sigma, sigma), mode="nearest")
    count, height, width = images.shape
    every = np.arange(count)
    for _ in range(rounds):
        for row in range(height - reach, reach, -1):
            for column in range(width - reach, reach, -1):
                chosen = every[rng.random(count) < 0.5]
                rows, columns = row + rng.integers(-reach, reach, (2, len(chosen)))
                columns += column - row
                here = blurred[chosen, row, column].copy()
                blurred[chosen, row, column] = blurred[chosen, rows, columns]
                blurred[chosen, rows, columns] = here
    return _to_bytes(ndimage.gaussian_filter(blurred, (0, sigma, sigma), mode="nearest"))


def _motion_blur(images: Images, strength: int, rng: np.random.Generator) -> Images:
    """Blur along a line at an angle of -45 to 45 degrees."""
    radius, sigma = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))[strength - 1]
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    angles = rng.uniform(-np.pi / 4, np.pi / 4, len(images))
    rows = np.rint(np.outer(steps, np.sin(angles))).astype(int)
    columns = np.rint(np.outer(steps, np.cos(angles))).astype(int)
    _, height, width = images.shape
    every = np.arange(len(images))[:, np.newaxis, np.newaxis]
    blurred = np.zeros(images.shape)
    for weight, down, right in zip(weights / weights.sum(), rows, columns, strict=True):
        row = np.clip(np.arange(height) + down[:, np.newaxis], 0, height - 1)
        column = np.clip(np.arange(width) + right[:, np.newaxis], 0, width - 1)
        blurred += weight * images[every, row[:, :, np.newaxis], column[:, np.newaxis, :]]
    return _to_bytes(blurred / _WHITE)


def _matrices(*entries: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """2x2 matrices from their entries, row by row, in (x, y) coordinates."""
    return np.stack(np.broadcast_arrays(*entries), axis=-1).reshape(-1, 2, 2)


def _warp(images: Images, from_output: NDArray[np.float64]) -> Images:
    """Warps each image by its own matrix, from output to input about the centre; bilinear."""
    from scipy import ndimage  # slow; see above

    centre = (np.array(images.shape[1:]) - 1) / 2
    by_row = from_output[:, ::-1, ::-1]  # SciPy's coordinates are (y, x)
    return _to_bytes(
        np.stack(
            [
                ndimage.affine_transform(
                    image / _WHITE, matrix, centre - matrix @ centre, order=1, mode="constant"
                )
                for image, matrix in zip(images, by_row, strict=True)
            ]
        )
    )


def _to_bytes(values: NDArray[np.float64]) -> Images:
    return np.rint(np.clip(values, 0, 1) * _WHITE).astype(np.uint8)


CORRUPTIONS: Final[Mapping[str, Corruption]] = {
    TRANSLATE: Corruption(5, 3, _translate),
    "rotate": Corruption(5, 2, _rotate),
    "shear": Corruption(5, 2, _shear),
    "scale": Corruption(5, 3, _scale),
    "shot_noise": Corruption(5, 5, _shot_noise),
    "impulse_noise": Corruption(5, 4, _impulse_noise),
    "glass_blur": Corruption(5, 1, _glass_blur),
    "motion_blur": Corruption(5, 1, _motion_blur),
}

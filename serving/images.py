"""Reads pictures for the client, and converts them to the form of MNIST's digits.

MNIST's images are 28x28, white on black; the digit fits a box of 20x20 pixels and is centred by
mass. Source: http://yann.lecun.com/exdb/mnist/. A picture of another size is cropped, scaled and
centred accordingly; one of 28x28 is only converted to grey, and inverted if it is black on white.
"""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from serving.errors import InvalidRequestError
from serving.polarity import Polarity
from trainer import features

MAX_PIXELS: Final = 50_000_000  # more than most cameras have; 0.5 GB of memory
_FROM_16_TO_8_BITS: Final = 257  # 65535 becomes 255
DIGIT_SIZE_PX: Final = 20  # the box that MNIST's digits fit, within the 28x28 image
_INK_THRESHOLD: Final = 0.2  # as a fraction of the brightest pixel

# What a picture that is not one digit differs in, from MNIST's test split: at most 36 % of its
# pixels are ink, its ink and its paper differ by at least 0.83 of all variance, and 5 of 10,000
# digits have a gap with a fifth of their ink on either side.
_FAINTEST: Final = 64  # the brightest pixel of a faint digit
_MOST_INK: Final = 0.42
_LEAST_CONTRAST: Final = 0.8
_SMALLEST_DIGIT: Final = 0.2
_MOST_DARKER: Final = 0.05  # of the pixels of a sheet, which are darker than its paper


class Problem(StrEnum):
    """Why an image does not look like one digit."""

    NO_DIGIT = "no digit found"
    SEVERAL_DIGITS = "more than one digit?"


def read(path: Path, polarity: Polarity = Polarity.AUTO) -> NDArray[np.generic]:
    """The images in a file: one picture (PNG, JPEG, ...), or an array (.npy).

    Args:
      path: the file.
      polarity: the colours of ink and paper. With AUTO an array is used as white on black, since
        it may contain the images that the network was trained on.

    Returns:
      [count, 28, 28], white on black: uint8 in 0..255, or the type of the array.

    Raises:
      InvalidRequestError: the file does not exist, or contains something else.
    """
    try:
        if path.suffix == ".npy":
            return _read_array(path, polarity)
        with path.open("rb") as file:
            return read_picture(file, polarity)[np.newaxis]
    except FileNotFoundError as error:
        raise InvalidRequestError(f"the file {path} does not exist.") from error
    except IsADirectoryError as error:
        raise InvalidRequestError(
            f"{path} is a folder; expected a picture or a .npy array."
        ) from error
    except InvalidRequestError:
        raise
    except Exception as error:  # Pillow and NumPy raise many kinds for a damaged file
        raise InvalidRequestError(
            f"{path} is neither a picture nor a .npy array: {reason(error)}."
        ) from error


def reason(error: Exception) -> str:
    """Why a picture or an array cannot be read, without a full stop."""
    if isinstance(error, UnidentifiedImageError):
        return "the format is unknown; expected PNG, JPEG, WebP, GIF, BMP or TIFF"
    return str(error).strip().rstrip(".")


def read_picture(
    file: BinaryIO, polarity: Polarity = Polarity.AUTO, max_pixels: int = MAX_PIXELS
) -> NDArray[np.uint8]:
    """The image in an open file with a picture: uint8 [28, 28], white on black.

    Raises:
      ValueError: it has more than `max_pixels` pixels.
      Exception: it is no picture; Pillow raises many kinds.
    """
    with Image.open(file) as picture:
        if math.prod(picture.size) > max_pixels:  # known before the pixels are unpacked
            raise ValueError(
                f"it has {math.prod(picture.size)} pixels; the maximum is {max_pixels}"
            )
        upright = ImageOps.exif_transpose(_with_8_bits(picture))
        if upright.has_transparency_data:  # the paper shows through
            rgba = upright.convert("RGBA")
            upright = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
        return normalize(np.asarray(upright.convert("L")), polarity)


def _with_8_bits(picture: Image.Image) -> Image.Image:
    """A picture with 8 bits for each grey value or colour; Pillow's `convert` clips larger values.

    Raises:
      ValueError: the pixels have 32 bits, and the file does not say which value is white.
    """
    kind = (picture.mode, picture.format)
    if not picture.mode.startswith("I;16") and kind != ("I", "PPM"):  # Pillow's form of 16 bits
        if picture.mode in ("I", "F"):
            raise ValueError("its pixels have 32 bits; expected 8 or 16 bits")
        return picture
    return Image.fromarray((np.asarray(picture) // _FROM_16_TO_8_BITS).astype(np.uint8))


def normalize(gray: NDArray[np.uint8], polarity: Polarity = Polarity.AUTO) -> NDArray[np.uint8]:
    """Converts a grey picture of any size and polarity to the form of MNIST's digits.

    Args:
      gray: uint8 [height, width].
      polarity: the colours of ink and paper.

    Returns:
      uint8 [28, 28], white on black.
    """
    if polarity is Polarity.AUTO:
        edge = np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])
        is_bright = edge.mean() > features.WHITE / 2
        polarity = Polarity.BLACK_ON_WHITE if is_bright else Polarity.WHITE_ON_BLACK
    if polarity is Polarity.BLACK_ON_WHITE:
        gray = features.WHITE - gray
    if gray.shape == (features.HEIGHT_PX, features.WIDTH_PX):
        return gray
    gray = _without_paper(gray)
    rows, columns = np.nonzero(gray > _INK_THRESHOLD * max(int(gray.max()), 1))
    if len(rows):
        gray = gray[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    scale = DIGIT_SIZE_PX / max(gray.shape)
    height, width = (max(1, round(size * scale)) for size in gray.shape)
    digit = np.asarray(Image.fromarray(gray).resize((width, height), Image.Resampling.LANCZOS))
    weights = digit.astype(float) + 1e-9
    centre_y, centre_x = (
        (weights.sum(axis=1 - axis) * np.arange(size)).sum() / weights.sum()
        for axis, size in enumerate(digit.shape)
    )
    top = int(np.clip(round(features.HEIGHT_PX / 2 - centre_y), 0, features.HEIGHT_PX - height))
    left = int(np.clip(round(features.WIDTH_PX / 2 - centre_x), 0, features.WIDTH_PX - width))
    image = np.zeros((features.HEIGHT_PX, features.WIDTH_PX), np.uint8)
    image[top : top + height, left : left + width] = digit
    return image


def _without_paper(gray: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture, white on black, with black paper and white ink, as on a photo of a grey sheet.

    A picture without paper, which has many pixels that are darker than its edge, stays as it is.
    """
    edge = np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])
    above_paper = gray.astype(np.float32) - np.median(edge)
    if (above_paper < -_FAINTEST / 2).mean() > _MOST_DARKER:
        return gray
    ink = np.clip(above_paper, 0, None)
    strongest = float(ink.max())
    if strongest < _FAINTEST:  # no ink; more contrast would only show noise
        faint: NDArray[np.uint8] = ink.astype(np.uint8)
        return faint
    stretched: NDArray[np.uint8] = np.rint(ink * features.WHITE / strongest).astype(np.uint8)
    return stretched


def to_gray(image: NDArray[np.generic]) -> NDArray[np.uint8]:
    """An image as uint8 in 0..255; floats are in [0, 1]."""
    if image.dtype == np.uint8:
        return np.asarray(image, np.uint8)
    pixels = np.clip(np.asarray(image, np.float32), 0, 1) * features.WHITE
    return np.rint(pixels).astype(np.uint8)


def write(image: NDArray[np.generic], path: Path) -> None:
    """Writes an image [28, 28] as PNG; raises OSError if the file cannot be written."""
    Image.fromarray(to_gray(image)).save(path, "PNG")


def find_problem(image: NDArray[np.generic]) -> Problem | None:
    """Whether an image looks like one digit: a network answers whatever it is given.

    A blank picture and a photo contain no digit. Digits side by side are found if there is a gap
    between them.

    Args:
      image: [28, 28], white on black: uint8 in 0..255, or floats in [0, 1].
    """
    gray = to_gray(image)
    if gray.max() < _FAINTEST:
        return Problem.NO_DIGIT
    is_ink = gray > _INK_THRESHOLD * gray.max()
    if is_ink.mean() > _MOST_INK or _contrast(gray) < _LEAST_CONTRAST:
        return Problem.NO_DIGIT
    of_columns = is_ink.sum(axis=0)
    parts = np.split(of_columns, np.flatnonzero(of_columns == 0))
    large = [part for part in parts if part.sum() >= _SMALLEST_DIGIT * of_columns.sum()]
    return Problem.SEVERAL_DIGITS if len(large) > 1 else None


def _contrast(gray: NDArray[np.uint8]) -> float:
    """Otsu's criterion (1979): the largest share of the variance between two classes of pixels."""
    values = np.arange(features.WHITE + 1)
    shares = np.bincount(gray.ravel(), minlength=len(values)) / gray.size
    below = np.cumsum(shares)
    mean_below = np.cumsum(shares * values)
    mean = mean_below[-1]
    variance = (shares * (values - mean) ** 2).sum()
    is_split = (below > 0) & (below < 1)
    weights = (below * (1 - below))[is_split]
    between = (mean * below - mean_below)[is_split] ** 2 / weights
    return float(between.max() / variance) if variance and len(between) else 0.0


def _read_array(path: Path, polarity: Polarity) -> NDArray[np.generic]:
    # As a map, so that a header with a huge shape allocates no memory.
    array: NDArray[np.generic] = np.load(path, mmap_mode="r", allow_pickle=False)
    size = (features.HEIGHT_PX, features.WIDTH_PX)
    if array.ndim not in (2, 3) or array.shape[-2:] != size:
        raise InvalidRequestError(
            f"{path}: the array has the shape {list(array.shape)}; expected {list(size)} or "
            f"[count, {size[0]}, {size[1]}]."
        )
    if polarity is Polarity.BLACK_ON_WHITE:
        white = features.WHITE if array.dtype == np.uint8 else 1
        array = (white - array).astype(array.dtype)
    return array[np.newaxis] if array.ndim == 2 else array

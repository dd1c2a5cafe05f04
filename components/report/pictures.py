"""Images embedded in a page: PNG in data URIs."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def data_uri(pixels: NDArray[np.uint8]) -> str:
    """One image, uint8 [height, width], white on black, unscaled."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def sheet(images: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Images, uint8 [count, height, width], in rows of `columns`; padded with black."""
    count, height, width = images.shape
    rows = -(-count // columns)
    padded = np.zeros((rows * columns, height, width), np.uint8)
    padded[:count] = images
    grid = padded.reshape(rows, columns, height, width).swapaxes(1, 2)
    return grid.reshape(rows * height, columns * width)

"""What the served model says about one image, for the page."""

from __future__ import annotations

import base64
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.local import sample_requests
from pipeline.local.sample_requests import Sample
from pipeline.settings.errors import PipelineError
from serving.client import Client
from serving.errors import PreconditionError
from trainer import features

LARGEST_SHIFT_PX: Final = 4

_Json: TypeAlias = dict[str, Any]
_Floats = NDArray[np.float32]


def answer(client: Client, image: NDArray[np.uint8]) -> _Json:
    """The probabilities of the digits, with the image that was sent.

    Args:
      client: the client of the model.
      image: uint8 [28, 28], white on black.
    """
    prediction = client.predict(image[np.newaxis])
    (found,) = sample_requests.answers(Sample(image[np.newaxis], ["drawing"], [None]), prediction)
    return {
        **found.model_dump(
            include={"prediction", "probability", "version", "latency_ms", "remark"}
        ),
        "probabilities": prediction.probabilities[0].tolist(),
        "image": _bytes(image),
    }


def shifts(client: Client, image: NDArray[np.uint8]) -> list[list[_Json]]:
    """The answers for the image moved by up to four pixels: rows by dy, columns by dx."""
    distances = range(-LARGEST_SHIFT_PX, LARGEST_SHIFT_PX + 1)
    moved = np.stack([_moved(image, dx, dy) for dy in distances for dx in distances])
    probabilities = client.predict(moved).probabilities
    digits = probabilities.argmax(axis=1)
    cells = [
        {"digit": int(digit), "probability": float(row[digit])}
        for digit, row in zip(digits, probabilities, strict=True)
    ]
    size = len(distances)
    return [cells[start : start + size] for start in range(0, len(cells), size)]


def layers(client: Client, image: NDArray[np.uint8]) -> list[_Json]:
    """What the layers make of the image, in the order of the network.

    A pooling has its input pooled in both ways, so that they can be compared, and whether the
    network takes the maximum or the mean.

    Raises:
      PipelineError: the model has no feature maps.
    """
    try:
        answered = client.feature_maps(image[np.newaxis])
    except PreconditionError as error:
        raise PipelineError(
            "this version has no feature maps: an earlier release pushed it."
        ) from error
    maps = {name: found[0] for name, found in answered.items()}
    shown: list[_Json] = []
    block = 0
    for name in _in_order(maps):
        found = maps[name]
        if not name.startswith(features.POOLING):
            before = found
            shown.append({"name": name, **_pictures(found)})
            continue
        block += 1
        blocks = _blocks(before)
        largest, mean = blocks.max(axis=(1, 3)), blocks.mean(axis=(1, 3))
        is_maximum = np.abs(largest - found).max() <= np.abs(mean - found).max()
        shown.append(
            {
                "name": name,
                "used": "max" if is_maximum else "average",
                "max": _pictures(largest),
                "average": _pictures(mean),
            }
        )
    return shown


def _in_order(names: Any) -> list[str]:
    """The layers as the network has them: one convolution, then two for each pooling."""
    convolutions = sorted(name for name in names if name.startswith(features.CONVOLUTION))
    poolings = sorted(name for name in names if name.startswith(features.POOLING))
    first, *rest = convolutions
    pairs = zip(rest[::2], rest[1::2], poolings[1:], strict=True)
    return [first, poolings[0], *(name for group in pairs for name in group)]


def _blocks(maps: _Floats) -> _Floats:
    """The blocks of 2x2 pixels of maps [height, width, channels]; an odd last row is left out."""
    height, width, channels = maps.shape
    even = maps[: height // 2 * 2, : width // 2 * 2]
    return even.reshape(height // 2, 2, width // 2, 2, channels)


def _pictures(maps: _Floats) -> _Json:
    """Maps [height, width, channels] as grey pictures; the largest value of all is white."""
    scaled = np.rint(features.WHITE * maps / max(float(maps.max()), 1e-9)).astype(np.uint8)
    height, width, channels = maps.shape
    pixels = _bytes(np.moveaxis(scaled, -1, 0))
    return {"height": height, "width": width, "channels": channels, "pixels": pixels}


def _moved(image: NDArray[np.uint8], dx: int, dy: int) -> NDArray[np.uint8]:
    """The image moved to the right and down; what leaves it is lost, as in the robustness tests."""
    padding = LARGEST_SHIFT_PX
    padded = np.pad(image, padding)
    top, left = padding - dy, padding - dx
    return padded[top : top + features.HEIGHT_PX, left : left + features.WIDTH_PX]


def _bytes(pixels: NDArray[np.uint8]) -> str:
    return base64.b64encode(pixels.tobytes()).decode()

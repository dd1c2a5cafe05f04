"""Reads IDX, the file format that MNIST is published in; raw or gzip-compressed.

A file is a big-endian header and then the values: two zero bytes, a type code,
the number of dimensions, each dimension as 32 bits. MNIST uses unsigned bytes
only, and so does this module: images have three dimensions (count, height,
width), labels one. Source: the description that accompanies the data set,
http://yann.lecun.com/exdb/mnist/.

No TensorFlow, no Beam: bytes in, NumPy arrays out.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNSIGNED_BYTE = 0x08
GZIP_MAGIC = b"\x1f\x8b"


class IdxFormatError(ValueError):
    """A file is not the IDX file that was expected; says which, what came and what was expected."""


class ImagesAndLabels(NamedTuple):
    """A pair of IDX files: `images` is uint8 [count, height, width], `labels` uint8 [count]."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]


def find_pair(folder: str | Path, pattern: str) -> tuple[Path, Path]:
    """The image file and the label file among the files that match.

    Where a file is there both raw and gzipped, the raw one is taken.

    Raises:
      IdxFormatError: one of them is missing.
    """
    found = []
    for kind in ("images", "labels"):
        matches = sorted(path for path in Path(folder).glob(pattern) if kind in path.name)
        if not matches:
            raise IdxFormatError(
                f"{folder} has no file of {kind} named {pattern}: the four IDX files of the data "
                "set are expected, such as train-images-idx3-ubyte or train-images-idx3-ubyte.gz."
            )
        found.append(matches[0])
    return found[0], found[1]


def read_pair(images_path: str | Path, labels_path: str | Path) -> ImagesAndLabels:
    """Reads an image file and the label file that belongs to it.

    Raises:
      IdxFormatError: either file is damaged, or they do not belong together.
      OSError: a file cannot be read.
    """
    images = read(images_path, dimensions=3)
    labels = read(labels_path, dimensions=1)
    if len(images) != len(labels):
        raise IdxFormatError(
            f"{images_path} has {len(images)} images and {labels_path} has {len(labels)} labels: "
            "they must be one to one, so take both files from the same source."
        )
    if len(images) == 0:
        raise IdxFormatError(f"{images_path} has no images: at least one is expected.")
    return ImagesAndLabels(images, labels)


def read(path: str | Path, dimensions: int) -> NDArray[np.uint8]:
    """Reads one file of unsigned bytes with this number of dimensions.

    Raises:
      IdxFormatError: the file is damaged, or something else than expected.
      OSError: the file cannot be read.
    """
    content = Path(path).read_bytes()
    if content.startswith(GZIP_MAGIC):
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise IdxFormatError(
                f"{path} is not a whole gzip file ({error}): fetch it again."
            ) from error
    return parse(content, dimensions, name=str(path))


def parse(content: bytes, dimensions: int, name: str = "the data") -> NDArray[np.uint8]:
    """Parses the bytes of an uncompressed IDX file of unsigned bytes.

    Args:
      content: the whole file.
      dimensions: how many dimensions are expected: 3 for images, 1 for labels.
      name: what to call the data in an error.

    Returns:
      A read-only uint8 array of the shape that the header says; it shares `content`'s memory.

    Raises:
      IdxFormatError: wrong magic number, or fewer or more values than the header says.
    """
    expected_magic = UNSIGNED_BYTE << 8 | dimensions
    header_size = 4 + 4 * dimensions
    if len(content) < 4:
        raise IdxFormatError(f"{name} has {len(content)} bytes, too few for an IDX file.")
    (magic,) = struct.unpack_from(">I", content)
    if magic != expected_magic:
        raise IdxFormatError(
            f"{name} starts with the magic number 0x{magic:08x}, and 0x{expected_magic:08x} is "
            f"expected: unsigned bytes in {dimensions} dimension{'s' if dimensions > 1 else ''}."
        )
    if len(content) < header_size:
        raise IdxFormatError(f"{name} ends within its header: fetch it again.")
    shape = struct.unpack_from(f">{dimensions}I", content, offset=4)
    expected_size = header_size + math.prod(shape)
    if len(content) != expected_size:
        cause = "truncated" if len(content) < expected_size else "longer than its header says"
        raise IdxFormatError(
            f"{name} is {cause}: {len(content)} bytes, and {expected_size} are expected for the "
            f"shape {'x'.join(map(str, shape))} in its header."
        )
    return np.frombuffer(content, np.uint8, offset=header_size).reshape(shape)


def serialize(values: NDArray[np.uint8]) -> bytes:
    """The uncompressed IDX file for an array of unsigned bytes; the inverse of `parse`."""
    header = struct.pack(f">I{values.ndim}I", UNSIGNED_BYTE << 8 | values.ndim, *values.shape)
    return header + np.ascontiguousarray(values, np.uint8).tobytes()

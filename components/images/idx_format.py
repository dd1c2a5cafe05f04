"""The IDX file format, in which MNIST is published; raw or gzip-compressed.

A file is a big-endian header followed by the values: two zero bytes, a type code, the number of
dimensions, and each dimension as 32 bits. MNIST uses unsigned bytes only, and so does this
module: images have three dimensions (count, height, width), labels one. Source: the description
published with the data set, http://yann.lecun.com/exdb/mnist/.

No TensorFlow, no Beam: bytes in, NumPy arrays out.
"""

from __future__ import annotations

import fnmatch
import gzip
import io
import math
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNSIGNED_BYTE = 0x08
GZIP_MAGIC = b"\x1f\x8b"
MAX_UNPACKED_BYTES = 2**31  # 2.7 million images of 28x28; MNIST has 60,000
_BLOCK_BYTES = 2**20


class IdxFormatError(ValueError):
    """A file is not the expected IDX file; says which file, what came and what was expected."""


class ImagesAndLabels(NamedTuple):
    """A pair of IDX files: `images` is uint8 [count, height, width], `labels` uint8 [count]."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]


def choose_pair(names: Iterable[str], pattern: str, folder: str) -> tuple[str, str]:
    """The names of the image file and the label file among those that match a pattern.

    If a file is present both raw and gzipped, the raw one is chosen.

    Args:
      names: the names of all files in the folder.
      pattern: a glob, such as "train-*".
      folder: the name of the folder, for the error.

    Raises:
      IdxFormatError: one of the two is missing.
    """
    matching = sorted(fnmatch.filter(names, pattern))
    chosen = []
    for kind in ("images", "labels"):
        of_kind = [name for name in matching if kind in name]
        if not of_kind:
            raise IdxFormatError(
                f"{folder} contains no {kind} file named {pattern}; expected the four IDX files of "
                "the data set, such as train-images-idx3-ubyte or train-images-idx3-ubyte.gz."
            )
        chosen.append(of_kind[0])
    return chosen[0], chosen[1]


def find_pair(folder: str | Path, pattern: str) -> tuple[Path, Path]:
    """The paths that `choose_pair` chooses in a folder on disk."""
    folder = Path(folder)
    images, labels = choose_pair((path.name for path in folder.iterdir()), pattern, str(folder))
    return folder / images, folder / labels


def read_pair(images_path: str | Path, labels_path: str | Path) -> ImagesAndLabels:
    """Reads an image file and the label file that belongs to it.

    Raises:
      IdxFormatError: a file is damaged, or the files do not belong together.
      OSError: a file cannot be read.
    """
    images, labels = Path(images_path).read_bytes(), Path(labels_path).read_bytes()
    return parse_pair(images, labels, str(images_path), str(labels_path))


def parse_pair(
    images_file: bytes, labels_file: bytes, images_name: str, labels_name: str
) -> ImagesAndLabels:
    """Parses the contents of an image file and of the label file that belongs to it.

    Raises:
      IdxFormatError: a file is damaged, or the files do not belong together.
    """
    images = parse_file(images_file, 3, images_name)
    labels = parse_file(labels_file, 1, labels_name)
    if len(images) != len(labels):
        raise IdxFormatError(
            f"{images_name} contains {len(images)} images, but {labels_name} contains "
            f"{len(labels)} labels; take both files from the same source."
        )
    if len(images) == 0:
        raise IdxFormatError(f"{images_name} contains no images; expected at least 1.")
    return ImagesAndLabels(images, labels)


def parse_file(content: bytes, dimensions: int, name: str) -> NDArray[np.uint8]:
    """Parses a file of unsigned bytes, raw or gzip-compressed; see `parse`."""
    if content.startswith(GZIP_MAGIC):
        content = _unpack(content, name)
    return parse(content, dimensions, name)


def _unpack(content: bytes, name: str) -> bytes:
    unpacked = io.BytesIO()
    try:
        with gzip.open(io.BytesIO(content)) as file:
            # In blocks: a small gzip file can unpack to any size.
            while block := file.read(_BLOCK_BYTES):
                unpacked.write(block)
                if unpacked.tell() > MAX_UNPACKED_BYTES:
                    raise IdxFormatError(
                        f"{name} unpacks to more than {MAX_UNPACKED_BYTES >> 20} MiB. Unpack it "
                        "yourself if it is right."
                    )
    except (EOFError, OSError, zlib.error) as error:
        raise IdxFormatError(
            f"{name} is not a complete gzip file ({error}); download it again."
        ) from error
    return unpacked.getvalue()


def parse(content: bytes, dimensions: int, name: str) -> NDArray[np.uint8]:
    """Parses the bytes of an uncompressed IDX file of unsigned bytes.

    Args:
      content: the whole file.
      dimensions: the expected number of dimensions: 3 for images, 1 for labels.
      name: the name of the file, for errors.

    Returns:
      A read-only uint8 array with the shape in the header; it shares `content`'s memory.

    Raises:
      IdxFormatError: the magic number is wrong, or the file is shorter or longer than its header
        says.
    """
    expected_magic = UNSIGNED_BYTE << 8 | dimensions
    header_size = 4 + 4 * dimensions
    if len(content) < 4:
        raise IdxFormatError(f"{name} has {len(content)} bytes, too few for an IDX file.")
    (magic,) = struct.unpack_from(">I", content)
    if magic != expected_magic:
        raise IdxFormatError(
            f"{name} starts with the magic number 0x{magic:08x}; expected 0x{expected_magic:08x} "
            f"(unsigned bytes, {dimensions} dimension{'s' if dimensions > 1 else ''})."
        )
    if len(content) < header_size:
        raise IdxFormatError(f"{name} ends within its header; download it again.")
    shape = struct.unpack_from(f">{dimensions}I", content, offset=4)
    expected_size = header_size + math.prod(shape)
    if len(content) != expected_size:
        cause = "is truncated" if len(content) < expected_size else "is too long"
        raise IdxFormatError(
            f"{name} {cause}: it has {len(content)} bytes; expected {expected_size} for the shape "
            f"{'x'.join(map(str, shape))} in its header."
        )
    try:
        return np.frombuffer(content, np.uint8, offset=header_size).reshape(shape)
    except ValueError as error:  # such as 4294967295 x 0 x 4294967295
        raise IdxFormatError(
            f"{name} has the shape {'x'.join(map(str, shape))} in its header, which no array can "
            "have; download it again."
        ) from error


def serialize(values: NDArray[np.uint8]) -> bytes:
    """The uncompressed IDX file of an array of unsigned bytes; the inverse of `parse`."""
    header = struct.pack(f">I{values.ndim}I", UNSIGNED_BYTE << 8 | values.ndim, *values.shape)
    return header + np.ascontiguousarray(values, np.uint8).tobytes()

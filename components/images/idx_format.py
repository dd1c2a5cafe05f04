"""The IDX file format, in which MNIST is published; raw or gzip-compressed.

A file is a big-endian header followed by the values: two zero bytes, a type code, the number of
dimensions, and each dimension as 32 bits. MNIST uses unsigned bytes only, and so does this
module: images have three dimensions (count, height, width), labels one. Source: the description
published with the data set, http://yann.lecun.com/exdb/mnist/.

No TensorFlow, no Beam: bytes in, NumPy arrays out.
"""

from __future__ import annotations

import contextlib
import fnmatch
import gzip
import hashlib
import io
import math
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from numpy.typing import NDArray

UNSIGNED_BYTE = 0x08
GZIP_MAGIC = b"\x1f\x8b"
MAX_UNPACKED_BYTES = 2**31  # 2.7 million images of 28x28; MNIST has 60,000
MAX_IMAGE_BYTES = 2**16  # 256x256; a block of images must fit into memory
BLOCK = 1024  # images or labels
_READ_BYTES = 2**20


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
    """Reads an image file and the label file that belongs to it, into memory.

    Raises:
      IdxFormatError: a file is damaged, or the files do not belong together.
      OSError: a file cannot be read.
    """
    with opened_pair(images_path, labels_path) as (images, labels):
        return ImagesAndLabels(images.read(), labels.read())


def check_pair(images_path: str | Path, labels_path: str | Path) -> None:
    """Checks a pair of any size, with the errors of `read_pair`; one block is in memory."""
    with opened_pair(images_path, labels_path) as readers:
        for reader in readers:
            for _ in reader.blocks():
                pass


@contextlib.contextmanager
def opened_pair(
    images_path: str | Path, labels_path: str | Path
) -> Iterator[tuple[IdxReader, IdxReader]]:
    """Opens a pair of files, and checks their headers and counts.

    Raises:
      IdxFormatError: a header is damaged, or the files do not belong together.
      OSError: a file cannot be read.
    """
    with Path(images_path).open("rb") as images_file, Path(labels_path).open("rb") as labels_file:
        images = IdxReader(images_file, 3, str(images_path))
        labels = IdxReader(labels_file, 1, str(labels_path))
        check_counts(images, labels)
        yield images, labels


class IdxReader:
    """Reads an IDX file of unsigned bytes from its start to its end, in blocks.

    Args:
      file: the open file, raw or gzip-compressed.
      dimensions: the expected number of dimensions: 3 for images, 1 for labels.
      name: the name of the file, for errors.

    Raises:
      IdxFormatError: the header is damaged or has other dimensions, or an image has more than
        MAX_IMAGE_BYTES.
    """

    def __init__(self, file: BinaryIO, dimensions: int, name: str):
        self.name = name
        self._source = _HashedFile(file)
        buffered = io.BufferedReader(self._source, _READ_BYTES)
        self._is_packed = buffered.peek(len(GZIP_MAGIC)).startswith(GZIP_MAGIC)
        self._file = gzip.GzipFile(fileobj=buffered) if self._is_packed else buffered
        self.shape = self._read_header(dimensions)
        self._header_bytes = 4 + 4 * dimensions
        self._expected_bytes = self._header_bytes + math.prod(self.shape)

    def read(self) -> NDArray[np.uint8]:
        """All values, as uint8 with the shape in the header.

        Raises:
          IdxFormatError: the file is shorter or longer than its header says, or a gzip file has
            more than MAX_UNPACKED_BYTES.
        """
        if self._is_packed and self._expected_bytes > MAX_UNPACKED_BYTES:
            raise IdxFormatError(
                f"{self.name} has the shape {_joined(self.shape)} in its header, more than "
                f"{MAX_UNPACKED_BYTES >> 20} MiB. If this is right, unpack the file yourself."
            )
        blocks = list(self.blocks(max(1, self.shape[0])))
        return blocks[0] if blocks else np.empty(self.shape, np.uint8)

    def blocks(self, count: int = BLOCK) -> Iterator[NDArray[np.uint8]]:
        """The values in order: uint8 arrays of `count` images or labels, the last with fewer.

        Raises:
          IdxFormatError: the file is shorter or longer than its header says.
        """
        total, *rest = self.shape
        item_bytes = math.prod(rest)
        for start in range(0, total, count):
            items = min(count, total - start)
            content = self._read(items * item_bytes)
            if len(content) < items * item_bytes:
                found = self._header_bytes + start * item_bytes + len(content)
                raise IdxFormatError(
                    f"{self.name} is truncated: it has {found} bytes; {self._expectation()}"
                )
            yield np.frombuffer(content, np.uint8).reshape(items, *rest)
        if self._read(1):
            raise IdxFormatError(f"{self.name} is too long: {self._expectation()}")

    def sha256(self) -> str:
        """The digest of the file as it is on disk; all blocks must have been read."""
        return self._source.digest.hexdigest()

    def unpacked_sha256(self) -> str:
        """The SHA-256 of the uncompressed file.

        Reads all blocks, and raises what `blocks` raises; no block may have been read before.
        """
        digest = hashlib.sha256(header(self.shape))
        for block in self.blocks():
            digest.update(block.data)
        return digest.hexdigest()

    def _expectation(self) -> str:
        return (
            f"expected {self._expected_bytes} bytes for the shape {_joined(self.shape)} in its "
            "header."
        )

    def _read_header(self, dimensions: int) -> tuple[int, ...]:
        content = self._read(4)
        if len(content) < 4:
            raise IdxFormatError(f"{self.name} has {len(content)} bytes, too few for an IDX file.")
        (magic,) = struct.unpack(">I", content)
        expected_magic = UNSIGNED_BYTE << 8 | dimensions
        if magic != expected_magic:
            raise IdxFormatError(
                f"{self.name} starts with the magic number 0x{magic:08x}; expected "
                f"0x{expected_magic:08x} (unsigned bytes, {dimensions} "
                f"dimension{'s' if dimensions > 1 else ''})."
            )
        content = self._read(4 * dimensions)
        if len(content) < 4 * dimensions:
            raise IdxFormatError(f"{self.name} ends within its header; download it again.")
        shape = struct.unpack(f">{dimensions}I", content)
        if 0 in shape[1:]:
            raise IdxFormatError(
                f"{self.name} has the shape {_joined(shape)} in its header: images without pixels; "
                "download it again."
            )
        if math.prod(shape[1:]) > MAX_IMAGE_BYTES:
            raise IdxFormatError(
                f"{self.name} has the shape {_joined(shape)} in its header; an image can have "
                f"{MAX_IMAGE_BYTES:,} pixels at most."
            )
        return shape

    def _read(self, size: int) -> bytearray:
        """The next bytes, fewer at the end; in parts, because the size in a header can be wrong."""
        content = bytearray()
        try:
            while block := self._file.read(min(size - len(content), _READ_BYTES)):
                content += block
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise IdxFormatError(
                f"{self.name} is not a complete gzip file ({error}); download it again."
            ) from error
        return content


def check_counts(images: IdxReader, labels: IdxReader) -> None:
    """Checks that an image file and a label file belong together.

    Raises:
      IdxFormatError: they have different numbers of images and labels, or none.
    """
    if images.shape[0] != labels.shape[0]:
        raise IdxFormatError(
            f"{images.name} contains {images.shape[0]} images, but {labels.name} contains "
            f"{labels.shape[0]} labels; take both files from the same source."
        )
    if not images.shape[0]:
        raise IdxFormatError(f"{images.name} contains no images; expected at least 1.")


class _HashedFile(io.RawIOBase):
    """A file whose bytes are hashed when they are read."""

    def __init__(self, file: BinaryIO):
        super().__init__()
        self._file = file
        self.digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        content = self._file.read(len(view))
        view[: len(content)] = content
        self.digest.update(content)
        return len(content)


def _joined(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape))


def header(shape: Sequence[int]) -> bytes:
    """The header of an IDX file of unsigned bytes."""
    return struct.pack(f">{1 + len(shape)}I", UNSIGNED_BYTE << 8 | len(shape), *shape)


def serialize(values: NDArray[np.uint8]) -> bytes:
    """The uncompressed IDX file of an array of unsigned bytes; `IdxReader` is the inverse."""
    return header(values.shape) + np.ascontiguousarray(values, np.uint8).tobytes()

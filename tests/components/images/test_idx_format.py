"""IDX files: the values that are read, and the message for each kind of damage."""

import errno
import gzip
import hashlib
import io
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from components.images import idx_format
from components.images.idx_format import IdxFormatError, IdxReader, ImagesAndLabels

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


def _parse(content: bytes, name: str = "file") -> np.ndarray:
    """The images of a file."""
    return IdxReader(io.BytesIO(content), 3, name).read()


def test_the_header_is_big_endian_and_the_values_follow_row_by_row() -> None:
    content = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, *range(24)])
    np.testing.assert_array_equal(_parse(content), IMAGES)
    assert idx_format.serialize(IMAGES) == content
    for file in (content, gzip.compress(content)):
        reader = IdxReader(io.BytesIO(file), 3, "file")
        assert reader.unpacked_sha256() == hashlib.sha256(content).hexdigest()


def test_the_whole_sample_is_read(digits: Path) -> None:
    pair = idx_format.read_pair(*idx_format.find_pair(digits, "train-*"))
    assert pair.images.shape == (600, 28, 28)
    assert pair.images.dtype == np.uint8
    assert (int(pair.images.min()), int(pair.images.max())) == (0, 255)
    assert np.bincount(pair.labels).tolist() == [59, 67, 60, 61, 58, 54, 59, 63, 59, 60]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x00\x00", "has 2 bytes, too few"),
        (struct.pack(">I", 0x00000D03), "magic number 0x00000d03; expected 0x00000803"),
        (struct.pack(">I", 0x00000801), "magic number 0x00000801; expected 0x00000803"),
        (struct.pack(">II", 0x00000803, 2), "ends within its header"),
        (idx_format.serialize(IMAGES)[:-1], "is truncated: it has 39 bytes; expected 40 .* 2x3x4"),
        (idx_format.serialize(IMAGES) + b"\x00", "is too long: expected 40 bytes .* 2x3x4"),
        (struct.pack(">4I", 0x00000803, 2**32 - 1, 28, 28), "truncated: it has 16 bytes"),
        (struct.pack(">4I", 0x00000803, 1, 2**32 - 1, 2**32 - 1), "65,536 pixels at most"),
        (struct.pack(">4I", 0x00000803, 2**32 - 1, 0, 2**32 - 1), "images without pixels"),
    ],
)
def test_damage_is_named(content: bytes, message: str) -> None:
    with pytest.raises(IdxFormatError, match=message):
        _parse(content)


def test_a_gzip_file_that_is_cut_or_corrupt_is_named(tmp_path: Path) -> None:
    whole = gzip.compress(idx_format.serialize(IMAGES))
    corrupt = bytearray(whole)
    corrupt[-6] ^= 0xFF  # in the checksum
    for name, content in (("cut", whole[:-9]), ("corrupt", bytes(corrupt))):
        path = tmp_path / name
        with pytest.raises(IdxFormatError, match=f"{name} is not a complete gzip file"):
            _parse(content, str(path))


def test_an_error_of_the_disk_is_not_called_damage(digits: Path) -> None:
    class BrokenDisk(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell():
                raise OSError(errno.EIO, "Input/output error")
            return super().read(20)

    path, _ = idx_format.find_pair(digits, "train-*")
    with pytest.raises(OSError, match="Input/output error"):
        IdxReader(BrokenDisk(path.read_bytes()), 3, "train").read()


def test_counts_that_differ_are_named(tmp_path: Path) -> None:
    (tmp_path / "images").write_bytes(idx_format.serialize(IMAGES))
    (tmp_path / "labels").write_bytes(idx_format.serialize(np.zeros(3, np.uint8)))
    with pytest.raises(IdxFormatError, match="2 images, but .* contains 3 labels"):
        idx_format.read_pair(tmp_path / "images", tmp_path / "labels")


def test_no_images_at_all_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "images").write_bytes(idx_format.serialize(np.zeros((0, 28, 28), np.uint8)))
    (tmp_path / "labels").write_bytes(idx_format.serialize(np.zeros(0, np.uint8)))
    with pytest.raises(IdxFormatError, match="contains no images; expected at least 1"):
        idx_format.read_pair(tmp_path / "images", tmp_path / "labels")


def test_a_missing_file_is_named_and_raw_is_taken_before_gzip(tmp_path: Path) -> None:
    for name in ("train-images-idx3-ubyte.gz", "train-images-idx3-ubyte"):
        (tmp_path / name).touch()
    with pytest.raises(IdxFormatError, match=r"contains no labels file named train-\*"):
        idx_format.find_pair(tmp_path, "train-*")
    (tmp_path / "train-labels-idx1-ubyte.gz").touch()
    images, labels = idx_format.find_pair(tmp_path, "train-*")
    assert (images.name, labels.name) == ("train-images-idx3-ubyte", "train-labels-idx1-ubyte.gz")


def test_the_blocks_are_the_file(digits: Path, train_digits: ImagesAndLabels) -> None:
    path, _ = idx_format.find_pair(digits, "train-*")
    with path.open("rb") as file:
        reader = IdxReader(file, 3, "train")
        blocks = list(reader.blocks(256))
        assert [len(block) for block in blocks] == [256, 256, 88]
        np.testing.assert_array_equal(np.concatenate(blocks), train_digits.images)
        assert reader.sha256() == hashlib.sha256(path.read_bytes()).hexdigest()


def test_blocks_take_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "images"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(struct.pack(">4I", 0x00000803, 100_000, 28, 28))
        for _ in range(100):
            file.write(bytes(784_000))
    tracemalloc.start()
    try:
        with path.open("rb") as file:
            assert sum(map(len, IdxReader(file, 3, "zeros").blocks(1000))) == 100_000
        assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (3, "bomb is too long: expected 2368 bytes"),
        (2**20, "bomb has the shape 1048576x28x28 in its header, more than 1 MiB"),
    ],
)
def test_a_gzip_bomb_takes_little_memory(
    monkeypatch: pytest.MonkeyPatch, images: int, message: str
) -> None:
    monkeypatch.setattr(idx_format, "MAX_UNPACKED_BYTES", 2**20)
    header = struct.pack(">4I", 0x00000803, images, 28, 28)
    bomb = gzip.compress(header + bytes(200 * 2**20), compresslevel=1)
    tracemalloc.start()
    try:
        with pytest.raises(IdxFormatError, match=message):
            _parse(bomb, "bomb")
        assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    finally:
        tracemalloc.stop()

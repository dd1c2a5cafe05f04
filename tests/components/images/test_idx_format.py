"""IDX files: the values that are read, and the message for each kind of damage."""

import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from components.images import idx_format
from components.images.idx_format import IdxFormatError

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


def test_the_header_is_big_endian_and_the_values_follow_row_by_row() -> None:
    content = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, *range(24)])
    np.testing.assert_array_equal(idx_format.parse(content, 3, "file"), IMAGES)
    assert idx_format.serialize(IMAGES) == content


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
        (idx_format.serialize(IMAGES) + b"\x00", "is too long: it has 41 bytes"),
        (struct.pack(">4I", 0x00000803, 2**32 - 1, 2**32 - 1, 2**32 - 1), "truncated"),
    ],
)
def test_damage_is_named(content: bytes, message: str) -> None:
    with pytest.raises(IdxFormatError, match=message):
        idx_format.parse(content, 3, "file")


def test_a_gzip_file_that_is_cut_or_corrupt_is_named(tmp_path: Path) -> None:
    whole = gzip.compress(idx_format.serialize(IMAGES))
    corrupt = bytearray(whole)
    corrupt[-6] ^= 0xFF  # in the checksum
    for name, content in (("cut", whole[:-9]), ("corrupt", bytes(corrupt))):
        path = tmp_path / name
        with pytest.raises(IdxFormatError, match=f"{name} is not a complete gzip file"):
            idx_format.parse_file(content, 3, str(path))


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


def test_a_gzip_bomb_takes_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idx_format, "MAX_UNPACKED_BYTES", 2**20)
    bomb = gzip.compress(bytes(200 * 2**20), compresslevel=1)
    tracemalloc.start()
    try:
        with pytest.raises(IdxFormatError, match="bomb unpacks to more than 1 MiB"):
            idx_format.parse_file(bomb, 3, "bomb")
        assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    finally:
        tracemalloc.stop()

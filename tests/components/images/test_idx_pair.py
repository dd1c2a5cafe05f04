"""Pairs of IDX files: the features of an example, the boundaries of the splits, damaged files."""

import hashlib
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.images import idx_format, idx_pair
from components.images.idx_format import IdxFormatError, IdxReader, ImagesAndLabels
from components.images.idx_pair import Part
from trainer import features


def test_an_example_contains_the_pixels_and_their_summary() -> None:
    images = np.zeros((2, 28, 28), np.uint8)
    images[1] = 10
    images[1, 0, :4] = [0, 255, 100, 19]
    labels = np.array([3, 7], np.uint8)
    pair = idx_format.ImagesAndLabels(images, labels)
    _, example = idx_pair.make_examples(pair)
    feature = example.features.feature
    assert feature[features.IMAGE].bytes_list.value[0] == images[1].tobytes()
    assert feature[features.LABEL].int64_list.value == [7]
    assert feature[features.INDEX].int64_list.value == [1]
    assert feature[features.IMAGE_HEIGHT_PX].int64_list.value == [28]
    assert feature[features.IMAGE_WIDTH_PX].int64_list.value == [28]
    assert feature[features.PIXEL_MIN].int64_list.value == [0]
    assert feature[features.PIXEL_MAX].int64_list.value == [255]
    mean = (780 * 10 + 0 + 255 + 100 + 19) / 784
    assert feature[features.PIXEL_MEAN].float_list.value[0] == pytest.approx(mean)


@pytest.mark.parametrize(("block", "per_file"), [(1, 1000), (256, 100), (1024, 75)])
def test_train_and_eval_share_a_pair_without_overlap(
    tmp_path: Path,
    digits: Path,
    train_digits: ImagesAndLabels,
    block: int,
    per_file: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    blocks = IdxReader.blocks
    monkeypatch.setattr(IdxReader, "blocks", lambda reader: blocks(reader, block))
    monkeypatch.setattr(idx_pair, "IMAGES_PER_FILE", per_file)
    splits = {"train": (0.0, 0.75), "eval": (0.75, 1.0)}
    parts = [Part(str(tmp_path / name), *shares) for name, shares in splits.items()]
    digests = idx_pair.ingest(str(digits), "train-*", parts)
    for name, expected in (("train", range(450)), ("eval", range(450, 600))):
        files = sorted((tmp_path / name).iterdir())
        count = -(-len(expected) // per_file)
        assert [path.name for path in files] == [
            f"data_tfrecord-{number:05d}-of-{count:05d}.gz" for number in range(count)
        ]
        records = list(tf.data.TFRecordDataset(list(map(str, files)), "GZIP").as_numpy_iterator())
        found = [tf.train.Example.FromString(record).features.feature for record in records]
        indices = [feature[features.INDEX].int64_list.value[0] for feature in found]
        assert indices == list(expected), "in the order of the pair"
        labels = [feature[features.LABEL].int64_list.value[0] for feature in found]
        assert labels == train_digits.labels[indices].tolist()
    names = [f"train-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1")]
    assert digests == {
        name: hashlib.sha256((digits / name).read_bytes()).hexdigest() for name in names
    }


def test_the_same_pair_gives_the_same_bytes(tmp_path: Path, digits: Path) -> None:
    for name in ("one", "other"):
        idx_pair.ingest(str(digits), "train-*", [Part(str(tmp_path / name), 0, 1)])
    (one,), (other,) = ((tmp_path / name).iterdir() for name in ("one", "other"))
    assert one.read_bytes() == other.read_bytes()


def test_files_of_an_earlier_attempt_are_removed(tmp_path: Path, digits: Path) -> None:
    folder = tmp_path / "Split-train"
    folder.mkdir()
    (folder / "data_tfrecord-00003-of-00004.gz").touch()
    idx_pair.ingest(str(digits), "train-*", [Part(str(folder), 0, 1)])
    assert [path.name for path in folder.iterdir()] == ["data_tfrecord-00000-of-00001.gz"]


def test_a_damaged_file_is_rejected_with_the_reason(tmp_path: Path, digits: Path) -> None:
    folder = Path(shutil.copytree(digits, tmp_path / "copy"))
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(idx_format.serialize(np.zeros(5, np.uint8)))
    with pytest.raises(IdxFormatError, match="600 images, but .* contains 5 labels"):
        idx_pair.ingest(str(folder), "train-*", [Part(str(tmp_path / "train"), 0, 1)])


def test_the_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    peaks = []
    for count in (4_000, 40_000):
        folder = tmp_path / str(count)
        folder.mkdir()
        for kind, shape in (("images-idx3", (count, 28, 28)), ("labels-idx1", (count,))):
            content = idx_format.serialize(np.zeros(shape, np.uint8))
            (folder / f"train-{kind}-ubyte").write_bytes(content)
        tracemalloc.start()
        idx_pair.ingest(str(folder), "train-*", [Part(str(folder / "train"), 0, 1)])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]

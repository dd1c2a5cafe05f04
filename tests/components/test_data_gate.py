"""The data gate with the real components: good digits pass, and bad data is rejected by name.

Each case runs the graph from the IDX files to AnomalyGate. The check for the defect rejects the
data, with one sentence; where the data has no other defect, no other check rejects it.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from apache_beam.options.pipeline_options import StandardOptions
from numpy.typing import NDArray
from scipy import ndimage
from tfx.dsl.compiler import compiler
from tfx.orchestration import metadata
from tfx.orchestration.beam.beam_dag_runner import BeamDagRunner
from tfx.proto.orchestration import pipeline_pb2

from components.anomaly_gate import AnomaliesFoundError
from components.images import idx_format
from components.images.idx_format import ImagesAndLabels
from pipeline.graph import dag
from pipeline.graph.beam import BEAM_OPTIONS, RUNNER
from pipeline.settings import pipeline_config

Pixels = NDArray[np.uint8]
Change = Callable[[Pixels, Pixels], tuple[Pixels, Pixels]]


def _validate(folder: Path, digits_config: Path, scratch: Path, *overrides: str) -> None:
    connection = metadata.sqlite_metadata_connection_config(str(scratch / "metadata.sqlite"))
    places = dag.Folders(str(folder), str(scratch / "artifacts"), str(scratch / "serving"))
    pipeline = dag.create_pipeline(
        pipeline_config.load(digits_config, overrides), places, [*BEAM_OPTIONS], connection
    )
    ir = compiler.Compiler().compile(pipeline)
    up_to_the_gate = pipeline_pb2.PartialRun(to_nodes=["AnomalyGate"])
    BeamDagRunner().run_with_ir(ir, pipeline_pb2.RunOptions(partial_run=up_to_the_gate))


def _blank_one(images: Pixels) -> Pixels:
    images = images.copy()
    images[17] = 0
    return images


def _crop(images: Pixels) -> Pixels:
    return images[:, 1:, :]


def _labelled_12(labels: Pixels) -> Pixels:
    return np.where(np.arange(len(labels)) == 5, 12, labels).astype(np.uint8)


def _broad(images: Pixels) -> Pixels:
    """Digits drawn with a broader pen."""
    return ndimage.maximum_filter(images, size=(1, 3, 3))  # type: ignore[no-any-return]


ONLY = True
CASES: dict[str, tuple[str, Change, str, bool]] = {
    "one blank image": (
        "train",
        lambda i, y: (_blank_one(i), y),
        "schema: train, pixel_max: .*small value: 0",
        ONLY,
    ),
    "inverted": (
        "t10k",
        lambda i, y: (255 - i, y),
        "schema: test, pixel_mean: .*high value: 2",
        not ONLY,
    ),
    "pixels from 0 to 1": (
        "train",
        lambda i, y: (i // 128, y),
        "schema: train, pixel_max: .*small value: 1",
        not ONLY,
    ),
    "another size": (
        "t10k",
        lambda i, y: (_crop(i), y),
        "schema: test, image_height_px: .*small value: 27",
        ONLY,
    ),
    "a label of 12": (
        "train",
        lambda i, y: (i, _labelled_12(y)),
        "schema: train, label: .*12",
        ONLY,
    ),
    "imbalanced": (
        "train",
        lambda i, y: (i[y != 4], y[y != 4]),
        "class balance: train, label: The Linfty distance between the split and the expected "
        r"shares is 0\.09.*maximum difference is: 4",
        ONLY,
    ),
    "skewed": (
        "t10k",
        lambda i, y: (_broad(i), y),
        "skew: test, pixel_mean: .* between the split and train is 0.[3-9]",
        ONLY,
    ),
    "shifted labels": (
        "t10k",
        lambda i, y: (i, np.roll(y, 1)),
        r"images and labels: test, label: 0.[01]\d* of the images are nearest to the mean image",
        ONLY,
    ),
}


@pytest.fixture(autouse=True)
def _runner(monkeypatch: pytest.MonkeyPatch) -> None:
    """BeamDagRunner's own job has no options."""
    monkeypatch.setattr(StandardOptions, "DEFAULT_RUNNER", RUNNER)


def _change(folder: Path, digits: Path, changes: dict[str, Change]) -> Path:
    """A copy of the digits with changed image and label pairs."""
    shutil.copytree(digits, folder)
    for prefix, change in changes.items():
        paths = idx_format.find_pair(folder, f"{prefix}-*")
        changed = ImagesAndLabels(*change(*idx_format.read_pair(*paths)))
        for path, values in zip(paths, changed, strict=True):
            path.write_bytes(idx_format.serialize(np.ascontiguousarray(values)))
    return folder


@pytest.mark.parametrize("case", CASES)
def test_bad_data_is_stopped_and_named(
    case: str, tmp_path: Path, digits: Path, digits_config: Path
) -> None:
    prefix, change, message, is_only = CASES[case]
    folder = _change(tmp_path / "data", digits, {prefix: change})
    with pytest.raises(AnomaliesFoundError, match=message) as stopped:
        _validate(folder, digits_config, tmp_path)
    if is_only:
        checks = {anomaly.check for anomaly in stopped.value.anomalies}
        assert checks == {message.partition(":")[0]}


def test_a_copy_of_a_training_image_in_the_test_split_is_stopped(
    tmp_path: Path, digits: Path, digits_config: Path, train_digits: ImagesAndLabels
) -> None:
    def duplicate(images: Pixels, labels: Pixels) -> tuple[Pixels, Pixels]:
        images, labels = images.copy(), labels.copy()
        images[40], labels[40] = train_digits.images[3], train_digits.labels[3]
        return images, labels

    folder = _change(tmp_path / "data", digits, {"t10k": duplicate})
    expected = (
        r"1 anomaly: images and labels: test, image: 1 duplicate of a training image "
        r"\(index 40\); the limit is 0"
    )
    with pytest.raises(Exception, match=expected):
        _validate(folder, digits_config, tmp_path)


def test_good_digits_pass_and_drifted_ones_are_stopped_after_them(
    tmp_path: Path, digits: Path, digits_config: Path
) -> None:
    """Every digit is drawn with a broader pen, which is no anomaly by itself."""
    _validate(digits, digits_config, tmp_path)
    change: Change = lambda images, labels: (_broad(images), labels)  # noqa: E731
    broad = _change(tmp_path / "data", digits, {"train": change, "t10k": change})
    _validate(broad, digits_config, tmp_path / "elsewhere")
    with pytest.raises(Exception, match="drift: ") as stopped:
        _validate(broad, digits_config, tmp_path)
    message = str(stopped.value)
    assert "the data has 3 anomalies: " in message
    for split in ("train", "eval", "test"):
        assert f"drift: {split}, pixel_mean: " in message
    assert "to accept an intended change once, set validation.max_drift=report" in message
    _validate(broad, digits_config, tmp_path, "validation.max_drift=report")
    _validate(broad, digits_config, tmp_path)  # the change was meant, and is the new normal

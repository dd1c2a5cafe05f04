"""The data gate, with the real components: good digits pass, and each kind of bad data is named.

Each case runs the graph from the IDX files up to and including AnomalyGate.
"""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tfx.dsl.compiler import compiler
from tfx.orchestration import metadata
from tfx.orchestration.beam.beam_dag_runner import BeamDagRunner
from tfx.proto.orchestration import pipeline_pb2

from components import idx_format
from components.idx_format import ImagesAndLabels
from pipeline import config, graph
from pipeline.runners.local import BEAM_RUNNER

Pixels = NDArray[np.uint8]
Change = Callable[[Pixels, Pixels], tuple[Pixels, Pixels]]


def _validate(folder: Path, digits_config: Path, scratch: Path) -> None:
    connection = metadata.sqlite_metadata_connection_config(str(scratch / "metadata.sqlite"))
    places = graph.Places(str(folder), str(scratch / "artifacts"), str(scratch / "serving"))
    pipeline = graph.create_pipeline(config.load(digits_config), places, [BEAM_RUNNER], connection)
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


CASES: dict[str, tuple[str, Change, str]] = {
    "one blank image": (
        "train",
        lambda i, y: (_blank_one(i), y),
        "train, pixel_max: .*small value: 0",
    ),
    "inverted": ("t10k", lambda i, y: (255 - i, y), "test, pixel_mean: .*high value: 2"),
    "pixels from 0 to 1": ("train", lambda i, y: (i // 128, y), "pixel_max: .*small value: 1"),
    "another size": (
        "t10k",
        lambda i, y: (_crop(i), y),
        "test, image_height_px: .*small value: 27",
    ),
    "a label of 12": ("train", lambda i, y: (i, _labelled_12(y)), "train, label: .*12"),
    "another class balance": (
        "train",
        lambda i, y: (i[y != 4], y[y != 4]),
        r"train, label: The Linfty distance .* is 0\.09.*maximum difference is: 4",
    ),
}


@pytest.fixture(autouse=True)
def _beam_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """BeamDagRunner takes its own job's options from the command line."""
    monkeypatch.setattr(sys, "argv", [sys.argv[0], BEAM_RUNNER])


def test_good_digits_pass(tmp_path: Path, digits: Path, digits_config: Path) -> None:
    _validate(digits, digits_config, tmp_path)


@pytest.mark.parametrize("case", CASES)
def test_bad_data_is_stopped_and_named(
    case: str, tmp_path: Path, digits: Path, digits_config: Path
) -> None:
    prefix, change, message = CASES[case]
    folder = Path(shutil.copytree(digits, tmp_path / "data"))
    paths = idx_format.find_pair(folder, f"{prefix}-*")
    changed = ImagesAndLabels(*change(*idx_format.read_pair(*paths)))
    for path, values in zip(paths, changed, strict=True):
        path.write_bytes(idx_format.serialize(np.ascontiguousarray(values)))
    with pytest.raises(Exception, match=message):
        _validate(folder, digits_config, tmp_path)

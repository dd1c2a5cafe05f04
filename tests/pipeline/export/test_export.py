"""A pushed model in other formats gives the same answers."""

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from doubles import saved_models
from rich.console import Console

from components.images.idx_format import ImagesAndLabels
from pipeline.export import session, writers
from pipeline.export.format import Format
from pipeline.runs.workspace import Workspace
from pipeline.settings.errors import ConfigError, PipelineError


@pytest.fixture
def workspace(tmp_path: Path, exported_model: Path) -> Workspace:
    shutil.copytree(exported_model, tmp_path / "serving_model" / "mnist" / "7")
    return Workspace(tmp_path)


def _export(
    workspace: Workspace,
    target: Format,
    output: Path | None,
    data: Path | None,
    version: int | None,
) -> Path:
    return session.run(workspace, "mnist", version, target, output, data, Console())


@pytest.mark.parametrize("target", Format)
def test_the_answers_are_those_of_the_model(
    workspace: Workspace,
    exported_model: Path,
    digits: Path,
    test_digits: ImagesAndLabels,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    target: Format,
) -> None:
    """Read back from the file, for one image and for a batch."""
    file = _export(workspace, target, tmp_path / "new" / f"m{writers.suffix(target)}", digits, None)
    printed = capsys.readouterr().out
    difference = re.search(
        r"300 test images: the largest difference of a probability is (\S+)", printed
    )
    assert difference and float(difference[1]) <= session.TOLERANCE
    run = writers._WRITERS[target].load(file)
    expected = writers.saved_model(exported_model)(test_digits.images)
    assert np.ptp(expected[:, 0]) > 0, "the answer depends on the image"
    np.testing.assert_allclose(run(test_digits.images), expected, atol=1e-5)
    np.testing.assert_allclose(run(test_digits.images[:1]), expected[:1], atol=1e-5)
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_average_pooling_is_exported_as_such(
    tmp_path: Path, transform_graph: str, test_digits: ImagesAndLabels
) -> None:
    saved_models.export(tmp_path / "average", transform_graph, seed=3, pooling="average")
    expected = writers.saved_model(tmp_path / "average")(test_digits.images[:20])
    run = writers.export(tmp_path / "average", Format.KERAS, tmp_path / "m.keras")
    np.testing.assert_allclose(run(test_digits.images[:20]), expected, atol=1e-5)


def test_the_default_file_is_named_after_the_version(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert _export(workspace, Format.ONNX, None, None, 7) == Path("mnist-7.onnx")
    assert Path("mnist-7.onnx").stat().st_size > 5_000_000


def test_other_answers_are_an_error(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, digits: Path
) -> None:
    saved_model = writers.saved_model
    monkeypatch.setattr(
        writers, "saved_model", lambda model: lambda images: saved_model(model)(images) + 0.01
    )
    with pytest.raises(PipelineError, match=r"a probability differs by 0\.01\d* from that of"):
        _export(workspace, Format.KERAS, tmp_path / "m.keras", digits, 7)


def test_an_unknown_version_is_named(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="contains no version 8; `mnist-tfx models"):
        _export(workspace, Format.ONNX, tmp_path / "m.onnx", None, 8)
    with pytest.raises(PipelineError, match="contains no pushed model mnist; run `mnist-tfx run`"):
        _export(Workspace(tmp_path / "empty"), Format.ONNX, tmp_path / "m.onnx", None, None)


def test_a_file_below_a_file_is_one_sentence(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "README.md").touch()
    with pytest.raises(PipelineError, match=r"cannot write .*m\.keras \(.+\)\.$"):
        _export(workspace, Format.KERAS, tmp_path / "README.md" / "m.keras", None, None)


def test_another_suffix_is_a_mistake(workspace: Workspace, tmp_path: Path) -> None:
    for target in Format:
        with pytest.raises(ConfigError, match=r"m\.bin: expected the name of a \.\w+ file"):
            _export(workspace, target, tmp_path / "m.bin", None, None)
    assert not (tmp_path / "m.bin").exists()


def test_a_missing_package_is_named(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(PipelineError, match=r"requires the package tf2onnx; install mnist-tfx\["):
        _export(workspace, Format.ONNX, tmp_path / "m.onnx", None, None)
    assert not (tmp_path / "m.onnx").exists()

"""The versions in a folder: which of them are served; other files are ignored."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import prediction_log_pb2

from serving import warm_up_file
from serving.errors import ModelLoadError, ModelNotFoundError
from serving.server.models.model_config import ModelConfig, VersionPolicy
from serving.server.models.saved_model import load
from serving.server.models.versions import LoadOptions, Versions, VersionState
from trainer import features

IMAGES = {features.IMAGES: np.zeros((1, 28, 28), np.uint8)}


@pytest.fixture
def folder(tmp_path: Path, exported_model: Path) -> Path:
    shutil.copytree(exported_model, tmp_path / "mnist" / "7")
    return tmp_path / "mnist"


def _versions(folder: Path, policy: VersionPolicy | None = None, **options: Any) -> Versions:
    config = ModelConfig("mnist", folder, policy or VersionPolicy())
    return Versions(config, LoadOptions(**options))


def _states(versions: Versions) -> dict[int, VersionState]:
    return {status.version: status.state for status in versions.statuses()}


def test_the_server_waits_for_a_missing_folder(tmp_path: Path, exported_model: Path) -> None:
    versions = _versions(tmp_path / "later")
    versions.refresh()
    message = r"Servable not found for request: Latest\(mnist\)"
    with pytest.raises(ModelNotFoundError, match=message), versions.use():
        pass
    shutil.copytree(exported_model, tmp_path / "later" / "1")
    versions.refresh()
    assert versions.available == [1]


def test_a_new_version_takes_over_and_requests_in_flight_finish(
    folder: Path, exported_model: Path
) -> None:
    versions = _versions(folder)
    versions.refresh()
    with versions.use() as old:
        assert old.version == 7
        shutil.copytree(exported_model, folder / "8")
        versions.refresh()
        with versions.use() as new:
            assert new.version == 8
        assert _states(versions) == {8: VersionState.AVAILABLE, 7: VersionState.UNLOADING}
        with pytest.raises(ModelNotFoundError, match=r"Specific\(mnist, 7\)"), versions.use(7):
            pass
        outputs = old.signatures[features.PREDICT_IMAGES].run(IMAGES)
        assert outputs[features.PROBABILITIES].shape == (1, 10)
    assert _states(versions)[7] is VersionState.END
    assert not old.signatures, "it is unloaded when the last request is done"


def test_a_number_that_is_too_large_for_a_version_is_ignored_with_one_warning(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as a time stamp in microseconds with 20 digits."""
    shutil.copytree(folder / "7", folder / str(2**63))
    (folder / ("9" * 200)).mkdir()
    versions = _versions(folder)
    for _ in range(3):
        versions.refresh()
    assert _states(versions) == {7: VersionState.AVAILABLE}
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 2
    expected = f"ignoring the folder {folder / str(2**63)}: a version is a number below 2^63"
    assert any(expected in warning for warning in warnings)


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        (VersionPolicy(), [9]),
        (VersionPolicy(latest=2), [8, 9]),
        (VersionPolicy(latest=None), [7, 8, 9]),
        (VersionPolicy(latest=None, specific=frozenset({7, 9, 12})), [7, 9]),
    ],
)
def test_the_policy_selects_the_versions(
    folder: Path, exported_model: Path, policy: VersionPolicy, served: list[int]
) -> None:
    for version in (8, 9):
        shutil.copytree(exported_model, folder / str(version))
    versions = _versions(folder, policy)
    versions.refresh()
    assert versions.available == served


def test_a_broken_version_is_reported_and_the_previous_one_still_answers(folder: Path) -> None:
    versions = _versions(folder)
    versions.refresh()
    (folder / "9").mkdir()
    (folder / "9" / "saved_model.pb").write_bytes(b"not a model")
    versions.refresh()
    assert versions.available == [7]
    (broken, good) = versions.statuses()
    assert (broken.version, broken.state) == (9, VersionState.END)
    assert "version 9 at" in broken.error
    assert good.state is VersionState.AVAILABLE


def test_a_warm_up_file_that_cannot_be_read_is_reported(folder: Path, exported_model: Path) -> None:
    shutil.copytree(exported_model, folder / "9")
    (folder / "9" / warm_up_file.PATH).unlink(missing_ok=True)
    (folder / "9" / warm_up_file.PATH).mkdir(parents=True)
    versions = _versions(folder)
    versions.refresh()
    assert versions.available == [7]
    (broken, _) = versions.statuses()
    assert (broken.version, broken.state) == (9, VersionState.END)
    assert "Is a directory" in broken.error


def test_a_warm_up_request_that_numpy_cannot_represent_is_reported(
    folder: Path, exported_model: Path
) -> None:
    shutil.copytree(exported_model, folder / "9")
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.signature_name = features.PREDICT_IMAGES
    tensor = request.inputs[features.IMAGES]
    tensor.dtype = types_pb2.DT_UINT8
    for _ in range(65):  # NumPy's arrays have at most 64 dimensions
        tensor.tensor_shape.dim.add(size=1)
    warm_up_file.write(folder / "9" / warm_up_file.PATH, [log])
    versions = _versions(folder)
    versions.refresh()
    assert versions.available == [7]
    assert "the warm-up file" in versions.statuses()[0].error


def test_at_the_start_the_newest_that_loads_is_served(folder: Path) -> None:
    (folder / "9").mkdir()
    versions = _versions(folder)
    versions.refresh()
    assert versions.available == [7]


def test_a_version_that_was_completed_is_loaded_at_once(folder: Path, exported_model: Path) -> None:
    """A slow copy of a version into its place."""
    (folder / "9").mkdir()
    versions = _versions(folder, retry_interval_s=3600)
    versions.refresh()
    assert versions.available == [7]
    shutil.copytree(exported_model, folder / "9", dirs_exist_ok=True)
    versions.refresh()
    assert versions.available == [9]
    assert versions.statuses()[0].error == ""


def test_a_permanent_failure_is_retried_a_few_times(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []
    monkeypatch.setattr(
        "serving.server.models.versions.load",
        lambda path, version, *_: tries.append(version) or load(path, version),  # type: ignore[func-returns-value]
    )
    (folder / "9").mkdir()
    versions = _versions(folder, max_retries=2, retry_interval_s=0)
    for _ in range(6):
        versions.refresh()
    assert tries.count(9) == 3
    assert tries.count(7) == 1
    tries.clear()
    versions = _versions(folder, max_retries=2, retry_interval_s=3600)
    for _ in range(6):
        versions.refresh()
    assert tries.count(9) == 1, "not before it is due"


def test_names_that_are_not_numbers_are_no_versions(folder: Path, exported_model: Path) -> None:
    for name in (".staging-1", ".withdrawn-9", "8.tmp", "-9", "latest"):
        shutil.copytree(exported_model, folder / name)
    (folder / "10").touch()
    versions = _versions(folder)
    versions.refresh()
    assert list(_states(versions)) == [7]


def test_leading_zeros_are_part_of_a_number(folder: Path, exported_model: Path) -> None:
    shutil.copytree(exported_model, folder / "00008")
    versions = _versions(folder)
    versions.refresh()
    assert versions.available == [8]


def test_a_removed_version_is_unloaded_and_can_return(folder: Path, exported_model: Path) -> None:
    versions = _versions(folder)
    versions.refresh()
    shutil.rmtree(folder / "7")
    versions.refresh()
    assert _states(versions) == {7: VersionState.END}
    with pytest.raises(ModelNotFoundError), versions.use():
        pass
    shutil.copytree(exported_model, folder / "7")
    versions.refresh()
    assert _states(versions) == {7: VersionState.AVAILABLE}


def test_a_folder_that_is_briefly_missing_unloads_nothing(folder: Path) -> None:
    versions = _versions(folder)
    versions.refresh()
    away = folder.rename(folder.with_name("away"))
    versions.refresh()
    assert versions.available == [7]
    away.rename(folder)
    versions.refresh()
    assert versions.available == [7]


@pytest.mark.parametrize("size", [0, 1000, 1_000_000])
def test_half_a_model_does_not_load(folder: Path, size: int) -> None:
    (weights,) = (folder / "7" / "variables").glob("*.data-*")
    os.truncate(weights, size)
    with pytest.raises(ModelLoadError, match="version 7 at"):
        load(folder / "7", 7)


def test_a_flipped_bit_in_the_weights_does_not_load(folder: Path) -> None:
    (weights,) = (folder / "7" / "variables").glob("*.data-*")
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ModelLoadError, match="version 7 at"):
        load(folder / "7", 7)


def test_a_damaged_warm_up_file_is_a_load_error(folder: Path) -> None:
    path = folder / "7" / warm_up_file.PATH
    path.parent.mkdir()
    path.write_bytes(b"no TFRecord file, but long enough to be read as one")
    versions = _versions(folder)
    versions.refresh()
    assert versions.available == []
    (status,) = versions.statuses()
    assert "the warm-up file" in status.error
    without = _versions(folder, warm_up=False)
    without.refresh()
    assert without.available == [7]

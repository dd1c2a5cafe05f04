"""The versions in a folder: the newest that loads is served, whatever else lies there."""

import shutil
from pathlib import Path

import pytest
import tensorflow as tf
from serving.model_store import ModelStore, VersionState, load

from serving.errors import ModelLoadError, ModelNotFoundError
from trainer import features


@pytest.fixture
def folder(tmp_path: Path, exported_model: Path) -> Path:
    shutil.copytree(exported_model, tmp_path / "mnist" / "7")
    return tmp_path / "mnist"


def _states(store: ModelStore) -> dict[int, VersionState]:
    return {status.version: status.state for status in store.statuses()}


def test_a_folder_that_is_not_there_yet_is_waited_for(tmp_path: Path, exported_model: Path) -> None:
    store = ModelStore("mnist", tmp_path / "later")
    store.refresh()
    with pytest.raises(
        ModelNotFoundError, match=r"Servable not found for request: Latest\(mnist\)"
    ):
        store.get()
    shutil.copytree(exported_model, tmp_path / "later" / "1")
    store.refresh()
    assert store.get().version == 1


def test_a_new_version_takes_over_and_the_old_one_ends(folder: Path, exported_model: Path) -> None:
    store = ModelStore("mnist", folder)
    store.refresh()
    old = store.get()
    shutil.copytree(exported_model, folder / "8")
    store.refresh()
    assert store.get().version == 8
    assert _states(store) == {8: VersionState.AVAILABLE, 7: VersionState.END}
    with pytest.raises(ModelNotFoundError, match=r"Specific\(mnist, 7\)"):
        store.get(7)
    images = tf.zeros((1, 28, 28), tf.uint8)
    assert old.functions[features.PREDICT_IMAGES](images=images), "requests in flight can finish"


def test_a_broken_version_is_reported_and_the_old_one_goes_on(folder: Path) -> None:
    store = ModelStore("mnist", folder, retry_interval_s=3600)
    store.refresh()
    (folder / "9").mkdir()
    (folder / "9" / "saved_model.pb").write_bytes(b"not a model")
    store.refresh()
    assert store.get().version == 7
    (broken, good) = store.statuses()
    assert (broken.version, broken.state) == (9, VersionState.END)
    assert "version 9 at" in broken.error
    assert good.state == VersionState.AVAILABLE


def test_a_broken_version_is_tried_again_when_it_is_due(folder: Path, exported_model: Path) -> None:
    store = ModelStore("mnist", folder, retry_interval_s=0)
    (folder / "9").mkdir()
    store.refresh()
    assert store.get().version == 7
    shutil.copytree(exported_model, folder / "9", dirs_exist_ok=True)
    store.refresh()
    assert store.get().version == 9
    assert store.statuses()[0].error == ""


def test_names_that_are_not_numbers_are_no_versions(folder: Path, exported_model: Path) -> None:
    for name in (".staging-1", "8.tmp", "-9", "latest"):
        shutil.copytree(exported_model, folder / name)
    (folder / "10").touch()
    store = ModelStore("mnist", folder)
    store.refresh()
    assert list(_states(store)) == [7]


def test_a_version_that_is_removed_is_let_go(folder: Path) -> None:
    store = ModelStore("mnist", folder)
    store.refresh()
    shutil.rmtree(folder / "7")
    store.refresh()
    assert store.statuses() == []
    with pytest.raises(ModelNotFoundError):
        store.get()


def test_half_a_model_does_not_load(folder: Path) -> None:
    (weights,) = (folder / "7" / "variables").glob("*.data-*")
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelLoadError, match="version 7 at"):
        load(folder / "7", 7)

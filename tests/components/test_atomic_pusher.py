"""The push is complete or absent, and its version is always the newest for a server."""

import shutil
import threading
import time
from pathlib import Path

import pytest
from google.protobuf import json_format
from tfx.proto import pusher_pb2
from tfx.types import standard_artifacts

from components import atomic_pusher
from components.names import artifact_properties as properties
from serving import version_folders


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "variables.data").write_bytes(b"weights" * 1000)
    return folder


def _push(model: Path, base_directory: Path) -> Path:
    return Path(atomic_pusher.push(str(model), str(base_directory)))


def _content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_version_is_the_time_and_the_content_is_the_models(tmp_path: Path, model: Path) -> None:
    before = int(time.time())
    version = _push(model, tmp_path / "serving")
    assert before <= int(version.name) <= time.time()
    assert _content(version) == _content(model)
    assert [path.name for path in (tmp_path / "serving").iterdir()] == [version.name]


def test_a_slow_clock_does_not_hide_the_new_version(tmp_path: Path, model: Path) -> None:
    (tmp_path / "serving" / "99999999999").mkdir(parents=True)
    assert _push(model, tmp_path / "serving").name == "100000000000"


def test_a_failed_copy_leaves_no_file(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = _push(model, tmp_path / "serving")

    def full_disk(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic_pusher, "_flush", full_disk)
    with pytest.raises(OSError, match="No space left"):
        _push(model, tmp_path / "serving")
    assert list((tmp_path / "serving").iterdir()) == [served]
    assert _content(served) == _content(model)


def test_readers_see_complete_versions_only(tmp_path: Path, model: Path) -> None:
    serving = tmp_path / "serving"
    serving.mkdir()
    expected = _content(model)
    partial: list[int] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            for version, folder in version_folders.find(serving).items():
                if _content(folder) != expected:
                    partial.append(version)

    watcher = threading.Thread(target=look)
    watcher.start()
    pushed = [_push(model, serving).name for _ in range(20)]
    done.set()
    watcher.join()
    assert len(set(pushed)) == 20
    assert partial == []


def test_the_number_of_a_withheld_version_is_not_reused(tmp_path: Path, model: Path) -> None:
    serving = tmp_path / "serving"
    (serving / "1").mkdir(parents=True)
    (serving / "99999999999").mkdir()
    version_folders.serve(serving, 1)
    assert _push(model, serving).name == "100000000000"


def test_old_versions_are_removed(tmp_path: Path, model: Path) -> None:
    serving = tmp_path / "serving"
    pushed = [_push(model, serving).name for _ in range(4)]
    atomic_pusher.prune(str(serving), 2)
    assert sorted(path.name for path in serving.iterdir()) == pushed[2:]
    assert _content(serving / pushed[3]) == _content(model)


def test_a_push_that_was_killed_after_the_rename_is_adopted(tmp_path: Path, model: Path) -> None:
    serving = tmp_path / "serving"
    killed = _push(model, serving)
    pushed = _execute(tmp_path, model, serving)
    assert [path.name for path in serving.iterdir()] == [killed.name]
    assert pushed.get_int_custom_property(properties.PUSHED) == 1
    assert pushed.get_int_custom_property(properties.ADOPTED) == 1
    assert pushed.get_string_custom_property(properties.PUSHED_DESTINATION) == str(killed)
    assert pushed.get_string_custom_property(properties.PUSHED_VERSION) == killed.name
    digest = pushed.get_string_custom_property(properties.PUSHED_DIGEST)
    assert digest == version_folders.digest(model)


def test_another_model_is_not_adopted(tmp_path: Path, model: Path) -> None:
    serving = tmp_path / "serving"
    served = _push(model, serving)
    (model / "variables" / "variables.data").write_bytes(b"others")
    pushed = _execute(tmp_path, model, serving)
    assert pushed.get_int_custom_property(properties.ADOPTED) == 0
    new = Path(pushed.get_string_custom_property(properties.PUSHED_DESTINATION))
    assert int(new.name) > int(served.name)
    assert _content(new) == _content(model)


def _execute(tmp_path: Path, saved_model: Path, serving: Path) -> standard_artifacts.PushedModel:
    """Runs the executor on a blessed model."""
    model, blessing = standard_artifacts.Model(), standard_artifacts.ModelBlessing()
    model.uri, model.id = str(tmp_path / "artifact"), 3
    shutil.copytree(saved_model, tmp_path / "artifact" / "Format-Serving")
    blessing.set_int_custom_property("blessed", 1)
    pushed = standard_artifacts.PushedModel()
    pushed.uri = str(tmp_path / "pushed")
    destination = pusher_pb2.PushDestination()
    destination.filesystem.base_directory = str(serving)
    executor = atomic_pusher.Executor()
    executor.Do(
        {"model": [model], "model_blessing": [blessing]},
        {"pushed_model": [pushed]},
        {"push_destination": json_format.MessageToJson(destination)},
    )
    return pushed

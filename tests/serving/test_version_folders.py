"""The newest version; newer ones set aside, restored, and removed."""

from pathlib import Path

import pytest

from serving import version_folders


@pytest.fixture
def base(tmp_path: Path) -> Path:
    for version in (1, 2, 3, 4):
        (tmp_path / str(version)).mkdir()
        (tmp_path / str(version) / "saved_model.pb").touch()
    (tmp_path / ".staging-5").mkdir()
    return tmp_path


def _served(base: Path) -> list[int]:
    return list(version_folders.find(base))


def test_newer_versions_are_withheld_and_restored(base: Path) -> None:
    version_folders.serve(base, 2)
    assert _served(base) == [1, 2]
    assert list(version_folders.find_withdrawn(base)) == [3, 4]
    version_folders.serve(base, 4)
    assert _served(base) == [1, 2, 4]
    version_folders.serve(base, 3)
    assert _served(base) == [1, 2, 3]
    version_folders.serve(base, 3)
    assert _served(base) == [1, 2, 3]
    assert (base / ".withdrawn-4" / "saved_model.pb").exists()
    with pytest.raises(KeyError):
        version_folders.serve(base, 9)


def test_the_newest_version_is_always_the_old_or_the_new_one(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server can look between any two changes."""
    newest = []
    rename = Path.rename

    def watched(self: Path, target: Path) -> Path:
        newest.append(max(_served(base)))
        renamed = rename(self, target)
        newest.append(max(_served(base)))
        return renamed

    monkeypatch.setattr(Path, "rename", watched)
    for version, seen in ((1, {4, 1}), (3, {1, 3}), (2, {3, 2}), (4, {2, 4})):
        newest.clear()
        version_folders.serve(base, version)
        assert set(newest) == seen
        assert newest[-1] == version


def test_the_newest_are_kept_and_what_is_served_stays(base: Path) -> None:
    assert version_folders.prune(base, 3) == [1]
    assert _served(base) == [2, 3, 4]
    version_folders.serve(base, 2)
    assert version_folders.prune(base, 1) == [3], "4 is the newest, 2 is served"
    assert _served(base) == [2]
    assert list(version_folders.find_withdrawn(base)) == [4]
    assert {path.name for path in base.iterdir()} == {"2", ".withdrawn-4", ".staging-5"}

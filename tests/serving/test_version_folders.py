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


def test_the_model_cards_of_a_removed_version_are_removed(base: Path) -> None:
    versions = list(version_folders.find(base))
    folder = version_folders.cards_folder(base)
    folder.mkdir()
    for version in versions:
        for suffix in ("md", "html"):
            (folder / f"{version}.{suffix}").touch()
    removed = version_folders.prune(base, keep=1)
    assert removed == versions[:-1]
    left = {path.stem for path in folder.iterdir()}
    assert left == {str(versions[-1])}
    assert list(version_folders.find(base)) == versions[-1:], "cards are no version"


def test_what_a_killed_process_left_is_removed(base: Path) -> None:
    (base / ".removing-7" / "variables").mkdir(parents=True)
    version_folders.serve(base, 3)
    assert set(version_folders.sweep(base)) == {base / ".staging-5", base / ".removing-7"}
    assert {path.name for path in base.iterdir()} == {"1", "2", "3", ".withdrawn-4"}


def test_a_version_that_is_set_aside_is_not_served(base: Path) -> None:
    new = version_folders.set_aside(base / "4")
    assert _served(base) == [1, 2, 3]
    assert (new / "saved_model.pb").exists()
    assert version_folders.sweep(base) == [base / ".staging-5"]
    assert version_folders.find_damaged(base) == [new]


@pytest.mark.parametrize("name", ["2", ".withdrawn-4"])
def test_a_damaged_version_is_replaced_by_a_copy(base: Path, tmp_path: Path, name: str) -> None:
    version_folders.serve(base, 3)
    copy = tmp_path / "copy"
    (copy / "variables").mkdir(parents=True)
    before = {path.name for path in base.iterdir()}
    version_folders.restore(base / name, copy)
    (damaged,) = version_folders.find_damaged(base)
    assert (damaged / "saved_model.pb").exists()
    assert [path.name for path in (base / name).iterdir()] == ["variables"]
    assert {path.name for path in base.iterdir()} == {*before, damaged.name}


def test_the_digest_covers_names_and_contents(tmp_path: Path) -> None:
    digests = set()
    for number, files in enumerate(({"a": b"1"}, {"a": b"2"}, {"b": b"1"}, {"a": b"1", "b": b""})):
        for copy in ("first", "second"):
            folder = tmp_path / f"{copy}-{number}" / "variables"
            folder.mkdir(parents=True)
            for name, content in files.items():
                (folder / name).write_bytes(content)
        found = version_folders.digest(tmp_path / f"first-{number}")
        assert found == version_folders.digest(tmp_path / f"second-{number}")
        assert len(found) == len("sha256:") + 64
        digests.add(found)
    assert len(digests) == 4

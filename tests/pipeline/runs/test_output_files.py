"""The digests of output files; test_damage.py damages the files of a real run."""

import shutil
from pathlib import Path

import pytest
from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipeline.runs import output_files


@pytest.fixture
def artifact(tmp_path: Path) -> mlmd.Artifact:
    """A recorded artifact with the files `a` and `b/c`."""
    folder = tmp_path / "artifact"
    (folder / "b").mkdir(parents=True)
    (folder / "a").write_bytes(b"1")
    (folder / "b" / "c").write_bytes(b"2")
    config = mlmd.ConnectionConfig()
    config.fake_database.SetInParent()
    store = MetadataStore(config)
    type_id = store.put_artifact_type(mlmd.ArtifactType(name="Any"))
    (artifact_id,) = store.put_artifacts([mlmd.Artifact(type_id=type_id, uri=str(folder))])
    assert not output_files.is_recorded(store.get_artifacts_by_id([artifact_id])[0])
    output_files.record(store, store.get_artifacts_by_id([artifact_id]))
    (found,) = store.get_artifacts_by_id([artifact_id])
    assert output_files.is_recorded(found)
    return found


def test_changed_and_missing_files_are_found(artifact: mlmd.Artifact) -> None:
    folder = Path(artifact.uri)
    (folder / "new").touch()
    assert output_files.find_damaged(artifact) == []
    (folder / "a").write_bytes(b"x")
    (folder / "b" / "c").unlink()
    found = [str(file) for file in output_files.find_damaged(artifact)]
    assert found == [f"{folder}/a was changed", f"{folder}/b/c is missing"]


def test_a_deleted_folder_is_no_damage_and_a_file_in_its_place_is(artifact: mlmd.Artifact) -> None:
    folder = Path(artifact.uri)
    shutil.rmtree(folder)
    assert output_files.find_damaged(artifact) == []
    folder.write_bytes(b"")
    assert [file.reason for file in output_files.find_damaged(artifact)] == ["is missing"] * 2

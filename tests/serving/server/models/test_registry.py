"""The list of models is replaced as a whole, or not at all."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from serving import version_folders
from serving.errors import ModelLoadError
from serving.server.models.model_config import ModelConfig
from serving.server.models.registry import ModelRegistry
from serving.server.models.versions import LoadOptions, Versions


def test_a_folder_that_cannot_be_read_changes_nothing_and_leaves_nothing_loaded(
    tmp_path: Path, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("kept", "new"):
        shutil.copytree(toy_model, tmp_path / name / "1")
    kept = ModelConfig("kept", tmp_path / "kept")
    models = ModelRegistry([], LoadOptions())
    models.reload([kept])
    closed: list[str] = []
    find, close = version_folders.find, Versions.close

    def deny(folder: Path) -> Any:
        if folder.name == "kept":
            raise PermissionError(13, "Permission denied", str(folder))
        return find(folder)

    def record(self: Versions) -> None:
        closed.append(self.config.name)
        close(self)

    monkeypatch.setattr(version_folders, "find", deny)
    monkeypatch.setattr(Versions, "close", record)
    with pytest.raises(ModelLoadError, match="cannot read the folder of a model: .*Permission"):
        models.reload([ModelConfig("new", tmp_path / "new"), kept])
    assert closed == ["new"]
    assert models.names == ["kept"]
    assert models.is_ready

"""The folders of spans: which ones exist, and the newest version of each."""

import shutil
from pathlib import Path

import pytest

from pipeline.local import span_folders
from pipeline.settings.errors import ConfigError, DataError


def test_a_span_is_the_newest_version_of_its_number(tmp_path: Path) -> None:
    for name in ("span-2/version-1", "span-2/version-10", "span-10/version-1", "span-x/version-1"):
        (tmp_path / name).mkdir(parents=True)
    found = span_folders.spans(tmp_path, "span-{SPAN}/version-{VERSION}")
    assert {number: path.relative_to(tmp_path).as_posix() for number, path in found.items()} == {
        2: "span-2/version-10",
        10: "span-10/version-1",
    }
    assert set(span_folders.spans(tmp_path, "span-{SPAN}")) == {2, 10}


def test_a_span_needs_a_folder_and_its_four_files(tmp_path: Path, digits: Path) -> None:
    with pytest.raises(
        ConfigError, match="--data-dir is missing; give the folder that contains the spans"
    ):
        span_folders.prepare(None, "span-{SPAN}", "latest")
    with pytest.raises(DataError, match="contains no span-latest; its spans are none"):
        span_folders.prepare(tmp_path, "span-{SPAN}", "latest")
    shutil.copytree(digits, tmp_path / "span-3")
    assert span_folders.prepare(tmp_path, "span-{SPAN}", "latest") == tmp_path.resolve()
    (tmp_path / "span-3" / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match="span-3 contains no labels file named t10k"):
        span_folders.prepare(tmp_path, "span-{SPAN}", 3)

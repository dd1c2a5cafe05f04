"""IdxExampleGen: the cache key, and the spans."""

import json
import os
import shutil
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from tfx.components.example_gen import utils
from tfx.types import standard_artifacts
from tfx.types import standard_component_specs as specs

from components import idx_example_gen
from components.images import example_split, idx_format
from components.names.artifact_properties import FILES


def _fingerprint(folder: Path) -> str:
    component = idx_example_gen.IdxExampleGen(str(folder), eval_fraction=0.25)
    resolved = idx_example_gen.Driver(None).resolve_exec_properties(
        dict(component.exec_properties), None, None
    )
    assert resolved[specs.INPUT_BASE_KEY] == str(folder)
    return str(resolved[utils.FINGERPRINT_PROPERTY_NAME])


def test_the_fingerprint_follows_the_content_and_not_the_times(
    tmp_path: Path, digits: Path
) -> None:
    folder = Path(shutil.copytree(digits, tmp_path / "copy"))
    first = _fingerprint(folder)
    labels = folder / "t10k-labels-idx1-ubyte.gz"
    os.utime(labels, (1, 1))
    assert _fingerprint(folder) == first
    labels.write_bytes(idx_format.serialize(np.zeros(300, np.uint8)))
    assert _fingerprint(folder) != first


@pytest.fixture
def spans(tmp_path: Path, digits: Path) -> Path:
    """Two spans; the second has a second version, with other labels."""
    for folder in ("span-7/version-1", "span-12/version-1", "span-12/version-2"):
        shutil.copytree(digits, tmp_path / folder)
    labels = tmp_path / "span-12" / "version-2" / "t10k-labels-idx1-ubyte.gz"
    labels.write_bytes(idx_format.serialize(np.zeros(300, np.uint8)))
    return tmp_path


@pytest.mark.parametrize(
    ("span", "folder", "version"),
    [(7, "span-7/version-1", 1), (12, "span-12/version-2", 2), ("latest", "span-12/version-2", 2)],
)
def test_a_span_is_read_in_its_newest_version(
    spans: Path, digits: Path, span: int | Literal["latest"], folder: str, version: int
) -> None:
    component = idx_example_gen.IdxExampleGen(
        str(spans),
        0.25,
        span=span,
        span_folder="span-{SPAN}/version-{VERSION}",  # type: ignore[arg-type]
    )
    properties = dict(component.exec_properties)
    resolved = idx_example_gen.Driver(None).resolve_exec_properties(properties, None, None)
    assert resolved[utils.SPAN_PROPERTY_NAME] == (12 if span == "latest" else span)
    assert resolved[utils.VERSION_PROPERTY_NAME] == version
    first = _fingerprint(digits)
    assert (resolved[utils.FINGERPRINT_PROPERTY_NAME] == first) == (version == 1)
    examples = standard_artifacts.Examples()
    examples.uri = str(spans / "examples")
    executor = idx_example_gen.Executor()
    executor.Do({}, {specs.EXAMPLES_KEY: [examples]}, resolved)
    assert example_split.read(examples, "test").indices.tolist() == list(range(300))
    assert [len(example_split.read(examples, name).labels) for name in ("train", "eval")] == [
        450,
        150,
    ]
    digests = json.loads(examples.get_string_custom_property(FILES))
    assert {Path(path).parent.as_posix() for path in digests} == {folder}


def test_files_that_change_in_between_are_rejected(tmp_path: Path, digits: Path) -> None:
    folder = Path(shutil.copytree(digits, tmp_path / "copy"))
    component = idx_example_gen.IdxExampleGen(str(folder), eval_fraction=0.25)
    resolved = idx_example_gen.Driver(None).resolve_exec_properties(
        dict(component.exec_properties), None, None
    )
    labels = folder / "t10k-labels-idx1-ubyte.gz"
    labels.write_bytes(idx_format.serialize(np.zeros(300, np.uint8)))
    examples = standard_artifacts.Examples()
    examples.uri = str(tmp_path / "examples")
    with pytest.raises(idx_example_gen.FilesChangedError, match="run the pipeline again"):
        idx_example_gen.Executor().Do({}, {specs.EXAMPLES_KEY: [examples]}, resolved)

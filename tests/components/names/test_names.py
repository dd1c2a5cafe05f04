"""Shared names: each is written once, in components/names."""

import ast
from collections.abc import Iterator
from pathlib import Path

from components.names import artifact_properties, splits
from components.names.node_ids import NodeId

PROJECT = Path(__file__).parents[3]
PACKAGES = ("components", "pipeline", "serving", "trainer")
PROPERTIES = {value for name, value in vars(artifact_properties).items() if name.isupper()}
# A property of one word, such as "reason", is also an ordinary word.
NAMES = {
    *NodeId,
    splits.TRAIN_FILES,
    splits.TEST_FILES,
    *(name for name in PROPERTIES if "_" in name),
}


def _strings(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def test_no_other_module_writes_a_name_as_a_string() -> None:
    files = [
        path
        for package in PACKAGES
        for path in (PROJECT / package).rglob("*.py")
        if path.parent != PROJECT / "components" / "names"
    ]
    assert len(files) > 100
    found = [
        f"{path.relative_to(PROJECT)}:{line}: {text}"
        for path in files
        for line, text in _strings(path)
        if text in NAMES
    ]
    assert found == []


def test_the_names_are_distinct() -> None:
    assert len(NAMES) == len(NodeId) + 2 + len([name for name in PROPERTIES if "_" in name])

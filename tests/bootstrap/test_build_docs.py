"""The pages of the documentation site; `make docs` renders them, and rejects dead links."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    code = (
        "import pathlib, sys; sys.path.insert(0, 'bootstrap'); import build_docs; "
        f"build_docs.PAGES = pathlib.Path({str(folder)!r}); build_docs.main()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=True)
    return folder


def test_every_page_of_the_navigation_exists(pages: Path) -> None:
    named = re.findall(r": ([\w/.-]+\.md)$", (PROJECT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert len(named) > 20
    assert [name for name in named if not (pages / name).is_file()] == []
    unnamed = {str(path.relative_to(pages)) for path in pages.rglob("*.md")} - set(named)
    assert unnamed == set(), "each document is in the navigation"


def test_links_between_pages_exist(pages: Path) -> None:
    for page in pages.rglob("*.md"):
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), (page, target)


def test_the_reference_has_every_command_and_key(pages: Path) -> None:
    commands = (pages / "reference" / "commands.md").read_text()
    assert "## `mnist-tfx rollback`" in commands
    keys = (pages / "reference" / "configuration.md").read_text()
    assert "| `evaluation.min_accuracy` | number ≥ 0, ≤ 1 or `report` | `0.98` | " in keys
    assert '| `trainer.pooling` | `max`, `average` | `"max"` | ' in keys

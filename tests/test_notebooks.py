"""The notebooks run, in both languages, and have the same code."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"
LANGUAGES = ("en", "fr")


def _read(language: str) -> nbformat.NotebookNode:
    return nbformat.read(FOLDER / f"mnist_{language}.ipynb", as_version=4)


def _code(notebook: nbformat.NotebookNode) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def test_the_code_is_the_same_in_both_languages() -> None:
    assert _code(_read("en")) == _code(_read("fr"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_notebook_is_kept_without_results(language: str) -> None:
    notebook = _read(language)
    nbformat.validate(notebook)
    assert not [cell for cell in notebook.cells if cell.get("outputs")]
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    assert len(texts) == 9 and all(texts)


def test_it_runs_on_the_sample(digits: Path) -> None:
    """All 600 training images of the sample; enough to be far better than chance."""
    notebook = _read("en")
    settings = notebook.cells[1]
    settings.source = settings.source.replace("6000", "600").replace("None  #", f'"{digits}"  #')
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(FOLDER)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "(600, 28, 28) uint8 (600,)" in printed
    assert "1,413,834" in printed
    accuracy = re.search(r"accuracy (0\.\d{4}) on 300 images", printed)
    assert accuracy and float(accuracy[1]) > 0.6
    assert re.search(r"answer \d, probability [01]\.\d{4}; true digit \d", printed)
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 1 + 2 + 1 + 1

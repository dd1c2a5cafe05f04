"""The documents: their statements about the code are true, and their links exist."""

import re
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from components.names.node_ids import NodeId
from pipeline.cli import main
from pipeline.graph import dag
from pipeline.settings import pipeline_config
from pipeline.settings.errors import ExitCode

PROJECT = Path(__file__).parents[1]
DOCUMENTS = [
    *PROJECT.glob("*.md"),
    *(PROJECT / "docs").glob("*.md"),
    *(path for folder in ("pipeline", "serving") for path in (PROJECT / folder).rglob("*.md")),
]


def _text(name: str) -> str:
    return (PROJECT / name).read_text(encoding="utf-8")


def test_the_diagram_equals_the_graph() -> None:
    (picture,) = re.findall(r"```mermaid\n(.*?)```", _text("docs/pipeline.md"), re.DOTALL)
    drawn = set(re.findall(r"^ *(\w+) --> (\w+)$", picture, re.MULTILINE))
    folders = dag.Folders("/data", "/artifacts", "/serving")
    nodes = dag.create_pipeline(pipeline_config.load(), folders).components
    assert drawn == {(up.id, node.id) for node in nodes for up in node.upstream_nodes}


def test_every_component_is_described() -> None:
    described = re.findall(r"^\| (\w+) \| (?:TFX|this project) \|", _text("docs/pipeline.md"), re.M)
    assert set(described) == set(NodeId)


def test_every_exit_code_is_listed() -> None:
    codes = re.findall(r"^\| (\d+) \|", _text("docs/command-line.md"), re.MULTILINE)
    assert set(map(int, codes)) == set(ExitCode)


def test_every_command_is_listed() -> None:
    listed = set(re.findall(r"^\| `mnist-tfx (\w+)", _text("docs/command-line.md"), re.MULTILINE))
    assert listed == set(get_command(main.app).commands)  # type: ignore[attr-defined]


def test_every_key_of_the_configuration_is_listed() -> None:
    text = _text("docs/configuration.md")
    for name, field in pipeline_config.PipelineConfig.model_fields.items():
        section: Any = field.annotation
        if hasattr(section, "model_fields"):
            for key in section.model_fields:
                assert f"`{name}.{key.replace('schema_text', 'schema')}`" in text
        else:
            assert f"`{name}`" in text


def test_the_readme_is_short() -> None:
    assert len(_text("README.md").splitlines()) <= 200


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_links_and_paths_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), target
    for path in re.findall(
        r"`((?:pipeline|components|serving|trainer|tests|docs)/[\w/.-]+)`", text
    ):
        assert (PROJECT / path).exists(), path

"""What the README says about the code is what the code says."""

import re
from pathlib import Path

from pipeline.graph import dag
from pipeline.settings import pipeline_config
from pipeline.settings.errors import ExitCode

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_picture_is_the_graph() -> None:
    (picture,) = re.findall(r"```mermaid\n(.*?)```", README, re.DOTALL)
    drawn = set(re.findall(r"^ *(\w+) --> (\w+)$", picture, re.MULTILINE))
    places = dag.Folders("/data", "/artifacts", "/serving")
    nodes = dag.create_pipeline(pipeline_config.load(), places).components
    assert drawn == {(up.id, node.id) for node in nodes for up in node.upstream_nodes}


def test_every_exit_code_is_listed() -> None:
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)}
    assert listed == set(ExitCode)


def test_every_key_of_the_configuration_is_listed() -> None:
    for name, field in pipeline_config.PipelineConfig.model_fields.items():
        section = field.annotation
        if hasattr(section, "model_fields"):
            for key in section.model_fields:
                assert f"`{name}.{key.replace('schema_text', 'schema')}`" in README
        else:
            assert f"`{name}`" in README

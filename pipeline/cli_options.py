"""The options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_ROOT = Path("workspace")

ConfigOption = Annotated[
    str, typer.Option("--config", help="A TOML file, or a shipped one: local, full, fashion.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Overrides a key, e.g. trainer.epochs=2."),
]
DataOption = Annotated[
    Path | None,
    typer.Option("--data-dir", help="The folder with the four IDX files, raw or .gz."),
]
RootOption = Annotated[
    Path, typer.Option("--root", help="The folder for metadata, artifacts, models and logs.")
]
SpanOption = Annotated[
    str | None,
    typer.Option("--span", metavar="N|latest", help="The span to take; the same as data.span."),
]
NameOption = Annotated[str, typer.Option("--name", help="The pipeline's and the model's name.")]
ClusterOption = Annotated[
    str, typer.Option("--cluster", help="The cluster's TOML file; its keys: --set kubeflow.KEY=V.")
]
ParameterOption = Annotated[
    list[str] | None,
    typer.Option(
        "--param", metavar="KEY=VALUE", help="A run's parameter: data, pipeline_root, recipe.KEY."
    ),
]


def with_span(overrides: list[str] | None, span: str | None) -> list[str]:
    """What `--set` says, and then `--span`."""
    return [*(overrides or ()), *([f"data.span={span}"] if span is not None else [])]

"""The options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[
    str,
    typer.Option(
        "--config",
        help="A TOML file, or a shipped configuration: local, quick, best, full, fashion.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a key of docs/configuration.md, such as trainer.epochs=2; may be repeated.",
    ),
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
    typer.Option("--span", metavar="N|latest", help="The span to ingest; the same as data.span."),
]
NameOption = Annotated[
    str, typer.Option("--name", help="The name of the pipeline and of the model.")
]
ClusterOption = Annotated[
    str,
    typer.Option(
        "--cluster", help="The cluster file, TOML; override a key with --set kubeflow.KEY=V."
    ),
]
ParameterOption = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        metavar="KEY=VALUE",
        help="A parameter of the run: data, pipeline_root, recipe.KEY.",
    ),
]


def with_span(overrides: list[str] | None, span: str | None) -> list[str]:
    """The overrides, with `--span` added."""
    return [*(overrides or ()), *([f"data.span={span}"] if span is not None else [])]

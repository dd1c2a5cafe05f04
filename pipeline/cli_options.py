"""The options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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

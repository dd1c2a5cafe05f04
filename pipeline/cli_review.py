"""The commands of `mnist-tfx` that are about judging: report, lineage, schema, experiment."""

from __future__ import annotations

import json
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from pipeline import native_output
from pipeline.cli_options import (
    DEFAULT_ROOT,
    ConfigOption,
    DataOption,
    NameOption,
    RootOption,
    SetOption,
)
from pipeline.errors import ConfigError, PipelineError

if TYPE_CHECKING:
    from pipeline.schema_review import Review

app = typer.Typer()
schema = typer.Typer(help="A corrected schema for review, when the data was meant to change.")
app.add_typer(schema, name="schema", no_args_is_help=True)
experiment = typer.Typer(help="Compare recipes at equal budget.")
app.add_typer(experiment, name="experiment", no_args_is_help=True)
console = Console()


@app.command()
def report(
    root: RootOption = DEFAULT_ROOT,
    run_id: Annotated[
        str | None, typer.Option("--run", help="Which run's; the last one's that has one.")
    ] = None,
    is_opened: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Print where the last run's report is, or open it."""
    from pipeline.workspace import Workspace

    workspace = Workspace(root.resolve())
    found = [
        record.outcome.report
        for record in workspace.records()
        if record.outcome and record.outcome.report and run_id in (None, record.run_id)
    ]
    if not found:
        which = f"the run {run_id}" if run_id else "no run"
        raise PipelineError(
            f"{which} in {workspace.root} has {'no ' if run_id else 'a '}report: a run that "
            "reaches the Evaluator makes one."
        )
    path = Path(found[-1])
    if not path.exists():
        raise PipelineError(f"{path} is gone: run the pipeline again.")
    console.print(str(path), highlight=False, soft_wrap=True)
    if is_opened and not webbrowser.open(path.as_uri()):
        raise PipelineError("there is no browser to open it in: open the file above by hand.")


@app.command()
def lineage(
    what: Annotated[
        str,
        typer.Argument(
            metavar="MODEL_VERSION|ARTIFACT",
            help="A pushed version, or an artifact's id or path.",
        ),
    ],
    root: RootOption = DEFAULT_ROOT,
    name: NameOption = "mnist",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    as_dot: Annotated[bool, typer.Option("--dot", help="Print Graphviz' language.")] = False,
) -> None:
    """Show what a pushed version or an artifact was made from, back to the data files."""
    from pipeline import origins
    from pipeline.workspace import Workspace

    if as_json and as_dot:
        raise ConfigError("--json and --dot are two forms of the same: say one.")
    graph = origins.find(Workspace(root.resolve()), name, what)
    if as_json:
        print(json.dumps(graph.to_json(), indent=1))
    elif as_dot:
        print(graph.to_dot())
    else:
        # As wide as it is: a path is never cut off.
        Console(width=10_000).print(origins.tree(graph), highlight=False)


@schema.command()
def diff(
    config: ConfigOption = "local", overrides: SetOption = None, root: RootOption = DEFAULT_ROOT
) -> None:
    """Show how the schema would have to change for the last run's data to pass."""
    _review(config, overrides, root)


@schema.command()
def update(
    output: Annotated[Path, typer.Option("-o", "--output", help="The schema file to write.")],
    config: ConfigOption = "local",
    overrides: SetOption = None,
    root: RootOption = DEFAULT_ROOT,
    overwrite: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write that schema to a file, for review; the configuration names it then."""
    found = _review(config, overrides, root)
    if not found.diff:
        console.print("nothing was written: what else stopped a run, no schema changes.")
        return
    from pipeline import schema_review

    schema_review.write(found.after, output, overwrite)
    console.print(
        f"wrote {output}: review it, and name it in the configuration's validation.schema.",
        highlight=False,
        soft_wrap=True,
    )


def _review(config: str, overrides: list[str] | None, root: Path) -> Review:
    """Prints what has to change."""
    from pipeline import config as configuration
    from pipeline.workspace import Workspace

    settings = configuration.load(config, overrides or ())
    with native_output.muted():
        from pipeline import schema_review
    found = schema_review.review(settings, Workspace(root.resolve()))
    print(found.diff or f"The schema fits the data ({found.data}).")
    if found.class_balance:
        print(
            "The classes' shares are further from validation.class_balance than max_share_change "
            f"allows. If that is meant:\n  class_balance = {list(found.class_balance)}"
        )
    return found


@experiment.command()
def pooling(
    config: ConfigOption = "local",
    overrides: SetOption = None,
    data_dir: DataOption = None,
    root: RootOption = DEFAULT_ROOT,
    seeds: Annotated[str, typer.Option(help="The seeds to train with, such as 1,2,3.")] = "1,2",
) -> None:
    """Train with max and with average pooling, and compare them: accuracy, robustness, cost."""
    from pipeline import config as configuration
    from pipeline import pooling_experiment

    try:
        numbers = [int(seed) for seed in seeds.split(",")]
    except ValueError:
        raise ConfigError(f"--seeds is {seeds}: numbers are expected, such as 1,2,3.") from None
    settings = configuration.load(config, overrides or ())
    pooling_experiment.run(settings, root.resolve(), data_dir, numbers, console)

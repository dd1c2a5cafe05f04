"""The commands for review: report, lineage, schema, experiment."""

from __future__ import annotations

import json
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from pipeline.cli.app import REVIEW, App
from pipeline.cli.options import (
    ConfigOption,
    DataOption,
    NameOption,
    RootOption,
    SetOption,
)
from pipeline.settings import defaults
from pipeline.settings.errors import ConfigError, PipelineError
from pipeline.view import native_output

if TYPE_CHECKING:
    from pipeline.runs.schema_review import Review

app = App()
schema = App(help="Show or write a corrected schema, after an intended change of the data.")
app.add_typer(schema, name="schema", no_args_is_help=True, rich_help_panel=REVIEW)
experiment = App(help="Compare recipes at equal training cost.")
app.add_typer(experiment, name="experiment", no_args_is_help=True, rich_help_panel=REVIEW)
console = Console()


@app.add_command(group=REVIEW, example="mnist-tfx report --open")
def report(
    root: RootOption = defaults.ROOT,
    run_id: Annotated[
        str | None,
        typer.Option(
            "--run",
            help="The run, or the beginning of its id; the default is the last with a report.",
        ),
    ] = None,
    compared: Annotated[
        tuple[str, str] | None,
        typer.Option("--compare", metavar="RUN RUN", help="Write a page that compares two runs."),
    ] = None,
    is_opened: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Print the path of a run's report, or open it."""
    from pipeline.runs import reports
    from pipeline.runs.workspace import Workspace

    workspace = Workspace(root.resolve())
    if compared and run_id:
        raise ConfigError("use --run or --compare, not both.")
    if compared:
        from pipeline.view import comparison_page

        _show_page(comparison_page.write(workspace, compared), is_opened)
        return
    records = [workspace.find_record(run_id)] if run_id else workspace.records()
    found = [record for record in records if record.outcome and record.outcome.report]
    if not found:
        subject = f"the run {run_id} in {workspace.root}" if run_id else str(workspace.root)
        raise PipelineError(
            f"{subject} contains no report; a run writes one at its end, after the evaluation."
        )
    path = reports.find(workspace, found[-1])
    if path is None:
        raise PipelineError(
            f"the report of the run {found[-1].run_id} was deleted or set aside; run the pipeline "
            "again."
        )
    _show_page(path, is_opened)


def _show_page(path: Path, is_opened: bool) -> None:
    console.print(str(path), highlight=False, soft_wrap=True)
    if is_opened and not webbrowser.open(path.as_uri()):
        raise PipelineError("no browser was found; open the file above yourself.")


@app.add_command(group=REVIEW, example="mnist-tfx compare 20261126-070855 20261126-081200")
def compare(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN", help="A run: its id, or the beginning of it."),
    ],
    root: RootOption = defaults.ROOT,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare runs: results, data, code, configuration, and seconds."""
    from pipeline.runs import comparison
    from pipeline.runs.workspace import Workspace
    from pipeline.view import tables

    if len(runs) < 2:
        raise ConfigError("compare: expected at least two runs.")
    records, sections = comparison.compare(Workspace(root.resolve()), runs)
    if as_json:
        found = {
            section.title: {row.name: row.values for row in section.rows} for section in sections
        }
        print(json.dumps({"runs": [record.run_id for record in records], **found}, indent=1))
    else:
        tables.print_full(console, tables.comparison(records, sections))


@app.add_command(group=REVIEW, example="mnist-tfx lineage 1795672195")
def lineage(
    what: Annotated[
        str,
        typer.Argument(
            metavar="MODEL_VERSION|ARTIFACT",
            help="A pushed version, or the id or path of an artifact.",
        ),
    ],
    root: RootOption = defaults.ROOT,
    name: NameOption = defaults.NAME,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    as_dot: Annotated[bool, typer.Option("--dot", help="Print Graphviz' DOT language.")] = False,
) -> None:
    """Show the lineage of a pushed version or an artifact, back to the data files."""
    from pipeline.runs import lineage_tree
    from pipeline.runs.workspace import Workspace

    if as_json and as_dot:
        raise ConfigError("use --json or --dot, not both.")
    graph = lineage_tree.find(Workspace(root.resolve()), name, what)
    if as_json:
        print(json.dumps(graph.to_json(), indent=1))
    elif as_dot:
        print(graph.to_dot())
    else:
        # Wide, so that no path is truncated.
        Console(width=10_000).print(lineage_tree.tree(graph), highlight=False)


@schema.add_command(example="mnist-tfx schema diff --config mine.toml")
def diff(
    config: ConfigOption = "local", overrides: SetOption = None, root: RootOption = defaults.ROOT
) -> None:
    """Show how the schema must change for the last run's data to pass."""
    _review(config, overrides, root)


@schema.add_command(example="mnist-tfx schema update -o mine.pbtxt --config mine.toml")
def update(
    output: Annotated[Path, typer.Option("-o", "--output", help="The schema file to write.")],
    config: ConfigOption = "local",
    overrides: SetOption = None,
    root: RootOption = defaults.ROOT,
    overwrite: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write the corrected schema to a file, for review and for validation.schema."""
    found = _review(config, overrides, root)
    if not found.diff:
        console.print("Nothing was written: the schema fits the data of the last run.")
        return
    from pipeline.runs import schema_review

    schema_review.write(found.after, output, overwrite)
    console.print(
        f"wrote {output}; review it, and set validation.schema to it in the configuration.",
        highlight=False,
        soft_wrap=True,
    )


def _review(config: str, overrides: list[str] | None, root: Path) -> Review:
    """Prints the changes."""
    from pipeline.runs.workspace import Workspace
    from pipeline.settings import pipeline_config

    settings = pipeline_config.load(config, overrides or ())
    with native_output.muted():
        from pipeline.runs import schema_review
    found = schema_review.review(settings, Workspace(root.resolve()))
    print(found.diff or f"The schema fits the data ({found.data}).")
    if found.class_balance:
        print(
            "The shares of the classes differ from validation.class_balance by more than "
            "max_share_change. If the change is intended, set:\n"
            f"  class_balance = {list(found.class_balance)}"
        )
    return found


@experiment.add_command(example="mnist-tfx experiment pooling --seeds 1,2,3")
def pooling(
    config: ConfigOption = "local",
    overrides: SetOption = None,
    data_dir: DataOption = None,
    root: RootOption = defaults.ROOT,
    seeds: Annotated[str, typer.Option(help="The seeds to train with, such as 1,2,3.")] = "1,2",
) -> None:
    """Train with max and with average pooling, and compare accuracy, robustness and cost."""
    from pipeline.experiments import pooling
    from pipeline.settings import pipeline_config

    try:
        numbers = [int(seed) for seed in seeds.split(",")]
    except ValueError:
        raise ConfigError(f"--seeds {seeds}: expected numbers, such as 1,2,3.") from None
    settings = pipeline_config.load(config, overrides or ())
    pooling.run(settings, root.resolve(), data_dir, numbers, console)

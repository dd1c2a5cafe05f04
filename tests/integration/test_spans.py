"""Continuous training: data that comes in spans, run after run, in one workspace.

The tests build on each other in order. The runs stop after the Trainer or before.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from components.images import idx_format
from components.images.idx_format import ImagesAndLabels
from pipeline.local import dataset_source, runner
from pipeline.runs import events
from pipeline.runs.lineage import Lineage
from pipeline.runs.workspace import RunRecord, Workspace
from pipeline.settings import pipeline_config

# The spans are of 200 and 100 images: their shares differ by chance.
OVERRIDES = (
    "validation.max_share_change=0.2",
    "validation.max_skew=0.6",
    "validation.max_drift=0.6",
    "validation.min_label_agreement=0.3",
    "trainer.epochs=1",
    "data.train_spans=2",
)
TRAIN_IMAGES = 150  # of 200; the rest is eval


def _write(folder: Path, train: ImagesAndLabels, test: ImagesAndLabels) -> None:
    folder.mkdir(parents=True)
    for prefix, pair in (("train", train), ("t10k", test)):
        for kind, values in (("images-idx3", pair.images), ("labels-idx1", pair.labels)):
            (folder / f"{prefix}-{kind}-ubyte").write_bytes(idx_format.serialize(values))


@pytest.fixture(scope="module")
def spans(
    tmp_path_factory: pytest.TempPathFactory,
    train_digits: ImagesAndLabels,
    test_digits: ImagesAndLabels,
) -> Path:
    """Four spans; there is a blank image in the third."""
    folder = tmp_path_factory.mktemp("spans")
    for number in (1, 2, 3):
        train, test = (
            slice(200 * (number - 1), 200 * number),
            slice(100 * (number - 1), 100 * number),
        )
        images = train_digits.images[train].copy()
        if number == 3:
            images[11] = 0
        _write(
            folder / f"span-{number}",
            ImagesAndLabels(images, train_digits.labels[train]),
            ImagesAndLabels(test_digits.images[test], test_digits.labels[test]),
        )
    third = slice(400, 600), slice(200, 300)
    _write(
        folder / "span-4",
        ImagesAndLabels(*(values[third[0]] for values in train_digits)),
        ImagesAndLabels(*(values[third[1]] for values in test_digits)),
    )
    return folder


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("workspace"))


class Runner:
    def __init__(self, workspace: Workspace, spans: Path, digits_config: Path):
        self.workspace, self.spans, self._config = workspace, spans, digits_config

    def __call__(self, span: int | str, until: str = "Trainer") -> RunRecord:
        settings = pipeline_config.load(self._config, [*OVERRIDES, f"data.span={span}"])
        folder = dataset_source.prepare_span(self.spans, settings.data.span_folder, settings.data.span)
        self.trained_on = 0

        def on_event(event: events.Event) -> None:
            if isinstance(event, events.Evaluated):
                cost = Path(event.model_run) / "cost.json"
                self.trained_on = json.loads(cost.read_text())["images"]

        run_id = runner.new_run_id()
        return runner.run(settings, self.workspace, folder, run_id, on_event, until=until)

    def count(self, component: str, type_name: str) -> int:
        """How many artifacts of a type a component has made."""
        lineage = Lineage.of_file(self.workspace.metadata)
        return len(lineage.made_by("digits", component, type_name))


@pytest.fixture(scope="module")
def run(workspace: Workspace, spans: Path, digits_config: Path) -> Runner:
    return Runner(workspace, spans, digits_config)


def _states(record: RunRecord) -> dict[str, str]:
    assert record.exit_code == 0, record.message
    return {node.node: node.state for node in record.nodes if node.state != "resolved"}


def test_the_first_span_and_again(run: Runner) -> None:
    assert set(_states(run(1, until="Transform")).values()) == {"done"}
    assert set(_states(run(1, until="Transform")).values()) == {"cached"}


def test_the_next_span_is_added_and_the_first_is_left_alone(run: Runner) -> None:
    states = _states(run(2, until="Evaluator"))
    assert states["IdxExampleGen"] == states["StatisticsGen"] == states["Transform"] == "done"
    assert states["CuratedSchema"] == "cached"
    assert run.trained_on == 2 * TRAIN_IMAGES
    assert run.count("IdxExampleGen", "Examples") == 2, "one for each span"
    assert run.count("StatisticsGen", "ExampleStatistics") == 2
    assert set(_states(run(2, until="Evaluator")).values()) == {"cached"}


def test_a_span_that_is_refused_is_not_trained_on_later(run: Runner) -> None:
    refused = run(3, until="Transform")
    assert refused.exit_code == 3
    assert "schema: train, pixel_max: Unexpectedly small value: 0" in refused.message
    assert "Transform" not in {node.node for node in refused.nodes}
    _states(run("latest", until="Evaluator"))
    assert run.trained_on == 2 * TRAIN_IMAGES
    lineage = Lineage.of_file(run.workspace.metadata)
    model = lineage.made_by("digits", "Trainer", "Model")[-1]
    nodes = lineage.ancestry(model.id).nodes
    folders = {Path(str(node.id)).parent.name for node in nodes.values() if node.kind == "file"}
    assert folders == {"span-2", "span-4"}


def test_the_command_runs_a_span_to_its_end(run: Runner, spans: Path, digits_config: Path) -> None:
    """And asks the pushed model for digits of that span's test files."""
    command = [sys.executable, "-m", "pipeline.cli", "run", "--config", digits_config]
    gates = ["min_accuracy", "min_digit_accuracy", "max_loss", "max_calibration_error"]
    settings = [*OVERRIDES, *(f"evaluation.{gate}=report" for gate in gates)]
    settings += ["robustness.min_accuracy={}"]
    overrides = [word for override in settings for word in ("--set", override)]
    done = subprocess.run(
        [*command, *overrides, "--data-dir", spans, "--root", run.workspace.root, "--span", "2"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✓ IdxExampleGen cached" in done.stdout
    assert "✓ StatisticsGen cached" in done.stdout
    assert "5 digits of the test split" in done.stdout
    record = run.workspace.records()[-1]
    assert record.outcome is not None
    assert record.outcome.test_images == 100
    assert "Span 2; trained on the spans 1, 2." in Path(record.outcome.report or "").read_text()


def test_a_span_that_is_not_there_is_named(spans: Path) -> None:
    with pytest.raises(dataset_source.DataError, match=r"has no span-7: the spans in it are 1, 2, 3, 4\."):
        dataset_source.prepare_span(spans, "span-{SPAN}", 7)

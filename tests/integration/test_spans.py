"""Continuous training: data that arrives in spans, run after run, in one workspace.

Each test starts from the state after the first two spans, which is restored before it.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from doubles.local_runs import cli
from doubles.snapshots import Snapshot

from components.images import idx_format
from components.images.idx_format import ImagesAndLabels
from components.names.node_ids import NodeId
from pipeline.local import runner, span_folders
from pipeline.runs import events, pruning
from pipeline.runs.lineage import Lineage
from pipeline.runs.run_record import RunRecord
from pipeline.runs.workspace import Workspace
from pipeline.settings import pipeline_config
from pipeline.settings.errors import DataError
from trainer import training_cost
from trainer.training_cost import TrainingCost

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
    """Four spans; the third is the fourth with one blank image."""
    folder = tmp_path_factory.mktemp("spans")
    for number, part in ((1, 0), (2, 1), (3, 2), (4, 2)):
        train, test = slice(200 * part, 200 * part + 200), slice(100 * part, 100 * part + 100)
        images = train_digits.images[train].copy()
        if number == 3:
            images[11] = 0
        _write(
            folder / f"span-{number}",
            ImagesAndLabels(images, train_digits.labels[train]),
            ImagesAndLabels(test_digits.images[test], test_digits.labels[test]),
        )
    return folder


@dataclass
class SpanRuns:
    """Runs of spans in one workspace."""

    workspace: Workspace
    spans: Path
    config: Path
    trained_on: int = 0
    """The number of images that the last run trained on."""

    def run(self, span: int | str, until: NodeId) -> RunRecord:
        config = pipeline_config.load(self.config, [*OVERRIDES, f"data.span={span}"])
        assert config.data.chosen_span is not None
        folder = span_folders.prepare(self.spans, config.data.span_folder, config.data.chosen_span)
        self.trained_on = 0

        def on_event(event: events.Event) -> None:
            if isinstance(event, events.Evaluated):
                cost = Path(event.model_run) / training_cost.FILE
                self.trained_on = TrainingCost.from_json(cost.read_text()).images

        run_id = runner.new_run_id(self.workspace)
        return runner.run(config, self.workspace, folder, run_id, on_event, until=until.value)

    @property
    def lineage(self) -> Lineage:
        lineage = Lineage.of_workspace(self.workspace)
        assert lineage is not None
        return lineage


def _states(record: RunRecord) -> dict[str, str]:
    assert record.exit_code == 0, record.message
    return {node.node: node.state for node in record.nodes if node.state != "resolved"}


@pytest.fixture(scope="module")
def two_spans(
    tmp_path_factory: pytest.TempPathFactory, spans: Path, digits_config: Path
) -> tuple[SpanRuns, list[RunRecord], Snapshot]:
    """Span 1 up to Transform, then span 2 up to the Evaluator."""
    folder = tmp_path_factory.mktemp("spans") / "workspace"
    runs = SpanRuns(Workspace(folder), spans, digits_config)
    records = [runs.run(1, NodeId.TRANSFORM), runs.run(2, NodeId.EVALUATOR)]
    return runs, records, Snapshot(folder)


@pytest.fixture
def runs(two_spans: tuple[SpanRuns, list[RunRecord], Snapshot]) -> SpanRuns:
    """The workspace as it was right after the two spans."""
    restored, _, snapshot = two_spans
    snapshot.restore()
    return restored


def test_the_next_span_is_added_and_the_first_is_left_alone(
    two_spans: tuple[SpanRuns, list[RunRecord], Snapshot],
) -> None:
    runs, (first, second), snapshot = two_spans
    assert set(_states(first).values()) == {"done"}
    states = _states(second)
    for node in (NodeId.IDX_EXAMPLE_GEN, NodeId.STATISTICS_GEN, NodeId.TRANSFORM):
        assert states[node] == "done"
    assert states[NodeId.CURATED_SCHEMA] == "cached"
    snapshot.restore()
    made = runs.lineage.made_by
    assert len(made("digits", NodeId.IDX_EXAMPLE_GEN, "Examples")) == 2, "one for each span"
    assert len(made("digits", NodeId.STATISTICS_GEN, "ExampleStatistics")) == 2


def test_an_unchanged_span_is_cached(runs: SpanRuns) -> None:
    assert set(_states(runs.run(1, NodeId.TRANSFORM)).values()) == {"cached"}
    assert set(_states(runs.run(2, NodeId.EVALUATOR)).values()) == {"cached"}
    assert runs.trained_on == 2 * TRAIN_IMAGES


def test_a_rejected_span_is_not_trained_on_later(runs: SpanRuns) -> None:
    rejected = runs.run(3, NodeId.TRANSFORM)
    assert rejected.exit_code == 3
    assert "schema: train, pixel_max: Unexpectedly small value: 0" in rejected.message
    assert NodeId.TRANSFORM not in {node.node for node in rejected.nodes}
    _states(runs.run("latest", NodeId.TRAINER))
    model = runs.lineage.made_by("digits", NodeId.TRAINER, "Model")[-1]
    nodes = runs.lineage.ancestry(model.id).nodes
    folders = {Path(str(node.id)).parent.name for node in nodes.values() if node.kind == "file"}
    assert folders == {"span-2", "span-4"}


def test_the_command_runs_a_span_to_its_end(runs: SpanRuns) -> None:
    """It sends test images of that span to the pushed model."""
    gates = ["min_accuracy", "min_digit_accuracy", "max_loss", "max_calibration_error"]
    settings = [*OVERRIDES, *(f"evaluation.{gate}=report" for gate in gates)]
    settings += ["robustness.min_accuracy={}"]
    overrides = [word for override in settings for word in ("--set", override)]
    folders: list[str | Path] = ["--data-dir", runs.spans, "--root", runs.workspace.root]
    done = cli("run", "--config", runs.config, *overrides, *folders, "--span", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"data  {runs.spans / 'span-2'}" in done.stdout
    assert re.search(r"✓ IdxExampleGen +cached", done.stdout)
    assert re.search(r"✓ StatisticsGen +cached", done.stdout)
    assert "5 test images, answered by" in done.stdout
    record = runs.workspace.records()[-1]
    assert record.outcome is not None
    assert record.outcome.test_images == 100
    page = Path(record.outcome.report or "").read_text()
    assert "Span 2; trained on spans 1, 2." in page
    assert "Gates that are off (reported only)" in page


def test_a_missing_span_is_named(spans: Path) -> None:
    message = r"contains no span-7; its spans are 1, 2, 3, 4\."
    with pytest.raises(DataError, match=message):
        span_folders.prepare(spans, "span-{SPAN}", 7)


def test_prune_keeps_all_artifacts_of_the_window(
    two_spans: tuple[SpanRuns, list[RunRecord], Snapshot],
) -> None:
    runs, _, snapshot = two_spans
    snapshot.restore()
    planned = pruning.plan(runs.workspace, keep=1)
    kept = [Path(a.uri) for a in runs.lineage.artifacts() if a.id not in planned.artifacts]
    assert sum(path.parent.name == "examples" for path in kept) == 2
    assert all(path.exists() for path in kept)
    assert not [path for path in kept if set(planned.folders) & {path, *path.parents}]

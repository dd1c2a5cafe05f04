"""The compiled Kubeflow pipeline, executed task by task in processes of their own, on real digits.

Each test starts from the state after one finished run, which is restored before it.
"""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from doubles import kfp_api, kfp_backend, mlmd_server
from doubles.kfp_backend import Task
from doubles.snapshots import Snapshot
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2
from werkzeug import Request, Response

from components.images import idx_format
from components.images.idx_format import ImagesAndLabels
from components.names.node_ids import NodeId
from pipeline.kubeflow import compiler, run_notice
from pipeline.kubeflow.cluster import cluster_config
from pipeline.runs import webhook
from pipeline.runs.events import NodeChanged
from pipeline.settings import pipeline_config
from serving import launcher, version_folders
from serving.client import Client

TASKS = {node.lower() for node in NodeId}
TRAINER = "tfx.components.trainer.component.Trainer"
AFTER_THE_GATE = {
    "transform",
    "trainer",
    "championresolver",
    "corruptedexamples",
    "evaluator",
    "runreport",
    "servervalidator",
    "atomicpusher",
}


@dataclass
class Cluster:
    """The state that several runs share: a volume, and the metadata store."""

    folder: Path
    config: Path
    metadata_port: int = 0

    @property
    def volume(self) -> Path:
        return self.folder / "volume"

    @property
    def scratch(self) -> Path:
        return self.folder / "pods"

    def compile(self, *overrides: str, cluster_overrides: Sequence[str] = ()) -> str:
        cluster = cluster_config.load(
            overrides=[
                *cluster_overrides,
                f"storage.root={self.volume}",
                f"metadata={{store='grpc', host='127.0.0.1', port={self.metadata_port}}}",
            ]
        )
        config = pipeline_config.load(self.config, overrides)
        return compiler.compile_pipeline(config, cluster).yaml

    def backend(self, pipeline: str, **options: Any) -> kfp_backend.Backend:
        volumes = {"mnist-tfx": self.volume}
        return kfp_backend.Backend(pipeline, self.scratch, volumes, **options)

    def versions(self) -> list[int]:
        return list(version_folders.find(self.volume / "serving_model" / "digits"))

    def executions(self, node_type: str) -> list[metadata_store_pb2.Execution]:
        connection = metadata_store_pb2.MetadataStoreClientConfig(
            host="127.0.0.1", port=self.metadata_port
        )
        store = metadata_store.MetadataStore(connection)
        return list(store.get_executions_by_type(node_type))


@pytest.fixture(scope="module")
def first_run(
    tmp_path_factory: pytest.TempPathFactory, digits: Path, digits_config: Path
) -> tuple[Cluster, dict[str, Task], Snapshot]:
    """One run of the sample to its end, and a snapshot of the cluster after it."""
    cluster = Cluster(tmp_path_factory.mktemp("kubeflow") / "cluster", digits_config)
    shutil.copytree(digits, cluster.volume / "data")
    with mlmd_server.running(cluster.folder / "metadata.sqlite") as cluster.metadata_port:
        tasks = cluster.backend(cluster.compile()).run("run-1")
    assert _states(tasks) == dict.fromkeys(TASKS, "SUCCEEDED"), _logs(tasks)
    return cluster, tasks, Snapshot(cluster.folder)


@pytest.fixture
def cluster(first_run: tuple[Cluster, dict[str, Task], Snapshot]) -> Iterator[Cluster]:
    """The cluster as it was right after the first run."""
    restored, _, snapshot = first_run
    snapshot.restore()
    with mlmd_server.running(restored.folder / "metadata.sqlite") as restored.metadata_port:
        yield restored


def _last_lines(tasks: dict[str, Task]) -> dict[str, str]:
    """The last line of the log of each task, which is meant for users."""
    return {
        name: task.log.strip().splitlines()[-1].removeprefix("mnist-tfx: ")
        for name, task in tasks.items()
        if task.log
    }


def _states(tasks: dict[str, Task]) -> dict[str, str]:
    return {name: task.state for name, task in tasks.items()}


def _logs(tasks: dict[str, Task]) -> str:
    return "\n".join(task.log[-3000:] for task in tasks.values() if task.state == "FAILED")


def _confusion_matrix(task: Task) -> np.ndarray:
    shown = task.artifacts["confusion_matrix"].metadata["confusionMatrix"]
    assert [c["displayName"] for c in shown["annotationSpecs"]] == [str(d) for d in range(10)]
    return np.array([row["row"] for row in shown["rows"]])


def test_the_first_run_pushes_a_model_that_answers(
    first_run: tuple[Cluster, dict[str, Task], Snapshot],
    cluster: Cluster,
    test_digits: ImagesAndLabels,
) -> None:
    _, tasks, _ = first_run
    assert _last_lines(tasks)["trainer"] == "Trainer done"
    assert _last_lines(tasks)["championresolver"] == "ChampionResolver resolved"
    overlaps = [
        (one.name, other.name)
        for one in tasks.values()
        for other in tasks.values()
        if one.name < other.name and one.started_s < other.ended_s and other.started_s < one.ended_s
    ]
    assert ("curatedschema", "idxexamplegen") in overlaps
    (version,) = cluster.versions()
    serving = cluster.volume / "serving_model" / "digits"
    with (
        launcher.running("digits", serving, cluster.scratch / "server.txt") as server,
        Client(server.address, "digits") as client,
    ):
        assert client.wait_until_ready(timeout_s=240, check=server.check) == version
        prediction = client.predict(test_digits.images)
    accuracy = (prediction.digits == test_digits.labels).mean()
    metrics = tasks["evaluator"].artifacts["metrics"]
    assert metrics.schema_title == "system.Metrics"
    assert metrics.metadata["accuracy"] == pytest.approx(accuracy)
    assert metrics.metadata["test_images"] == 300
    matrix = _confusion_matrix(tasks["evaluator"])
    expected = np.zeros((10, 10))
    np.add.at(expected, (test_digits.labels, prediction.digits), 1)
    np.testing.assert_array_equal(matrix, expected)
    verdict = tasks["evaluator"].artifacts["verdict"]
    assert verdict.schema_title == "system.Markdown"
    assert b"all gates passed" in (verdict.content or b"")
    assert tasks["examplevalidator"].artifacts["anomalies"].content == b"No anomalies were found.\n"
    report = tasks["runreport"].artifacts["page"]
    assert report.schema_title == "system.HTML"
    assert f"digits: blessed, accuracy {accuracy:.4f}".encode() in (report.content or b"")


def test_an_unchanged_run_is_cached_and_shows_the_same(cluster: Cluster) -> None:
    before = cluster.versions()
    tasks = cluster.backend(cluster.compile()).run("run-2")
    assert _states(tasks) == dict.fromkeys(TASKS, "SUCCEEDED"), _logs(tasks)
    lines = _last_lines(tasks)
    assert lines.pop("championresolver") == "ChampionResolver resolved"
    assert lines.pop("acceptedspans") == "AcceptedSpans resolved"
    assert {line.split()[-1] for line in lines.values()} == {"cached"}
    assert cluster.versions() == before
    assert _confusion_matrix(tasks["evaluator"]).sum() == 300
    assert tasks["evaluator"].artifacts["metrics"].metadata["accuracy"] > 0.8
    assert tasks["examplevalidator"].artifacts["anomalies"].content == b"No anomalies were found.\n"


def test_a_killed_task_is_retried_on_the_same_execution_and_a_rejected_model_is_not_pushed(
    cluster: Cluster,
) -> None:
    """Another seed, as the run's parameter, is trained; the threshold is out of reach."""
    before = cluster.versions()
    trained = len(cluster.executions(TRAINER))

    def kill_once(task: Task, process: subprocess.Popen[str]) -> None:
        if task.name == "trainer" and not task.exit_codes:
            assert process.stdout is not None
            for line in process.stdout:  # until it is in the middle of the training
                if "Total params: 1,413,834" in line:
                    break
            os.kill(process.pid, signal.SIGKILL)

    pipeline = cluster.compile("evaluation.min_accuracy=0.999")
    recipe = {"seed": 2, "epochs": 2}
    tasks = cluster.backend(pipeline, started=kill_once).run("run-3", {"recipe": recipe})
    states = _states(tasks)
    assert states.pop("atomicpusher") == "FAILED"
    assert set(states.values()) == {"SUCCEEDED"}, _logs(tasks)

    assert tasks["trainer"].exit_codes == [-signal.SIGKILL, 0]
    executions = cluster.executions(TRAINER)
    assert len(executions) == trained + 1, "one more, though it ran twice"
    newest = max(executions, key=lambda execution: execution.id)
    assert newest.last_known_state == metadata_store_pb2.Execution.COMPLETE
    used = json.loads(json.loads(newest.custom_properties["custom_config"].string_value)["hparams"])
    assert {key: used[key] for key in recipe} == recipe
    assert _last_lines(tasks)["transform"] == "Transform cached"

    assert tasks["atomicpusher"].exit_codes == [3]
    reason = "; the minimum is 0.999"
    line = _last_lines(tasks)["atomicpusher"]
    assert line.startswith("AtomicPusher rejected: the model was not pushed: accuracy is ")
    assert reason in line
    assert reason in (tasks["evaluator"].artifacts["verdict"].content or b"").decode()
    assert cluster.versions() == before


def test_anomalies_end_the_gate_with_exit_code_3_and_nothing_runs_after_it(
    cluster: Cluster, digits: Path
) -> None:
    inverted = Path(shutil.copytree(digits, cluster.volume / "inverted"))
    images, labels = idx_format.find_pair(inverted, "t10k-*")
    pair = idx_format.read_pair(images, labels)
    images.write_bytes(idx_format.serialize(255 - pair.images))
    tasks = cluster.backend(cluster.compile()).run("run-4", {"data": str(inverted)})
    states = _states(tasks)
    assert states["anomalygate"] == "FAILED"
    assert tasks["anomalygate"].exit_codes == [3], "it is not retried"
    assert {name for name, state in states.items() if state == "SKIPPED"} == AFTER_THE_GATE
    anomaly = "pixel_mean"
    assert _last_lines(tasks)["anomalygate"].startswith("AnomalyGate rejected: the data has ")
    assert anomaly in _last_lines(tasks)["anomalygate"]
    page = (tasks["examplevalidator"].artifacts["anomalies"].content or b"").decode()
    assert f"| test | {anomaly} | Unexpectedly high value" in page


def test_inputs_that_cannot_be_resolved_end_with_exit_code_1(
    digits_config: Path, tmp_path: Path
) -> None:
    """TFX's launcher returns normally then, and the task would be green."""
    empty = Cluster(tmp_path / "cluster", digits_config)
    empty.volume.mkdir(parents=True)
    with mlmd_server.running(empty.folder / "metadata.sqlite") as empty.metadata_port:
        specification, platform = yaml.safe_load_all(empty.compile())
        alone = specification["root"]["dag"]["tasks"]["statisticsgen"]
        alone.pop("dependentTasks")
        alone.pop("retryPolicy")
        specification["root"]["dag"]["tasks"] = {"statisticsgen": alone}
        tasks = empty.backend(yaml.safe_dump_all([specification, platform])).run("run-5")
    assert tasks["statisticsgen"].exit_codes == [1]
    assert _last_lines(tasks)["statisticsgen"] == (
        "StatisticsGen failed: its inputs are missing in the metadata store or could not be read, "
        "so it did not run (state: FAILED; see the log for the error)"
    )


def test_the_exit_handler_tells_which_version_was_pushed(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real arguments of its task, with the values that Kubeflow fills in."""
    compiled = cluster.compile(cluster_overrides=("webhook={secret='hook'}",))
    specification = next(yaml.safe_load_all(compiled))
    container = specification["deploymentSpec"]["executors"]["exec-run-notice-task"]["container"]
    for variable in container["env"]:
        monkeypatch.setenv(variable["name"], variable["value"])
    values = {
        "{{$.inputs.parameters['run_id']}}": "run-1",
        "{{$.inputs.parameters['pipeline_root']}}": str(cluster.volume / "artifacts"),
    }
    arguments = [values.get(argument, argument) for argument in container["args"]]
    for node in NodeId:
        ended = NodeChanged(node=node, state="done")
        run_notice.write_ending(ended, str(cluster.volume / "endings"), "run-1")
    received: list[dict[str, Any]] = []

    def receive(request: Request) -> Response:
        received.append(request.get_json())
        return Response()

    with kfp_api.serving(receive) as url:
        monkeypatch.setenv(webhook.VARIABLE, url)
        assert run_notice.main(arguments) == 0
    (notice,) = received
    assert (notice["pipeline"], notice["run_id"], notice["result"]) == ("digits", "run-1", "pushed")
    assert [notice["version"]] == cluster.versions()
    assert 0.8 < notice["accuracy"] < 1
    assert (Path(notice["report"]) / "report.html").is_file()

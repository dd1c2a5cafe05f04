"""The whole pipeline on real digits, through the command line.

Each test starts from a finished run that is restored before it.
"""

import contextlib
import gzip
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from doubles import browser
from doubles.local_runs import LocalRuns, cli
from doubles.processes import is_running
from doubles.snapshots import Snapshot
from PIL import Image

from components.images import idx_format
from components.images.idx_format import ImagesAndLabels
from components.names.node_ids import NodeId
from components.report import run_page
from pipeline.local import runner
from pipeline.runs import events
from pipeline.runs.workspace import Workspace
from serving import version_folders

PROJECT = Path(__file__).parents[2]
PACKAGES = ("trainer", "components", "pipeline", "serving")
UP_TO_THE_GATE = {
    NodeId.IDX_EXAMPLE_GEN,
    NodeId.CURATED_SCHEMA,
    NodeId.STATISTICS_GEN,
    NodeId.EXAMPLE_VALIDATOR,
    NodeId.BALANCE_VALIDATOR,
    NodeId.SKEW_VALIDATOR,
    NodeId.DRIFT_VALIDATOR,
    NodeId.IMAGE_VALIDATOR,
    NodeId.ANOMALY_GATE,
}
RESOLVERS = {NodeId.CHAMPION_RESOLVER, NodeId.ACCEPTED_SPANS}
ALL_CACHED = {"cached", "resolved"}
First = tuple[LocalRuns, subprocess.CompletedProcess[str], Snapshot]


def test_the_first_run_trains_pushes_and_answers(first_run: First, finished: LocalRuns) -> None:
    _, done, _ = first_run
    assert done.stderr == "", "the output of the libraries is in the log"
    (version,) = finished.versions
    outcome = finished.last.outcome
    assert outcome is not None
    assert outcome.pushed == str(finished.root / "serving_model" / "digits" / str(version))
    assert outcome.test_images == 300
    assert outcome.accuracy > 0.8
    assert finished.nodes_that_are("resolved") == RESOLVERS
    assert finished.nodes_that_are("done") == set(NodeId) - RESOLVERS
    log = (finished.root / "runs" / finished.last.run_id / "log.txt").read_text()
    assert "Total params: 1,413,834" in log
    assert "node_info {" not in log, "a dump of TFX"
    assert re.search(r"✓ Trainer +done +[\d.]+ s\n", done.stdout)
    assert f"5 test images, answered by version {version} over gRPC" in done.stdout
    assert (
        len(
            re.findall(rf"idx:\d+ +(?:✗ )?\d +[01]\.\d{{4}} +\d +{version} +[\d.]+ ms", done.stdout)
        )
        == 5
    )
    assert "yes, all gates passed" in done.stdout
    assert f"accuracy     {outcome.accuracy:.4f} on 300 test images" in done.stdout
    for suffix in ("md", "html"):
        card = finished.root / "serving_model" / "digits" / "model_cards" / f"{version}.{suffix}"
        assert f"Version: {version}" in card.read_text()
    assert list(Path(outcome.tensorboard).rglob("events.out.tfevents.*"))


def test_beam_runs_the_graph_without_downloading_a_runner(
    first_run: First, finished: LocalRuns
) -> None:
    log = Workspace(finished.root).run_folder(finished.last.run_id) / runner.LOG
    text = log.read_text(encoding="utf-8", errors="replace")
    assert "Node Trainer is scheduled" in text, "BeamDagRunner's log"
    assert "prism" not in text.lower()


def test_its_report_is_found_and_has_no_errors_in_a_browser(
    finished: LocalRuns, chromium: str
) -> None:
    """The page stays in build/, so that CI can show it."""
    done = finished.call("report", name=None)
    assert done.returncode == 0, done.stderr
    report = Path(done.stdout.strip())
    kept = PROJECT / "build" / "report.html"
    kept.parent.mkdir(exist_ok=True)
    shutil.copy(report, kept)
    outcome = finished.last.outcome
    assert outcome is not None
    assert outcome.report == str(report)
    mistakes = round((1 - outcome.accuracy) * 300)
    for size in (browser.DESKTOP, browser.PHONE):
        seen = browser.look(chromium, report, size)
        assert seen.problems == []
        assert seen.sections == list(run_page.SECTIONS)
        assert seen.images == 1 + min(mistakes, 50) + 2, "and two corruptions"
        assert seen.undrawn == []
        assert len(seen.charts) == 9, "with the graph, the learning rate and two corruptions"
        assert seen.without_alternative == 0
        assert seen.width_px == size[0]
    assert seen.title == f"digits: pushed, accuracy {outcome.accuracy:.4f}"
    labels = finished.data / "t10k-labels-idx1-ubyte.gz"
    for text in (
        f"{mistakes} of 300 test images were misclassified.",
        "450 train, 150 eval, 300 test images",
        "There is no champion",
        "Drift is not measured: no other data was accepted before.",
        "The training showed the network 2,700 images in ",
        f"run {finished.last.run_id}",
        hashlib.sha256(labels.read_bytes()).hexdigest(),
    ):
        assert text in seen.text, text


def test_json_prints_the_events_and_nothing_else(finished: LocalRuns) -> None:
    done = finished.run("--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = [events.parse(line) for line in done.stdout.splitlines()]
    assert isinstance(found[0], events.Planned) and set(found[0].nodes) == set(NodeId)
    ended = {event.node for event in found if isinstance(event, events.NodeChanged)}
    assert ended == set(NodeId)
    last = found[-1]
    assert isinstance(last, events.RunEnded)
    assert (last.run_id, last.exit_code, last.message) == (finished.last.run_id, 0, "")
    assert all(event.time for event in found)
    kept = finished.root / "runs" / last.run_id / "events.jsonl"
    assert kept.read_text().splitlines() == done.stdout.splitlines()[:-1]


def test_a_run_goes_on_if_nobody_reads_its_events(finished: LocalRuns) -> None:
    command = [sys.executable, "-m", "pipeline.cli", "run", "--json"]
    options: list[str | Path] = ["--config", finished.config, "--data-dir", finished.data]
    with subprocess.Popen(
        [*command, *options, "--root", finished.root], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(timeout=240) == 0
    assert finished.last.exit_code == 0


def test_a_run_can_be_watched_from_another_terminal(finished: LocalRuns) -> None:
    watched: list[subprocess.CompletedProcess[str]] = []
    watch = threading.Thread(target=lambda: watched.append(_watch_when_started(finished)))
    watch.start()
    done = finished.run("--set", "evaluation.min_accuracy=0.999")
    watch.join()
    assert done.returncode == watched[0].returncode == 3, watched[0].stdout + watched[0].stderr
    assert re.search(r"✗ Evaluator +rejected", watched[0].stdout)
    shown = done.stdout[done.stdout.index("\naccuracy ") :]
    assert watched[0].stdout.endswith(shown), "the same summary"
    none = finished.call("status", "--watch", name=None)
    assert none.returncode == 1
    assert none.stderr.startswith(f"mnist-tfx: no run is going on in {finished.root}; `mnist-tfx ")


def _watch_when_started(runs: LocalRuns) -> subprocess.CompletedProcess[str]:
    before = len(Workspace(runs.root).records())
    deadline_s = time.monotonic() + 240
    while len(Workspace(runs.root).records()) == before and time.monotonic() < deadline_s:
        time.sleep(0.05)
    return runs.call("status", "--watch", name=None)


def test_an_unchanged_run_is_cached(finished: LocalRuns) -> None:
    """Also after a second download: the files' times change, their content does not."""
    for path in finished.data.iterdir():
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
        os.utime(path, (1, 1))
    before = finished.versions
    folder = finished.root / "serving_model" / "digits"
    cards = [path.read_text() for path in version_folders.cards(folder, before[-1])]
    assert len(cards) == 2
    done = finished.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(finished.states.values()) == ALL_CACHED
    assert "cached: this model was pushed before" in done.stdout
    assert cards == [path.read_text() for path in version_folders.cards(folder, before[-1])]
    report = Path(finished.last.outcome.report or "").read_text() if finished.last.outcome else ""
    assert f"<b>{before[-1]}</b>, which was pushed before." in report
    assert "5 test images, answered by" in done.stdout
    assert finished.versions == before


def test_a_model_below_a_threshold_is_not_pushed(finished: LocalRuns) -> None:
    before = finished.versions
    limit = ("--set", "evaluation.min_accuracy=0.999")
    done = finished.run(*limit)
    assert done.returncode == 3, done.stdout + done.stderr
    accuracy = re.search(r"accuracy is (0\.\d{4}); the minimum is 0.999", done.stdout)
    assert accuracy is not None
    assert finished.last.exit_code == 3
    assert "the model was not pushed: accuracy is" in finished.last.message
    assert finished.versions == before
    expected = {NodeId.EVALUATOR, NodeId.RUN_REPORT, NodeId.ATOMIC_PUSHER}
    assert finished.nodes_that_are("done") == expected
    outcome = finished.last.outcome
    assert outcome is not None
    report = Path(outcome.report or "").read_text()
    assert "<title>digits: rejected, accuracy " in report
    assert accuracy[0] in report
    rejecting = {node.node for node in finished.last.nodes if node.rejections}
    assert rejecting == {NodeId.EVALUATOR, NodeId.ATOMIC_PUSHER}
    assert re.search(r"✗ Evaluator +rejected", done.stdout)
    assert re.search(r"✗ AtomicPusher +rejected", done.stdout)
    again = finished.run(*limit)
    assert again.returncode == 3, "cached, it is rejected again"
    assert set(finished.states.values()) == ALL_CACHED
    assert "the minimum is 0.999" in again.stdout


def test_a_superseded_push_is_repeated(finished: LocalRuns) -> None:
    (version,) = finished.versions
    folder = finished.root / "serving_model" / "digits"
    shutil.copytree(folder / str(version), folder / str(version + 1))
    (folder / str(version + 1) / "other").touch()  # the model of somebody else
    done = finished.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert finished.nodes_that_are("done") == {NodeId.ATOMIC_PUSHER}
    assert finished.versions[:-1] == [version, version + 1]
    assert f"answered by version {finished.versions[-1]} over gRPC" in done.stdout


def test_an_emptied_serving_folder_is_refilled(finished: LocalRuns) -> None:
    shutil.rmtree(finished.root / "serving_model")
    done = finished.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(finished.versions) == 1
    assert "5 test images, answered by" in done.stdout


def test_a_model_that_a_server_answers_too_slowly_is_not_pushed(finished: LocalRuns) -> None:
    before = finished.versions
    for _ in range(2):  # a rejection is not cached: a server can be faster the next time
        done = finished.run("--set", "serving.max_latency_ms=0.001")
        assert done.returncode == 3, done.stdout + done.stderr
        reason = "the 99th percentile of the latency of the embedded server is"
        assert f"the model was not pushed: {reason}" in finished.last.message
        assert f"blessed      no: {reason}" in done.stdout
        assert finished.states[NodeId.SERVER_VALIDATOR] == "done"
        assert finished.states[NodeId.EVALUATOR] == "cached"
    assert finished.versions == before


def test_the_versions_are_listed(two_models: LocalRuns) -> None:
    listed = json.loads(two_models.call("models", "--json").stdout)
    assert [found["version"] for found in listed] == two_models.versions[::-1]
    newest, former = listed
    assert (newest["state"], former["state"]) == ("served", "kept")
    assert (newest["champion"], former["champion"]) == (former["version"], None)
    outcome = two_models.last.outcome
    assert outcome is not None
    assert newest["accuracy"] == outcome.accuracy
    assert newest["worst_digit"] == outcome.worst_digit
    assert newest["run_id"] == two_models.last.run_id
    assert re.fullmatch("sha256:[0-9a-f]{64}", newest["data_digest"])
    assert newest["data_digest"] == former["data_digest"]
    table = two_models.call("models").stdout
    assert re.search(rf"{newest['version']} +served +{outcome.accuracy:.4f}", table)
    pushed = Path(outcome.pushed or "")
    assert (pushed / "assets.extra" / "tf_serving_warmup_requests").exists()


def test_the_lineage_of_a_version_goes_back_to_the_files(two_models: LocalRuns) -> None:
    version = str(two_models.versions[-1])
    graph = json.loads(two_models.call("lineage", version, "--json").stdout)
    nodes = {node["key"]: node for node in graph["nodes"]}
    pushed = nodes[graph["root"]]
    assert pushed["type"] == "PushedModel"
    assert pushed["properties"]["pushed_version"] == version
    files = {node["id"]: node["sha256"] for node in nodes.values() if node["kind"] == "file"}
    assert files == {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in two_models.data.iterdir()
    }
    produced_by = {
        edge["target"]: edge["source"] for edge in graph["edges"] if edge["name"] == "produced"
    }
    assert nodes[produced_by[graph["root"]]]["component"] == NodeId.ATOMIC_PUSHER
    assert nodes[produced_by[graph["root"]]]["run_id"] == two_models.last.run_id
    components = {node["component"] for node in nodes.values() if node["kind"] == "execution"}
    assert components == {
        NodeId.IDX_EXAMPLE_GEN,
        NodeId.CURATED_SCHEMA,
        NodeId.TRANSFORM,
        NodeId.TRAINER,
        NodeId.CORRUPTED_EXAMPLES,
        NodeId.EVALUATOR,
        NodeId.SERVER_VALIDATOR,
        NodeId.ATOMIC_PUSHER,
    }
    compared = [edge for edge in graph["edges"] if edge["name"] == "baseline_model"]
    assert [nodes[edge["source"]]["type"] for edge in compared] == ["Model"]
    tree = two_models.call("lineage", version).stdout
    assert re.search(r"baseline_model: Model \d+ .* \(compared with\)", tree)
    assert all(f"read: {path} (sha256 " in tree for path in files)
    dot = two_models.call("lineage", str(pushed["id"]), "--dot").stdout
    assert dot.startswith("digraph lineage {")
    assert dot.count(" -> ") == len(graph["edges"])
    wrong = two_models.call("lineage", "7777777")
    assert wrong.returncode == 1
    assert "7777777 is neither a version of digits nor an artifact in" in wrong.stderr


def test_a_roll_back_is_served_and_a_run_does_not_undo_it(two_models: LocalRuns) -> None:
    former, newest = two_models.versions
    done = two_models.call("rollback")
    options = f"--root {two_models.root} --name digits"
    assert done.stdout == (
        f"digits: version {former} is served instead of {newest}; to undo this, run `mnist-tfx "
        f"rollback {newest} {options}`\n"
    )
    again = two_models.run("--set", "trainer.seed=2")
    assert again.returncode == 3, again.stdout + again.stderr
    assert (
        f"the model was rolled back (version {newest}); to serve it again, run `mnist-tfx rollback "
        f"{newest} {options}`"
    ) in two_models.last.message
    assert two_models.versions == [former]
    listed = json.loads(two_models.call("models", "--json").stdout)
    assert {found["version"]: found["state"] for found in listed}[newest] == "withdrawn"
    back = two_models.call("rollback", str(newest))
    assert back.stdout.startswith(f"digits: version {newest} is served instead of {former}; to")
    assert two_models.run("--set", "trainer.seed=2").returncode == 0
    assert set(two_models.states.values()) == ALL_CACHED
    unknown = two_models.call("rollback", "7")
    assert unknown.returncode == 1
    assert re.fullmatch(
        "mnist-tfx: .* contains no version 7; the versions are .*\n", unknown.stderr
    )


@pytest.mark.cold
def test_an_edit_of_the_trainer_trains_again_and_nothing_before_it(
    finished: LocalRuns, tmp_path: Path
) -> None:
    """In new processes, with a copy of the code."""
    first = finished.last
    for package in PACKAGES:
        shutil.copytree(PROJECT / package, tmp_path / package)
    with (tmp_path / "trainer" / "model.py").open("a") as source:
        source.write("\n# An edit that changes nothing but the code.\n")
    done = finished.run(cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert finished.nodes_that_are("done") == {
        NodeId.TRAINER,
        NodeId.EVALUATOR,
        NodeId.RUN_REPORT,
        NodeId.SERVER_VALIDATOR,
        NodeId.ATOMIC_PUSHER,
    }
    before = {*UP_TO_THE_GATE, NodeId.TRANSFORM, NodeId.CORRUPTED_EXAMPLES}
    assert finished.nodes_that_are("cached") == before
    second = finished.last
    assert first.outcome is not None and second.outcome is not None
    assert second.outcome.accuracy == first.outcome.accuracy, "the same seed, the same model"
    assert len(finished.versions) == 2


def test_serve_and_predict(
    finished: LocalRuns, test_digits: ImagesAndLabels, tmp_path: Path
) -> None:
    """The answers are those of the served model itself."""
    import tensorflow as tf

    program = [sys.executable, "-m", "pipeline.cli"]
    np.save(tmp_path / "two.npy", test_digits.images[:2])
    serve = subprocess.Popen(
        [*program, "serve", "--root", finished.root, "--name", "digits", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert serve.stdout is not None
        line = serve.stdout.readline()
        found = re.match(r"serving digits version (\d+) at (127\.0\.0\.1:\d+) \(", line)
        assert found, line
        predict = ["predict", "--address", found[2], "--name", "digits"]
        inputs: list[str | Path] = ["idx:7", tmp_path / "two.npy", "--data-dir", finished.data]
        done = cli(*predict, *inputs, "--json")
        assert done.returncode == 0, done.stderr
        answers = json.loads(done.stdout)
        names = ["idx:7", f"{tmp_path / 'two.npy'}[0]", f"{tmp_path / 'two.npy'}[1]"]
        assert [answer["image"] for answer in answers] == names
        assert answers[0]["label"] == test_digits.labels[7]
        (version,) = finished.versions
        model = tf.saved_model.load(str(finished.root / f"serving_model/digits/{version}"))
        images = tf.constant(test_digits.images[[7, 0, 1]])
        expected = model.signatures["predict_images"](images=images)["probabilities"].numpy()
        assert [answer["prediction"] for answer in answers] == expected.argmax(axis=1).tolist()
        np.testing.assert_allclose(
            [answer["probability"] for answer in answers], expected.max(axis=1), atol=1e-4
        )
        assert {answer["version"] for answer in answers} == {version} == {int(found[1])}
        Image.new("L", (90, 60), "white").save(tmp_path / "blank.png")
        saved = tmp_path / "saved"
        table = cli(*predict, *inputs, tmp_path / "blank.png", "--save-images", saved)
        assert table.stderr == ""
        rows = table.stdout.splitlines()[2:]
        assert rows[0].startswith("idx:7") and str(version) in rows[0]
        assert rows[3].rstrip().endswith("no digit found")
        with Image.open(saved / "idx-7.png") as sent:
            np.testing.assert_array_equal(sent, test_digits.images[7])
        assert len(list(saved.iterdir())) == 4
        wrong = cli(*predict, "idx:300", "--data-dir", finished.data)
        assert wrong.returncode == 2
        assert wrong.stderr == "mnist-tfx: idx:300: the last image is idx:299.\n"
        unknown = cli(*predict, *inputs, "--version", "5")
        assert unknown.returncode == 1
        assert unknown.stderr == (
            f"mnist-tfx: the server at {found[2]} does not serve version 5 of digits; give another "
            "--name or --version (NOT_FOUND: Servable not found for request: Specific(digits, "
            "5)).\n"
        )
        serve.send_signal(signal.SIGTERM)
        assert serve.wait(timeout=60) == 0
    finally:
        serve.terminate()  # not killed: it stops the server that it started
        serve.wait(timeout=60)
    gone = cli(*predict, *inputs)
    assert gone.returncode == 1
    assert "no model server listens at" in gone.stderr
    assert "start one with `mnist-tfx serve`" in gone.stderr


def _unpacked(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    return lambda content: gzip.compress(change(gzip.decompress(content)))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        pytest.param(
            "train-images-idx3-ubyte.gz",
            _unpacked(lambda content: content[:-100]),
            "is truncated: it has 470316 bytes; expected 470416 bytes for the shape 600x28x28",
            id="truncated",
        ),
        pytest.param(
            "t10k-images-idx3-ubyte.gz",
            _unpacked(lambda content: b"\x00\x00\x08\x01" + content[4:]),
            "magic number 0x00000801; expected 0x00000803",
            id="magic",
        ),
        pytest.param(
            "t10k-labels-idx1-ubyte.gz",
            lambda _: idx_format.serialize(np.zeros(299, np.uint8)),
            "contains 300 images, but",
            id="counts",
        ),
        pytest.param(
            "train-labels-idx1-ubyte.gz",
            lambda content: content[:200] + b"\xff\xff" + content[202:],
            "is not a complete gzip file",
            id="gzip",
        ),
    ],
)
def test_a_damaged_file_is_one_sentence_and_exit_code_1(
    digits: Path,
    digits_config: Path,
    tmp_path: Path,
    name: str,
    change: Callable[[bytes], bytes],
    message: str,
) -> None:
    data = Path(shutil.copytree(digits, tmp_path / "data"))
    (data / name).write_bytes(change((data / name).read_bytes()))
    done = LocalRuns(tmp_path / "root", data, digits_config).run()
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "root").exists()


def test_anomalies_stop_the_run_with_exit_code_3(
    digits: Path, tmp_path: Path, digits_config: Path
) -> None:
    """Inverted images, and a label of 10 or more."""
    data = Path(shutil.copytree(digits, tmp_path / "data"))
    paths = idx_format.find_pair(data, "t10k-*")
    images, labels = idx_format.read_pair(*paths)
    wrong = ImagesAndLabels(255 - images, labels + (np.arange(300) == 9) * 10)
    for path, values in zip(paths, wrong, strict=True):
        path.write_bytes(idx_format.serialize(values.astype(np.uint8)))
    runs = LocalRuns(tmp_path / "root", data, digits_config)
    done = runs.run()
    assert done.returncode == 3, done.stdout + done.stderr
    assert "schema: test, label: " in done.stdout
    assert "schema: test, pixel_mean: Unexpectedly high value" in done.stdout
    assert runs.nodes_that_are("failed") == {NodeId.ANOMALY_GATE}
    assert set(runs.states) == {*UP_TO_THE_GATE, NodeId.ACCEPTED_SPANS}, "nothing ran after it"
    assert runs.versions == []
    assert runs.last.message.startswith("AnomalyGate rejected: the data has ")
    review = ("--config", digits_config)
    shown = runs.call("schema", "diff", *review, name=None)
    corrections = (r" .*\bmax: 1\d\b", r" .*\bmax: 2\d\d\.\d+")
    for correction in corrections:
        assert re.search(r"\+" + correction, shown.stdout), shown.stdout + shown.stderr
    new = tmp_path / "new.pbtxt"
    wrote = runs.call("schema", "update", "-o", new, *review, name=None)
    assert wrote.returncode == 0, wrote.stderr
    assert all(re.search(correction, new.read_text()) for correction in corrections)


@contextlib.contextmanager
def _started(
    digits: Path, digits_config: Path, root: Path
) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A run that has just started its processes, and the ids of these."""
    command = [sys.executable, "-m", "pipeline.cli", "run", "--config", str(digits_config)]
    process = subprocess.Popen(
        [*command, "--data-dir", str(digits), "--root", str(root)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # SIGINT is ignored in the background jobs of a shell, and a test run can be one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline_s = time.monotonic() + 240
    # Until both the model server and the pipeline's process have started.
    while len(children := _children(process.pid)) < 2:
        assert process.poll() is None and time.monotonic() < deadline_s
        time.sleep(0.05)
    yield process, children


@pytest.mark.cold
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_ends_with_130_and_leaves_no_process(
    digits: Path, digits_config: Path, tmp_path: Path, number: signal.Signals
) -> None:
    with _started(digits, digits_config, tmp_path / "root") as (process, children):
        process.send_signal(number)
        _, error = process.communicate(timeout=240)
    assert (process.returncode, error) == (130, "mnist-tfx: interrupted.\n")
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
    (record,) = Workspace(tmp_path / "root").records()
    assert record.result == "interrupted"


@pytest.mark.cold
def test_killed_it_leaves_no_process_and_the_lock_until_they_end(
    digits: Path, digits_config: Path, tmp_path: Path
) -> None:
    workspace = Workspace(tmp_path / "root")
    with _started(digits, digits_config, workspace.root) as (process, children):
        process.kill()
        process.communicate(timeout=240)
    deadline_s = time.monotonic() + 240
    while any(map(is_running, children)) or workspace.is_in_use:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    (record,) = workspace.records()
    assert record.result == "interrupted"


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]

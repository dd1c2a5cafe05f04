"""The whole pipeline on real digits, through the command line, as a user has it.

The tests of this module share one workspace and build on each other in order: a first
run, an unchanged one, and then what a change of this or that does.
"""

import gzip
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from doubles import browser

from components.images import idx_format
from components.images.idx_format import ImagesAndLabels
from components.report import run_page
from pipeline.runs.workspace import RunRecord, Workspace

PROJECT = Path(__file__).parents[2]
TIMEOUT_S = 600
UP_TO_THE_GATE = {
    "IdxExampleGen",
    "CuratedSchema",
    "StatisticsGen",
    "ExampleValidator",
    "BalanceValidator",
    "SkewValidator",
    "DriftValidator",
    "ImageValidator",
    "AnomalyGate",
}
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture(scope="module")
def run(root: Path, digits: Path, digits_config: Path) -> Run:
    """`mnist-tfx run` on the sample; more arguments are added, the last of a kind wins."""

    def call(*arguments: str | Path, cwd: Path = PROJECT) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pipeline.cli", "run", "--config", digits_config]
        return subprocess.run(
            [*command, "--data-dir", digits, "--root", root, *arguments],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            cwd=cwd,
            env={**os.environ, "COLUMNS": "200"},
        )

    return call


def _last(root: Path) -> RunRecord:
    return Workspace(root).records()[-1]


def _states(root: Path) -> dict[str, str]:
    return {node.node: node.state for node in _last(root).nodes}


def _versions(root: Path) -> list[int]:
    return Workspace(root).served_versions("digits")


def test_the_first_run_trains_pushes_and_answers(run: Run, root: Path) -> None:
    done = run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == "", "the libraries' noise is in the log"
    (version,) = _versions(root)
    outcome = _last(root).outcome
    assert outcome is not None
    assert outcome.pushed == str(root / "serving_model" / "digits" / str(version))
    assert outcome.test_images == 300
    assert outcome.accuracy > 0.8
    states = _states(root)
    assert states.pop("ChampionResolver") == states.pop("AcceptedSpans") == "resolved"
    assert set(states.values()) == {"done"}
    assert "Total params: 1,413,834" in done.stdout
    assert f"5 digits of the test split, asked of version {version} over gRPC" in done.stdout
    assert len(re.findall(r"idx:\d+ │ +\d │ +\d │ +[01]\.\d{4} │ +[\d.]+ ms", done.stdout)) == 5
    assert "yes, every threshold was reached" in done.stdout
    assert f"accuracy     {outcome.accuracy:.4f} on 300 test images" in done.stdout
    assert list(Path(outcome.tensorboard).rglob("events.out.tfevents.*"))


def test_its_report_is_found_and_opens_well(root: Path, chromium: str) -> None:
    """The page is left in build/, for whoever looks at what CI made."""
    done = _cli(root, "report", name=None)
    assert done.returncode == 0, done.stderr
    report = Path(done.stdout.strip())
    kept = PROJECT / "build" / "report.html"
    kept.parent.mkdir(exist_ok=True)
    shutil.copy(report, kept)
    outcome = _last(root).outcome
    assert outcome is not None
    assert outcome.report == str(report)
    mistakes = round((1 - outcome.accuracy) * 300)
    for size in (browser.DESKTOP, browser.PHONE):
        seen = browser.look(chromium, report, size)
        assert seen.problems == []
        assert seen.sections == list(run_page.SECTIONS)
        assert seen.images == 1 + min(mistakes, 50)
        assert seen.undrawn == []
        assert len(seen.charts) == 7, "balance, brightness, loss, accuracy, reliability, two more"
        assert seen.without_alternative == 0
        assert seen.width_px == size[0]
    assert seen.title == f"digits: blessed, accuracy {outcome.accuracy:.4f}"
    for said in (
        f"{mistakes} of 300 test images were taken for another digit.",
        "450 train, 150 eval, 300 test images",
        "There is no champion",
        "There is nothing accepted before to measure drift from.",
        "2,700 images shown in ",
        f"run {_last(root).run_id}",
        hashlib.sha256(
            (PROJECT / "tests/data/digits/t10k-labels-idx1-ubyte.gz").read_bytes()
        ).hexdigest(),
    ):
        assert said in seen.text, said


def test_unchanged_it_is_all_cached(run: Run, root: Path) -> None:
    before = _versions(root)
    done = run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(_states(root).values()) == {"cached", "resolved"}
    assert "everything was cached" in done.stdout
    assert "5 digits of the test split" in done.stdout
    assert _versions(root) == before


def test_the_same_data_with_other_times_is_cached(
    run: Run, root: Path, digits: Path, tmp_path: Path
) -> None:
    """The files are put back where they were, as a new download would."""
    saved = shutil.copytree(digits, tmp_path / "digits")
    for path in saved.iterdir():
        os.utime(path, (1, 1))
        os.utime(digits / path.name, (2, 2))
    assert run("--set", "serving.sample_requests=0").returncode == 0
    assert set(_states(root).values()) == {"cached", "resolved"}


def test_a_model_below_a_threshold_is_not_pushed(run: Run, root: Path) -> None:
    before = _versions(root)
    done = run("--set", "evaluation.min_accuracy=0.999")
    assert done.returncode == 3, done.stdout + done.stderr
    accuracy = re.search(r"accuracy is (0\.\d{4}), and at least 0.999 is asked for", done.stdout)
    assert accuracy is not None
    assert _last(root).exit_code == 3
    assert "the model was not pushed: accuracy is" in _last(root).message
    assert _versions(root) == before
    states = _states(root)
    assert {node for node, state in states.items() if state == "done"} == {
        "Evaluator",
        "RunReport",
        "AtomicPusher",
    }
    report = Path((_last(root).outcome or pytest.fail()).report or "").read_text()
    assert "<title>digits: refused, accuracy " in report
    assert accuracy[0] in report


def test_and_cached_it_is_refused_again(run: Run, root: Path) -> None:
    done = run("--set", "evaluation.min_accuracy=0.999")
    assert done.returncode == 3
    assert set(_states(root).values()) == {"cached", "resolved"}
    assert "at least 0.999 is asked for" in done.stdout


def test_a_push_that_was_superseded_is_done_again(run: Run, root: Path) -> None:
    """Another configuration's model goes over this one's; the first one is then asked for again."""
    assert run("--set", "evaluation.max_loss=1.3").returncode == 0
    before = _versions(root)
    done = run()
    assert done.returncode == 0, done.stdout + done.stderr
    states = _states(root)
    assert {node for node, state in states.items() if state == "done"} == {"AtomicPusher"}
    assert _versions(root)[:-1] == before
    assert f"asked of version {_versions(root)[-1]} over gRPC" in done.stdout


def _cli(
    root: Path, *arguments: str | Path, name: str | None = "digits"
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.cli", *arguments, "--root", root]
    named = ["--name", name] if name else []
    return subprocess.run(
        [*command, *named], capture_output=True, text=True, timeout=120, check=False
    )


def test_a_model_that_a_server_answers_too_slowly_is_not_pushed(run: Run, root: Path) -> None:
    before = _versions(root)
    limit = ("--set", "serving.max_latency_ms=0.001")
    for _ in range(2):  # a server may be quicker the next time: the refusal is not cached
        done = run(*limit)
        assert done.returncode == 3, done.stdout + done.stderr
        assert "the model was not pushed: 99 of 100 requests to the" in _last(root).message
        assert "blessed      no: 99 of 100 requests to the" in done.stdout
        assert _states(root)["ServerValidator"] == "done"
        assert _states(root)["Evaluator"] == "cached"
    assert _versions(root) == before


def test_another_model_is_pushed_and_the_versions_are_listed(
    run: Run, root: Path, digits: Path
) -> None:
    (champion,) = _versions(root)[-1:]
    done = run("--set", "trainer.seed=2")
    assert done.returncode == 0, done.stdout + done.stderr
    listed = json.loads(_cli(root, "models", "--json").stdout)
    assert [found["version"] for found in listed] == _versions(root)[::-1]
    newest, former = listed[:2]
    assert (newest["state"], former["state"]) == ("served", "kept")
    assert newest["champion"] == champion == former["version"]
    assert former["champion"] != former["version"]
    outcome = _last(root).outcome
    assert outcome is not None
    assert newest["accuracy"] == outcome.accuracy
    assert newest["worst_digit"] == outcome.worst_digit
    assert newest["run_id"] == _last(root).run_id
    assert re.fullmatch("sha256:[0-9a-f]{64}", newest["data_digest"])
    assert newest["data_digest"] == former["data_digest"]
    table = _cli(root, "models").stdout
    assert re.search(rf"{newest['version']} +served +{outcome.accuracy:.4f}", table)
    pushed = Path(outcome.pushed or "")
    assert (pushed / "assets.extra" / "tf_serving_warmup_requests").exists()


def test_a_versions_lineage_goes_back_to_the_files(root: Path, digits: Path) -> None:
    version = str(_versions(root)[-1])
    graph = json.loads(_cli(root, "lineage", version, "--json").stdout)
    nodes = {node["key"]: node for node in graph["nodes"]}
    pushed = nodes[graph["root"]]
    assert pushed["type"] == "PushedModel"
    assert pushed["properties"]["pushed_version"] == version
    files = {node["id"]: node["sha256"] for node in nodes.values() if node["kind"] == "file"}
    assert files == {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in digits.iterdir()
    }
    made_by = {edge["target"]: edge["source"] for edge in graph["edges"] if edge["name"] == "made"}
    assert nodes[made_by[graph["root"]]]["component"] == "AtomicPusher"
    assert nodes[made_by[graph["root"]]]["run_id"] == _last(root).run_id
    components = {node["component"] for node in nodes.values() if node["kind"] == "execution"}
    assert components == {
        "IdxExampleGen",
        "CuratedSchema",
        "Transform",
        "Trainer",
        "CorruptedExamples",
        "Evaluator",
        "ServerValidator",
        "AtomicPusher",
    }
    compared = [edge for edge in graph["edges"] if edge["name"] == "baseline_model"]
    assert [nodes[edge["source"]]["type"] for edge in compared] == ["Model"]
    tree = _cli(root, "lineage", version).stdout
    assert re.search(r"baseline_model: Model \d+ .* \(compared with\)", tree)
    assert all(f"read: {path} (sha256 " in tree for path in files)
    dot = _cli(root, "lineage", str(pushed["id"]), "--dot").stdout
    assert dot.startswith("digraph lineage {")
    assert dot.count(" -> ") == len(graph["edges"])
    wrong = _cli(root, "lineage", "7777777")
    assert wrong.returncode == 1
    assert "7777777 is no version of digits and no artifact in" in wrong.stderr


def test_a_roll_back_is_served_and_a_run_does_not_undo_it(run: Run, root: Path) -> None:
    *_, former, newest = _versions(root)
    done = _cli(root, "rollback")
    assert done.stdout == f"digits: version {former} is served, not {newest} any more\n"
    again = run("--set", "trainer.seed=2")
    assert again.returncode == 3, again.stdout + again.stderr
    assert f"it was rolled back, as version {newest}" in _last(root).message
    assert _versions(root)[-1] == former
    states = {
        found["version"]: found["state"]
        for found in json.loads(_cli(root, "models", "--json").stdout)
    }
    assert states[newest] == "withdrawn"
    back = _cli(root, "rollback", str(newest))
    assert back.stdout == f"digits: version {newest} is served, not {former} any more\n"
    assert run("--set", "trainer.seed=2").returncode == 0
    assert set(_states(root).values()) == {"cached", "resolved"}
    unknown = _cli(root, "rollback", "7")
    assert unknown.returncode == 1
    assert re.fullmatch("mnist-tfx: there is no version 7 in .* is expected.\n", unknown.stderr)
    assert run().returncode == 0, "the first recipe is served again, for the tests that follow"


def test_an_edit_of_the_trainer_trains_again_and_nothing_before(
    run: Run, root: Path, tmp_path: Path
) -> None:
    before = _versions(root)
    for package in ("trainer", "components", "pipeline", "serving"):
        shutil.copytree(PROJECT / package, tmp_path / package)
    with (tmp_path / "trainer" / "model.py").open("a") as source:
        source.write("\n# An edit that changes nothing but the code.\n")
    done = run(cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    states = _states(root)
    assert {node for node, state in states.items() if state == "done"} == {
        "Trainer",
        "Evaluator",
        "RunReport",
        "ServerValidator",
        "AtomicPusher",
    }
    assert {states[node] for node in (*UP_TO_THE_GATE, "Transform", "CorruptedExamples")} == {
        "cached"
    }
    successes = [record for record in Workspace(root).records() if record.exit_code == 0]
    first, second = successes[0], successes[-1]  # both of the first recipe
    assert first.outcome is not None and second.outcome is not None
    assert second.outcome.accuracy == first.outcome.accuracy, "the same seed, the same model"
    assert len(_versions(root)) == len(before) + 1


def test_a_serving_folder_that_was_emptied_is_filled_again(run: Run, root: Path) -> None:
    shutil.rmtree(root / "serving_model")
    done = run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(_versions(root)) == 1
    assert "5 digits of the test split" in done.stdout


def test_serve_and_predict(
    root: Path, digits: Path, test_digits: ImagesAndLabels, tmp_path: Path
) -> None:
    cli = [sys.executable, "-m", "pipeline.cli"]
    np.save(tmp_path / "two.npy", test_digits.images[:2])
    serve = subprocess.Popen(
        [*cli, "serve", "--root", root, "--name", "digits", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert serve.stdout is not None
        said = serve.stdout.readline()
        found = re.match(r"serving digits version (\d+) at (127\.0\.0\.1:\d+) \(", said)
        assert found, said
        predict = [*cli, "predict", "--address", found[2], "--name", "digits"]
        inputs = ["idx:7", tmp_path / "two.npy", "--data-dir", digits]
        done = subprocess.run(
            [*predict, *inputs, "--json"], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        answers = json.loads(done.stdout)
        assert [answer["image"] for answer in answers] == [
            "idx:7",
            f"{tmp_path / 'two.npy'}[0]",
            f"{tmp_path / 'two.npy'}[1]",
        ]
        assert answers[0]["label"] == test_digits.labels[7]
        right = [answer["prediction"] for answer in answers] == [
            *(int(test_digits.labels[index]) for index in (7, 0, 1))
        ]
        assert right or min(answer["probability"] for answer in answers) < 0.9
        assert {answer["version"] for answer in answers} == {int(found[1])}
        table = subprocess.run(
            [*predict, *inputs], capture_output=True, text=True, timeout=120, check=False
        )
        assert "idx:7" in table.stdout
        assert table.stderr == ""
        wrong = subprocess.run(
            [*predict, "idx:300", "--data-dir", digits],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert wrong.returncode == 1
        assert (
            wrong.stderr == "mnist-tfx: idx:300: a number from 0 to 299 is expected after idx:.\n"
        )
        serve.send_signal(signal.SIGTERM)
        assert serve.wait(timeout=60) == 0
    finally:
        serve.terminate()  # not killed: it stops the server that it started
        serve.wait(timeout=60)


def _damage(digits: Path, folder: Path, name: str, change: Callable[[bytes], bytes]) -> Path:
    shutil.copytree(digits, folder)
    path = folder / name
    path.write_bytes(change(path.read_bytes()))
    return folder


def _unpacked(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    return lambda content: gzip.compress(change(gzip.decompress(content)))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        pytest.param(
            "train-images-idx3-ubyte.gz",
            _unpacked(lambda content: content[:-100]),
            "is truncated: 470316 bytes, and 470416 are expected for the shape 600x28x28",
            id="truncated",
        ),
        pytest.param(
            "t10k-images-idx3-ubyte.gz",
            _unpacked(lambda content: b"\x00\x00\x08\x01" + content[4:]),
            "magic number 0x00000801, and 0x00000803 is expected",
            id="magic",
        ),
        pytest.param(
            "t10k-labels-idx1-ubyte.gz",
            lambda _: idx_format.serialize(np.zeros(299, np.uint8)),
            "has 300 images and",
            id="counts",
        ),
        pytest.param(
            "train-labels-idx1-ubyte.gz",
            lambda content: content[:200] + b"\xff\xff" + content[202:],
            "is not a whole gzip file",
            id="gzip",
        ),
    ],
)
def test_a_damaged_file_is_one_sentence_and_exit_code_1(
    run: Run,
    digits: Path,
    tmp_path: Path,
    name: str,
    change: Callable[[bytes], bytes],
    message: str,
) -> None:
    folder = _damage(digits, tmp_path / "data", name, change)
    done = run("--data-dir", folder, "--root", tmp_path / "root")
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize(
    ("change", "message", "correction"),
    [
        pytest.param(
            lambda pair: ImagesAndLabels(pair.images, pair.labels + (np.arange(300) == 9) * 10),
            "schema: test, label: ",
            r" +max: 1\d\n",
            id="labels over 9",
        ),
        pytest.param(
            lambda pair: ImagesAndLabels(255 - pair.images, pair.labels),
            "schema: test, pixel_mean: Unexpectedly high value",
            r" +max: 2\d\d\.\d+\n",
            id="inverted",
        ),
    ],
)
def test_anomalies_stop_the_run_with_exit_code_3(
    run: Run,
    digits: Path,
    tmp_path: Path,
    digits_config: Path,
    change: Callable[[ImagesAndLabels], ImagesAndLabels],
    message: str,
    correction: str,
) -> None:
    folder = Path(shutil.copytree(digits, tmp_path / "data"))
    paths = idx_format.find_pair(folder, "t10k-*")
    for path, values in zip(paths, change(idx_format.read_pair(*paths)), strict=True):
        path.write_bytes(idx_format.serialize(values.astype(np.uint8)))
    root = tmp_path / "root"
    done = run("--data-dir", folder, "--root", root)
    assert done.returncode == 3, done.stdout + done.stderr
    assert message in done.stdout
    states = _states(root)
    assert states.pop("AnomalyGate") == "failed"
    before_the_gate = UP_TO_THE_GATE - {"AnomalyGate"} | {"AcceptedSpans"}
    assert set(states) == before_the_gate, "nothing ran after the gate"
    assert _versions(root) == []
    assert _last(root).message.startswith("AnomalyGate stopped the run: the data has ")
    review = "--config", digits_config
    shown = _cli(root, "schema", "diff", *review, name=None)
    assert re.search(r"\+" + correction, shown.stdout), shown.stdout + shown.stderr
    new = tmp_path / "new.pbtxt"
    wrote = _cli(root, "schema", "update", "-o", new, *review, name=None)
    assert wrote.returncode == 0, wrote.stderr
    assert re.search(correction, new.read_text())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_ends_with_130_and_leaves_no_process(
    digits: Path, digits_config: Path, tmp_path: Path, number: signal.Signals
) -> None:
    command = [sys.executable, "-m", "pipeline.cli", "run", "--config", digits_config]
    process = subprocess.Popen(
        [*command, "--data-dir", digits, "--root", tmp_path / "root"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts background jobs with SIGINT ignored, and this may be run by one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline_s = time.monotonic() + 60
    while not list((tmp_path / "root").glob("runs/*/server.txt")):
        assert time.monotonic() < deadline_s
        time.sleep(0.1)
    time.sleep(2)
    children = _children(process.pid)
    assert len(children) == 2, "the pipeline's process and the model server"
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "mnist-tfx: interrupted.\n")
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]

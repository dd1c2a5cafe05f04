"""Damaged workspaces: a sentence, and a repair by the next run or by `doctor`; `prune`."""

import json
import re
import shutil
import subprocess
from pathlib import Path

from doubles.local_runs import LocalRuns

from components.names.node_ids import NodeId
from serving import version_folders


def _flip(path: Path) -> None:
    """Changes one byte in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x55
    path.write_bytes(content)


def _files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _training_data(runs: LocalRuns) -> Path:
    (path,) = runs.root.glob("artifacts/IdxExampleGen/examples/*/Split-train/*.gz")
    return path


def _version_folder(runs: LocalRuns) -> Path:
    return runs.root / "serving_model" / "digits" / str(runs.versions[-1])


def _doctor(runs: LocalRuns, *options: str) -> subprocess.CompletedProcess[str]:
    return runs.call("doctor", *options, name=None)


def test_a_damaged_input_of_a_component_is_named(finished: LocalRuns) -> None:
    path = _training_data(finished)
    _flip(path)
    done = finished.run("--set", "trainer.seed=3")
    assert done.returncode == 1
    assert (
        f"an input is damaged: {path} was changed. Run `mnist-tfx doctor --repair "
        f"--root {finished.root}`, and the pipeline again. The error was: "
    ) in finished.last.message
    assert "corrupted record at" in finished.last.message
    assert finished.nodes_that_are("failed") == {NodeId.TRAINER}
    path.unlink()
    assert finished.run("--set", "trainer.seed=3").returncode == 1
    assert f"an input is damaged: {path} is missing. Run" in finished.last.message


def test_doctor_finds_and_repairs_damage(finished: LocalRuns) -> None:
    healthy = _doctor(finished)
    assert (healthy.returncode, healthy.stderr) == (0, "")
    assert re.fullmatch(
        rf"Checked: runs 1, artifacts \d\d, versions 1.\n"
        rf"No problem was found in {finished.root}.\n",
        healthy.stdout,
    )
    path, version = _training_data(finished), _version_folder(finished)
    record = next(finished.root.glob("runs/*/run.json"))
    content = record.read_bytes()
    record.unlink()
    assert f"the record {record} is missing, so `status` does not list" in _doctor(finished).stdout
    (graph,) = finished.root.glob(
        "artifacts/Transform/transform_graph/*/transform_fn/saved_model.pb"
    )
    (copy,) = finished.root.glob("artifacts/AtomicPusher/pushed_model/*")
    for file in (path, graph, copy / "saved_model.pb"):
        _flip(file)
    _flip(version / "variables" / "variables.data-00000-of-00001")
    record.write_bytes(content[:100])
    left = version.with_name(".staging-1")
    left.mkdir()
    problems = (
        f"the record {record} is damaged.",
        f"files of IdxExampleGen are damaged: {path} was changed.",
        f"files of Transform are damaged: {graph} was changed.",
        f"files of AtomicPusher are damaged: {copy}/saved_model.pb was changed.",
        f"a killed process left {left}.",
        f"the files of {version} differ from those that were pushed.",
    )
    found = _doctor(finished)
    assert found.returncode == 1
    assert found.stdout.count("  with --repair: ") == len(problems)
    for problem in problems:
        assert problem in found.stdout, found.stdout
    assert left.exists() and version.exists(), "without --repair nothing is changed"
    assert _doctor(finished, "--repair").returncode == 0
    assert not any(file.exists() for file in (left, version, path, graph, copy))
    (aside,) = set(version.parent.iterdir()) - {version_folders.cards_folder(version.parent)}
    (moved,) = finished.root.glob("set-aside-*")
    assert (moved / path.relative_to(finished.root)).exists()
    assert _doctor(finished).stdout.splitlines()[1:] == [
        f"Set aside by a repair; can be deleted: {moved}, {aside}.",
        f"No problem was found in {finished.root}.",
    ]
    done = finished.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert finished.states[NodeId.TRANSFORM] == finished.states[NodeId.ATOMIC_PUSHER] == "done"
    assert finished.states[NodeId.IDX_EXAMPLE_GEN] == "done"
    assert finished.states[NodeId.CURATED_SCHEMA] == "cached"
    assert len(finished.versions) == 1
    assert "5 test images, answered by" in done.stdout


def test_a_damaged_version_is_not_rolled_back_to_and_is_restored(two_models: LocalRuns) -> None:
    first, second = two_models.versions
    folder = two_models.root / "serving_model" / "digits"
    files = _files(folder / str(first))
    _flip(folder / str(first) / "saved_model.pb")
    rejected = two_models.call("rollback")
    assert rejected.returncode == 1
    message = f"the files of {folder / str(first)} differ from those that were pushed; run `mnist-"
    assert message in rejected.stderr
    assert two_models.versions == [first, second]
    assert _doctor(two_models, "--repair").returncode == 0
    assert _files(folder / str(first)) == files
    assert two_models.call("rollback").returncode == 0
    withdrawn = folder / f".withdrawn-{second}"
    (withdrawn / "fingerprint.pb").unlink()
    assert f"the files of {withdrawn} differ" in _doctor(two_models).stdout
    assert _doctor(two_models, "--repair").returncode == 0
    assert two_models.call("rollback", str(second)).returncode == 0
    assert two_models.versions == [first, second]


def test_damaged_metadata_is_one_sentence_and_is_set_aside(finished: LocalRuns) -> None:
    metadata = finished.root / "metadata.sqlite"
    metadata.write_bytes(metadata.read_bytes()[: metadata.stat().st_size // 2])
    calls = (
        finished.run(),
        finished.call("models"),
        finished.call("lineage", str(finished.versions[-1])),
        finished.call("schema", "diff", "--config", finished.config, name=None),
    )
    for done in calls:
        assert done.returncode == 1
        assert re.fullmatch(
            rf"mnist-tfx: {metadata} is damaged \(.*malformed.*\); the pushed models are not\. Run "
            rf"`mnist-tfx doctor --repair --root {finished.root}`, .*\n",
            done.stderr,
        ), done.stderr
    repaired = _doctor(finished, "--repair")
    assert repaired.returncode == 0
    assert repaired.stdout.count("doctor --repair") == 0, "it is running"
    (aside,) = finished.root.glob("set-aside-*")
    assert {path.name for path in aside.iterdir()} == {"metadata.sqlite", "artifacts"}
    assert _doctor(finished).returncode == 0
    assert finished.call("models", "--json").returncode == 0


def test_a_damaged_version_is_pushed_again_at_once(finished: LocalRuns) -> None:
    version = _version_folder(finished)
    (version / "saved_model.pb").write_bytes(b"garbage")
    served = finished.call("serve", "--port", "0")
    assert served.returncode == 1
    assert re.fullmatch(r"mnist-tfx: digits failed to load: .+\n", served.stderr), served.stderr
    done = finished.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert finished.nodes_that_are("done") == {NodeId.ATOMIC_PUSHER}
    assert finished.versions[:-1] == [int(version.name)]
    assert f"answered by version {finished.versions[-1]} over gRPC" in done.stdout


def test_a_model_that_is_served_already_is_not_copied_again(finished: LocalRuns) -> None:
    """It was evaluated again with another threshold, and then with the first one."""
    before = finished.versions
    for options, state in ((("--set", "evaluation.max_loss=1.3"), "done"), ((), "cached")):
        done = finished.run(*options)
        assert done.returncode == 0, done.stdout + done.stderr
        assert finished.states[NodeId.ATOMIC_PUSHER] == state
        assert finished.versions == before
        assert "cached: this model was pushed before" in done.stdout


def test_a_deleted_champion_is_restored_and_prune_keeps_what_is_referred_to(
    finished: LocalRuns,
) -> None:
    """Two more runs: a rejected model, and a pushed one."""
    (champion,) = finished.root.glob("artifacts/Trainer/model/*")
    files = _files(champion)
    shutil.rmtree(champion)
    done = finished.run("--set", "trainer.seed=2", "--set", "evaluation.min_accuracy=1")
    assert done.returncode == 3, done.stdout + done.stderr
    assert files.items() <= _files(champion).items()
    rejected = finished.last.run_id
    assert finished.run("--set", "trainer.seed=3").returncode == 0
    listed = json.loads(finished.call("models", "--json").stdout)
    assert [found["champion"] for found in listed] == [finished.versions[0], None]
    models = champion.parent
    commands = ("models --json", *(f"lineage {number} --json" for number in finished.versions))
    before = [finished.call(*command.split()).stdout for command in commands]

    note = models / "README"
    note.write_text("mine")
    planned = finished.call("prune", "--keep", "1", "--dry-run", name=None).stdout.splitlines()
    folders = [Path(line) for line in planned[:-1]]
    assert finished.root / "runs" / rejected in folders
    assert sum(folder.parent == models for folder in folders) == 1
    assert all(folder.exists() for folder in folders), "a dry run removes nothing"
    done = finished.call("prune", "--keep", "1", name=None)
    assert done.stdout == planned[-1].replace("to remove", "removed") + "\n", done.stderr
    assert re.fullmatch(
        r"removed: runs 1, artifacts \d+ \([\d.]+ MB\); "
        r"kept: runs 2 \(1 for the version that they pushed\)\n",
        done.stdout,
    )
    assert not any(folder.exists() for folder in folders)
    assert len(list(models.iterdir())) == 3, "two models and the note"
    assert [finished.call(*command.split()).stdout for command in commands] == before
    again = finished.call("prune", "--keep", "1", name=None)
    assert again.stdout.startswith("removed: runs 0, artifacts 0 (0.0 MB); kept: runs 2")
    assert note.read_text() == "mine"
    assert finished.run("--set", "trainer.seed=3").returncode == 0
    assert set(finished.states.values()) == {"cached", "resolved"}
    assert _doctor(finished).returncode == 0

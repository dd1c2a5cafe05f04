"""ML Metadata in a real database, as on a cluster: two tasks at the same time on an empty one."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from doubles import kfp_backend

from pipeline.kubeflow import compiler
from pipeline.kubeflow.cluster import cluster_config
from pipeline.settings import pipeline_config

PASSWORD = "not-so-secret"
START_TIMEOUT_S = 60

pytestmark = pytest.mark.skipif(
    shutil.which("mariadbd") is None,
    reason="mariadbd is not on PATH (Debian: mariadb-server)",
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[int]:
    """A MariaDB server with the database `mlmd`; its port."""
    folder = tmp_path / "database"
    subprocess.run(
        [
            *("mariadb-install-db", "--no-defaults", f"--datadir={folder}", "--user=root"),
            *("--auth-root-authentication-method=normal", "--skip-test-db"),
        ],
        check=True,
        capture_output=True,
    )
    start = tmp_path / "start.sql"
    start.write_text(
        "CREATE DATABASE mlmd;\nDELETE FROM mysql.global_priv WHERE User = '';\n"
        f"FLUSH PRIVILEGES;\nCREATE USER mnist_tfx IDENTIFIED BY '{PASSWORD}';\n"
        "GRANT ALL ON mlmd.* TO mnist_tfx;\n"
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    process = subprocess.Popen(
        [
            *("mariadbd", "--no-defaults", "--user=root", f"--datadir={folder}"),
            *(f"--port={port}", "--bind-address=127.0.0.1", f"--socket={tmp_path / 'socket'}"),
            f"--init-file={start}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline_s
                time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=60)


def test_tasks_side_by_side_on_an_empty_database(
    database: int, tmp_path: Path, digits: Path, digits_config: Path
) -> None:
    """The first two tasks both create the tables."""
    volume = tmp_path / "volume"
    shutil.copytree(digits, volume / "data")
    settings = cluster_config.load(
        overrides=[
            f"storage.root={volume}",
            "metadata.host='127.0.0.1'",
            f"metadata.port={database}",
        ]
    )
    pipeline = compiler.compile_pipeline(pipeline_config.load(digits_config), settings).yaml
    specification, platform = yaml.safe_load_all(pipeline)
    tasks = specification["root"]["dag"]["tasks"]
    first = ("idxexamplegen", "curatedschema")
    specification["root"]["dag"]["tasks"] = {name: tasks[name] for name in first}

    def run(run_id: str, password: str) -> list[kfp_backend.Task]:
        backend = kfp_backend.Backend(
            yaml.safe_dump_all([specification, platform]),
            tmp_path / "pods",
            {"mnist-tfx": volume},
            {"mnist-tfx-mysql": {"username": "mnist_tfx", "password": password}},
        )
        return list(backend.run(run_id).values())

    for run_id, state in (("run-1", "done"), ("run-2", "cached")):
        for task in run(run_id, PASSWORD):
            assert task.state == "SUCCEEDED", task.log[-3000:]
            assert task.log.strip().endswith(f" {state}")
            assert PASSWORD not in task.log
    dump = subprocess.run(
        ["mariadb-dump", "--user=mnist_tfx", f"--socket={tmp_path / 'socket'}", "mlmd"],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "MYSQL_PWD": PASSWORD},
    ).stdout
    assert "CuratedSchema" in dump, "the executions are in it"
    assert PASSWORD not in dump
    for file in (*volume.rglob("*"), *(tmp_path / "pods").rglob("*")):
        assert not file.is_file() or PASSWORD.encode() not in file.read_bytes(), file
    assert PASSWORD not in pipeline
    tasks.pop("idxexamplegen")
    tasks["curatedschema"].pop("retryPolicy")
    specification["root"]["dag"]["tasks"] = {"curatedschema": tasks["curatedschema"]}
    (rejected,) = run("run-3", "wrong")
    assert rejected.exit_codes == [1]
    last_line = rejected.log.strip().splitlines()[-1]
    assert last_line.startswith("mnist-tfx: CuratedSchema failed: the metadata store, MySQL at ")
    assert (
        f"127.0.0.1:{database}, does not answer, or denies mnist_tfx access to the database mlmd"
        in last_line
    )
    assert "the username and password in the secret (Failed to establish connection" in last_line

"""Beam jobs of the components that another process runs, through Beam's Job API."""

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from doubles.local_runs import LocalRuns

BEAM_COMPONENTS = {"StatisticsGen", "Evaluator"}


@pytest.fixture
def job_server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Beam's own job server in Python, which has Flink's API; its address and its log."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    log = tmp_path / "job_server.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "apache_beam.runners.portability.local_job_service_main"),
                *("--port", str(port), "--staging_dir", tmp_path / "jobs"),
            ],
            stdout=output,
            stderr=output,
        )
    try:
        yield f"localhost:{port}", log
    finally:
        process.terminate()
        process.wait()


def _flink(address: str, **options: object) -> str:
    given = {
        "runner": "flink",
        "flink_master": "127.0.0.1:1",  # the job server's business
        "job_endpoint": address,
        "environment_type": "LOOPBACK",
        **options,
    }
    return f"beam={{{', '.join(f'{key} = {value!r}' for key, value in given.items())}}}"


def test_the_runner_changes_where_a_component_runs_and_not_what_is_cached(
    job_server: tuple[str, Path], tmp_path: Path, digits: Path, digits_config: Path
) -> None:
    address, log = job_server
    runs = LocalRuns(tmp_path / "workspace", digits, digits_config)
    done = runs.run("--set", _flink(address))
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = re.findall(r"Completed job in .* with state DONE", log.read_text())
    assert len(jobs) == len(BEAM_COMPONENTS)
    assert len(runs.versions) == 1
    again = runs.run()
    assert again.returncode == 0, again.stdout + again.stderr
    assert runs.nodes_that_are("cached") >= BEAM_COMPONENTS
    assert len(re.findall("Completed job", log.read_text())) == len(jobs)


def test_a_job_server_that_does_not_answer_fails_the_component(
    tmp_path: Path, digits: Path, digits_config: Path
) -> None:
    runs = LocalRuns(tmp_path / "workspace", digits, digits_config)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        done = runs.run("--set", _flink(address, job_server_timeout=2))
    assert done.returncode == 1
    assert f"the job server at {address} does not answer" in runs.last.message

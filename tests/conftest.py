"""Fixtures for several folders: a few hundred real digits, and a real exported model."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from collections.abc import Iterator
from pathlib import Path

import pytest
from doubles import saved_models, warm_process

from components.images import idx_format

DATA = Path(__file__).parent / "data"
DIGITS = DATA / "digits"


@pytest.fixture(scope="session")
def digits() -> Path:
    """The folder with the four IDX files of the sample (tests/data/README.md)."""
    return DIGITS


@pytest.fixture(scope="session")
def digits_config() -> Path:
    """A configuration that trains on the sample."""
    return DATA / "digits.toml"


@pytest.fixture(scope="session")
def train_digits(digits: Path) -> idx_format.ImagesAndLabels:
    """The 600 digits of the sample's training pair."""
    return idx_format.read_pair(*idx_format.find_pair(digits, "train-*"))


@pytest.fixture(scope="session")
def test_digits(digits: Path) -> idx_format.ImagesAndLabels:
    """The 300 digits of the sample's test pair."""
    return idx_format.read_pair(*idx_format.find_pair(digits, "t10k-*"))


@pytest.fixture(scope="session")
def transform_graph(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A transform graph, made by TensorFlow Transform from the real preprocessing_fn."""
    folder = tmp_path_factory.mktemp("transform")
    saved_models.write_transform_graph(folder)
    return str(folder)


@pytest.fixture(scope="session")
def exported_model(tmp_path_factory: pytest.TempPathFactory, transform_graph: str) -> Path:
    """A SavedModel with all signatures, of an untrained network."""
    folder = tmp_path_factory.mktemp("export") / "model"
    saved_models.export(folder, transform_graph, seed=7)
    return folder


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory, exported_model: Path) -> Path:
    """A serving folder with that model as its only version, 3."""
    from components import atomic_pusher

    folder = tmp_path_factory.mktemp("serving") / "mnist"
    Path(atomic_pusher.push(str(exported_model), str(folder))).rename(folder / "3")
    return folder


@pytest.fixture(scope="session")
def server_address(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A model server in its own process, which serves that folder as "mnist"."""
    from serving import launcher
    from serving.client import Client

    log = tmp_path_factory.mktemp("server") / "log.txt"
    with launcher.running("mnist", model_folder, log) as server:
        with Client(server.address, "mnist") as client:
            assert client.wait_until_ready(timeout_s=120, check=server.check) == 3
        yield server.address


@pytest.fixture(scope="session")
def chromium() -> str:
    """The program of a real browser."""
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip("there is no chromium on PATH to look at a page with")
    return program


@pytest.fixture(autouse=True)
def _warm_processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes of the project are forked from a warm parent, except in tests marked `cold`."""
    is_cold = request.node.get_closest_marker("cold") is not None
    popen = warm_process.RealPopen if is_cold else warm_process.WarmPopen
    monkeypatch.setattr(subprocess, "Popen", popen)


@pytest.fixture(autouse=True, scope="session")
def _warm_processes_of_fixtures() -> Iterator[None]:
    """The same for processes that fixtures of a wider scope start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", warm_process.WarmPopen)
        yield


def pytest_configure(config: pytest.Config) -> None:
    """Starts the fork server, in the process that starts the workers of pytest-xdist."""
    config.addinivalue_line("markers", "cold: starts real processes only, as users do")
    if hasattr(config, "workerinput"):
        return
    folder = tempfile.mkdtemp(prefix="mnist-tfx-tests-")
    address = os.environ[warm_process.ADDRESS] = f"{folder}/fork-server"
    path = os.pathsep.join([str(DATA.parent), str(DATA.parents[1])])
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    descriptor = listener.fileno()
    server = subprocess.Popen(
        [sys.executable, "-c", f"from doubles import warm_process as w; w.serve({descriptor})"],
        pass_fds=[descriptor],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,  # its children have their own
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    listener.close()

    def stop() -> None:
        server.communicate()
        shutil.rmtree(folder, ignore_errors=True)

    config.add_cleanup(stop)


def pytest_xdist_auto_num_workers() -> int:
    """The number of workers for `--numprocesses auto`.

    One more than processors, because tests wait for servers and other processes; and at most one
    for each 4 GiB of memory, which a worker with a pipeline and a model server can need.
    """
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return max(1, min((os.cpu_count() or 1) + 1, int(memory_gib / 4)))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the project's options to pytest."""
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite the golden files, for review"
    )
    parser.addoption("--cluster", action="store_true", help="run tests/cluster: make test-cluster")
    parser.addoption("--flink", action="store_true", help="run tests/flink: make test-flink")
    parser.addoption("--image", help="the image for tests/image: make test-image")

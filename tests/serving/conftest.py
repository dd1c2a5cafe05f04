"""Servers for the tests of serving: real processes."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from doubles import saved_models
from doubles.model_server import (
    BATCHING_PARAMETERS,
    MODELS_CONFIG,
    Server,
    available,
    started,
    wait_for,
)

from serving.launcher import ServerKind

# Every server that the contract is tested with. One of them runs without oneDNN, because results
# must not depend on the kernels that a processor gets. TF Serving's own server is the reference.
WAYS = ("embedded", "embedded, batching, no oneDNN", "tensorflow_model_server")


@pytest.fixture(scope="session")
def second_model(tmp_path_factory: pytest.TempPathFactory, transform_graph: str) -> Path:
    """A network with other weights than `exported_model`, so with other answers."""
    folder = tmp_path_factory.mktemp("export") / "second"
    saved_models.export(folder, transform_graph, seed=8)
    return folder


@pytest.fixture(scope="session")
def toy_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with other kinds of signatures."""
    folder = tmp_path_factory.mktemp("export") / "toy"
    saved_models.export_toy(folder)
    return folder


@pytest.fixture(scope="session")
def served(
    tmp_path_factory: pytest.TempPathFactory,
    exported_model: Path,
    second_model: Path,
    toy_model: Path,
) -> Path:
    """Two models: mnist with the versions 3 and 4, both served, and toy with version 1."""
    folder = tmp_path_factory.mktemp("served")
    shutil.copytree(exported_model, folder / "mnist" / "3")
    shutil.copytree(second_model, folder / "mnist" / "4")
    shutil.copytree(toy_model, folder / "toy" / "1")
    (folder / "models.config").write_text(MODELS_CONFIG.format(folder=folder))
    (folder / "batching.config").write_text(
        BATCHING_PARAMETERS.format(largest=512, timeout=1000, waiting=100)
    )
    (folder / "monitoring.config").write_text("prometheus_config { enable: true }\n")
    return folder


@pytest.fixture(scope="session", params=WAYS)
def server(request: pytest.FixtureRequest, served: Path) -> Iterator[Server]:
    """A server of both models; see WAYS."""
    binary = None
    flags = [
        f"--model_config_file={served / 'models.config'}",
        f"--monitoring_config_file={served / 'monitoring.config'}",
        "--allow_version_labels_for_unavailable_models=true",
    ]
    if request.param == ServerKind.TENSORFLOW_MODEL_SERVER:
        binary = shutil.which(ServerKind.TENSORFLOW_MODEL_SERVER)
        if binary is None:
            pytest.skip("tensorflow_model_server is not on PATH")
    elif "batching" in request.param:
        flags += ["--enable_batching", f"--batching_parameters_file={served / 'batching.config'}"]
    environment = {"TF_ENABLE_ONEDNN_OPTS": "0"} if "no oneDNN" in request.param else {}
    with started(served, *flags, binary=binary, environment=environment) as running:
        for model, version in (("mnist", 3), ("mnist", 4), ("toy", 1)):
            wait_for(functools.partial(available, running, model, version), running)
        yield running

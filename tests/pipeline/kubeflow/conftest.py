"""Compiles pipelines on a thread of their own; no kubeconfig; one root logger for all tests."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.kubeflow import compiler
from pipeline.kubeflow.cluster.cluster_config import ClusterConfig
from pipeline.kubeflow.compiled_pipeline import CompiledPipeline
from pipeline.settings.pipeline_config import PipelineConfig


@pytest.fixture(autouse=True)
def _no_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests ask no Kubernetes of the developer."""
    location = "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION"
    monkeypatch.setattr(location, str(tmp_path / "no-kubeconfig"))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "no-kubeconfig"))


@pytest.fixture(scope="session", autouse=True)
def _shallow_stack() -> Iterator[None]:
    """KFP inspects the whole call stack at each setting of a task.

    pytest's stack is deep, and some of its frames have no source file, which makes Python search
    all loaded modules: a compilation takes 4 s instead of 0.1 s.
    """
    compile_pipeline = compiler.compile_pipeline

    def on_a_thread(config: PipelineConfig, cluster: ClusterConfig) -> CompiledPipeline:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(compile_pipeline, config, cluster).result()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler, "compile_pipeline", on_a_thread)
        yield


@pytest.fixture(autouse=True)
def _root_logger() -> Iterator[None]:
    """Undoes what the programs of the tasks do to the root logger of this process."""
    root = logging.getLogger()
    level, before = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    for handler in list(root.handlers):
        if type(handler) is logging.StreamHandler and handler not in before:
            root.removeHandler(handler)  # it writes to the output of this test only

"""Imports that must stay light: help, mistakes in arguments, and the client."""

import subprocess
import sys

import pytest

HEAVY = ("tensorflow", "tfx", "apache_beam", "kfp", "tensorflow_model_analysis")


def _loaded_after(statement: str, names: tuple[str, ...] = HEAVY) -> set[str]:
    code = f"import sys\n{statement}\nprint(*[name for name in {names} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module",
    [
        "trainer.features",
        "trainer.hparams",
        "serving.launcher",
        "pipeline.cli.main",
        "pipeline.kubeflow.cluster.cluster_config",
        "pipeline.kubeflow.session",
        "pipeline.settings.pipeline_config",
        "serving.client",
    ],
)
def test_help_and_mistakes_import_nothing_heavy(module: str) -> None:
    assert _loaded_after(f"import {module}") == set()


def test_help_needs_no_numbers_pictures_or_models() -> None:
    names = ("numpy", "PIL", "pydantic")
    assert _loaded_after("import pipeline.cli.main", names) == set()


def test_a_local_run_is_followed_without_anything_heavy() -> None:
    assert _loaded_after("import pipeline.local.session", (*HEAVY, "grpc")) == set()


def test_kubeflows_api_is_asked_without_tensorflow() -> None:
    assert _loaded_after("import pipeline.kubeflow.client") == {"kfp"}


def test_predict_loads_nothing_heavy() -> None:
    """The client's messages need no TensorFlow."""
    statement = "from pipeline.local import sample_requests; import serving.client"
    assert _loaded_after(statement) == set()


def test_the_server_loads_no_tfx_and_no_beam() -> None:
    assert _loaded_after("import serving.server.lifecycle") == {"tensorflow"}

"""The entry point of a task's container: it rejects bad input before it starts, in one sentence."""

import json
import logging
import re
import runpy
import sys

import pytest
from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler import compiler
from tfx.utils import json_utils

from pipeline.graph import dag
from pipeline.graph.code_digest import SourceTree
from pipeline.kubeflow import metadata_store, node, node_slice
from pipeline.settings import pipeline_config
from pipeline.settings.errors import ConfigError

GRPC = {"METADATA_STORE": "grpc", "METADATA_HOST": "store", "METADATA_PORT": "8080"}
MYSQL = {
    "METADATA_STORE": "mysql",
    "METADATA_HOST": "db",
    "METADATA_PORT": "3306",
    "METADATA_DATABASE": "mlmd",
    "METADATA_USERNAME": "user",
    "METADATA_PASSWORD": "secret",
}


@pytest.fixture(autouse=True)
def _log_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry point configures the log of its process; this keeps the log of the tests."""
    monkeypatch.setattr(logging.root, "handlers", list(logging.root.handlers))
    monkeypatch.setattr(logging.root, "level", logging.root.level)


@pytest.fixture(scope="module")
def trainer() -> str:
    places = dag.Folders("/data", "/artifacts", "/serving")
    ir = compiler.Compiler().compile(dag.create_pipeline(pipeline_config.load(), places))
    return node_slice.encode(ir, "Trainer")


def _arguments(node: str, **changes: str) -> list[str]:
    options = {
        "node-id": "Trainer",
        "node": node,
        "code-digest": SourceTree().digest_of_everything(),
        "run-id": "run",
        "pipeline-root": "/artifacts",
        "executor-input": json.dumps({"outputs": {"outputFile": "/gone/output.json"}}),
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }
    return [word for name, value in options.items() for word in (f"--{name}", value)]


def test_the_metadata_store_is_in_the_environment() -> None:
    assert metadata_store.connection(GRPC) == metadata_store_pb2.MetadataStoreClientConfig(
        host="store", port=8080
    )
    mysql = metadata_store_pb2.MySQLDatabaseConfig(
        host="db", port=3306, database="mlmd", user="user", password="secret"
    )
    assert metadata_store.connection(MYSQL) == metadata_store_pb2.ConnectionConfig(mysql=mysql)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "METADATA_STORE is not set"),
        ({**GRPC, "METADATA_HOST": ""}, "METADATA_HOST is not set"),
        ({**GRPC, "METADATA_PORT": "x"}, "METADATA_PORT is 'x'; expected the number of a port"),
        ({**GRPC, "METADATA_STORE": "redis"}, "METADATA_STORE is 'redis'; expected mysql or grpc"),
        ({**MYSQL, "METADATA_PASSWORD": ""}, "METADATA_PASSWORD is not set"),
    ],
)
def test_a_variable_that_is_missing_or_wrong_is_named(
    environment: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        metadata_store.connection(environment)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"code_digest": "f" * 64},
            r"Trainer failed: the code in this image \(\w{12}\) differs from the code that the "
            r"pipeline was compiled from \(ffffffffffff\); build and push the image again",
        ),
        (
            {"run_id": "{{$.pipeline_job_uuid}}"},
            r"Trainer failed: the run's id is \{\{\$.pipeline_job_uuid\}\}",
        ),
        (
            {"recipe": '{"epoch": 2}'},
            r"Trainer failed: recipe.epoch: unknown key; did you mean epochs\?",
        ),
        ({}, "Trainer failed: the environment variable METADATA_STORE is not set"),
    ],
)
def test_the_error_is_the_last_line_of_the_log(
    trainer: str,
    changes: dict[str, str],
    message: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("METADATA_STORE", raising=False)
    assert node.main(_arguments(trainer, **changes)) == 1
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("mnist-tfx: ")
    assert re.search(message, last), last


def test_an_unreachable_store_is_reported(
    trainer: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**GRPC, "METADATA_HOST": "127.0.0.1", "METADATA_PORT": "9"}.items():
        monkeypatch.setenv(name, value)
    assert node.main(_arguments(trainer)) == 1
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert last.startswith(
        "mnist-tfx: Trainer failed: the metadata store, ML Metadata's gRPC service at 127.0.0.1:9, "
        "does not answer: "
    )


def test_a_run_may_change_the_recipe(trainer: str) -> None:
    trainer_node = node_slice.decode(trainer).nodes[0].pipeline_node

    def custom_config() -> dict[str, str]:
        value = trainer_node.parameters.parameters["custom_config"].field_value.string_value
        parsed: dict[str, str] = json_utils.loads(value)
        return parsed

    before = custom_config()
    node.override_recipe(trainer_node, {"epochs": 7, "learning_rate": 0.01})
    after = custom_config()
    assert after["code_digest"] == before["code_digest"]
    assert json.loads(after["hparams"]) == {
        **json.loads(before["hparams"]),
        "epochs": 7,
        "learning_rate": 0.01,
    }


def test_kfps_numbers_are_doubles() -> None:
    assert node.parse_recipe('{"epochs": 2.0, "dropout": 0.5, "seed": 3}') == {
        "epochs": 2,
        "dropout": 0.5,
        "seed": 3,
    }


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_a_command_that_an_earlier_release_compiled_does_not_succeed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was `python -m pipeline.kubeflow.node`; doing nothing would make each task green."""
    monkeypatch.setattr(sys, "argv", ["node", "--node-id", "Trainer"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("pipeline.kubeflow.node", run_name="__main__")
    assert ended.value.code == 2
    assert "the following arguments are required" in capsys.readouterr().err

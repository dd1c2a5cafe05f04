"""The validator with real servers: a good model, and each kind of bad one."""

import dataclasses
import itertools
import os
import shutil
import stat
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from doubles import artifacts
from tensorflow.core.protobuf import saved_model_pb2
from tfx.types import standard_artifacts

from components import server_validator
from components.images import example_split
from components.images.idx_format import ImagesAndLabels
from components.server_validator import ServerValidator
from serving import launcher, warm_up_file
from serving.client import Client
from serving.client.predictions import Prediction
from serving.errors import ServingError
from serving.launcher import ServerKind


@pytest.fixture(scope="module")
def examples(
    tmp_path_factory: pytest.TempPathFactory, test_digits: ImagesAndLabels
) -> standard_artifacts.Examples:
    return artifacts.examples(tmp_path_factory.mktemp("examples"), {"test": test_digits})


def _model(folder: Path, saved_model: Path) -> standard_artifacts.Model:
    artifact = standard_artifacts.Model()
    artifact.uri = str(folder / "model")
    artifact.id = 7
    shutil.copytree(saved_model, folder / "model" / "Format-Serving")
    return artifact


def _validate(
    tmp_path: Path,
    model: standard_artifacts.Model,
    examples: standard_artifacts.Examples,
    **parameters: object,
) -> standard_artifacts.InfraBlessing:
    blessing = standard_artifacts.InfraBlessing()
    blessing.uri = str(tmp_path / "blessing")
    given = {"requests": 12, "max_latency_ms": 5000.0, "server": "embedded", "code_digest": ""}
    executor = ServerValidator.EXECUTOR_SPEC.executor_class()
    inputs = {"model": [model], "examples": [examples]}
    executor.Do(inputs, {"blessing": [blessing]}, {**given, **parameters})
    return blessing


def _reason(blessing: standard_artifacts.InfraBlessing) -> str:
    assert blessing.get_int_custom_property("blessed") == 0
    assert blessing.get_int_custom_property("has_model") == 0
    assert (Path(blessing.uri) / "INFRA_NOT_BLESSED").exists()
    assert not (Path(blessing.uri) / "stamped_model").exists()
    reason: str = blessing.get_string_custom_property("reason")
    return reason


def test_a_good_model_is_blessed_with_a_warm_up_file(
    tmp_path: Path, exported_model: Path, examples: standard_artifacts.Examples
) -> None:
    model = _model(tmp_path, exported_model)
    blessing = _validate(tmp_path, model, examples)
    assert blessing.get_int_custom_property("blessed") == 1
    assert blessing.get_int_custom_property("model_id") == 7
    assert blessing.get_string_custom_property("reason") == ""
    assert (Path(blessing.uri) / "INFRA_BLESSED").exists()
    stamped = Path(blessing.uri) / "stamped_model"
    assert len(list(warm_up_file.read(stamped / warm_up_file.PATH))) == 5
    original = tmp_path / "model" / "Format-Serving"
    for path in original.rglob("*"):
        if path.is_file():
            assert (stamped / path.relative_to(original)).read_bytes() == path.read_bytes()
    assert not (original / "assets.extra").exists(), "the candidate itself is not touched"


def test_a_model_that_is_slow_is_rejected_with_the_figures(
    tmp_path: Path, exported_model: Path, examples: standard_artifacts.Examples
) -> None:
    model = _model(tmp_path, exported_model)
    reason = _reason(_validate(tmp_path, model, examples, max_latency_ms=0.001))
    assert "the 99th percentile of the latency of the embedded server is" in reason
    assert reason.endswith("ms, the best of 3 rounds; the maximum is 0.001 ms")


def test_a_busy_machine_rejects_no_good_model(
    tmp_path: Path,
    exported_model: Path,
    examples: standard_artifacts.Examples,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    predict, calls = Client.predict, itertools.count()
    slow = 3 + 12  # the requests that are not timed, and the first round

    def predict_late(*arguments: Any) -> Prediction:
        answer = predict(*arguments)
        return dataclasses.replace(answer, latency_s=9) if next(calls) < slow else answer

    monkeypatch.setattr(Client, "predict", predict_late)
    blessing = _validate(tmp_path, _model(tmp_path, exported_model), examples)
    assert next(calls) == slow + 12 + 1, "one more round, and the batch"
    assert blessing.get_int_custom_property("blessed") == 1
    assert blessing.get_string_custom_property("server") == "embedded"
    assert 0 < blessing.get_float_custom_property("latency_p99_ms") < 5000


def test_a_model_that_a_server_cannot_load_is_rejected(
    tmp_path: Path, exported_model: Path, examples: standard_artifacts.Examples
) -> None:
    """The graph loads, but a warm-up request fails, as with Keras' variables in an old export."""
    model = _model(tmp_path, exported_model)
    folder = tmp_path / "model" / "Format-Serving"
    path = folder / "saved_model.pb"
    message = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    saver = message.meta_graphs[0].saver_def
    saver.restore_op_name = "NoOp"  # what restores nothing
    path.write_bytes(message.SerializeToString())
    reason = _reason(_validate(tmp_path, model, examples))
    assert reason.startswith("version 1 of candidate failed to load: version 1: the warm-up")
    assert "Could not find variable" in reason


def test_the_log_of_a_server_that_ends_is_kept_where_the_reason_says(
    tmp_path: Path,
    exported_model: Path,
    examples: standard_artifacts.Examples,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    binary = tmp_path / "bin" / "tensorflow_model_server"
    binary.parent.mkdir()
    binary.write_text("#!/bin/sh\necho first; echo no such library; exit 3\n")
    binary.chmod(0o755)
    monkeypatch.setenv("PATH", f"{binary.parent}{os.pathsep}{os.environ['PATH']}")
    blessing = _validate(tmp_path, _model(tmp_path, exported_model), examples, server="auto")
    log = Path(blessing.uri) / "server.txt"
    assert _reason(blessing) == (
        f"the model server ended with exit code 3: no such library (log: {log})"
    )
    assert log.read_text() == "first\nno such library\n"


def _sample(examples: standard_artifacts.Examples) -> example_split.ExampleSplit:
    return example_split.read(examples, "test").take(np.arange(4))


def test_answers_that_differ_from_the_evaluated_model_are_rejected(
    tmp_path: Path,
    exported_model: Path,
    examples: standard_artifacts.Examples,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = tmp_path / "models" / "candidate"
    shutil.copytree(exported_model, base / "1")
    sample = _sample(examples)
    expected = np.full((4, 10), 0.1, np.float32)
    expected[2] = np.eye(10)[5]
    module = tf.saved_model.load(str(exported_model))
    outputs = module.signatures["predict_images"](images=tf.constant(sample.images))
    right = outputs["probabilities"].numpy()
    expected[:2] = right[:2]
    monkeypatch.setattr(server_validator, "evaluate", lambda *_: expected)
    with pytest.raises(
        ServingError,
        match=r"for test image 2 the embedded server answers \d with probability 0\.\d{4}; the "
        r"evaluated model answers 5 with probability 1\.0000",
    ):
        server_validator.ask(base, sample, 5000, ServerKind.EMBEDDED)


def test_the_sample_is_spread_over_the_split(
    examples: standard_artifacts.Examples, test_digits: ImagesAndLabels
) -> None:
    split = example_split.read(examples, "test")
    sample = server_validator.choose(split, 4)
    assert sample.indices.tolist() == [0, 99, 199, 299]
    np.testing.assert_array_equal(sample.images, test_digits.images[[0, 99, 199, 299]])
    assert len(server_validator.choose(split, 1000).records) == 300


def test_the_container_serves_as_the_other_servers_do(
    tmp_path: Path,
    exported_model: Path,
    examples: standard_artifacts.Examples,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A stand-in for `docker` runs the embedded server instead of TF Serving's container."""
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    log = tmp_path / "docker.txt"
    docker.write_text(
        f"""#!{sys.executable}
import os, sys
arguments = sys.argv[1:]
with open({str(log)!r}, "a") as file:
    print(*arguments, file=file)
if arguments[0] != "run":
    sys.exit(0)
options = dict(word.split("=", 1) for word in arguments if word.startswith("--") and "=" in word)
host, port, _ = options["--publish"].split(":")
source, target, mode = options["--volume"].rsplit(":", 2)
assert mode == "ro" and options["--model_base_path"] == target
os.execv({sys.executable!r}, [{sys.executable!r}, "-m", "serving.server", "--host=" + host,
    "--port=" + port, "--model_name=" + options["--model_name"], "--model_base_path=" + source])
"""
    )
    docker.chmod(docker.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(docker.parent))
    assert launcher.available() is ServerKind.DOCKER
    model = _model(tmp_path, exported_model)
    blessing = _validate(tmp_path, model, examples, server="auto")
    assert blessing.get_string_custom_property("reason") == ""
    inspected, *_, started, removed = log.read_text().splitlines()
    assert inspected == f"image inspect {launcher.DOCKER_IMAGE}"
    assert started.startswith("run --rm --name=mnist-tfx-")
    assert "--read-only --cap-drop=ALL --user=" in started
    assert removed.startswith("rm --force mnist-tfx-")

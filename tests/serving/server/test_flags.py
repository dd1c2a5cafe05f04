"""TF Serving's flags: each works, is ignored with a warning, or is rejected with a reason."""

import re
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
from doubles.model_server import TIMEOUT_S, available, predict_request, started, wait_for
from tensorflow_serving.apis import prediction_service_pb2_grpc

from serving.server import flags, unsupported_flags
from serving.server.flags import FlagsError, RaisingParser

BASE = "--model_base_path=/x"

# The flags in tensorflow_serving/model_servers/main.cc of TF Serving, read in July 2026.
TF_SERVING = """
allow_version_labels_for_unavailable_models batching_parameters_file enable_batching
enable_grpc_healthcheck_service enable_model_warmup enable_per_model_batching_parameters
enable_profiler enable_serialization_as_tensor_content enable_signature_method_name_check
file_system_poll_wait_seconds flush_filesystem_caches grpc_channel_arguments grpc_max_threads
grpc_socket_path load_retry_interval_micros max_num_load_retries mixed_precision model_base_path
model_config_file model_config_file_poll_wait_seconds model_name monitoring_config_file
num_load_threads num_request_iterations_for_warmup num_tflite_interpreters_per_pool
num_tflite_pools num_unload_threads per_process_gpu_memory_fraction platform_config_file port
prefer_tflite_model remove_unused_fields_from_bundle_metagraph rest_api_enable_cors_support
rest_api_num_threads rest_api_port rest_api_timeout_in_ms saved_model_tags skip_initialize_tpu
ssl_config_file tensorflow_inter_op_parallelism tensorflow_intra_op_parallelism
tensorflow_session_config_file tensorflow_session_parallelism thread_pool_factory_config_file
use_alts_credentials version xla_cpu_compilation_enabled xla_gpu_compilation_enabled
"""


def test_every_flag_of_tf_serving_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        flags.parse(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    known = set(re.findall(r"--(\w+)", text))
    assert set(TF_SERVING.split()) <= known


@pytest.mark.parametrize("name", unsupported_flags.IGNORED)
def test_a_flag_without_effect_gives_a_warning(name: str) -> None:
    parsed = flags.parse([BASE, f"--{name}=1"], RaisingParser)
    assert parsed.warnings == (f"--{name} is ignored: {unsupported_flags.IGNORED[name]}",)


@pytest.mark.parametrize("name", unsupported_flags.REJECTED)
def test_an_unsupported_flag_is_rejected_unless_it_is_off(name: str) -> None:
    assert flags.parse([BASE, f"--{name}=false"], RaisingParser).warnings == ()
    with pytest.raises(FlagsError) as raised:
        flags.parse([BASE, f"--{name}=true"], RaisingParser)
    reason = unsupported_flags.REJECTED[name]
    assert str(raised.value) == f"--{name} is not supported: {reason}"


def test_the_base_path_is_ignored_beside_a_list_of_models() -> None:
    parsed = flags.parse([BASE, "--model_config_file=/y"], RaisingParser)
    assert parsed.warnings == (
        "--model_base_path is ignored: --model_config_file lists the models",
    )


def test_flags_of_the_transport_and_of_the_answers(tmp_path: Path, exported_model: Path) -> None:
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "1").symlink_to(exported_model)
    socket_path = tmp_path / "grpc.socket"
    with started(
        tmp_path,
        "--model_name=mnist",
        f"--model_base_path={tmp_path / 'mnist'}",
        f"--grpc_socket_path={socket_path}",
        "--grpc_channel_arguments=grpc.max_connection_age_ms=600000,grpc.server_id=a",
        "--rest_api_enable_cors_support",
        "--saved_model_tags=serve",
        "--enable_serialization_as_tensor_content=true",
        "--tensorflow_session_parallelism=1",
        "--num_load_threads=4",
    ) as server:
        wait_for(lambda: available(server, "mnist", 1), server)
        with grpc.insecure_channel(f"unix:{socket_path}") as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            request = predict_request("mnist", np.zeros((1, 28, 28), np.uint8))
            outputs = stub.Predict(request, timeout=TIMEOUT_S).outputs
        assert len(outputs["probabilities"].tensor_content) == 10 * 4
        assert not outputs["probabilities"].float_val
        origin = {"Origin": "https://page.test"}
        response = httpx.get(f"{server.rest}/v1/models/mnist", headers=origin, timeout=TIMEOUT_S)
        assert response.headers["access-control-allow-origin"] == "*"
        log = server.log.read_text()
        assert log.count("--num_load_threads is ignored: versions are loaded one after") == 1


def test_other_tags_than_the_models_are_a_load_error(tmp_path: Path, exported_model: Path) -> None:
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "1").symlink_to(exported_model)
    flags_ = ["--model_name=mnist", f"--model_base_path={tmp_path / 'mnist'}"]
    with started(tmp_path, *flags_, "--saved_model_tags=serve,gpu") as server:
        wait_for(lambda: server.get("/v1/models/mnist").status_code == 200, server)
        (state,) = server.get("/v1/models/mnist").json()["model_version_status"]
        assert "'gpu'" in state["status"]["error_message"]

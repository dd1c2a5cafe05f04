"""The compiled Kubeflow pipeline: its content, that KFP loads it, and that it is reproducible."""

import base64
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp import components
from tfx.orchestration import data_types_utils
from tfx.orchestration.portable import inputs_utils
from tfx.types import standard_component_specs as specs

from components.names.node_ids import NodeId
from pipeline.graph.code_digest import SourceTree
from pipeline.kubeflow import compiler, node_slice
from pipeline.kubeflow.cluster import cluster_config
from pipeline.kubeflow.compiled_pipeline import CompiledPipeline
from pipeline.settings import pipeline_config
from pipeline.settings.errors import ConfigError
from trainer.workers import pod_manifests

GOLDEN = Path(__file__).parent / "golden" / "kubeflow.yaml"
DIGEST = "sha256:" + "0123456789abcdef" * 4


def _compile(*overrides: str) -> CompiledPipeline:
    return compiler.compile_pipeline(
        pipeline_config.load(), cluster_config.load(overrides=overrides)
    )


def _documents(compiled: CompiledPipeline) -> tuple[dict[str, Any], dict[str, Any]]:
    specification, platform = yaml.safe_load_all(compiled.yaml)
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return specification, executors


def _container(specification: dict[str, Any], task: str) -> dict[str, Any]:
    container: dict[str, Any] = specification["deploymentSpec"]["executors"][f"exec-{task}"]
    return container["container"]  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def compiled() -> CompiledPipeline:
    return _compile()


def test_the_compiled_file_equals_the_golden_file(
    compiled: CompiledPipeline, request: pytest.FixtureRequest
) -> None:
    """Compared with a file; `--update-golden` writes it, and the diff shows the change."""
    documents = list(yaml.safe_load_all(compiled.yaml))
    for executor in documents[0]["deploymentSpec"]["executors"].values():
        arguments = executor["container"]["args"]
        arguments[arguments.index("--code-digest") + 1] = "<the digest of the code>"
        place = arguments.index("--node") + 1
        node = node_slice.decode(arguments[place]).nodes[0].pipeline_node
        arguments[place] = {
            "inputs": sorted(node.inputs.inputs),
            "outputs": sorted(node.outputs.outputs),
            "parameters": sorted(node.parameters.parameters),
        }
    text = yaml.safe_dump_all(documents, sort_keys=True)
    if request.config.getoption("--update-golden"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


def test_kfp_itself_loads_it(compiled: CompiledPipeline) -> None:
    loaded = components.load_component_from_text(compiled.yaml)
    assert loaded.name == "mnist"
    spec = loaded.pipeline_spec
    assert set(spec.root.dag.tasks) == set(compiled.nodes)
    inputs = spec.root.input_definitions.parameters
    assert {name: json_format.MessageToDict(p.default_value) for name, p in inputs.items()} == {
        "data": "/mnt/mnist-tfx/data",
        "pipeline_root": "/mnt/mnist-tfx/artifacts",
        "recipe": {},
    }


def test_the_compiled_file_is_far_below_the_limits_of_kfp(compiled: CompiledPipeline) -> None:
    specification, _ = _documents(compiled)
    sizes = [len(str(e)) for e in specification["deploymentSpec"]["executors"].values()]
    assert max(sizes) < compiler.LARGEST_TASK_BYTES / 10
    assert len(compiled.yaml) < compiler.LARGEST_PIPELINE_BYTES / 5


def test_the_slices_are_small_and_have_typed_parameters_all_the_same(
    compiled: CompiledPipeline,
) -> None:
    """Kubeflow repeats each slice up to ten times in a workflow, which should stay below 1 MiB."""
    specification, _ = _documents(compiled)
    slices = {}
    for node_id in NodeId:
        arguments = _container(specification, node_id.lower())["args"]
        slices[node_id] = arguments[arguments.index("--node") + 1]
    assert sum(map(len, slices.values())) < 30_000
    (node,) = node_slice.decode(slices[NodeId.SKEW_VALIDATOR]).nodes
    properties = data_types_utils.build_parsed_value_dict(
        inputs_utils.resolve_parameters_with_schema(node.pipeline_node.parameters)
    )
    comparators = properties[specs.DISTRIBUTION_VALIDATOR_CONFIG_KEY].default_slice_config.feature
    assert "label" in [step for comparator in comparators for step in comparator.path.step]


def test_a_request_that_is_too_large_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "LARGEST_TASK_BYTES", 1000)
    with pytest.raises(ConfigError, match=r"the task of \w+ has \d+ bytes; KFP's limit is 1000"):
        _compile()


def test_another_process_compiles_the_same_bytes(compiled: CompiledPipeline) -> None:
    code = (
        "from pipeline.kubeflow import compiler\n"
        "from pipeline.kubeflow.cluster import cluster_config\n"
        "from pipeline.settings import pipeline_config\n"
        "config, cluster = pipeline_config.load(), cluster_config.load()\n"
        "print(compiler.compile_pipeline(config, cluster).version)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [compiled.version]


def test_the_version_follows_the_code_and_the_configuration(
    compiled: CompiledPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _compile("image=other:1").version != compiled.version
    monkeypatch.setattr(SourceTree, "digest_of_everything", lambda _: "other code")
    assert _compile().version != compiled.version


def test_no_secret_and_no_connection_is_in_the_ir(compiled: CompiledPipeline) -> None:
    specification, _ = _documents(compiled)
    for task in compiled.nodes:
        arguments = _container(specification, task)["args"]
        part = node_slice.decode(arguments[arguments.index("--node") + 1])
        assert len(part.nodes) == 1
        text = json_format.MessageToJson(part)
        assert "connection" not in text.lower()
        assert "mysql" not in text


def test_a_node_is_the_same_text_however_its_maps_are_ordered(compiled: CompiledPipeline) -> None:
    specification, _ = _documents(compiled)
    arguments = _container(specification, "trainer")["args"]
    text = arguments[arguments.index("--node") + 1]
    part = node_slice.decode(text)
    assert node_slice.encode(part, "Trainer") == text
    assert len(base64.b64decode(text)) < 4000


@pytest.mark.parametrize(
    ("override", "task", "expected"),
    [
        (
            "components.Trainer.node_selector={disk='ssd'}",
            "trainer",
            {"nodeSelector": {"labels": {"disk": "ssd"}}},
        ),
        ("defaults.timeout_s=60", "evaluator", {"activeDeadlineSeconds": "60"}),
        (
            "components.Trainer.tolerations=[{key='gpu', operator='Exists', effect='NoSchedule'}]",
            "trainer",
            {"tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]},
        ),
        (
            "components.Trainer.labels={team='a'}",
            "trainer",
            {"podMetadata": {"labels": {"app.kubernetes.io/part-of": "mnist-tfx", "team": "a"}}},
        ),
        ("image_pull_policy=Always", "transform", {"imagePullPolicy": "Always"}),
        (
            "image_pull_secrets=['registry']",
            "transform",
            {
                "imagePullSecret": [
                    {
                        "secretName": "registry",
                        "secretNameParameter": {"runtimeValue": {"constant": "registry"}},
                    }
                ]
            },
        ),
        (
            "secrets=[{name='bucket', mount_path='/etc/bucket'}]",
            "idxexamplegen",
            {
                "secretAsVolume": [
                    {
                        "secretName": "bucket",
                        "mountPath": "/etc/bucket",
                        "optional": False,
                        "secretNameParameter": {"runtimeValue": {"constant": "bucket"}},
                    }
                ]
            },
        ),
    ],
)
def test_a_setting_of_the_cluster_is_in_the_pods_specification(
    override: str, task: str, expected: dict[str, Any]
) -> None:
    _, executors = _documents(_compile(override))
    found = executors[f"exec-{task}"]
    assert {key: found[key] for key in expected} == expected


def test_resources_accelerators_and_retries() -> None:
    specification, executors = _documents(
        _compile(
            "components.Trainer.accelerator=nvidia.com/gpu",
            "components.Trainer.cpu_limit='16'",
            "components.Trainer.retries=5",
            "components.Trainer.retry_pause_s=10",
        )
    )
    resources = _container(specification, "trainer")["resources"]
    assert resources["accelerator"] == {
        "count": "1",
        "resourceCount": "1",
        "resourceType": "nvidia.com/gpu",
        "type": "nvidia.com/gpu",
    }
    assert (resources["resourceCpuLimit"], resources["resourceMemoryRequest"]) == ("16", "1G")
    assert "accelerator" not in _container(specification, "evaluator")["resources"]
    tasks = specification["root"]["dag"]["tasks"]
    assert tasks["trainer"]["retryPolicy"] == {
        "maxRetryCount": 5,
        "backoffDuration": "10s",
        "backoffFactor": 2.0,
        "backoffMaxDuration": "3600s",
    }
    assert "retryPolicy" not in tasks["anomalygate"]
    assert all(not task["cachingOptions"] for task in tasks.values()), "KFP's cache is off"
    assert len(executors) == len(tasks)


def test_secrets_come_as_environment_variables_and_metadata_over_grpc_without() -> None:
    _, executors = _documents(_compile("secrets=[{name='keys', env={a='A_KEY'}}]"))
    by_name = {s["secretName"]: s["keyToEnv"] for s in executors["exec-trainer"]["secretAsEnv"]}
    assert by_name == {
        "keys": [{"secretKey": "a", "envVar": "A_KEY"}],
        "mnist-tfx-mysql": [
            {"secretKey": "username", "envVar": "METADATA_USERNAME"},
            {"secretKey": "password", "envVar": "METADATA_PASSWORD"},
        ],
    }
    store = "metadata={store='grpc', host='metadata-grpc-service.kubeflow'}"
    specification, executors = _documents(_compile(store))
    assert "secretAsEnv" not in executors["exec-trainer"]
    assert {v["name"]: v["value"] for v in _container(specification, "trainer")["env"]} == {
        "METADATA_STORE": "grpc",
        "METADATA_HOST": "metadata-grpc-service.kubeflow",
        "METADATA_PORT": "8080",
    }


def test_an_image_with_a_digest_is_accepted_as_pinned() -> None:
    image = f"registry.example/team/mnist-tfx@{DIGEST}"
    specification, _ = _documents(_compile(f"image={image}"))
    executors = specification["deploymentSpec"]["executors"].values()
    assert {executor["container"]["image"] for executor in executors} == {image}


def test_a_bucket_needs_no_volume() -> None:
    specification, executors = _documents(_compile("storage={root='gs://bucket/mnist'}"))
    assert not any("pvcMount" in executor for executor in executors.values())
    parameters = specification["root"]["inputDefinitions"]["parameters"]
    assert parameters["pipeline_root"]["defaultValue"] == "gs://bucket/mnist/artifacts"
    assert parameters["data"]["defaultValue"] == "gs://bucket/mnist/data"
    arguments = _container(specification, "atomicpusher")["args"]
    node = node_slice.decode(arguments[arguments.index("--node") + 1]).nodes[0].pipeline_node
    destination = node.parameters.parameters["push_destination"].field_value.string_value
    assert re.search(r'"base_directory": "gs://bucket/mnist/serving_model/mnist"', destination)


def test_a_webhook_makes_an_exit_handler_around_all_tasks() -> None:
    compiled = _compile("webhook={secret='mnist-tfx-webhook', key='address'}")
    components.load_component_from_text(compiled.yaml)
    specification, executors = _documents(compiled)
    tasks = specification["root"]["dag"]["tasks"]
    assert set(tasks) == {"exit-handler-1", "run-notice-task"}
    inside = specification["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    assert set(inside) == {node.lower() for node in NodeId}
    notice = tasks["run-notice-task"]
    assert notice["triggerPolicy"] == {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
    assert notice["dependentTasks"] == ["exit-handler-1"]
    secrets = executors["exec-run-notice-task"]["secretAsEnv"]
    assert {
        "keyToEnv": [{"envVar": "MNIST_TFX_WEBHOOK", "secretKey": "address"}],
        "secretName": "mnist-tfx-webhook",
    }.items() <= {key: secrets[-1][key] for key in ("keyToEnv", "secretName")}.items()
    for task in ("trainer", "atomicpusher"):
        arguments = _container(specification, task)["args"]
        assert arguments[arguments.index("--endings") + 1] == "/mnt/mnist-tfx/endings"


def test_the_runner_of_beam_jobs_is_an_environment_variable_of_each_task(
    compiled: CompiledPipeline,
) -> None:
    flink = (
        "beam={runner='flink', flink_master='flink:8081', environment_type='EXTERNAL', "
        "environment_config='localhost:50000', parallelism=4}"
    )
    configured = compiler.compile_pipeline(
        pipeline_config.load(overrides=[flink]), cluster_config.load()
    )
    specification, _ = _documents(configured)
    plain, _ = _documents(compiled)
    for task in ("statisticsgen", "trainer"):
        container = _container(specification, task)
        (variable,) = (v for v in container["env"] if v["name"] == "MNIST_TFX_BEAM_OPTIONS")
        assert json.loads(variable["value"]) == [
            "--runner=FlinkRunner",
            "--job_server_timeout=60",
            "--environment_type=EXTERNAL",
            "--environment_config=localhost:50000",
            "--environment_cache_millis=60000",
            "--flink_master=flink:8081",
            "--parallelism=4",
        ]
        assert container["args"] == _container(plain, task)["args"], "not in the cache key"


def test_training_pods_let_the_trainer_know_its_own_pod() -> None:
    _, executors = _documents(_compile("training_pods=true"))
    trainer = executors["exec-trainer"]
    assert trainer["fieldPathAsEnv"] == [
        {"name": pod_manifests.POD_NAME, "fieldPath": "metadata.name"},
        {"name": pod_manifests.POD_NAMESPACE, "fieldPath": "metadata.namespace"},
    ]
    assert trainer["podMetadata"]["labels"] == {
        "app.kubernetes.io/part-of": "mnist-tfx",
        "mnist-tfx/training": "true",
    }
    assert "fieldPathAsEnv" not in executors["exec-evaluator"]

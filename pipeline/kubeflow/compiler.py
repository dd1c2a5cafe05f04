"""Compiles the graph for open-source Kubeflow Pipelines v2.

Every TFX node becomes one plain container task that runs TFX's own launcher for that node
(`node.py`). Resolvers, cache and lineage are therefore TFX's. KFP decides when and where a task
runs, and retries it; KFP's own cache is off.
"""

# No `from __future__ import annotations`: KFP reads the annotations as objects.

import contextlib
import inspect
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from google.protobuf import json_format
from kfp import compiler, dsl, kubernetes
from tfx.orchestration.data_types import RuntimeParameter
from tfx.proto.orchestration import pipeline_pb2

from components.idx_example_gen import IdxExampleGen
from components.names.node_ids import NodeId
from pipeline.graph import dag, intermediate
from pipeline.graph.beam import BEAM_OPTIONS
from pipeline.graph.code_digest import SourceTree
from pipeline.kubeflow import node, node_slice, run_notice, task_settings, views
from pipeline.kubeflow.cluster.cluster_config import ClusterConfig
from pipeline.kubeflow.compiled_pipeline import CompiledPipeline, task_name
from pipeline.runs import webhook
from pipeline.settings.errors import ConfigError
from pipeline.settings.pipeline_config import PipelineConfig

# KFP's driver gets the specification of a task as one argument of a process; this is Linux's limit
# of an argument (MAX_ARG_STRLEN).
LARGEST_TASK_BYTES: Final = 131_071
# The API server's limit of an uploaded pipeline is 32 MiB. The workflow made from it is larger, and
# etcd's limit of a workflow is about 1.5 MiB.
LARGEST_PIPELINE_BYTES: Final = 512 * 1024
NOTICE: Final = "RunNotice"


def compile_pipeline(config: PipelineConfig, cluster: ClusterConfig) -> CompiledPipeline:
    """The pipeline as KFP's YAML; the same configuration and code give the same bytes.

    The KFP pipeline has these parameters:
      pipeline_root: the folder of the artifacts, a path or the URI of a bucket.
      data: the folder with the four IDX files.
      recipe: changes of `config.trainer` for this run, such as {"epochs": 2}.

    Raises:
      ConfigError: the result is too large for KFP.
    """
    storage = cluster.storage
    data = storage.folder(storage.data)
    pipeline = dag.create_pipeline(
        config,
        dag.Folders(
            data=RuntimeParameter(node.DATA, str, data),
            artifacts=storage.artifacts,
            serving=storage.serving(config.name),
        ),
        beam_args=[*BEAM_OPTIONS],
    )
    ir = intermediate.compile_pipeline(pipeline)
    nodes = {node.pipeline_node.node_info.id: node.pipeline_node for node in ir.nodes}
    code = SourceTree().digest_of_everything()

    @dsl.pipeline(name=config.name, description=f"The TFX pipeline {config.name}.")
    def kfp_pipeline(
        pipeline_root: str = storage.artifacts,
        data: str = data,
        recipe: dict = {},  # type: ignore[type-arg]  # noqa: B006
    ) -> None:
        given = {"pipeline_root": pipeline_root, "data": data, "recipe": recipe}
        given["run_id"] = dsl.PIPELINE_JOB_ID_PLACEHOLDER
        tasks: dict[str, dsl.PipelineTask] = {}
        with _exit_handler(config.name, cluster, ir, given):
            for node_id, tfx_node in nodes.items():
                parameters = _parameters(tfx_node.node_info.type.name)
                arguments = ["--code-digest", code, "--node", node_slice.encode(ir, node_id)]
                if cluster.webhook:
                    arguments += ["--endings", storage.endings]
                component = _component(node_id, cluster.image, parameters, arguments)
                task = component(**{name: given[name] for name in parameters})
                task.set_display_name(node_id)
                task.after(*(tasks[upstream] for upstream in tfx_node.upstream_nodes))
                task_settings.apply(task, cluster, cluster.task(node_id))
                for name, value in config.beam.variables().items():
                    task.set_env_variable(name, value)
                if cluster.training_pods and node_id == NodeId.TRAINER:
                    task_settings.allow_training_pods(task)
                tasks[node_id] = task

    text = _to_yaml(kfp_pipeline)
    _check_sizes(text, kfp_pipeline.pipeline_spec.deployment_spec)
    return CompiledPipeline(config.name, text, {task_name(node): node for node in nodes})


def _parameters(node_type: str) -> Mapping[str, type]:
    """The pipeline parameters that a node's task takes, with their types."""
    taken: dict[str, type] = {"run_id": str, "pipeline_root": str}
    if node_type == f"{IdxExampleGen.__module__}.{IdxExampleGen.__qualname__}":
        taken["data"] = str
    if node_type == node.TRAINER_TYPE:
        taken["recipe"] = dict
    return taken


def _component(
    node_id: str, image: str, parameters: Mapping[str, type], arguments: list[str]
) -> Callable[..., dsl.PipelineTask]:
    """The KFP component of a node.

    The node's id is among its arguments: KFP merges components with equal containers.
    """
    shown = views.VIEWS.get(node_id, ())
    # KFP reads the inputs and outputs of a component from its function's signature.
    signature = inspect.Signature(
        [
            inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=annotation)
            for name, annotation in [
                *parameters.items(),
                *((view.name, dsl.Output[view.kind]) for view in shown),
            ]
        ]
    )

    def container(*values: Any) -> dsl.ContainerSpec:
        given = dict(zip(signature.parameters, values, strict=True))
        options = [
            word for name in parameters for word in (f"--{name.replace('_', '-')}", given[name])
        ]
        for view in shown:
            options += ["--view", view.name, given[view.name].path]
        return dsl.ContainerSpec(
            image=image,
            command=["python", "-m", node.__package__],
            args=["--node-id", node_id, *arguments, *options, "--executor-input", "{{$}}"],
        )

    container.__signature__ = signature  # type: ignore[attr-defined]
    container.__name__ = node_id
    component: Callable[..., dsl.PipelineTask] = dsl.container_component(container)
    return component


def _exit_handler(
    name: str, cluster: ClusterConfig, ir: pipeline_pb2.Pipeline, given: Mapping[str, Any]
) -> contextlib.AbstractContextManager[object]:
    """KFP's exit handler around the tasks, which sends a notice; none without a webhook."""
    if cluster.webhook is None:
        return contextlib.nullcontext()
    endings = cluster.storage.endings
    slices = [
        word
        for node_id in run_notice.READ_NODES
        for word in ("--node", node_slice.encode(ir, node_id))
    ]

    @dsl.container_component
    def run_notice_task(  # type: ignore[no-untyped-def]
        run_id: str, pipeline_root: str
    ):
        return dsl.ContainerSpec(
            image=cluster.image,
            command=["python", "-m", run_notice.__name__],
            args=[
                *("--pipeline", name, "--run-id", run_id, "--pipeline-root", pipeline_root),
                *("--endings", endings, *slices),
            ],
        )

    task = run_notice_task(run_id=given["run_id"], pipeline_root=given["pipeline_root"])
    task.set_display_name(NOTICE)
    task_settings.apply(task, cluster, cluster.defaults)
    kubernetes.use_secret_as_env(
        task, cluster.webhook.secret, {cluster.webhook.key: webhook.VARIABLE}
    )
    handler: contextlib.AbstractContextManager[object] = dsl.ExitHandler(task, name="components")
    return handler


def _check_sizes(text: str, deployment: Any) -> None:
    """Raises ConfigError if the result is too large for KFP."""
    for executor in json_format.MessageToDict(deployment)["executors"].values():
        size = len(json.dumps(executor))
        if size > LARGEST_TASK_BYTES:
            option, node_id = executor["container"]["args"][:2]
            node_id = node_id if option == "--node-id" else NOTICE
            raise ConfigError(
                f"the task of {node_id} has {size} bytes; KFP's limit is {LARGEST_TASK_BYTES}. "
                "Shorten its largest settings, such as the schema, labels or env."
            )
    size = len(text.encode())
    if size > LARGEST_PIPELINE_BYTES:
        raise ConfigError(
            f"the compiled pipeline has {size} bytes; the limit for KFP is "
            f"{LARGEST_PIPELINE_BYTES}. Shorten the largest settings, such as the schema, labels "
            "or env."
        )


def _to_yaml(pipeline: Any) -> str:
    with tempfile.TemporaryDirectory(prefix="compile-") as folder:
        path = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(pipeline, str(path))
        return path.read_text(encoding="utf-8")

"""Executes a compiled KFP v2 pipeline as open-source Kubeflow does, with processes as pods.

It does the work of KFP's driver and launcher in the same order, from the same specification:
parameters and their defaults, the inputs of a task, dependencies between tasks, placeholders in
arguments, retries, outputs. The reference is kubeflow/pipelines, backend/src/v2 (driver and
component/launcher_v2.go). Not included: back-off between retries, and the work of Kubernetes
itself.
"""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format, struct_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

OBJECT_STORE = "minio://mlpipeline/v2/artifacts"


@dataclass
class Task:
    """The result of a task."""

    name: str
    state: str = "PENDING"  # then RUNNING, SUCCEEDED, FAILED, or SKIPPED as one before it failed
    exit_codes: list[int] = field(default_factory=list)  # of each attempt
    log: str = ""
    artifacts: dict[str, "Artifact"] = field(default_factory=dict)
    started_s: float = 0.0
    ended_s: float = 0.0


@dataclass
class Artifact:
    """An output, as KFP records it."""

    schema_title: str
    uri: str
    metadata: dict[str, Any]
    content: bytes | None  # of the file that is uploaded; None where none was written


class Backend:
    """A cluster.

    Args:
      pipeline: the compiled pipeline, YAML.
      scratch: a folder for what pods and the object store hold.
      volumes: the folder of each persistent volume claim. It must be where the pipeline
        mounts it, as there are no containers here.
      secrets: the values of each Kubernetes secret.
      tasks_at_a_time: how many tasks run side by side.
      started: called with each attempt's task and process; a test can end it there.
    """

    def __init__(
        self,
        pipeline: str,
        scratch: Path,
        volumes: Mapping[str, Path],
        secrets: Mapping[str, Mapping[str, str]] | None = None,
        tasks_at_a_time: int = 2,
        started: Callable[[Task, subprocess.Popen[str]], None] = lambda task, process: None,
    ):
        documents = list(yaml.safe_load_all(pipeline))
        self.spec = json_format.ParseDict(documents[0], pipeline_spec_pb2.PipelineSpec())
        self._executors = documents[0]["deploymentSpec"]["executors"]
        self._platform = (
            documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
            if len(documents) > 1
            else {}
        )
        self._scratch = scratch
        self._volumes = volumes
        self._secrets = secrets or {}
        self._tasks_at_a_time = tasks_at_a_time
        self._started = started

    def run(self, run_id: str, parameters: Mapping[str, Any] | None = None) -> dict[str, Task]:
        """Runs the pipeline to its end; the tasks by name."""
        given = self._parameters(parameters or {})
        specs = dict(self.spec.root.dag.tasks)
        tasks = {name: Task(name) for name in specs}
        changed = threading.Condition()

        def run_task(name: str) -> None:
            try:
                self._run_task(tasks[name], specs[name], run_id, given)
            finally:
                with changed:
                    if tasks[name].state == "RUNNING":
                        tasks[name].state = "FAILED"
                    changed.notify_all()

        with futures.ThreadPoolExecutor(self._tasks_at_a_time) as pool, changed:
            running: list[futures.Future[None]] = []
            while any(task.state in ("PENDING", "RUNNING") for task in tasks.values()):
                for name, task in tasks.items():
                    before = [tasks[other].state for other in specs[name].dependent_tasks]
                    if task.state != "PENDING":
                        continue
                    if any(state in ("FAILED", "SKIPPED") for state in before):
                        task.state = "SKIPPED"
                        changed.notify_all()
                    elif all(state == "SUCCEEDED" for state in before):
                        task.state = "RUNNING"
                        running.append(pool.submit(run_task, name))
                if any(task.state == "RUNNING" for task in tasks.values()):
                    changed.wait()
        for done in running:
            done.result()
        return tasks

    def _parameters(self, given: Mapping[str, Any]) -> dict[str, struct_pb2.Value]:
        declared = self.spec.root.input_definitions.parameters
        unknown = set(given) - set(declared)
        assert not unknown, f"the pipeline has no parameters {unknown}"
        values = {}
        for name, definition in declared.items():
            value = struct_pb2.Value()
            if name in given:
                json_format.ParseDict(given[name], value)
            else:
                assert definition.is_optional, f"{name} is not given and has no default"
                value.CopyFrom(definition.default_value)
            kind = pipeline_spec_pb2.ParameterType.ParameterTypeEnum.Name(definition.parameter_type)
            expected = {"STRING": "string_value", "STRUCT": "struct_value"}[kind]
            assert value.WhichOneof("kind") == expected, (name, kind, value)
            values[name] = value
        return values

    def _run_task(
        self,
        task: Task,
        spec: pipeline_spec_pb2.PipelineTaskSpec,
        run_id: str,
        parameters: Mapping[str, struct_pb2.Value],
    ) -> None:
        assert not spec.caching_options.enable_cache, "KFP's cache would hide TFX's"
        component = self.spec.components[spec.component_ref.name]
        executor = component.executor_label
        container = self._executors[executor]["container"]
        platform = self._platform.get(executor, {})
        folder = self._scratch / run_id / task.name
        executor_input = self._executor_input(task, spec, component, run_id, parameters, folder)
        command = self._fill_in([*container["command"], *container["args"]], executor_input)
        assert command[0] == "python", "the image has a Python of that name; here it is this one"
        command[0] = sys.executable
        environment = self._environment(container, platform)
        for mount in platform.get("pvcMount", []):
            assert self._volumes[mount["constant"]] == Path(mount["mountPath"])
        task.started_s = time.monotonic()
        for _ in range(1 + spec.retry_policy.max_retry_count):
            self._prepare_outputs(executor_input)
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            self._started(task, process)
            log, _ = process.communicate(timeout=int(platform.get("activeDeadlineSeconds", 600)))
            task.log += log
            task.exit_codes.append(process.returncode)
            if process.returncode == 0:
                task.artifacts = self._collect(executor_input)
                task.state = "SUCCEEDED"
                break
        else:
            task.state = "FAILED"
        task.ended_s = time.monotonic()

    def _executor_input(
        self,
        task: Task,
        spec: pipeline_spec_pb2.PipelineTaskSpec,
        component: pipeline_spec_pb2.ComponentSpec,
        run_id: str,
        parameters: Mapping[str, struct_pb2.Value],
        folder: Path,
    ) -> pipeline_spec_pb2.ExecutorInput:
        result = pipeline_spec_pb2.ExecutorInput()
        values = result.inputs.parameter_values
        for name, source in spec.inputs.parameters.items():
            if source.WhichOneof("kind") == "component_input_parameter":
                values[name].CopyFrom(parameters[source.component_input_parameter])
            else:
                values[name].CopyFrom(source.runtime_value.constant)
                # The driver replaces these where they are the whole value, and only there.
                if values[name].string_value == "{{$.pipeline_job_uuid}}":
                    values[name].string_value = run_id
        assert set(values) == set(component.input_definitions.parameters)
        for name, output in component.output_definitions.artifacts.items():
            artifact = result.outputs.artifacts[name].artifacts.add()
            artifact.name = name
            artifact.type.CopyFrom(output.artifact_type)
            pipeline = self.spec.pipeline_info.name
            artifact.uri = f"{OBJECT_STORE}/{pipeline}/{run_id}/{task.name}/{name}"
        result.outputs.output_file = str(folder / "kfp_outputs" / "output_metadata.json")
        return result

    def _local_path(self, uri: str) -> Path:
        # In a pod /minio is an empty volume.
        return self._scratch / "minio" / uri.removeprefix("minio://")

    def _fill_in(
        self, words: list[str], executor_input: pipeline_spec_pb2.ExecutorInput
    ) -> list[str]:
        replacements = {"{{$}}": json_format.MessageToJson(executor_input, indent=None)}
        for name, value in executor_input.inputs.parameter_values.items():
            plain = json_format.MessageToDict(value)
            text = plain if isinstance(plain, str) else json.dumps(plain)
            replacements[f"{{{{$.inputs.parameters['{name}']}}}}"] = text
        for name, artifacts in executor_input.outputs.artifacts.items():
            uri = artifacts.artifacts[0].uri
            replacements[f"{{{{$.outputs.artifacts['{name}'].uri}}}}"] = uri
            replacements[f"{{{{$.outputs.artifacts['{name}'].path}}}}"] = str(self._local_path(uri))
        filled = []
        for word in words:
            for placeholder, value in replacements.items():
                word = word.replace(placeholder, value)
            assert not re.search(r"\{\{\$.*?\}\}", word), f"nothing fills in {word}"
            filled.append(word)
        return filled

    def _environment(
        self, container: Mapping[str, Any], platform: Mapping[str, Any]
    ) -> dict[str, str]:
        """The environment variables of the image, here of this project, and of the pipeline."""
        environment = dict(os.environ)
        for variable in container.get("env", []):
            environment[variable["name"]] = variable["value"]
        for secret in platform.get("secretAsEnv", []):
            for key in secret["keyToEnv"]:
                environment[key["envVar"]] = self._secrets[secret["secretName"]][key["secretKey"]]
        return environment

    def _prepare_outputs(self, executor_input: pipeline_spec_pb2.ExecutorInput) -> None:
        for artifacts in executor_input.outputs.artifacts.values():
            self._local_path(artifacts.artifacts[0].uri).parent.mkdir(parents=True, exist_ok=True)

    def _collect(self, executor_input: pipeline_spec_pb2.ExecutorInput) -> dict[str, Artifact]:
        """The outputs that the launcher uploads and records."""
        output = pipeline_spec_pb2.ExecutorOutput()
        output_file = Path(executor_input.outputs.output_file)
        if output_file.exists():
            json_format.Parse(output_file.read_text(encoding="utf-8"), output)
        collected = {}
        for name, declared in executor_input.outputs.artifacts.items():
            artifact = declared.artifacts[0]
            for written in output.artifacts[name].artifacts[:1]:
                artifact.uri = written.uri or artifact.uri
                artifact.metadata.update(written.metadata)
            path = self._local_path(artifact.uri)
            collected[name] = Artifact(
                schema_title=artifact.type.schema_title,
                uri=artifact.uri,
                metadata=json_format.MessageToDict(artifact.metadata),
                content=path.read_bytes() if path.is_file() else None,
            )
        return collected

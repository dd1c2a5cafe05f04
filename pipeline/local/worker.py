"""The process that `runner.py` starts: reads a job, runs it with BeamDagRunner, emits events.

    python -m pipeline.local < JOB

The job is the first line of the standard input; the process ends when the standard input is closed.
Events go to the file descriptor that the job names. Standard output and standard error, with the
output of the libraries, are the run's log.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from apache_beam.options.pipeline_options import StandardOptions
from tfx.dsl.compiler import constants
from tfx.orchestration import metadata
from tfx.orchestration.beam import beam_dag_runner
from tfx.orchestration.pipeline import Pipeline
from tfx.orchestration.portable import partial_run_utils, runtime_parameter_utils
from tfx.proto.orchestration import pipeline_pb2
from tfx.types import standard_component_specs as specs
from tfx.utils import path_utils

from components.evaluation import example_groups
from components.names.artifact_properties import (
    EXAMPLES_COUNT,
)
from components.names.node_ids import NodeId
from pipeline.graph import dag, intermediate
from pipeline.graph.beam import BEAM_OPTIONS, RUNNER
from pipeline.local import run_end, sample_requests
from pipeline.local.runner import Job
from pipeline.runs import (
    cache_exceptions,
    events,
    executions,
    node_failure,
    output_files,
    recovery,
    run_log,
)
from pipeline.runs.lineage import open_store
from pipeline.runs.node_launcher import NodeLauncher
from pipeline.runs.workspace import Workspace
from pipeline.settings.beam_config import VARIABLE
from serving.client import Client
from serving.errors import ServingError
from trainer import training

_log = logging.getLogger("pipeline.run")
_ended = run_end.NodesEnded()

SERVER_START_TIMEOUT_S = 120.0
Nodes = dict[str, pipeline_pb2.PipelineNode]


class ReportingNode(beam_dag_runner.PipelineNodeAsDoFn):  # type: ignore[misc]
    """Runs a node as BeamDagRunner does, and emits events at its start and end."""

    # Beam's type check rejects an annotation of `signals`.
    def process(self, element: Any, *signals) -> None:  # type: ignore[no-untyped-def]
        """Runs the node; Beam calls this when the nodes before it have ended.

        The overridden method also reads the signals of these nodes, which are empty. For each, Beam
        looks at the variables of all modules, 6 ms.
        """
        self._run_node()

    def _run_node(self) -> None:
        start_s = time.monotonic()
        node = self._node_id
        events.emit(_log, events.NodeChanged(node=node, state="running"))
        try:
            with metadata.Metadata(self._mlmd_connection_config) as handle:
                cache_exceptions.apply(handle, self._pipeline_node)
                if node == NodeId.EVALUATOR:
                    self._announce_examples(handle)
            self._launch()
            with metadata.Metadata(self._mlmd_connection_config) as handle:
                state = executions.final_state(handle, self._pipeline_node)
                rejections = executions.own_rejections(handle, self._pipeline_node)
                if state == "done":
                    written = executions.outputs(handle, self._pipeline_node)
                    artifacts = itertools.chain(*written.values())
                    output_files.record(handle.store, [a.mlmd_artifact for a in artifacts])
        except Exception as error:
            failure = node_failure.describe(error)
            failed = events.NodeChanged(
                node=node,
                state="failed",
                seconds=time.monotonic() - start_s,
                message=failure.message if failure.rejections else self._explain(failure.message),
                rejections=failure.rejections,
            )
            events.emit(_log, failed)
            raise
        seconds = time.monotonic() - start_s
        changed = events.NodeChanged(node=node, state=state, seconds=seconds, rejections=rejections)
        events.emit(_log, changed)

    def _launch(self) -> None:
        """Launches the node as the overridden method does, with the project's launcher."""
        if self._pipeline_node.execution_options.run.perform_snapshot:
            with metadata.Metadata(self._mlmd_connection_config) as handle:
                partial_run_utils.snapshot(handle, self._pipeline)
        NodeLauncher(
            pipeline_node=self._pipeline_node,
            mlmd_connection=metadata.Metadata(self._mlmd_connection_config),
            pipeline_info=self._pipeline_info,
            pipeline_runtime_spec=self._pipeline_runtime_spec,
            executor_spec=self._executor_spec,
            custom_driver_spec=self._custom_driver_spec,
            platform_config=self._extract_platform_config(self._deployment_config, self._node_id),
        ).launch()

    def _announce_examples(self, handle: metadata.Metadata) -> None:
        """Emits the number of images that the Evaluator will evaluate."""
        given = executions.inputs(handle, self._pipeline_node) or {}
        for examples in given.get(specs.EXAMPLES_KEY, ()):
            total = examples.get_int_custom_property(EXAMPLES_COUNT)
            progress = events.Progress(node=self._node_id, done=0, total=total, unit="images")
            events.emit(_log, progress)

    def _explain(self, message: str) -> str:
        """Adds the damaged files of the inputs, which a library's error does not name."""
        try:
            with metadata.Metadata(self._mlmd_connection_config) as handle:
                given = executions.inputs(handle, self._pipeline_node) or {}
        except Exception:  # the node may have failed for the same reason, which is reported
            logging.exception("The inputs of %s cannot be resolved.", self._node_id)
            return message
        damaged = [
            file
            for artifacts in given.values()
            for artifact in artifacts
            for file in output_files.find_damaged(artifact.mlmd_artifact)
        ]
        if not damaged:
            return message
        files = ", ".join(map(str, damaged))
        workspace = Workspace(Path(self._mlmd_connection_config.sqlite.filename_uri).parent)
        return (
            f"an input is damaged: {files}. Run `mnist-tfx doctor --repair{workspace.options()}`, "
            f"and the pipeline again. The error was: {message}"
        )


class ReportingRunner(beam_dag_runner.BeamDagRunner):  # type: ignore[misc]
    """BeamDagRunner with `ReportingNode`s."""

    _PIPELINE_NODE_DO_FN_CLS = ReportingNode


def main() -> None:
    """Reads the job and runs it; raises what a component raises."""
    job = Job.model_validate_json(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, name="end with parent", daemon=True).start()
    event_stream = os.fdopen(job.events_fd, "w", encoding="utf-8")
    run_log.configure()
    _log.addHandler(_ended)
    for name in (_log.name, training.__name__, example_groups.__name__):
        logging.getLogger(name).setLevel(logging.INFO)
        logging.getLogger(name).addHandler(events.JsonLines(event_stream))
    os.environ[VARIABLE] = json.dumps(job.config.beam.arguments())
    workspace = Workspace(job.root)
    connection = metadata.sqlite_metadata_connection_config(str(workspace.metadata))
    recovery.recover(open_store(workspace, is_read_only=False), workspace)
    pipeline = dag.create_pipeline(
        job.config,
        dag.Folders(
            data=str(job.data),
            artifacts=str(workspace.artifacts),
            serving=str(workspace.serving(job.config.name)),
        ),
        beam_args=[*BEAM_OPTIONS],
        metadata=connection,
    )
    _run(job, workspace, pipeline)


def _end_with_parent() -> None:
    """Ends this process, and what it has started, if `mnist-tfx` was killed."""
    sys.stdin.read()  # until the other end is closed
    os.kill(0 if os.getpgrp() == os.getpid() else os.getpid(), signal.SIGTERM)


def _run(job: Job, workspace: Workspace, pipeline: Pipeline) -> None:
    ir = intermediate.compile_pipeline(pipeline)
    nodes = {node.pipeline_node.node_info.id: node.pipeline_node for node in ir.nodes}
    needed = set(nodes) if job.until is None else _needed(nodes, job.until)
    planned = tuple(node for node in nodes if node in needed)
    events.emit(_log, events.Planned(run_id=job.run_id, nodes=planned))
    # BeamDagRunner would invent a run id; the metadata store and the report should have ours.
    runtime_parameter_utils.substitute_runtime_parameter(
        ir, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: job.run_id}
    )
    options = None
    if job.until is not None:
        options = pipeline_pb2.RunOptions(partial_run=pipeline_pb2.PartialRun(to_nodes=[job.until]))
    StandardOptions.DEFAULT_RUNNER = RUNNER  # BeamDagRunner's own job takes no options
    ReportingRunner().run_with_ir(ir, options)
    with metadata.Metadata(pipeline.metadata_connection_config) as handle:
        if job.until is not None:
            if NodeId.EVALUATOR in needed:
                events.emit(_log, _evaluated(handle, nodes))
            return
        end = run_end.complete(job, handle, nodes, workspace, _ended.nodes)
        events.emit(_log, end)
        if job.server and end.pushed and job.config.serving.sample_requests:
            _send_samples(job, job.server, int(Path(end.pushed).name), handle, nodes)


def _needed(nodes: Nodes, node: str) -> set[str]:
    """A node, and all nodes upstream of it."""
    return {node}.union(*(_needed(nodes, other) for other in nodes[node].upstream_nodes))


def _evaluated(handle: metadata.Metadata, nodes: Nodes) -> events.Evaluated:
    trained = nodes[NodeId.TRAINER]
    return events.Evaluated(
        evaluation=executions.output(handle, nodes[NodeId.EVALUATOR], "evaluation").uri,
        model=path_utils.serving_model_path(executions.output(handle, trained, "model").uri),
        model_run=executions.output(handle, trained, "model_run").uri,
    )


def _send_samples(
    job: Job, server: str, version: int, handle: metadata.Metadata, nodes: Nodes
) -> None:
    """Sends a few images of the ingested test split to the server."""
    examples = executions.output(handle, nodes[NodeId.IDX_EXAMPLE_GEN], "examples")
    samples = sample_requests.of_examples(
        examples, job.config.serving.sample_requests, job.config.trainer.seed
    )
    try:
        with Client(server, job.config.name) as client:
            client.wait_until_ready(version, SERVER_START_TIMEOUT_S, fail_fast=True)
            for sample in samples:
                for answer in sample_requests.send(client, sample):
                    events.emit(_log, answer)
    except ServingError as error:
        events.emit(_log, events.NotAnswered(message=str(error)))

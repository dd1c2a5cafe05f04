"""The process that `local.py` starts: reads a job, runs it with BeamDagRunner, prints events.

    python -m pipeline.runners.local_process BEAM_OPTION... < JOB

Standard output carries events and nothing else; all that the libraries print goes
to standard error, which is the run's log. BeamDagRunner takes the Beam options of its
own job from the command line; those of the components' jobs are the same.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path

# Before TensorFlow and absl are imported: their output must not reach the events.
_events = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

from ml_metadata import errors as mlmd_errors
from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler import compiler
from tfx.orchestration import metadata
from tfx.orchestration.beam import beam_dag_runner
from tfx.orchestration.pipeline import Pipeline
from tfx.orchestration.portable.mlmd import context_lib, execution_lib
from tfx.proto.orchestration import pipeline_pb2
from tfx.types.artifact import Artifact

from components import atomic_pusher
from components.anomaly_gate import AnomaliesFoundError
from pipeline import ask, evaluation, events, graph
from pipeline.runners.local import Job
from pipeline.workspace import Workspace
from serving.client import Client
from serving.errors import ServingError

_log = logging.getLogger("pipeline.run")

State = metadata_store_pb2.Execution.State
RESOLVER = "tfx.dsl.components.common.resolver.Resolver"
PUSHER = "AtomicPusher"
SERVER_START_TIMEOUT_S = 120.0


class NodeNotCompleteError(Exception):
    """The launcher came back without the node being complete; it does so without raising."""


class ReportingNode(beam_dag_runner.PipelineNodeAsDoFn):  # type: ignore[misc]
    """Runs a node as BeamDagRunner does, and logs when it starts and how it ends."""

    def _run_node(self) -> None:
        start_s = time.monotonic()
        node = self._node_id
        events.emit(_log, events.NodeChanged(node=node, state="running"))
        try:
            super()._run_node()
            state = self._state()
        except Exception as error:
            refusals = error.anomalies if isinstance(error, AnomaliesFoundError) else ()
            failed = events.NodeChanged(
                node=node,
                state="failed",
                seconds=time.monotonic() - start_s,
                message=_one_line(error),
                refusals=tuple(map(str, refusals)),
            )
            events.emit(_log, failed)
            raise
        seconds = time.monotonic() - start_s
        events.emit(_log, events.NodeChanged(node=node, state=state, seconds=seconds))

    def _state(self) -> events.NodeState:
        with metadata.Metadata(self._mlmd_connection_config) as handle:
            contexts = context_lib.prepare_contexts(handle, self._pipeline_node.contexts)
            executions = execution_lib.get_executions_associated_with_all_contexts(handle, contexts)
        newest = execution_lib.sort_executions_newest_to_oldest(executions)
        state = newest[0].last_known_state if newest else State.UNKNOWN
        if state == State.CACHED:
            return "cached"
        if state != State.COMPLETE:
            raise NodeNotCompleteError(
                f"its inputs could not be resolved, or it was left as {State.Name(state)}"
            )
        return "resolved" if self._pipeline_node.node_info.type.name == RESOLVER else "done"


class ReportingRunner(beam_dag_runner.BeamDagRunner):  # type: ignore[misc]
    """BeamDagRunner, whose nodes are `ReportingNode`s."""

    _PIPELINE_NODE_DO_FN_CLS = ReportingNode


def main() -> None:
    """Reads the job, runs it, and ends with exit code 0 where no component raised."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", force=True)
    for name in (_log.name, "trainer.run"):
        logging.getLogger(name).setLevel(logging.INFO)
        logging.getLogger(name).addHandler(events.JsonLines(_events))
    job = Job.model_validate_json(sys.stdin.read())
    workspace = Workspace(job.root)
    connection = metadata.sqlite_metadata_connection_config(str(workspace.metadata))
    pipeline = graph.create_pipeline(
        job.config,
        graph.Places(
            data=str(job.data),
            artifacts=str(workspace.artifacts),
            serving=str(workspace.serving(job.config.name)),
        ),
        beam_args=sys.argv[1:],
        metadata=connection,
    )
    outcome = _run(job, workspace, pipeline)
    if outcome.pushed and Path(outcome.pushed).name != _newest(job, workspace):
        # The cache does not know of the serving folder: it was emptied since, or another model
        # was pushed over this one. All but the push is cached.
        outcome = _run(job, workspace, pipeline, push_again=True)
    events.emit(_log, outcome)
    if job.server and outcome.pushed and job.config.serving.sample_requests:
        _ask(job, job.server, int(Path(outcome.pushed).name))


def _run(
    job: Job, workspace: Workspace, pipeline: Pipeline, push_again: bool = False
) -> events.Outcome:
    ir = compiler.Compiler().compile(pipeline)
    nodes = [node.pipeline_node for node in ir.nodes]
    if push_again:
        _node(nodes, PUSHER).execution_options.caching_options.enable_cache = False
    names = tuple(node.node_info.id for node in nodes)
    events.emit(_log, events.Planned(run_id=job.run_id, nodes=names))
    ReportingRunner().run_with_ir(ir)
    with metadata.Metadata(pipeline.metadata_connection_config) as handle:
        return _outcome(handle, nodes, workspace)


def _newest(job: Job, workspace: Workspace) -> str | None:
    versions = workspace.served_versions(job.config.name)
    return str(versions[-1]) if versions else None


def _ask(job: Job, server: str, version: int) -> None:
    """Asks the server for a few digits. It is done here because TensorFlow, which comes with the
    protocol's stubs, is loaded here."""
    try:
        with Client(server, job.config.name) as client:
            client.wait_until_ready(version, SERVER_START_TIMEOUT_S)
            count, seed = job.config.serving.sample_requests, job.config.trainer.seed
            for answer in ask.ask_for_test_digits(client, job.data, count, seed):
                events.emit(_log, answer)
    except ServingError as error:
        events.emit(_log, events.NotAnswered(message=str(error)))


def _outcome(
    handle: metadata.Metadata, nodes: list[pipeline_pb2.PipelineNode], workspace: Workspace
) -> events.Outcome:
    verdict = evaluation.read_verdict(_output(handle, nodes, "Evaluator", "evaluation").uri)
    pushed = _output(handle, nodes, PUSHER, "pushed_model")
    is_pushed = pushed.get_int_custom_property(atomic_pusher.PUSHED) == 1
    destination = pushed.get_string_custom_property(atomic_pusher.PUSHED_DESTINATION)
    return events.Outcome(
        test_images=verdict.examples,
        accuracy=verdict.accuracy,
        loss=verdict.loss,
        digit_accuracy=verdict.digit_accuracy,
        refusals=verdict.refusals,
        pushed=destination if is_pushed else None,
        artifacts=str(workspace.artifacts),
        tensorboard=_output(handle, nodes, "Trainer", "model_run").uri,
    )


def _output(
    handle: metadata.Metadata, nodes: list[pipeline_pb2.PipelineNode], node_id: str, key: str
) -> Artifact:
    """The one artifact that this run's execution of a node, cached or not, gave under `key`."""
    contexts = context_lib.prepare_contexts(handle, _node(nodes, node_id).contexts)
    executions = execution_lib.get_executions_associated_with_all_contexts(handle, contexts)
    newest = execution_lib.sort_executions_newest_to_oldest(executions)[0]
    (artifact,) = execution_lib.get_output_artifacts(handle, newest.id)[key]
    return artifact


def _node(nodes: list[pipeline_pb2.PipelineNode], node_id: str) -> pipeline_pb2.PipelineNode:
    return next(node for node in nodes if node.node_info.id == node_id)


def _one_line(error: Exception) -> str:
    """The error in one line, without what Beam puts around it."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = text.partition(" [while running")[0]
    if isinstance(error, mlmd_errors.StatusError):
        text = f"the metadata store: {text}"
    return text if len(text) < 1000 else f"{text[:1000]}..."


if __name__ == "__main__":
    main()

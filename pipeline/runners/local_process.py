"""The process that `local.py` starts: reads a job, runs it with BeamDagRunner, prints events.

    python -m pipeline.runners.local_process BEAM_OPTION... < JOB

Standard output carries events and nothing else; all that the libraries print goes
to standard error, which is the run's log. BeamDagRunner takes the Beam options of its
own job from the command line; those of the components' jobs are the same.
"""

from __future__ import annotations

import logging
import os
import posixpath
import sys
import time
from collections.abc import Sequence
from pathlib import Path

# Before TensorFlow and absl are imported: their output must not reach the events.
_events = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

from tfx.dsl.compiler import compiler, constants
from tfx.orchestration import metadata
from tfx.orchestration.beam import beam_dag_runner
from tfx.orchestration.pipeline import Pipeline
from tfx.orchestration.portable import runtime_parameter_utils
from tfx.proto.orchestration import pipeline_pb2
from tfx.utils import path_utils

from components import atomic_pusher, evaluation_results, run_report
from components.anomaly_gate import AnomaliesFoundError
from pipeline import ask, events, graph
from pipeline import data as data_files
from pipeline.runners import executions
from pipeline.runners.local import Job
from pipeline.workspace import Workspace
from serving.client import Client
from serving.errors import ServingError

_log = logging.getLogger("pipeline.run")

SERVER_START_TIMEOUT_S = 120.0


class ReportingNode(beam_dag_runner.PipelineNodeAsDoFn):  # type: ignore[misc]
    """Runs a node as BeamDagRunner does, and logs when it starts and how it ends."""

    def _run_node(self) -> None:
        start_s = time.monotonic()
        node = self._node_id
        events.emit(_log, events.NodeChanged(node=node, state="running"))
        try:
            with metadata.Metadata(self._mlmd_connection_config) as handle:
                executions.prepare(handle, self._pipeline_node)
            super()._run_node()
            with metadata.Metadata(self._mlmd_connection_config) as handle:
                state = executions.final_state(handle, self._pipeline_node)
        except Exception as error:
            refusals: Sequence[object] = ()
            if isinstance(error, AnomaliesFoundError):
                refusals = error.anomalies
            elif isinstance(error, executions.RefusedError):
                refusals = error.reasons
            failed = events.NodeChanged(
                node=node,
                state="failed",
                seconds=time.monotonic() - start_s,
                message=executions.one_line(error),
                refusals=tuple(map(str, refusals)),
            )
            events.emit(_log, failed)
            raise
        seconds = time.monotonic() - start_s
        events.emit(_log, events.NodeChanged(node=node, state=state, seconds=seconds))


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
    _run(job, workspace, pipeline)


def _run(job: Job, workspace: Workspace, pipeline: Pipeline) -> None:
    ir = compiler.Compiler().compile(pipeline)
    nodes = {node.pipeline_node.node_info.id: node.pipeline_node for node in ir.nodes}
    needed = set(nodes) if job.until is None else _needed(nodes, job.until)
    planned = tuple(node for node in nodes if node in needed)
    events.emit(_log, events.Planned(run_id=job.run_id, nodes=planned))
    # BeamDagRunner would make up a name of its own; in the metadata store and in the report it is
    # to be the one of the run's folder.
    runtime_parameter_utils.substitute_runtime_parameter(
        ir, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: job.run_id}
    )
    options = None
    if job.until is not None:
        options = pipeline_pb2.RunOptions(partial_run=pipeline_pb2.PartialRun(to_nodes=[job.until]))
    ReportingRunner().run_with_ir(ir, options)
    with metadata.Metadata(pipeline.metadata_connection_config) as handle:
        if job.until is not None:
            if "Evaluator" in needed:
                events.emit(_log, _evaluated(handle, nodes))
            return
        outcome = _outcome(handle, nodes, workspace)
    events.emit(_log, outcome)
    if job.server and outcome.pushed and job.config.serving.sample_requests:
        _ask(job, job.server, int(Path(outcome.pushed).name))


def _needed(nodes: dict[str, pipeline_pb2.PipelineNode], node: str) -> set[str]:
    """A node, and all that it waits for."""
    return {node}.union(*(_needed(nodes, other) for other in nodes[node].upstream_nodes))


def _evaluated(
    handle: metadata.Metadata, nodes: dict[str, pipeline_pb2.PipelineNode]
) -> events.Evaluated:
    return events.Evaluated(
        evaluation=executions.output(handle, nodes["Evaluator"], "evaluation").uri,
        model=path_utils.serving_model_path(
            executions.output(handle, nodes["Trainer"], "model").uri
        ),
        model_run=executions.output(handle, nodes["Trainer"], "model_run").uri,
    )


def _ask(job: Job, server: str, version: int) -> None:
    """Asks the server for a few digits. It is done here because TensorFlow, which comes with the
    protocol's stubs, is loaded here."""
    settings = job.config.data
    data = job.data
    if settings.span != "none":
        data = data_files.folder_of_span(data, settings.span_folder, settings.span)
    try:
        with Client(server, job.config.name) as client:
            client.wait_until_ready(version, SERVER_START_TIMEOUT_S)
            count, seed = job.config.serving.sample_requests, job.config.trainer.seed
            for question in ask.test_digits(data, count, seed):
                for answer in ask.ask(client, question):
                    events.emit(_log, answer)
    except ServingError as error:
        events.emit(_log, events.NotAnswered(message=str(error)))


def _outcome(
    handle: metadata.Metadata, nodes: dict[str, pipeline_pb2.PipelineNode], workspace: Workspace
) -> events.Outcome:
    evaluated = executions.output(handle, nodes["Evaluator"], "evaluation")
    found = evaluation_results.read(evaluated.uri)
    overall = found.overall.candidate
    pushed = executions.output(handle, nodes[executions.PUSHER], "pushed_model")
    destination = pushed.get_string_custom_property(atomic_pusher.PUSHED_DESTINATION)
    return events.Outcome(
        test_images=overall.examples,
        accuracy=overall.accuracy,
        loss=overall.loss,
        calibration_error=overall.calibration_error,
        digit_accuracy=found.digit_accuracy,
        refusals=executions.refusals(handle, nodes[executions.PUSHER]),
        pushed=destination if executions.is_pushed(pushed) else None,
        artifacts=str(workspace.artifacts),
        tensorboard=executions.output(handle, nodes["Trainer"], "model_run").uri,
        report=posixpath.join(
            executions.output(handle, nodes["RunReport"], "report").uri, run_report.FILE
        ),
    )


if __name__ == "__main__":
    main()

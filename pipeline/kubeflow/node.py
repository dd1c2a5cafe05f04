"""The entry point of a Kubeflow task's container: runs one TFX node.

    python -m pipeline.kubeflow --node-id ID --node SLICE --run-id RUN ...

The exit codes are the project's: 0 if the node is complete or cached, 3 if a gate rejected, 1
otherwise. TFX's launcher also returns normally if inputs could not be resolved, so the state is
read from the metadata store. The last line of the log is the reason, in one sentence.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.proto.orchestration import pipeline_pb2
from tfx.types import standard_component_specs as specs
from tfx.utils import json_utils

from components.names.node_ids import NodeId
from pipeline.graph.code_digest import SourceTree
from pipeline.kubeflow import metadata_store, node_slice, run_notice, views
from pipeline.kubeflow.task_log import Ending, LastLine
from pipeline.runs import cache_exceptions, executions, node_failure, run_log, verdict
from pipeline.runs.events import NodeChanged, NodeState
from pipeline.runs.node_failure import NodeFailure
from pipeline.runs.node_launcher import NodeLauncher
from pipeline.settings.errors import (
    ConfigError,
    ExitCode,
    PipelineError,
    RejectedError,
)
from pipeline.settings.pipeline_config import changed_recipe
from trainer.hparams import HyperParameters

DATA: Final = "data"  # the TFX runtime parameter with the folder of the IDX files
TRAINER_TYPE: Final = "tfx.components.trainer.component.Trainer"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the node; returns the exit code."""
    options = _parser().parse_args(arguments)
    start_s = time.monotonic()
    run_log.configure()
    try:
        _check_code(options.code_digest)
        if options.endings:
            run_notice.remove_ending(options.node_id, options.endings, options.run_id)
        part = node_slice.decode(options.node)
        _fill_in(part, options)
        state = _run(part, metadata_store.connection(os.environ), options)
    except Exception as error:
        failure = node_failure.describe(error)
        exit_code = verdict.of_failure(failure.rejections)
        if exit_code is ExitCode.FAILED and not isinstance(error, PipelineError):
            logging.exception("the node %s failed", options.node_id)
        _end(options, start_s, "failed", failure)
        return exit_code
    _end(options, start_s, state)
    return ExitCode.OK


def parse_recipe(text: str) -> dict[str, Any]:
    """Parses the run's parameter `recipe`, JSON. KFP's numbers are doubles: 2 may be 2.0."""
    changes: dict[str, Any] = json.loads(
        text, parse_float=lambda digits: int(n) if (n := float(digits)).is_integer() else n
    )
    return changes


def override_recipe(node: pipeline_pb2.PipelineNode, changes: Mapping[str, Any]) -> None:
    """Changes hyper-parameters in the parameters of the Trainer.

    Raises:
      ConfigError: a hyper-parameter is unknown, or its value is invalid.
    """
    from trainer import run  # imports Keras

    value = node.parameters.parameters[specs.CUSTOM_CONFIG_KEY].field_value
    custom_config = json_utils.loads(value.string_value)
    recipe = HyperParameters.model_validate_json(custom_config[run.HPARAMS])
    custom_config[run.HPARAMS] = changed_recipe(recipe, changes).model_dump_json()
    value.string_value = json_utils.dumps(custom_config)


def _fill_in(part: pipeline_pb2.Pipeline, options: argparse.Namespace) -> None:
    """Substitutes the run's values in the IR."""
    if "{{" in options.run_id:
        raise ConfigError(
            f"the run's id is {options.run_id}; this Kubeflow does not substitute it. Version 2 of "
            "Kubeflow Pipelines is required."
        )
    data = {} if options.data is None else {DATA: options.data}
    node_slice.fill_in(part, options.run_id, options.pipeline_root, data)
    if options.recipe:
        override_recipe(part.nodes[0].pipeline_node, options.recipe)


def _run(
    part: pipeline_pb2.Pipeline,
    connection: metadata_store.ConnectionConfig,
    options: argparse.Namespace,
) -> NodeState:
    """Runs the node; returns how it ended."""
    metadata_store.check(connection)
    node = part.nodes[0].pipeline_node
    deployment = runner_utils.extract_local_deployment_config(part)
    with metadata.Metadata(connection) as handle:
        cache_exceptions.apply(handle, node)
    NodeLauncher(
        pipeline_node=node,
        mlmd_connection=metadata.Metadata(connection),
        pipeline_info=part.pipeline_info,
        pipeline_runtime_spec=part.runtime_spec,
        executor_spec=runner_utils.extract_executor_spec(deployment, options.node_id),
        custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, options.node_id),
    ).launch()
    with metadata.Metadata(connection) as handle:
        state = executions.final_state(handle, node)
        outputs = executions.outputs(handle, node)
        if options.node_id == NodeId.ATOMIC_PUSHER:
            (pushed,) = outputs[specs.PUSHED_MODEL_KEY]
            if not executions.is_pushed(pushed):
                reasons = executions.rejections(handle, node) or ("it was not blessed",)
                raise RejectedError("the model was not pushed", reasons)
    output_file = Path(options.executor_input["outputs"]["outputFile"])
    views.write(options.node_id, outputs, dict(options.view), output_file)
    return state


def _check_code(compiled_from: str) -> None:
    """Raises ConfigError unless the code is that which the pipeline was compiled from.

    TFX's cache and lineage refer to that code.
    """
    own = SourceTree().digest_of_everything()
    if own != compiled_from:
        raise ConfigError(
            f"the code in this image ({own[:12]}) differs from the code that the pipeline was "
            f"compiled from ({compiled_from[:12]}); build and push the image again, set `image` to "
            "it, and compile again."
        )


def _end(
    options: argparse.Namespace,
    start_s: float,
    state: NodeState,
    failure: NodeFailure | None = None,
) -> None:
    """Prints the last line, and keeps the end of the node for the notice about the run."""
    ended = NodeChanged(
        time=datetime.now(UTC),
        node=options.node_id,
        state=state,
        seconds=time.monotonic() - start_s,
        message=failure.message if failure else "",
        rejections=failure.rejections if failure else (),
    )
    if options.endings:
        try:
            run_notice.write_ending(ended, options.endings, options.run_id)
        except Exception:  # of a volume or a bucket; the node itself has ended
            logging.exception("the end of the node cannot be written for the notice")
    ending = Ending.REJECTED if ended.rejections else Ending(state)
    print(LastLine(options.node_id, ending, ended.message), file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipeline.kubeflow")
    parser.add_argument("--node-id", required=True)
    parser.add_argument("--node", required=True, help="the node's slice of the IR")
    parser.add_argument(
        "--code-digest", required=True, help="digest of the code that it was compiled from"
    )
    parser.add_argument("--run-id", required=True)
    parser.add_argument("--pipeline-root", required=True)
    parser.add_argument("--data", help="the folder with the IDX files")
    parser.add_argument("--recipe", type=parse_recipe, default={}, help="JSON: changes")
    parser.add_argument("--endings", help="the folder for the ends of nodes, if a notice is sent")
    parser.add_argument("--executor-input", type=json.loads, required=True, help="KFP's, as JSON")
    parser.add_argument(
        "--view", nargs=2, action="append", default=[], metavar=("NAME", "PATH"), help="KFP output"
    )
    return parser


if __name__ == "__main__":  # pipelines that an earlier release compiled; `_check_code` rejects them
    sys.exit(main())

"""A small part of `make chaos`: two kills, with real processes, and a run to the end after them."""

import random
import signal

import pytest
from chaos import kill_runs
from chaos.kill_runs import Chaos
from doubles.local_runs import LocalRuns

from components.names.node_ids import NodeId
from pipeline.runs.workspace import Workspace
from serving import version_folders


@pytest.mark.cold
def test_after_kills_a_run_goes_on_and_pushes_the_same_weights(finished: LocalRuns) -> None:
    workspace = Workspace(finished.root)
    (version,) = finished.versions
    pushed = workspace.serving("digits") / str(version) / "variables"
    chaos = Chaos(workspace, random.Random(1), {version_folders.digest(pushed)})
    chaos.seconds = {NodeId.TRAINER: 2.0}
    chaos.attack(NodeId.TRAINER, signal.SIGKILL, kill_runs.WORKER)
    assert finished.last.message.startswith(
        "the pipeline's process was killed by signal 9 (the system kills processes when memory "
        "runs out) while "
    )
    chaos.attack(NodeId.ATOMIC_PUSHER, signal.SIGKILL, kill_runs.ALL)
    chaos.finish()

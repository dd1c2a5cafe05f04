"""The summary of a run that ended."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from rich.text import Text

from components.names.node_ids import NodeId
from pipeline.runs.run_record import RunRecord

_RESULTS: Final = {
    "pushed": "the model was pushed",
    "cached": "cached: this model was pushed before",
    "rejected": "rejected by a gate (exit code 3)",
    "failed": "failed (exit code 1)",
}


def summary(record: RunRecord, log: Path) -> Text:
    """The summary of a run: accuracy, verdict and reasons, and the locations of the results.

    Plain lines, so that no path is broken in two: print it with `soft_wrap`.
    """
    lines: list[tuple[str, str, str]] = []
    outcome = record.outcome
    if outcome is not None:
        worst = outcome.worst_digit
        accuracy = f"{outcome.accuracy:.4f} on {outcome.test_images:,} test images"
        lines.append(("accuracy", f"{accuracy}, loss {outcome.loss:.4f}", ""))
        lines.append(("worst class", f"{worst}, {outcome.digit_accuracy[worst]:.4f}", ""))
        if outcome.accuracy_change is not None:
            lines.append(("change", f"{outcome.accuracy_change:+.4f} from the champion", ""))
        off = len(outcome.gates_off)
        if outcome.rejections:
            lines += [("blessed", f"no: {rejection}", "red") for rejection in outcome.rejections]
        elif off:
            gates = f"{off} gate is" if off == 1 else f"{off} gates are"
            lines.append(("blessed", f"yes, but {gates} off: {', '.join(outcome.gates_off)}", ""))
        else:
            lines.append(("blessed", "yes, all gates passed", "green"))
        lines.append(("pushed", outcome.pushed or "no model", ""))
        lines.append(("report", outcome.report or "none", ""))
        lines.append(("artifacts", outcome.artifacts, ""))
        tensorboard = Path(sys.executable).with_name("tensorboard")
        lines.append(("tensorboard", f"{tensorboard} --logdir {outcome.tensorboard}", ""))
    failed = [node for node in record.nodes if node.state == "failed"]
    for node in failed:
        reasons = node.rejections or (node.message,)
        lines += [(node.node, reason, "red") for reason in reasons]
        if node.node == NodeId.ANOMALY_GATE and node.rejections:
            lines.append(("if intended", "see `mnist-tfx schema diff` and docs/own-data.md", ""))
    lines.append(("log", str(log), ""))
    lines.append(("took", f"{record.seconds:.0f} s", ""))
    style = "bold red" if record.message else "bold green"
    lines.append(("result", _RESULTS[record.result], style))
    has_reasons = bool(failed or (outcome and outcome.rejections))
    if record.message and not has_reasons:
        lines.append(("", record.message, "red"))
    text = Text()
    for name, fact, fact_style in lines:
        text.append(f"\n{name:<12} ")
        text.append(fact, fact_style)
    return text

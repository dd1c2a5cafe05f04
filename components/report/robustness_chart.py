"""Accuracy by strength of a corruption: a line for each model, with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from components.evaluation.results import Interval, wilson
from components.images import corruptions
from components.report import charts
from components.report.page import Chart, Table, chart, interval


class Point(NamedTuple):
    """One model under a corruption of one strength; strength 0 is the clean images."""

    strength: int
    accuracy: float
    images: int

    @property
    def interval(self) -> Interval:
        """Wilson's interval of the accuracy."""
        return wilson(self.accuracy, self.images)


def draw(
    corruption: str,
    lines: Mapping[str, Sequence[Point]],
    limits: Mapping[float, float] | None = None,
) -> Chart:
    """The chart.

    Args:
      corruption: its name.
      lines: the models, at most three, by their names in the legend; all with the same strengths.
      limits: the minimum accuracy, by strength.
    """
    unit = "pixels" if corruption == corruptions.TRANSLATE else "strength"
    trend = "; ".join(
        f"{name} from {points[0].accuracy:.3f} at 0 to {points[-1].accuracy:.3f} at "
        f"{points[-1].strength}"
        for name, points in lines.items()
    )
    rows = [
        [str(column[0].strength), *(f"{p.accuracy:.4f} {interval(p.interval)}" for p in column)]
        for column in zip(*lines.values(), strict=True)
    ]
    svg = charts.curves(
        {
            name: charts.Curve(
                x=[point.strength for point in points],
                y=[point.accuracy for point in points],
                low=[point.interval.low for point in points],
                high=[point.interval.high for point in points],
            )
            for name, points in lines.items()
        },
        unit,
        "accuracy",
        limits,
        (0, 1.03),
        marker="o",
    )
    table = Table(f"Accuracy under {corruption}", (unit, *lines), rows)
    return chart(corruption, f"Accuracy by {unit} of {corruption}: {trend}.", svg, table)

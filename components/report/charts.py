"""Charts as SVG, drawn by Matplotlib in the colours of the page.

Matplotlib knows fixed colours only. It draws with placeholders, which are replaced by the page's
CSS variables, so that the same chart suits light and dark mode.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

INK, GRID = "#010203", "#010204"
SERIES: Final = ("#010211", "#010212", "#010213")
LIMIT: Final = "#010221"
_VARIABLES: Final = {
    INK: "var(--ink)",
    GRID: "var(--grid)",
    SERIES[0]: "var(--series-1)",
    SERIES[1]: "var(--series-2)",
    SERIES[2]: "var(--series-3)",
    LIMIT: "var(--limit)",
}
_STYLE: Final[dict[Any, Any]] = {  # Matplotlib's type of a key is a list of all keys
    "svg.fonttype": "none",  # text stays text: searchable, readable aloud, and small
    "svg.hashsalt": "report",  # the same ids in every process
    "font.family": "sans-serif",
    "font.size": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
}


class Curve(NamedTuple):
    """Points, and optionally an interval of each; all of the same length."""

    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


def draw(
    plot: Callable[[Axes], None],
    size_in: tuple[float, float] = (4.6, 2.9),
    colours: Mapping[str, str] = _VARIABLES,
) -> str:
    """An `<svg>` element with what `plot` draws; the page adds the text alternative."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=size_in, layout="constrained")
        plot(figure.add_subplot())
        file = io.StringIO()
        # Padding, since a browser's font may be wider than Matplotlib's.
        plain = {"Date": None, "Creator": None}
        figure.savefig(file, format="svg", metadata=plain, bbox_inches="tight", pad_inches=0.12)
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # The page sets the width and the text alternative.
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    svg = svg.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)
    for placeholder, variable in colours.items():
        svg = svg.replace(placeholder, variable)
    return svg


def curves(
    named: Mapping[str, Curve],
    x_label: str,
    y_label: str,
    limits: Mapping[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    marker: str | None = None,
) -> str:
    """Lines with intervals.

    Args:
      named: the lines, at most three, by their names in the legend.
      x_label: the label of the x axis.
      y_label: the label of the y axis.
      limits: the minimum at an x, drawn as a mark.
      y_range: the range of the y axis.
      marker: Matplotlib's marker of a point; None for many points.
    """

    def plot(axes: Axes) -> None:
        for (name, curve), colour in zip(named.items(), SERIES, strict=False):
            dot = marker or (
                "o" if len(curve.x) < 10 else None
            )  # a single point would be invisible
            axes.plot(curve.x, curve.y, color=colour, label=name, marker=dot, markersize=3)
            if curve.low is not None and curve.high is not None:
                axes.fill_between(
                    curve.x, curve.low, curve.high, color=colour, alpha=0.2, linewidth=0
                )
        for x, limit in (limits or {}).items():
            axes.plot([x - 0.3, x + 0.3], [limit, limit], color=LIMIT, linewidth=2.5)
        axes.set(xlabel=x_label, ylabel=y_label)
        if y_range:
            axes.set_ylim(*y_range)
        if marker:
            axes.set_xticks(sorted({x for curve in named.values() for x in curve.x}))
        if len(named) > 1:
            axes.legend(loc="lower left" if y_range else "best")

    return draw(plot)


def bars(
    labels: Sequence[str], named: Mapping[str, Sequence[float]], y_label: str, x_label: str
) -> str:
    """Groups of bars, at most three for each label."""

    def plot(axes: Axes) -> None:
        width = 0.8 / len(named)
        for place, ((name, values), colour) in enumerate(zip(named.items(), SERIES, strict=False)):
            x = np.arange(len(labels)) + (place - (len(named) - 1) / 2) * width
            axes.bar(x, values, width, color=colour, label=name)
        axes.set_xticks(range(len(labels)), labels)
        axes.set(xlabel=x_label, ylabel=y_label)
        axes.grid(axis="x", visible=False)
        axes.set_ylim(
            top=1.25 * max(max(values) for values in named.values())
        )  # room for the legend
        axes.legend(ncols=len(named), loc="upper right")

    return draw(plot)


def histograms(
    named: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]], x_label: str
) -> str:
    """Outlines of at most three distributions, each as bin edges and the share in each bin."""

    def plot(axes: Axes) -> None:
        for (name, (edges, shares)), colour in zip(named.items(), SERIES, strict=False):
            density = shares / np.diff(edges)  # the widths of bins differ between distributions
            axes.stairs(density, edges, color=colour, label=name, linewidth=1.5)
        axes.set(xlabel=x_label, ylabel="density")
        axes.legend()

    return draw(plot)


def reliability(
    confidence: Sequence[float], accuracy: Sequence[float], counts: Sequence[float]
) -> str:
    """Accuracy by confidence; larger points stand for more predictions."""

    def plot(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=LIMIT, linewidth=1, label="perfect")
        sizes = 10 + 150 * np.sqrt(np.asarray(counts) / max(counts, default=1))
        axes.scatter(confidence, accuracy, sizes, color=SERIES[0], alpha=0.8, label="bin")
        axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.06), ylim=(-0.06, 1.06))

    return draw(plot)

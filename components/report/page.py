"""The parts of every page: tables, charts and templates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from components.evaluation.results import Interval


class Table(NamedTuple):
    """Rows of text; the first cell of a row is its heading."""

    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


class Chart(NamedTuple):
    """A chart, its content in one sentence, and its numbers."""

    title: str
    alternative: str
    svg: Markup
    table: Table


def chart(title: str, alternative: str, svg: str, table: Table) -> Chart:
    """A chart with a drawing of `charts.py`, which is inserted without escaping."""
    return Chart(title, alternative, Markup(svg), table)  # noqa: S704


def render(template: str, **values: Any) -> str:
    """Renders a template of this package."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("components.report", package_path=""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(interval=interval, **values)


def interval(found: Interval | None, form: str = "%.4f") -> str:
    """An interval in brackets; a dash if there is none."""
    return f"[{form % found.low}, {form % found.high}]" if found else "-"

"""What every page of this package is made with: tables, charts, and the templates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from components.evaluation_results import Interval


class Table(NamedTuple):
    """Text in rows; the first cell of a row names it."""

    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


class Chart(NamedTuple):
    """A chart, what it says in a sentence, and its numbers."""

    title: str
    alternative: str
    svg: Markup
    table: Table


def chart(title: str, alternative: str, svg: str, table: Table) -> Chart:
    """A chart of one of `charts.py`'s drawings, which are put into a page as they are."""
    return Chart(title, alternative, Markup(svg), table)  # noqa: S704


def render(template: str, **values: Any) -> str:
    """A page from a template of this package."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("components.report", package_path=""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(interval=interval, **values)


def interval(found: Interval | None, form: str = "%.4f") -> str:
    """An interval in brackets; a dash where there is none."""
    return f"[{form % found.low}, {form % found.high}]" if found else "-"

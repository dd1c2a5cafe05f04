"""The folders of data that arrives in spans."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.local import dataset_source
from pipeline.settings.errors import ConfigError, DataError

if TYPE_CHECKING:
    from pipeline.settings.pipeline_config import DataConfig, Span


def prepare(folder: Path | None, span_folder: str, span: Span) -> Path:
    """The folder of all spans, after the files of one of them were checked.

    Args:
      folder: the folder of all spans.
      span_folder: the folder of a span below it, with {SPAN} and optionally {VERSION}.
      span: the span to check.

    Raises:
      ConfigError: no folder is given.
      DataError: the span does not exist, or its files are missing or damaged.
    """
    expected = f"give the folder that contains the spans, as {span_folder}."
    if folder is None:
        raise ConfigError(f"--data-dir is missing; {expected}")
    if not folder.is_dir():
        raise DataError(f"--data-dir: {folder} {dataset_source.problem_of(folder)}; {expected}")
    dataset_source.check("", folder_of_span(folder, span_folder, span))
    return folder.resolve()


def folder_of_span(folder: Path, span_folder: str, span: Span) -> Path:
    """The folder with the files of a span; the arguments are those of `prepare`.

    Raises:
      DataError: the span does not exist.
    """
    found = spans(folder, span_folder)
    wanted = max(found, default=None) if span == "latest" else span
    if wanted not in found:
        known = ", ".join(map(str, sorted(found))) or "none"
        raise DataError(
            f"{folder} contains no {span_folder.replace('{SPAN}', str(span))}; its spans are "
            f"{known}."
        )
    return found[wanted]


def spans(folder: Path, span_folder: str) -> dict[int, Path]:
    """The spans in a folder: the folder of the newest version of each."""
    pattern = re.escape(span_folder)
    for name in ("SPAN", "VERSION"):
        pattern = pattern.replace(re.escape(f"{{{name}}}"), rf"(?P<{name}>\d+)")
    versions: dict[int, tuple[int, Path]] = {}
    for path in folder.glob(re.sub(r"\{\w+\}", "*", span_folder)):
        match = re.fullmatch(pattern, path.relative_to(folder).as_posix())
        if match and path.is_dir():
            number = int(match["SPAN"])
            candidate = int(match.groupdict().get("VERSION") or 0), path
            versions[number] = max(versions.get(number, candidate), candidate)
    return {number: path for number, (_, path) in versions.items()}


def folder_of_files(config: DataConfig, data: Path) -> Path:
    """The folder with the four files to ingest, given the folder that was prepared.

    Raises:
      DataError: the configured span does not exist.
    """
    span = config.chosen_span
    return data if span is None else folder_of_span(data, config.span_folder, span)

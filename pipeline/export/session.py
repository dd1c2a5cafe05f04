"""`mnist-tfx export`: writes the file, and compares its answers with those of the pushed model."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from pipeline.export.format import Format
from pipeline.local import dataset_source
from pipeline.runs.workspace import Workspace
from pipeline.settings.errors import DataError, PipelineError
from pipeline.view import native_output
from serving import version_folders
from trainer import features

COMPARED: Final = 1000  # images
TOLERANCE: Final = 1e-4
"""The allowed absolute difference of a probability: kernels differ between runtimes."""


def run(
    workspace: Workspace,
    name: str,
    version: int | None,
    target: Format,
    output: Path | None,
    data_dir: Path | None,
    console: Console,
) -> Path:
    """Exports a version; returns the file.

    Args:
      workspace: where the model was pushed.
      name: the model's name.
      version: the version; None for the served one.
      target: the format.
      output: the file; None for NAME-VERSION with the format's suffix.
      data_dir: the folder with the test images to compare with; None for the cached MNIST.
      console: where to print.

    Raises:
      ConfigError: the file has another suffix than the format's.
      PipelineError: the version does not exist, a package is missing, the file cannot be written,
        or its answers differ.
    """
    folder = workspace.serving(name)
    served = version_folders.find(folder)
    found = {**version_folders.find_withdrawn(folder), **served}
    if version is None:
        workspace.check_pushed(name)
    chosen = max(served) if version is None else version
    if chosen not in found:
        raise PipelineError(
            f"{folder} contains no version {chosen}; `mnist-tfx models{workspace.options(name)}` "
            "lists all."
        )
    images, kind = _images(data_dir)
    with console.status("exporting (loads TensorFlow)"), native_output.muted():
        from pipeline.export import writers

        file = output or Path(f"{name}-{chosen}{writers.suffix(target)}")
        writers.check(target, file)
        expected = writers.saved_model(found[chosen])(images)
        answers = writers.export(found[chosen], target, file)(images)
    difference = float(np.abs(answers - expected).max())
    if not difference <= TOLERANCE:  # also if it is not a number
        raise PipelineError(
            f"{file}: a probability differs by {difference:.2g} from that of version {chosen}; the "
            f"maximum is {TOLERANCE:g}. The file is kept for examination."
        )
    console.print(
        f"{file}  {file.stat().st_size / 1e6:.1f} MB, version {chosen} of {name}\n"
        f"{len(images)} {kind}: the largest difference of a probability is {difference:.2g}",
        highlight=False,
        soft_wrap=True,
    )
    return file


def _images(data_dir: Path | None) -> tuple[NDArray[np.uint8], str]:
    """Test images, or random ones without a data set; and what they are."""
    try:
        pair = dataset_source.read_test_split(data_dir or dataset_source.cache_folder())
    except DataError:
        if data_dir:
            raise
        shape = (COMPARED, features.HEIGHT_PX, features.WIDTH_PX)
        noise = np.random.default_rng(1).integers(0, features.WHITE + 1, shape, dtype=np.uint8)
        return noise, "random images (`mnist-tfx data` downloads MNIST)"
    return pair.images[:COMPARED], "test images"

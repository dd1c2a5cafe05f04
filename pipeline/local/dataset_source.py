"""The four IDX files of a data set: from a folder, from the cache, or downloaded.

MNIST's files are used only if their digests are correct, whatever their source.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import platformdirs

from components.images import idx_format
from components.names.splits import TEST_FILES, TRAIN_FILES
from pipeline.local import mnist_download
from pipeline.settings.errors import DataError

MNIST: Final = "mnist"


def prepare(
    dataset: str, folder: Path | None, progress: mnist_download.Progress, into: Path | None = None
) -> Path:
    """The folder with the data set's four files, downloaded if needed, and checked.

    For data that arrives in spans, see `span_folders.prepare`.

    Args:
      dataset: "mnist", or any other name for a data set in `folder`.
      folder: the folder with the files; None for the cache.
      progress: called during a download.
      into: the folder to download into; None for the cache. Files of another data set in it are
        not overwritten.

    Raises:
      DataError: a file is missing, damaged, or not MNIST's; or no source could be reached.
    """
    if folder is not None:
        if not folder.is_dir():
            raise DataError(
                f"{folder} {problem_of(folder)}; expected the folder with the four IDX files."
            )
        check(dataset, folder)
        return folder.resolve()
    if dataset != MNIST:
        raise DataError(
            f"the data set {dataset} cannot be downloaded; give the folder with its four IDX files "
            "with --data-dir."
        )
    target = into or cache_folder()
    if target.exists() and not target.is_dir():
        raise DataError(f"{target} {problem_of(target)}; expected a folder to download into.")
    try:
        check(dataset, target)
    except DataError:
        if into is not None:
            _reject_overwriting(into)
        mnist_download.fetch(target, progress)
        check(dataset, target)
    return target


def problem_of(folder: Path) -> str:
    """Why a path cannot be used as a folder."""
    return "is not a folder" if folder.exists() else "does not exist"


def read_test_split(folder: Path) -> idx_format.ImagesAndLabels:
    """The images and labels of the test files in a folder.

    Raises:
      DataError: the files are missing or damaged.
    """
    try:
        return idx_format.read_pair(*idx_format.find_pair(folder, TEST_FILES))
    except (idx_format.IdxFormatError, OSError) as error:
        reason = f"{folder} contains no data set." if isinstance(error, OSError) else str(error)
        raise DataError(f"{reason} `mnist-tfx data` downloads MNIST.") from error


def cache_folder() -> Path:
    """The folder that MNIST is downloaded to."""
    return platformdirs.user_cache_path("mnist-tfx") / MNIST


def check(dataset: str, folder: Path) -> None:
    """Raises DataError unless the folder contains both pairs, complete, and MNIST's for "mnist"."""
    try:
        for pattern in (TRAIN_FILES, TEST_FILES):
            paths = idx_format.find_pair(folder, pattern)
            if dataset != MNIST:
                idx_format.check_pair(*paths)
                continue
            with idx_format.opened_pair(*paths) as readers:
                for path, reader in zip(paths, readers, strict=True):
                    mnist_download.check_digest(path, reader.unpacked_sha256())
    except idx_format.IdxFormatError as error:
        raise DataError(str(error)) from error
    except OSError as error:
        raise DataError(f"cannot read {error.filename or folder}: {error.strerror}.") from error


def _reject_overwriting(folder: Path) -> None:
    for path in folder.glob("*-ubyte*"):
        dimensions = 3 if "images" in path.name else 1
        try:
            with path.open("rb") as file:
                reader = idx_format.IdxReader(file, dimensions, str(path))
                mnist_download.check_digest(path, reader.unpacked_sha256())
        except (DataError, idx_format.IdxFormatError) as error:
            raise DataError(f"{error} The file was not overwritten.") from error

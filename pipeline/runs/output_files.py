"""The digests of the files that nodes wrote: recorded in ML Metadata, compared later.

They find damage in every kind of artifact. The formats' own checksums do not: a SavedModel's
graph has none, and the error of a damaged TFRecord does not contain the name of its file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2

from components.names.artifact_properties import OUTPUT_FILES

_HASH: Final = "sha256"


class DamagedFile(NamedTuple):
    """A file that is not as a node wrote it."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path} {self.reason}"


def record(store: mlmd.MetadataStore, artifacts: Sequence[metadata_store_pb2.Artifact]) -> None:
    """Records the digests of the files in the folders of artifacts.

    A node's outputs must be recorded before another node reads them: TFX's cache key contains the
    properties of its inputs.
    """
    for artifact in artifacts:
        folder = Path(artifact.uri)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        digests = {path.relative_to(folder).as_posix(): _digest(path) for path in files}
        artifact.custom_properties[OUTPUT_FILES].string_value = json.dumps(digests)
    store.put_artifacts(artifacts)


def is_recorded(artifact: metadata_store_pb2.Artifact) -> bool:
    """Whether the digests of an artifact's files are known."""
    return OUTPUT_FILES in artifact.custom_properties


def find_damaged(artifact: metadata_store_pb2.Artifact) -> list[DamagedFile]:
    """The recorded files that changed or are missing; none if the artifact's folder is deleted."""
    folder = Path(artifact.uri)
    if not (is_recorded(artifact) and folder.exists()):
        return []
    damaged = []
    for name, digest in json.loads(artifact.custom_properties[OUTPUT_FILES].string_value).items():
        path = folder / name
        try:
            if not path.is_file():
                damaged.append(DamagedFile(path, "is missing"))
            elif _digest(path) != digest:
                damaged.append(DamagedFile(path, "was changed"))
        except OSError as error:
            damaged.append(DamagedFile(path, f"cannot be read ({error.strerror})"))
    return damaged


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, _HASH).hexdigest()

"""AtomicPusher: a model version appears in the serving folder completely, or not at all.

TFX's Pusher copies file by file into the version folder that a model server polls. The server can
find half a model there, and retries a failed version only after a minute. This component copies
into a folder beside it, whose name model servers ignore, flushes it to disk, and renames it,
which a POSIX file system does in one step. If the served version has the same files, because the
process was killed after the rename or because the model was evaluated again, the component adopts
it and copies nothing.

A bucket has no rename. There `saved_model.pb`, without which a model server does not load a
version, is written last: half a model is never served, but a server that looks too early tries
again only after a minute. A version in a bucket is not adopted.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import logging
from tfx.components.pusher import component, executor
from tfx.dsl.components.base import executor_spec
from tfx.dsl.io import fileio
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils
from tfx.types import standard_component_specs as specs
from tfx.types.artifact import Artifact
from tfx.utils import io_utils, json_utils, path_utils, proto_utils

from components.names.artifact_properties import ADOPTED, BLESSING_ID, MODEL_ID, PUSHED_DIGEST
from serving import version_folders

KEEP_VERSIONS = "keep_versions"  # the key in custom_config; without it all versions are kept
SAVED_MODEL = "saved_model.pb"


class Executor(executor.Executor):  # type: ignore[misc]
    """TFX's Pusher executor with an atomic copy.

    It pushes the copy that ServerValidator blessed, with its warm-up file, if there is one.
    """

    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Pushes the model if every blessing allows it.

        The artifact's folder contains a copy of what was pushed.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        pushed_model = artifact_utils.get_single_instance(output_dict[specs.PUSHED_MODEL_KEY])
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed_model)
            return
        destination = pusher_pb2.PushDestination()
        proto_utils.json_to_proto(exec_properties[specs.PUSH_DESTINATION_KEY], destination)
        model = self.GetModelPath(input_dict)
        io_utils.copy_dir(model, pushed_model.uri)
        base_directory = destination.filesystem.base_directory
        config = json_utils.loads(exec_properties.get(specs.CUSTOM_CONFIG_KEY) or "null") or {}
        with exclusively(base_directory):
            adopted = served_copy(model, base_directory)
            version = adopted or push(model, base_directory)
            if config.get(KEEP_VERSIONS):
                prune(base_directory, config[KEEP_VERSIONS])
        self._MarkPushed(
            pushed_model, pushed_destination=version, pushed_version=posixpath.basename(version)
        )
        pushed_model.set_int_custom_property(ADOPTED, int(adopted is not None))
        if "://" not in base_directory:
            digest = version_folders.digest(Path(version))
            pushed_model.set_string_custom_property(PUSHED_DIGEST, digest)
        for key, name in ((specs.MODEL_KEY, MODEL_ID), (specs.MODEL_BLESSING_KEY, BLESSING_ID)):
            source = artifact_utils.get_single_instance(input_dict[key])
            pushed_model.set_int_custom_property(name, source.id)
        logging.info("%s %s.", "Adopted" if adopted else "Pushed", version)

    def GetModelPath(self, input_dict: dict[str, list[Artifact]]) -> str:
        """The folder of the model to push."""
        blessings = input_dict.get(specs.INFRA_BLESSING_KEY)
        if not blessings:
            return str(super().GetModelPath(input_dict))
        blessing = artifact_utils.get_single_instance(blessings)
        return str(path_utils.stamped_model_path(blessing.uri))


class AtomicPusher(component.Pusher):  # type: ignore[misc]
    """TFX's Pusher; the same arguments and outputs."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)


@contextlib.contextmanager
def exclusively(base_directory: str) -> Iterator[None]:
    """A context in which no roll-back changes the versions; a bucket has no lock."""
    if "://" in base_directory:
        yield
        return
    folder = Path(base_directory)
    folder.mkdir(parents=True, exist_ok=True)
    with version_folders.exclusively(folder):
        yield


def push(model: str, base_directory: str) -> str:
    """Copies a SavedModel into `base_directory` as its newest version.

    The version is the time in seconds, or the newest version plus one if the clock is behind it:
    a model server serves the largest number.

    Args:
      model: the SavedModel's folder, a path or the URI of a bucket.
      base_directory: the folder of versions. On a path the version appears in one step; in a
        bucket its `saved_model.pb` is written last.

    Returns:
      The folder of the new version.

    Raises:
      OSError: the copy to a path failed, for example because the disk is full. Nothing is left
        behind, and the served versions are untouched.
    """
    if "://" in base_directory:
        return _push_to_bucket(model, base_directory)
    return str(_push_to_disk(model, Path(base_directory)))


def served_copy(model: str, base_directory: str) -> str | None:
    """The folder of the newest version if it has the same files as the model; else None.

    None also if the model or the versions are in a bucket.
    """
    if "://" in model or "://" in base_directory:
        return None
    _, newest = max(version_folders.find(Path(base_directory)).items(), default=(0, None))
    if newest is None or version_folders.digest(newest) != version_folders.digest(Path(model)):
        return None
    return str(newest)


def versions(base_directory: str) -> list[int]:
    """The versions in a serving folder, a path or the URI of a bucket, oldest first."""
    if "://" not in base_directory:
        return list(version_folders.find(Path(base_directory)))
    listed = fileio.listdir(base_directory) if fileio.isdir(base_directory) else []
    numbers = (version_folders.parse(name.rstrip("/")) for name in listed)
    return sorted(number for number in numbers if number is not None)


def withdrawn(base_directory: str) -> list[int]:
    """The versions that a roll-back withdrew, oldest first; a bucket has none."""
    if "://" in base_directory:
        return []
    return list(version_folders.find_withdrawn(Path(base_directory)))


def prune(base_directory: str, keep: int) -> None:
    """Removes all but the `keep` newest versions; the served version stays."""
    if "://" not in base_directory:
        removed = version_folders.prune(Path(base_directory), keep)
    else:
        removed = versions(base_directory)[:-keep]
        for version in removed:
            fileio.rmtree(posixpath.join(base_directory, str(version)))
    if removed:
        logging.info("Removed versions %s.", ", ".join(map(str, removed)))


def _push_to_disk(model: str, base_directory: Path) -> Path:
    base_directory.mkdir(parents=True, exist_ok=True)
    # Model servers ignore names that are not numbers.
    staging = version_folders.new_staging_folder(base_directory)
    try:
        io_utils.copy_dir(model, str(staging))
        _flush(staging)
        while True:
            destination = base_directory / _next_version(str(base_directory))
            try:
                staging.rename(destination)
            except OSError:
                if not destination.exists():  # otherwise another push took the number
                    raise
            else:
                break
        version_folders.flush(base_directory)
        return destination
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _push_to_bucket(model: str, base_directory: str) -> str:
    destination = posixpath.join(base_directory, _next_version(base_directory))
    io_utils.copy_dir(model, destination, deny_regex_patterns=[rf"/{SAVED_MODEL}$"])
    fileio.copy(posixpath.join(model, SAVED_MODEL), posixpath.join(destination, SAVED_MODEL))
    return destination


def _next_version(base_directory: str) -> str:
    # A withdrawn version may return, so its number is taken.
    taken = [*versions(base_directory), *withdrawn(base_directory)]
    return str(max(int(time.time()), max(taken, default=0) + 1))


def _flush(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            version_folders.flush(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())

"""AtomicPusher: a model version appears in the serving folder whole, or not at all.

TFX's Pusher copies file by file into the version folder that a model server is
polling; the server can meet half a model, and tries a failed version again only
after a minute. Here the copy is made beside it, under a name that no server looks
at, flushed to the disk, and renamed, which a POSIX file system does in one step.

A bucket has no rename. There `saved_model.pb`, without which a model server does not
load a version, is written last: half a model is never served, but a server that looks
too early comes back for it only after a minute.
"""

from __future__ import annotations

import os
import posixpath
import shutil
import time
import uuid
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

from serving import version_folders

# Custom properties of the PushedModel artifact. The first three are TFX's.
PUSHED = "pushed"  # 1 or 0
PUSHED_DESTINATION = "pushed_destination"  # the version's folder
PUSHED_VERSION = "pushed_version"  # the version's number, as text
MODEL_ID = "model_id"  # the id of the Model artifact that was pushed
BLESSING_ID = "blessing_id"  # the id of the ModelBlessing that allowed it

KEEP_VERSIONS = "keep_versions"  # the key of custom_config: how many are kept; all without it
SAVED_MODEL = "saved_model.pb"


class Executor(executor.Executor):  # type: ignore[misc]
    """TFX's Pusher executor, with another way of copying.

    What is pushed is the copy that ServerValidator blessed, with its warm-up file, where
    there is one.
    """

    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Pushes the model, if every blessing that came in says so.

        The artifact's folder holds a copy of what was pushed.
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
        version = push(model, destination.filesystem.base_directory)
        config = json_utils.loads(exec_properties.get(specs.CUSTOM_CONFIG_KEY) or "null") or {}
        if config.get(KEEP_VERSIONS):
            prune(destination.filesystem.base_directory, config[KEEP_VERSIONS])
        self._MarkPushed(
            pushed_model, pushed_destination=version, pushed_version=posixpath.basename(version)
        )
        for key, name in ((specs.MODEL_KEY, MODEL_ID), (specs.MODEL_BLESSING_KEY, BLESSING_ID)):
            source = artifact_utils.get_single_instance(input_dict[key])
            pushed_model.set_int_custom_property(name, source.id)
        logging.info("Pushed %s.", version)

    def GetModelPath(self, input_dict: dict[str, list[Artifact]]) -> str:
        """The folder of what is pushed."""
        blessings = input_dict.get(specs.INFRA_BLESSING_KEY)
        if not blessings:
            return str(super().GetModelPath(input_dict))
        blessing = artifact_utils.get_single_instance(blessings)
        return str(path_utils.stamped_model_path(blessing.uri))


class AtomicPusher(component.Pusher):  # type: ignore[misc]
    """TFX's Pusher; the same arguments and outputs."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)


def push(model: str, base_directory: str) -> str:
    """Copies a SavedModel into `base_directory` as its newest version.

    The version is the time in seconds, or one more than the newest version where the
    clock is behind it: a model server serves the largest number.

    Args:
      model: the SavedModel's folder, a path or a bucket's URI.
      base_directory: the folder of versions. On a path the version appears in one step;
        in a bucket its `saved_model.pb` is written last.

    Returns:
      The new version's folder.

    Raises:
      OSError: it could not be copied to a path, for example because the disk is full.
        Nothing is left behind then, and what was served before is untouched.
    """
    if "://" in base_directory:
        return _push_to_bucket(model, base_directory)
    return str(_push_to_disk(model, Path(base_directory)))


def versions(base_directory: str) -> list[int]:
    """The versions in a serving folder, a path or a bucket's URI, oldest first."""
    if "://" not in base_directory:
        return list(version_folders.find(Path(base_directory)))
    found = fileio.listdir(base_directory) if fileio.isdir(base_directory) else []
    names = [name.rstrip("/") for name in found]
    return sorted(int(name) for name in names if name.isdecimal())


def withdrawn(base_directory: str) -> list[int]:
    """The versions that were set aside by a roll-back, oldest first; a bucket has none."""
    return (
        []
        if "://" in base_directory
        else list(version_folders.find_withdrawn(Path(base_directory)))
    )


def prune(base_directory: str, keep: int) -> None:
    """Removes all but the `keep` newest versions; what is served stays."""
    if "://" not in base_directory:
        removed = version_folders.prune(Path(base_directory), keep)
    else:
        removed = versions(base_directory)[:-keep]
        for version in removed:
            fileio.rmtree(posixpath.join(base_directory, str(version)))
    if removed:
        logging.info("Removed the versions %s.", ", ".join(map(str, removed)))


def _push_to_disk(model: str, base_directory: Path) -> Path:
    base_directory.mkdir(parents=True, exist_ok=True)
    # Model servers ignore names that are not numbers.
    staging = base_directory / f".staging-{uuid.uuid4().hex}"
    try:
        io_utils.copy_dir(model, str(staging))
        _flush(staging)
        while True:
            destination = base_directory / _next_version(str(base_directory))
            try:
                staging.rename(destination)
            except OSError:
                if not destination.exists():  # else another push took the number: take the next
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
    # One that was set aside may come back.
    taken = [*versions(base_directory), *withdrawn(base_directory)]
    return str(max(int(time.time()), max(taken, default=0) + 1))


def _flush(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            version_folders.flush(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())

"""Finds, loads and watches the versions of one model in a folder.

The newest version that loads is served. A new one is
loaded next to the old one, which answers until then; one that cannot be loaded is
reported, tried again later, and harms nothing.

Not done yet: several models, version labels, other policies than "the latest".
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from serving import version_folders
from serving.errors import ModelLoadError, ModelNotFoundError

_log = logging.getLogger(__name__)


class VersionState(Enum):
    """Where a version is in its life, with TF Serving's numbers."""

    LOADING = 20
    AVAILABLE = 30
    END = 50


@dataclass(frozen=True)
class LoadedModel:
    """One version of a model, ready to answer."""

    version: int
    signature_defs: Mapping[str, meta_graph_pb2.SignatureDef]
    functions: Mapping[str, tf.types.experimental.ConcreteFunction]
    module: object
    """Keeps the variables alive: the functions do not."""


@dataclass(frozen=True)
class VersionStatus:
    """What is known of one version; `error` says why it was given up."""

    version: int
    state: VersionState
    error: str = ""


class ModelStore:
    """Keeps the newest version of one model loaded.

    Args:
      name: the model's name.
      base_path: the folder with the versions; it may appear later.
      poll_interval_s: how often the folder is looked at.
      retry_interval_s: how long until a version that failed to load is tried again.
    """

    def __init__(
        self,
        name: str,
        base_path: Path,
        poll_interval_s: float = 1.0,
        retry_interval_s: float = 60.0,
    ):
        self.name = name
        self._base_path = base_path
        self._poll_interval_s = poll_interval_s
        self._retry_interval_s = retry_interval_s
        self._lock = threading.Lock()  # guards the three below
        self._current: LoadedModel | None = None
        self._statuses: dict[int, VersionStatus] = {}
        self._failed_at_s: dict[int, float] = {}
        self._stopped = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name=f"watch {name}", daemon=True)

    def start(self) -> None:
        """Starts watching; returns at once."""
        self._watcher.start()

    def stop(self) -> None:
        """Stops watching. What is loaded stays loaded, for requests in flight."""
        self._stopped.set()
        self._watcher.join()

    def get(self, version: int | None = None) -> LoadedModel:
        """The version asked for; the newest one where none is.

        Raises:
          ModelNotFoundError: it is not available.
        """
        with self._lock:
            current = self._current
        if current is None or version not in (None, current.version):
            asked = (
                f"Latest({self.name})" if version is None else f"Specific({self.name}, {version})"
            )
            raise ModelNotFoundError(f"Servable not found for request: {asked}")
        return current

    def statuses(self) -> list[VersionStatus]:
        """All versions that are known, the newest first."""
        with self._lock:
            return [self._statuses[version] for version in sorted(self._statuses, reverse=True)]

    def refresh(self) -> None:
        """Looks at the folder once: loads what is new, lets go of what is gone."""
        present = version_folders.find(self._base_path)
        with self._lock:
            current = self._current
            for version in set(self._statuses) - set(present):
                self._statuses.pop(version)
                self._failed_at_s.pop(version, None)
        for version in sorted(present, reverse=True):
            if current is not None and version == current.version:
                return
            if not self._is_due(version):
                continue
            self._set_status(VersionStatus(version, VersionState.LOADING))
            try:
                loaded = load(present[version], version)
            except ModelLoadError as error:
                _log.error("%s", error)
                with self._lock:
                    self._failed_at_s[version] = time.monotonic()
                self._set_status(VersionStatus(version, VersionState.END, str(error)))
                continue
            with self._lock:
                self._current = loaded
            self._set_status(VersionStatus(version, VersionState.AVAILABLE))
            if current is not None and current.version in present:
                self._set_status(VersionStatus(current.version, VersionState.END))
            _log.info("%s: version %d is available", self.name, version)
            return
        if not present and current is not None:
            with self._lock:
                self._current = None

    def _is_due(self, version: int) -> bool:
        with self._lock:
            failed_at_s = self._failed_at_s.get(version)
        return failed_at_s is None or time.monotonic() - failed_at_s >= self._retry_interval_s

    def _set_status(self, status: VersionStatus) -> None:
        with self._lock:
            self._statuses[status.version] = status

    def _watch(self) -> None:
        while True:
            try:
                self.refresh()
            except Exception:  # a watcher that ends would go unnoticed
                _log.exception("cannot look at %s; trying again", self._base_path)
            if self._stopped.wait(self._poll_interval_s):
                return


def load(folder: Path, version: int) -> LoadedModel:
    """Loads one version.

    Raises:
      ModelLoadError: the folder does not hold a whole SavedModel.
    """
    try:
        saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
        module = tf.saved_model.load(str(folder))
        functions = dict(module.signatures)
    except Exception as error:  # TensorFlow raises many kinds for a damaged folder
        reason = " ".join(str(error).split())[:300]
        raise ModelLoadError(f"version {version} at {folder} cannot be loaded: {reason}") from error
    signature_defs = {
        name: definition
        for name, definition in saved.meta_graphs[0].signature_def.items()
        if name in functions
    }
    return LoadedModel(version, signature_defs, functions, module)

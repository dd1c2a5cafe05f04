"""The versions of one model, from a folder that appears to a state of END.

A new version is loaded and warmed up next to the old one, which answers until then. One
that cannot be loaded is reported, tried again, and harms nothing. One that is let go is
unloaded when its last request is done.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from serving import version_folders
from serving.errors import ModelLoadError, ModelNotFoundError
from serving.server import warm_up
from serving.server.model_config import ServedModel
from serving.server.saved_model import LoadedModel, load

_log = logging.getLogger(__name__)


class VersionState(Enum):
    """Where a version is in its life, with TF Serving's numbers."""

    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True)
class VersionStatus:
    """What is known of one version; `error` says why it could not be loaded."""

    version: int
    state: VersionState
    error: str = ""


@dataclass(frozen=True)
class LoadOptions:
    """How versions are loaded; TF Serving's flags of similar names, with its defaults."""

    warm_up: bool = True
    max_retries: int = 5
    """How often a version that failed is tried again while its files stay as they are."""

    retry_interval_s: float = 60.0


@dataclass
class _Failure:
    fingerprint: object
    tries: int
    at_s: float


@dataclass
class _Served:
    model: LoadedModel
    requests: int = 0  # in flight
    let_go: bool = False


class Versions:
    """Keeps the versions of one model loaded that its policy asks for.

    `refresh` does the work; one thread at a time may call it. The rest is safe to call
    from any thread, and never waits for a version to load.

    Args:
      config: the model.
      options: how its versions are loaded.
    """

    def __init__(self, config: ServedModel, options: LoadOptions):
        self.config = config
        self._options = options
        self._lock = threading.Lock()  # guards the two below
        self._served: dict[int, _Served] = {}
        self._statuses: dict[int, VersionStatus] = {}
        self._failures: dict[int, _Failure] = {}  # refresh's own

    @contextmanager
    def use(self, version: int | None = None) -> Iterator[LoadedModel]:
        """A version to run requests on, the newest where none is asked for; kept until the exit.

        Raises:
          ModelNotFoundError: it is not available.
        """
        with self._lock:
            number = max(self._served, default=None) if version is None else version
            served = self._served.get(number) if number is not None else None
            if served is None:
                raise not_found(self.config.name, version)
            served.requests += 1
        try:
            yield served.model
        finally:
            with self._lock:
                served.requests -= 1
                is_done = served.let_go and not served.requests
            if is_done:
                self._unload(served)

    @property
    def available(self) -> list[int]:
        """The versions that answer, oldest first."""
        with self._lock:
            return sorted(self._served)

    def statuses(self) -> list[VersionStatus]:
        """All versions that are or were known, the newest first."""
        with self._lock:
            return [self._statuses[version] for version in sorted(self._statuses, reverse=True)]

    def refresh(self, should_stop: Callable[[], bool] = lambda: False) -> None:
        """Looks at the folder once: loads what is wanted, then lets go of what is not.

        Args:
          should_stop: asked between two versions.
        """
        if not self.config.base_path.is_dir():
            return  # not there yet, or a volume that is away for a moment: nothing is given up
        present = version_folders.find(self.config.base_path)
        for version in set(self._failures) - set(present):
            del self._failures[version]
        wanted: set[int] = set()
        for version in self._candidates(present):
            # A version that cannot be loaded leaves its place to the next.
            if should_stop() or len(wanted) == self.config.policy.latest:
                break
            if version in self.available or self._load(version, present[version]):
                wanted.add(version)
        if should_stop():
            return
        for version in self.available:
            # What is served is not given up for nothing, unless its folder is gone.
            if version not in wanted and (wanted or version not in present):
                self._let_go(version)

    def close(self) -> None:
        """Lets go of all versions."""
        for version in self.available:
            self._let_go(version)

    def _candidates(self, present: dict[int, Path]) -> list[int]:
        """What the policy may serve, the newest first."""
        specific = self.config.policy.specific
        return [version for version in reversed(present) if not specific or version in specific]

    def _load(self, version: int, folder: Path) -> bool:
        failure = self._failures.get(version)
        fingerprint = _fingerprint(folder)
        if failure and failure.fingerprint == fingerprint:
            is_due = time.monotonic() - failure.at_s >= self._options.retry_interval_s
            if not is_due or failure.tries > self._options.max_retries:
                return False
        else:
            failure = _Failure(fingerprint, 0, 0.0)
        self._set_status(VersionStatus(version, VersionState.LOADING))
        start_s = time.monotonic()
        try:
            model = load(folder, version)
            try:
                if self._options.warm_up:
                    warm_up.run(model, folder)
            except BaseException:
                model.close()
                raise
        except ModelLoadError as error:
            _log.error("%s: %s", self.config.name, error)
            failure.tries += 1
            failure.at_s = time.monotonic()
            self._failures[version] = failure
            self._set_status(VersionStatus(version, VersionState.END, str(error)))
            return False
        self._failures.pop(version, None)
        with self._lock:
            self._served[version] = _Served(model)
            self._statuses[version] = VersionStatus(version, VersionState.AVAILABLE)
        seconds = time.monotonic() - start_s
        _log.info("%s: version %d is available, after %.2f s", self.config.name, version, seconds)
        return True

    def _let_go(self, version: int) -> None:
        with self._lock:
            served = self._served.pop(version)
            served.let_go = True
            self._statuses[version] = VersionStatus(version, VersionState.UNLOADING)
            is_done = not served.requests
        if is_done:
            self._unload(served)

    def _unload(self, served: _Served) -> None:
        served.model.close()
        version = served.model.version
        _log.info("%s: version %d is unloaded", self.config.name, version)
        with self._lock:
            if self._statuses[version].state is VersionState.UNLOADING:  # it may be back already
                self._statuses[version] = VersionStatus(version, VersionState.END)

    def _set_status(self, status: VersionStatus) -> None:
        with self._lock:
            self._statuses[status.version] = status


def not_found(name: str, version: int | None) -> ModelNotFoundError:
    """TF Serving's words for a model or version that does not answer."""
    asked = f"Latest({name})" if version is None else f"Specific({name}, {version})"
    return ModelNotFoundError(f"Servable not found for request: {asked}")


def _fingerprint(folder: Path) -> object:
    """What changes when somebody goes on writing into a folder."""
    try:
        stats = [(str(path), path.stat()) for path in sorted(folder.rglob("*"))]
    except FileNotFoundError:  # it is going away
        return None
    return tuple((path, stat.st_size, stat.st_mtime_ns) for path, stat in stats)

"""The versions of one model, from the appearance of a folder to the state END.

A new version is loaded and warmed up beside the old one, which answers until then. A version that
fails to load is reported and retried, without any effect on others. A version that is dropped is
unloaded when its last request is answered or cancelled.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from serving import version_folders
from serving.errors import ModelLoadError, ModelNotFoundError
from serving.server.models import warm_up
from serving.server.models.model_config import ModelConfig, VersionPolicy
from serving.server.models.saved_model import LoadedModel, ModelOptions, load

_log = logging.getLogger(__name__)


class VersionState(Enum):
    """The states of a version, with TF Serving's numbers."""

    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True)
class VersionStatus:
    """The state of one version; `error` is the reason why it failed to load."""

    version: int
    state: VersionState
    error: str = ""


@dataclass(frozen=True)
class LoadOptions:
    """Options of loading; TF Serving has flags of similar names with the same defaults."""

    warm_up: int = 1
    """How often each warm-up request runs; 0 for no warm-up."""

    max_retries: int = 5
    """How often a version that failed is retried while its files do not change."""

    retry_interval_s: float = 60.0
    model: ModelOptions = field(default_factory=ModelOptions)


@dataclass
class _Failure:
    fingerprint: object
    tries: int
    at_s: float


@dataclass
class _Served:
    model: LoadedModel
    requests: int = 0  # in flight
    is_dropped: bool = False


class Versions:
    """Keeps those versions of one model loaded that its policy selects.

    `refresh` does the work; one thread at a time may call it. The other methods are thread-safe,
    and never wait for a version to load.

    Args:
      config: the model.
      options: the options of loading.
    """

    def __init__(self, config: ModelConfig, options: LoadOptions):
        self.config = config
        self._options = options
        self._lock = threading.Lock()  # guards the two below
        self._served: dict[int, _Served] = {}
        self._statuses: dict[int, VersionStatus] = {}
        self._failures: dict[int, _Failure] = {}  # used by refresh only
        self._ignored: set[str] = set()  # used by refresh only

    @contextmanager
    def use(self, version: int | None = None) -> Iterator[LoadedModel]:
        """A version to run requests on, by default the newest; it stays loaded until the exit.

        Raises:
          ModelNotFoundError: the version is not available.
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
                is_done = served.is_dropped and not served.requests
            if is_done:
                self._unload(served)

    @property
    def available(self) -> list[int]:
        """The available versions, oldest first."""
        with self._lock:
            return sorted(self._served)

    def statuses(self) -> list[VersionStatus]:
        """The states of all known versions, the newest first."""
        with self._lock:
            return [self._statuses[version] for version in sorted(self._statuses, reverse=True)]

    def refresh(self, should_stop: Callable[[], bool] = lambda: False) -> None:
        """Looks at the folder once: loads the selected versions, then drops the others.

        Args:
          should_stop: called between two versions.
        """
        if not self.config.base_path.is_dir():
            return  # not created yet, or a volume that is briefly unavailable: keep what is loaded
        self._warn_of_large_numbers()
        present = version_folders.find(self.config.base_path)
        for version in set(self._failures) - set(present):
            del self._failures[version]
        wanted = self.load_selected(self.config.policy, should_stop)
        if should_stop():
            return
        for version in self.available:
            # Without a replacement, a loaded version stays unless its folder is gone.
            if version not in wanted and (wanted or version not in present):
                self._drop(version)

    def load_selected(
        self, policy: VersionPolicy, should_stop: Callable[[], bool] = lambda: False
    ) -> set[int]:
        """Loads the versions that a policy selects, and drops none. As `refresh`, for one thread.

        Returns:
          The selected versions that are available.
        """
        present = version_folders.find(self.config.base_path)
        wanted: set[int] = set()
        for version in reversed(present):
            # If a version fails to load, the next one is tried.
            if should_stop() or len(wanted) == policy.latest:
                break
            if policy.specific and version not in policy.specific:
                continue
            if version in self.available or self._load(version, present[version]):
                wanted.add(version)
        return wanted

    @property
    def is_settled(self) -> bool:
        """Whether a version is available, or has failed to load."""
        return bool(self.available or self._failures)

    def close(self) -> None:
        """Drops all versions."""
        for version in self.available:
            self._drop(version)

    def _warn_of_large_numbers(self) -> None:
        ignored = set(version_folders.find_too_large(self.config.base_path))
        for name in sorted(ignored - self._ignored):
            _log.warning(
                "%s: ignoring the folder %s: a version is a number below 2^63",
                self.config.name,
                self.config.base_path / name,
            )
        self._ignored = ignored

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
            model = load(folder, version, self._options.model)
            try:
                if self._options.warm_up:
                    warm_up.run(model, folder, self._options.warm_up)
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

    def _drop(self, version: int) -> None:
        with self._lock:
            served = self._served.pop(version)
            served.is_dropped = True
            self._statuses[version] = VersionStatus(version, VersionState.UNLOADING)
            is_done = not served.requests
        if is_done:
            self._unload(served)

    def _unload(self, served: _Served) -> None:
        served.model.close()
        version = served.model.version
        _log.info("%s: version %d is unloaded", self.config.name, version)
        with self._lock:
            if (
                self._statuses[version].state is VersionState.UNLOADING
            ):  # it may have been loaded again
                self._statuses[version] = VersionStatus(version, VersionState.END)

    def _set_status(self, status: VersionStatus) -> None:
        with self._lock:
            self._statuses[status.version] = status


def not_found(name: str, version: int | None) -> ModelNotFoundError:
    """TF Serving's message for a model or version that is not available."""
    asked = f"Latest({name})" if version is None else f"Specific({name}, {version})"
    return ModelNotFoundError(f"Servable not found for request: {asked}")


def _fingerprint(folder: Path) -> object:
    """A value that changes while files are written into the folder."""
    try:
        stats = [(str(path), path.stat()) for path in sorted(folder.rglob("*"))]
    except OSError:  # it is being removed, or `load` will report that it cannot be read
        return None
    return tuple((path, stat.st_size, stat.st_mtime_ns) for path, stat in stats)

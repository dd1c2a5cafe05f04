"""All models of the server: resolves a request's ModelSpec, and replaces the list."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

from tensorflow_serving.apis import model_pb2

from serving.errors import (
    InvalidRequestError,
    ModelLoadError,
    ModelNotFoundError,
    PreconditionError,
)
from serving.server.models.model_config import ModelConfig
from serving.server.models.saved_model import LoadedModel
from serving.server.models.versions import LoadOptions, Versions, VersionStatus, not_found

_log = logging.getLogger(__name__)


class ModelRegistry:
    """Loads and watches the versions of every model, in a thread of its own.

    Args:
      configs: the models.
      options: the options of loading.
      poll_interval_s: the interval between two looks at the folders; 0 for a single look, below 0
        for none.
      allow_labels_for_unavailable: whether a label may name a version that is not available yet.

    Raises:
      PreconditionError: a label names a version that is not available.
    """

    def __init__(
        self,
        configs: Sequence[ModelConfig],
        options: LoadOptions,
        poll_interval_s: float = 1.0,
        allow_labels_for_unavailable: bool = False,
    ):
        self._options = options
        self._poll_interval_s = poll_interval_s
        self._allow_labels_for_unavailable = allow_labels_for_unavailable
        self._models = {config.name: Versions(config, options) for config in configs}
        self._check_labels(configs, {config.name: () for config in configs})
        self._work = threading.Lock()  # held while loading; guards the dictionary above
        self._stopped = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="watch models", daemon=True)
        self._on_change: Callable[[bool], None] = lambda is_ready: None

    def start(self, on_change: Callable[[bool], None] = lambda is_ready: None) -> None:
        """Starts watching; returns at once.

        Args:
          on_change: called after each look, in the watching thread, with whether every model
            has an available version. See also `is_settled`.
        """
        self._on_change = on_change
        self._watcher.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Stops watching, waits for a version that is being loaded, and drops all versions."""
        self._stopped.set()
        self._watcher.join(timeout_s)
        for versions in self._models.values():
            versions.close()

    @property
    def is_ready(self) -> bool:
        """Whether every model has an available version."""
        return all(versions.available for versions in self._models.values())

    @property
    def is_settled(self) -> bool:
        """Whether every model has an available version, or one that failed to load."""
        return all(versions.is_settled for versions in self._models.values())

    @property
    def names(self) -> list[str]:
        """The names of all models."""
        return sorted(self._models)

    def __contains__(self, name: str) -> bool:
        return name in self._models

    @contextmanager
    def use(self, spec: model_pb2.ModelSpec) -> Iterator[LoadedModel]:
        """The version that a request names; it stays loaded until the exit.

        Raises:
          InvalidRequestError: the request names no model, or an unknown label.
          ModelNotFoundError: the model or version is not available.
        """
        if not spec.name:
            raise InvalidRequestError("ModelSpec has no name specified.")
        choice = spec.WhichOneof("version_choice")
        version = spec.version.value if choice == "version" else None
        versions = self._models.get(spec.name)
        if versions is None:
            raise not_found(spec.name, version)
        if choice == "version_label":
            label = spec.version_label
            version = versions.config.labels.get(label)
            if version is None:
                raise InvalidRequestError(f"Unrecognized servable version label: {label}")
        with versions.use(version) as model:
            yield model

    def statuses(self, spec: model_pb2.ModelSpec) -> list[VersionStatus]:
        """The states of all known versions of a model, or of the version that is named.

        Raises:
          InvalidRequestError: the request names no model.
          ModelNotFoundError: the model or version is unknown.
        """
        if not spec.name:
            raise InvalidRequestError("ModelSpec has no name specified.")
        versions = self._models.get(spec.name)
        statuses = versions.statuses() if versions else []
        if spec.HasField("version"):
            number = spec.version.value
            statuses = [status for status in statuses if status.version == number]
            if not statuses:
                raise ModelNotFoundError(f"Could not find version {number} of model {spec.name}")
        if not statuses:
            raise ModelNotFoundError(f"Could not find any versions of model {spec.name}")
        return statuses

    def reload(self, configs: Sequence[ModelConfig]) -> None:
        """Replaces the list of models; returns when the new models are available.

        Models that are in both lists answer throughout. If an error is raised, nothing changes.

        Raises:
          PreconditionError: a label names a version that is not available.
          ModelLoadError: no version of a model could be loaded.
        """
        with self._work:
            old, new = self._models, {}
            for config in configs:
                versions = old.get(config.name)
                if versions is None or versions.config.base_path != config.base_path:
                    versions = Versions(config, self._options)
                new[config.name] = versions
            try:
                self._load(configs, new)
            except BaseException:
                for name, versions in new.items():
                    if versions is old.get(name):
                        self._refresh(versions)  # drops what was loaded for the new list
                    else:
                        versions.close()
                raise
            self._models = new
            for config in configs:
                new[config.name].config = config
            for versions in new.values():
                self._refresh(versions)
            for name, versions in old.items():
                if new.get(name) is not versions:
                    versions.close()
        self._on_change(self.is_ready)
        _log.info("serving the models: %s", ", ".join(new) or "none")

    def _load(self, configs: Sequence[ModelConfig], models: Mapping[str, Versions]) -> None:
        """Loads the versions of a new list beside the old ones."""
        try:
            selected = {
                config.name: models[config.name].load_selected(config.policy, self._stopped.is_set)
                for config in configs
            }
        except OSError as error:
            raise ModelLoadError(f"cannot read the folder of a model: {error}") from error
        missing = [name for name, versions in selected.items() if not versions]
        if missing:
            raise ModelLoadError(
                f"{len(missing)} servable(s) did not become available: {{{', '.join(missing)}}}"
            )
        self._check_labels(configs, selected)

    def _check_labels(
        self, configs: Sequence[ModelConfig], available: Mapping[str, Collection[int]]
    ) -> None:
        for config in configs:
            for version in config.labels.values():
                if self._allow_labels_for_unavailable:
                    continue
                if version not in available[config.name]:
                    raise PreconditionError(
                        f"Request to assign label to version {version} of model {config.name}, "
                        "which is not currently available for inference"
                    )

    def _refresh(self, versions: Versions) -> None:
        try:
            versions.refresh(self._stopped.is_set)
        except Exception:  # other models must still be looked at
            _log.exception("cannot read %s; will retry", versions.config.base_path)

    def _watch(self) -> None:
        while self._poll_interval_s >= 0:
            with self._work:
                for versions in self._models.values():
                    self._refresh(versions)
            self._on_change(self.is_ready)
            if self._poll_interval_s == 0 or self._stopped.wait(self._poll_interval_s):
                return

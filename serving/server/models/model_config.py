"""The list of served models: their folders, version policies and labels.

The list comes from TF Serving's ModelServerConfig, which `--model_config_file` or a
HandleReloadConfigRequest contains, or from the flags for a single model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tensorflow_serving.config import model_server_config_pb2

from serving.errors import ForbiddenError, InvalidRequestError

_PLATFORM: Final = "tensorflow"
_MAX_MODELS: Final = 1000


@dataclass(frozen=True)
class VersionPolicy:
    """Which versions in a folder are served. At most one of the two fields is set."""

    latest: int | None = 1
    """The number of newest versions; None for all."""

    specific: frozenset[int] = frozenset()
    """Only these versions, if it is not empty."""


@dataclass(frozen=True)
class ModelConfig:
    """One model of the list."""

    name: str
    base_path: Path
    policy: VersionPolicy = VersionPolicy()
    labels: Mapping[str, int] = field(default_factory=dict)
    """The version of each label."""


@dataclass(frozen=True)
class ReloadPolicy:
    """Which lists of models a client may set with HandleReloadConfigRequest."""

    is_allowed: bool
    roots: tuple[Path, ...]
    """The folders that the models must be in."""

    def check(self, models: Sequence[ModelConfig]) -> None:
        """Checks a list.

        Raises:
          ForbiddenError: no list may be set, or a folder is outside of `roots`.
          InvalidRequestError: the list is too long.
        """
        if not self.is_allowed:
            raise ForbiddenError(
                "HandleReloadConfigRequest is off; --enable_reload_config=true enables it."
            )
        if len(models) > _MAX_MODELS:
            raise InvalidRequestError(
                f"the list has {len(models)} models; the maximum is {_MAX_MODELS}."
            )
        for model in models:
            # Links are followed: a link must not lead out of the allowed folders.
            folder = model.base_path.resolve()
            if not any(folder.is_relative_to(root.resolve()) for root in self.roots):
                raise ForbiddenError(
                    f"model {model.name} is in {model.base_path}, outside of the folders of "
                    "--reload_config_roots."
                )


def parse(config: model_server_config_pb2.ModelServerConfig) -> list[ModelConfig]:
    """The models of a list.

    Raises:
      InvalidRequestError: an entry is not supported; with TF Serving's messages.
    """
    if config.WhichOneof("config") != "model_config_list":
        raise InvalidRequestError(
            "ServerModelConfig type not supported. Only ModelConfigList is currently supported"
        )
    models: dict[str, ModelConfig] = {}
    for entry in config.model_config_list.config:
        if entry.name in models:
            raise InvalidRequestError(
                f"Illegal to list model {entry.name} multiple times in config list"
            )
        models[entry.name] = _model(entry)
    return list(models.values())


def _model(entry: model_server_config_pb2.ModelConfig) -> ModelConfig:
    if not entry.name:
        raise InvalidRequestError("A model in the config list has no name.")
    # model_type is the predecessor of model_platform: 1 is TensorFlow.
    if entry.model_platform != _PLATFORM and not (
        entry.model_type == model_server_config_pb2.TENSORFLOW and not entry.model_platform
    ):
        raise InvalidRequestError(
            f"Model {entry.name} has model_platform '{entry.model_platform}'; expected "
            f"'{_PLATFORM}'."
        )
    if "://" in entry.base_path:
        raise InvalidRequestError(
            f"model {entry.name} is at {entry.base_path}; only folders of this machine are "
            "supported. Mount the bucket."
        )
    if "\0" in entry.base_path:
        raise InvalidRequestError(f"The path of model {entry.name} contains a NUL character.")
    base_path = Path(entry.base_path)
    if not base_path.is_absolute():
        raise InvalidRequestError(
            f"Expected model {entry.name} to have an absolute path or URI; got "
            f"base_path()={entry.base_path}"
        )
    policy = _policy(entry.name, entry.model_version_policy)
    return ModelConfig(entry.name, base_path, policy, dict(entry.version_labels))


def _policy(name: str, policy: Any) -> VersionPolicy:
    kind = policy.WhichOneof("policy_choice")
    if kind == "all":
        return VersionPolicy(latest=None)
    if kind == "specific":
        if not policy.specific.versions:
            raise InvalidRequestError(
                f"model {name} has the version policy specific without versions; expected at least "
                "one."
            )
        return VersionPolicy(latest=None, specific=frozenset(policy.specific.versions))
    return VersionPolicy(latest=policy.latest.num_versions or 1)

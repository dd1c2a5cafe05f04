"""How the pipeline runs on a cluster: one validated, frozen value, read from a TOML file.

It says nothing of the data or the model, which are `pipeline/config.py`'s. What only a
pod would notice, such as a name that Kubernetes refuses, is refused here.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from pipeline import kubernetes_values as values
from pipeline import settings_file
from pipeline.kubernetes_values import (
    Cron,
    EnvironmentVariable,
    Host,
    Image,
    LabelKey,
    LabelValue,
    Name,
    ObjectName,
    Port,
    matching,
)
from pipeline.settings_file import Section
from pipeline.task_config import TaskConfig

SHIPPED: Final = Path(__file__).parent / "clusters"
DEFAULT: Final = "kubeflow.toml"
IMAGE_FOLDERS: Final = ("/app", "/tmp")  # noqa: S108 - the image's code, and its scratch space
OVERRIDE_PREFIX: Final = "kubeflow."  # of `--set` keys that are meant for this file


OwnVariable = Annotated[
    EnvironmentVariable,
    matching(r"(?!METADATA_).*", "another name: METADATA_... are the tasks' own"),
]
Folder = Annotated[
    str,
    matching(r"gs://[^\s/]+(/\S*)?|[^\s:]+", "a folder, or gs://bucket/path"),
]


COMPONENTS: Final = (
    "IdxExampleGen",
    "CuratedSchema",
    "StatisticsGen",
    "AcceptedSpans",
    "ExampleValidator",
    "BalanceValidator",
    "SkewValidator",
    "DriftValidator",
    "ImageValidator",
    "AnomalyGate",
    "Transform",
    "Trainer",
    "ChampionResolver",
    "CorruptedExamples",
    "Evaluator",
    "RunReport",
    "ServerValidator",
    "AtomicPusher",
)
"""The nodes of `pipeline/graph.py`, which is too heavy to be imported for a check."""

Component = Annotated[str, matching("|".join(COMPONENTS), f"a component: {', '.join(COMPONENTS)}")]


class ServerConfig(Section):
    """Where Kubeflow Pipelines' API is, and how to sign in."""

    host: Annotated[
        str, matching(r"(https?://[^\s/]+(/\S*)?)?", "a URL: http://... or https://...")
    ] = ""
    """The API's URL, such as a port-forward's. Empty: the environment variable
    KF_PIPELINES_ENDPOINT, else in a pod the service beside it, else the kubeconfig."""

    ui_host: Annotated[str, matching(r"(https?://\S+)?", "a URL: http://... or https://...")] = ""
    """The URL to print for people, if it is another one."""

    install_namespace: Name = "kubeflow"
    """Where Kubeflow Pipelines itself is installed; needed with the kubeconfig only."""

    kube_context: str = ""
    """The context of the kubeconfig; empty for the current one."""

    token_env: EnvironmentVariable = "KFP_TOKEN"
    """The environment variable with a bearer token, if the API asks for one."""

    cookies_env: EnvironmentVariable = "KFP_COOKIES"
    """The environment variable with cookies, such as those of an authenticating proxy."""

    ca_cert: str = ""
    """A file with the certificate authority of the API's host; empty for the system's."""

    verify_tls: bool = True


class StorageConfig(Section):
    """Where the tasks read and write: a volume that all of them mount, or a bucket."""

    root: Annotated[
        str, matching(r"/[^\s:]*[^\s:/]|gs://[^\s/]+(/\S*)?", "/a/path or gs://bucket/path")
    ]
    """The path where the volume is mounted, or a bucket."""

    pvc: Name | Literal[""] = ""
    """The persistent volume claim that is mounted at `root`."""

    data: Folder = "data"
    """The folder with the four IDX files: relative to `root`, or a path or URI of its own."""

    @model_validator(mode="after")
    def _is_a_volume_or_a_bucket(self) -> Self:
        if self.is_bucket and self.pvc:
            raise ValueError(f"pvc is {self.pvc}, and root is a bucket: leave one of them out")
        if not self.is_bucket and not self.pvc:
            raise ValueError(f"root is {self.root}, a path: name the claim to mount there with pvc")
        if any(_hides(self.root, folder) for folder in IMAGE_FOLDERS):
            raise ValueError(f"root is {self.root}, and would hide what the image has there")
        if not self.reaches(self.data):
            raise ValueError(f"data is {self.data}, which is not below root, {self.root}")
        return self

    @property
    def is_bucket(self) -> bool:
        """Whether `root` is a bucket."""
        return "://" in self.root

    @property
    def artifacts(self) -> str:
        """The pipeline root: a folder for each component."""
        return self.folder("artifacts")

    def serving(self, name: str) -> str:
        """The folder that a model server polls for the model of this name."""
        return self.folder(f"serving_model/{name}")

    def reaches(self, name: str) -> bool:
        """Whether the tasks see this folder: one below `root`, or in a bucket."""
        if "://" in name:
            return name.startswith("gs://")
        if not name.startswith("/"):
            return bool(name)
        return not self.is_bucket and PurePosixPath(name).is_relative_to(self.root)

    def folder(self, name: str) -> str:
        """A folder below `root`; a name that is absolute stays as it is."""
        return name if "://" in name else posixpath.join(self.root, name)


class MysqlStoreConfig(Section):
    """ML Metadata in a MySQL database, to which each task connects."""

    store: Literal["mysql"]
    host: Host
    port: Port = 3306
    database: Annotated[str, matching(r"\w+", "the name of a database: letters, digits and _")]
    secret: ObjectName
    """The Kubernetes secret with the keys `username` and `password`."""


class GrpcStoreConfig(Section):
    """ML Metadata's own gRPC service."""

    store: Literal["grpc"]
    host: Host
    port: Port = 8080


MetadataConfig = Annotated[MysqlStoreConfig | GrpcStoreConfig, Field(discriminator="store")]


class SecretConfig(Section):
    """A Kubernetes secret that every task sees, as environment variables or as files."""

    name: ObjectName
    env: dict[str, OwnVariable] = Field(default_factory=dict)
    """A key of the secret, and the environment variable that gets it."""

    mount_path: Annotated[str, matching(r"(/\S+)?", "an absolute path")] = ""
    """Where its keys are mounted as files."""

    @model_validator(mode="after")
    def _is_seen_somehow(self) -> Self:
        if bool(self.env) == bool(self.mount_path):
            raise ValueError(f"the secret {self.name} needs either env or mount_path")
        return self


class ScheduleConfig(Section):
    """When recurring runs start."""

    cron: Cron
    max_concurrency: Annotated[int, Field(ge=1, le=10)] = 1
    catch_up: bool = False
    """Whether runs that were missed, for example in a pause, are made up for."""


class ClusterConfig(Section):
    """The whole file."""

    image: Image
    """The image that every task runs in; with @sha256:... it is pinned in what is compiled."""

    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    image_pull_secrets: Annotated[tuple[ObjectName, ...], Field(strict=False)] = ()
    namespace: Name
    """Where the runs are; the user's own where Kubeflow has several users."""

    service_account: ObjectName | Literal[""] = ""
    """The service account of the pods; empty for Kubeflow's default."""

    experiment: Annotated[str, Field(min_length=1, max_length=128)]
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    """Labels of every pod."""

    env: dict[OwnVariable, str] = Field(default_factory=dict)
    """Environment variables of every task; not for secrets."""

    secrets: Annotated[tuple[SecretConfig, ...], Field(strict=False)] = ()
    server: ServerConfig
    storage: StorageConfig
    metadata: MetadataConfig
    defaults: TaskConfig = TaskConfig()
    components: dict[Component, TaskConfig] = Field(default_factory=dict)
    """By the component's name, such as Trainer."""

    schedule: ScheduleConfig | None = None

    @model_validator(mode="after")
    def _is_what_a_pod_can_be(self) -> Self:
        for name in ("defaults", *self.components):
            task = self.defaults if name == "defaults" else self.task(name)
            if task.accelerator_count and not task.accelerator:
                raise ValueError(f"{name}: accelerator_count is said, and accelerator is not")
            for resource, size_of in (("cpu", values.cpus), ("memory", values.size_bytes)):
                request, limit = (
                    getattr(task, f"{resource}_{kind}") for kind in ("request", "limit")
                )
                if request and limit and size_of(request) > size_of(limit):
                    raise ValueError(
                        f"{name}: {resource}_request is {request}, above {resource}_limit, {limit}"
                    )
        for secret in self.secrets:
            if secret.mount_path and any(
                _hides(secret.mount_path, folder) for folder in (self.storage.root, *IMAGE_FOLDERS)
            ):
                raise ValueError(
                    f"the secret {secret.name} at {secret.mount_path} would hide the storage, or "
                    "what the image has there: name another path"
                )
        return self

    def task(self, component: str) -> TaskConfig:
        """What a component's pod gets."""
        return self.components.get(component, TaskConfig()).over(self.defaults)


def _hides(mount_path: str, folder: str) -> bool:
    """Whether what is mounted at a path hides this folder."""
    return PurePosixPath(folder).is_relative_to(mount_path)


def load(file: str | Path = DEFAULT, overrides: Iterable[str] = ()) -> ClusterConfig:
    """Reads a cluster's file; the arguments and errors are those of `settings_file.read`."""
    return settings_file.read(ClusterConfig, file, SHIPPED, overrides, prefix=OVERRIDE_PREFIX)

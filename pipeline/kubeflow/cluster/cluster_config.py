"""The cluster file: how the pipeline runs on a cluster; a validated, frozen value from TOML.

Data and model are configured in `pipeline/settings/pipeline_config.py`. Values that Kubernetes
would reject only when a pod starts are rejected here.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from components.names.node_ids import NodeId
from pipeline.kubeflow.cluster import kubernetes_values
from pipeline.kubeflow.cluster.kubernetes_values import (
    Cron,
    EnvironmentVariable,
    Host,
    Image,
    LabelKey,
    LabelValue,
    Name,
    ObjectName,
    Port,
)
from pipeline.kubeflow.cluster.task_config import TaskConfig
from pipeline.settings import toml_settings
from pipeline.settings.pipeline_config import CLUSTER_PREFIX
from pipeline.settings.toml_settings import Section, matching

SHIPPED: Final = Path(__file__).parent / "configs"
DEFAULT: Final = "kubeflow.toml"
IMAGE_FOLDERS: Final = ("/app", "/tmp")  # noqa: S108 - folders of the image: code, scratch


OwnVariable = Annotated[
    EnvironmentVariable,
    matching(
        r"(?!METADATA_|TRAINER_POD_|ARGO_|KFP_).*",
        "another name; METADATA_..., TRAINER_POD_..., ARGO_... and KFP_... are reserved",
    ),
]
Folder = Annotated[
    str,
    matching(r"gs://[^\s/]+(/\S*)?|[^\s:]+", "a folder, or gs://bucket/path"),
]


Component = Annotated[str, matching("|".join(NodeId), f"a component: {', '.join(NodeId)}")]


class ServerConfig(Section):
    """The address of Kubeflow Pipelines' API, and the authentication."""

    host: Annotated[
        str, matching(r"(https?://[^\s/]+(/\S*)?)?", "a URL: http://... or https://...")
    ] = ""
    """The URL of the API, such as that of a port-forward. If empty: the environment variable
    KF_PIPELINES_ENDPOINT, else, in a pod, the service of the cluster, else the kubeconfig."""

    ui_host: Annotated[str, matching(r"(https?://\S+)?", "a URL: http://... or https://...")] = ""
    """The URL of the UI, if it differs."""

    install_namespace: Name = "kubeflow"
    """The namespace of Kubeflow Pipelines itself; used with the kubeconfig only."""

    kube_context: str = ""
    """The context in the kubeconfig; empty for the current one."""

    token_env: EnvironmentVariable = "KFP_TOKEN"  # noqa: S105 - its name
    """The name of the environment variable with a bearer token, if the API requires one."""

    cookies_env: EnvironmentVariable = "KFP_COOKIES"
    """The name of the environment variable with cookies, such as those of a sign-in proxy."""

    ca_cert: str = ""
    """The file of the certificate authority of the API's host; empty for the system's."""

    verify_tls: bool = True


class StorageConfig(Section):
    """Where tasks read and write: a volume that all of them mount, or a bucket."""

    root: Annotated[
        str, matching(r"/[^\s:]*[^\s:/]|gs://[^\s/]+(/\S*)?", "/a/path or gs://bucket/path")
    ]
    """The path where the volume is mounted, or the URI of a bucket."""

    pvc: Name | Literal[""] = ""
    """The persistent volume claim to mount at `root`."""

    data: Folder = "data"
    """The folder with the four IDX files: relative to `root`, or a path or URI of its own."""

    @model_validator(mode="after")
    def _check_storage(self) -> Self:
        if self.is_bucket and self.pvc:
            raise ValueError(
                f"pvc is {self.pvc}, but root is a bucket; for a bucket, set pvc to an empty string"
            )
        if not self.is_bucket and not self.pvc:
            raise ValueError(f"root is {self.root}, a path; set pvc to the claim to mount there")
        if any(_hides(self.root, folder) for folder in IMAGE_FOLDERS):
            raise ValueError(f"root is {self.root}, which would hide a folder of the image")
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

    @property
    def endings(self) -> str:
        """How the nodes of a run ended, for its notice: a folder for each run."""
        return self.folder("endings")

    def serving(self, name: str) -> str:
        """The folder that a model server polls for the model of this name."""
        return self.folder(f"serving_model/{name}")

    def reaches(self, name: str) -> bool:
        """Whether the tasks can access this folder: it is below `root`, or in a bucket."""
        if "://" in name:
            return name.startswith("gs://")
        if not name.startswith("/"):
            return bool(name)
        return not self.is_bucket and PurePosixPath(name).is_relative_to(self.root)

    def folder(self, name: str) -> str:
        """A folder below `root`; an absolute name stays unchanged."""
        return name if "://" in name else posixpath.join(self.root, name)


class MysqlStoreConfig(Section):
    """ML Metadata in a MySQL database that each task connects to."""

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
    """A Kubernetes secret of every task, as environment variables or as files."""

    name: ObjectName
    env: dict[str, OwnVariable] = Field(default_factory=dict)
    """The environment variable for each key of the secret."""

    mount_path: Annotated[str, matching(r"(/\S+)?", "an absolute path")] = ""
    """The folder to mount its keys in, as files."""

    @model_validator(mode="after")
    def _check_visibility(self) -> Self:
        if bool(self.env) == bool(self.mount_path):
            raise ValueError(f"the secret {self.name} requires either env or mount_path")
        return self


class WebhookConfig(Section):
    """The web service that is told how a run ended."""

    secret: ObjectName
    """The Kubernetes secret with the address, since it often contains a password."""

    key: Annotated[str, matching(r"[\w.-]+", "the key of a secret")] = "url"


class ScheduleConfig(Section):
    """The schedule of recurring runs."""

    cron: Cron
    max_concurrency: Annotated[int, Field(ge=1, le=10)] = 1
    catch_up: bool = False
    """Whether missed runs, for example during a pause, are started later."""


class ClusterConfig(Section):
    """The whole file."""

    image: Image
    """The image of every task; with @sha256:... the compiled pipeline pins it."""

    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    image_pull_secrets: Annotated[tuple[ObjectName, ...], Field(strict=False)] = ()
    namespace: Name
    """The namespace of the runs; the user's own if Kubeflow has several users."""

    service_account: ObjectName | Literal[""] = ""
    """The service account of the pods; empty for Kubeflow's default."""

    experiment: Annotated[str, Field(min_length=1, max_length=128)]
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    """Labels of every pod."""

    env: dict[OwnVariable, str] = Field(default_factory=dict)
    """Environment variables of every task; not for secrets."""

    webhook: WebhookConfig | None = None
    """None: no notice is sent."""

    secrets: Annotated[tuple[SecretConfig, ...], Field(strict=False)] = ()
    server: ServerConfig
    storage: StorageConfig
    metadata: MetadataConfig
    defaults: TaskConfig = TaskConfig()
    components: dict[Component, TaskConfig] = Field(default_factory=dict)
    """By the name of the component, such as Trainer."""

    training_pods: bool = False
    """Whether `trainer.distribution = "multi_worker"` runs each process of a training in a pod of
    its own; requires `pipeline/deploy/training`. If false, all run in the Trainer's pod."""

    schedule: ScheduleConfig | None = None

    @model_validator(mode="after")
    def _check_pods(self) -> Self:
        for name in ("defaults", *self.components):
            task = self.defaults if name == "defaults" else self.task(name)
            if task.accelerator_count and not task.accelerator:
                raise ValueError(f"{name}: accelerator_count requires accelerator")
            for resource, size_of in (
                ("cpu", kubernetes_values.cpus),
                ("memory", kubernetes_values.size_bytes),
            ):
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
                    f"the secret {secret.name} at {secret.mount_path} would hide the storage or a "
                    "folder of the image; choose another mount_path"
                )
        return self

    def task(self, component: str) -> TaskConfig:
        """The configuration of a component's pod."""
        return self.components.get(component, TaskConfig()).over(self.defaults)


def _hides(mount_path: str, folder: str) -> bool:
    """Whether a mount at a path hides this folder."""
    return PurePosixPath(folder).is_relative_to(mount_path)


def load(file: str | Path = DEFAULT, overrides: Iterable[str] = ()) -> ClusterConfig:
    """Reads a cluster file; the arguments and errors are those of `toml_settings.read`."""
    return toml_settings.read(
        ClusterConfig, file, SHIPPED, overrides, prefix=CLUSTER_PREFIX, kind="cluster file"
    )

"""The settings of a task's pod: resources, placement, storage, secrets, the metadata store."""

from __future__ import annotations

from typing import Final

from kfp import dsl, kubernetes

from pipeline.kubeflow import metadata_store
from pipeline.kubeflow.cluster.cluster_config import ClusterConfig, MysqlStoreConfig
from pipeline.kubeflow.cluster.task_config import TaskConfig
from trainer.workers import pod_manifests

RETRY_WINDOW_S: Final = 3600  # from the first start of a task; KFP's maximum


def apply(task: dsl.PipelineTask, cluster: ClusterConfig, settings: TaskConfig) -> None:
    """Sets everything that a task's pod gets from the cluster file.

    Args:
      task: the task of a component, or of the notice.
      cluster: the settings of all tasks.
      settings: those of this task.
    """
    task.set_caching_options(False)  # TFX's own cache knows what a node depends on
    _set_resources(task, settings)
    _set_placement(task, settings)
    for key, value in {**cluster.labels, **(settings.labels or {})}.items():
        kubernetes.add_pod_label(task, key, value)
    kubernetes.set_image_pull_policy(task, cluster.image_pull_policy)
    if cluster.image_pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(cluster.image_pull_secrets))
    if cluster.storage.pvc:
        kubernetes.mount_pvc(task, cluster.storage.pvc, cluster.storage.root)
    for secret in cluster.secrets:
        if secret.env:
            kubernetes.use_secret_as_env(task, secret.name, secret.env)
        else:
            kubernetes.use_secret_as_volume(task, secret.name, secret.mount_path)
    _connect_to_metadata(task, cluster)


def allow_training_pods(task: dsl.PipelineTask) -> None:
    """Gives the Trainer the name of its own pod, from which the other pods are copied."""
    for variable, field in (
        (pod_manifests.POD_NAME, "metadata.name"),
        (pod_manifests.POD_NAMESPACE, "metadata.namespace"),
    ):
        kubernetes.use_field_path_as_env(task, variable, field)
    kubernetes.add_pod_label(task, *pod_manifests.LABEL)


def _set_resources(task: dsl.PipelineTask, settings: TaskConfig) -> None:
    """Sets processors, memory, accelerators, retries and the time limit."""
    for setting, set_it in (
        (settings.cpu_request, task.set_cpu_request),
        (settings.cpu_limit, task.set_cpu_limit),
        (settings.memory_request, task.set_memory_request),
        (settings.memory_limit, task.set_memory_limit),
        (settings.accelerator, task.set_accelerator_type),
    ):
        if setting is not None:
            set_it(setting)
    if settings.accelerator:
        task.set_accelerator_limit(settings.accelerator_count or 1)
    if settings.retries:
        task.set_retry(
            settings.retries,
            backoff_duration=f"{settings.retry_pause_s or 0}s",
            backoff_factor=2,
            backoff_max_duration=f"{RETRY_WINDOW_S}s",
        )
    if settings.timeout_s:
        kubernetes.set_timeout(task, settings.timeout_s)


def _set_placement(task: dsl.PipelineTask, settings: TaskConfig) -> None:
    """Sets the nodes of the cluster that the pod may run on."""
    for key, value in (settings.node_selector or {}).items():
        kubernetes.add_node_selector(task, key, value)
    for toleration in settings.tolerations or ():
        kubernetes.add_toleration(
            task,
            key=toleration.key or None,
            operator=toleration.operator,
            value=toleration.value or None,
            effect=toleration.effect or None,
            toleration_seconds=toleration.seconds,
        )


def _connect_to_metadata(task: dsl.PipelineTask, cluster: ClusterConfig) -> None:
    """Sets the address of ML Metadata; the IR contains no connection and no secret."""
    store = cluster.metadata
    variables = {
        metadata_store.METADATA_STORE: store.store,
        metadata_store.METADATA_HOST: store.host,
        metadata_store.METADATA_PORT: str(store.port),
    }
    if isinstance(store, MysqlStoreConfig):
        variables[metadata_store.METADATA_DATABASE] = store.database
        kubernetes.use_secret_as_env(
            task,
            store.secret,
            {
                "username": metadata_store.METADATA_USERNAME,
                "password": metadata_store.METADATA_PASSWORD,
            },
        )
    for name, value in {**cluster.env, **variables}.items():
        task.set_env_variable(name, value)

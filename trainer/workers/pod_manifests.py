"""The Kubernetes objects of a training in several pods: an Indexed Job, and its headless service.

Kubernetes itself numbers the pods of an Indexed Job, gives them names through the service, and ends
them, so that no operator is needed. Each pod is made after the Trainer's own: the same image,
volumes, variables, resources and placement. The Trainer's pod owns both objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from trainer.workers import pod_worker

POD_NAME: Final = "TRAINER_POD_NAME"
POD_NAMESPACE: Final = "TRAINER_POD_NAMESPACE"
"""The variables that name the Trainer's pod and its namespace, if there are to be several pods."""

PORT: Final = 2222
"""Of TensorFlow's server in each pod, and of the network policy."""

JOB_NAME: Final = "batch.kubernetes.io/job-name"
"""The label that Kubernetes gives the pods of a Job."""

_MAIN: Final = "main"  # Argo's name of the container that runs the task
_KEPT_AFTER_END_S: Final = 3600  # of a Job that nothing has deleted

_PLACEMENT: Final = (
    *("nodeSelector", "affinity", "tolerations", "priorityClassName", "runtimeClassName"),
    *("imagePullSecrets", "securityContext", "serviceAccountName"),
)
_CONTAINER: Final = ("image", "imagePullPolicy", "resources", "securityContext", "envFrom")
_VOLUMES: Final = ("persistentVolumeClaim", "secret", "configMap", "csi", "nfs")
"""The kinds of volumes that contain what a task reads; Argo and Kubeflow add others."""

# Of Argo, Kubeflow and the connection to ML Metadata, which a process of a training does not need.
_OTHERS_VARIABLES: Final = ("ARGO_", "KFP_", "METADATA_", "TRAINER_POD_")
_OTHERS_LABELS: Final = ("argoproj.io/", "kubeflow.org/", "pipeline/")


def job(
    pod: Mapping[str, Any], name: str, count: int, variables: Mapping[str, str]
) -> dict[str, Any]:
    """The Job with `count` pods like the Trainer's.

    Args:
      pod: the Trainer's, as JSON.
      name: of the Job, and of its service.
      count: the number of pods.
      variables: environment variables of each, beside those of the Trainer's pod.
    """
    spec = pod["spec"]
    (own,) = (one for one in spec["containers"] if one["name"] == _MAIN)
    volumes = [one for one in spec.get("volumes", []) if any(kind in one for kind in _VOLUMES)]
    mounted = {one["name"] for one in volumes}
    env = [one for one in own.get("env", []) if not one["name"].startswith(_OTHERS_VARIABLES)]
    container = {
        "name": _MAIN,
        "command": ["python", "-m", pod_worker.__name__],
        **{key: own[key] for key in _CONTAINER if key in own},
        "env": [*env, *({"name": key, "value": value} for key, value in variables.items())],
        "volumeMounts": [one for one in own.get("volumeMounts", []) if one["name"] in mounted],
        "ports": [{"name": "tensorflow", "containerPort": PORT}],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {JOB_NAME: name}},
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _metadata(pod, name),
        "spec": {
            "completionMode": "Indexed",
            "completions": count,
            "parallelism": count,
            "backoffLimit": 0,  # a process that starts again cannot join the training
            "ttlSecondsAfterFinished": _KEPT_AFTER_END_S,
            "template": {
                "metadata": {kind: _own(pod, kind) for kind in ("labels", "annotations")},
                "spec": {
                    **{key: spec[key] for key in _PLACEMENT if key in spec},
                    "subdomain": name,
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": False,
                    "terminationGracePeriodSeconds": 1,
                    "topologySpreadConstraints": [spread],
                    "volumes": volumes,
                    "containers": [container],
                },
            },
        },
    }


def service(pod: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The headless service that gives each pod of the Job a name."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(pod, name),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {JOB_NAME: name},
            "ports": [{"name": "tensorflow", "port": PORT}],
        },
    }


def _metadata(pod: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What Kubernetes deletes together with the Trainer's pod."""
    known = pod["metadata"]
    owner = {"apiVersion": "v1", "kind": "Pod", "name": known["name"], "uid": known["uid"]}
    return {"name": name, "labels": _own(pod, "labels"), "ownerReferences": [owner]}


def _own(pod: Mapping[str, Any], kind: str) -> dict[str, str]:
    """The labels or annotations of a pod, without those of Argo and Kubeflow."""
    found: Mapping[str, str] = pod["metadata"].get(kind) or {}
    return {
        key: value
        for key, value in found.items()
        if not any(part in key for part in _OTHERS_LABELS)
    }

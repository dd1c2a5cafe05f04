"""The Kubernetes objects of a training in several pods: an Indexed Job, and its headless service.

Kubernetes itself numbers the pods of an Indexed Job, gives them names through the service, and ends
them, so that no operator is needed. Each pod gets its image, volumes, variables, resources
and placement from the Trainer's pod. The Trainer's pod owns the Job, and the Job owns the
service: Kubernetes deletes each of them together with its owner.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from trainer.workers import pod_worker

POD_NAME: Final = "TRAINER_POD_NAME"
POD_NAMESPACE: Final = "TRAINER_POD_NAMESPACE"
"""The variables with the name and the namespace of the Trainer's pod, if it may start others."""

LABEL: Final = ("mnist-tfx/training", "true")
"""The label of all pods of a training, the Trainer's as well."""

PORT: Final = 2222
"""The port of TensorFlow's server in each pod; the network policy opens it."""

JOB_NAME: Final = "batch.kubernetes.io/job-name"
"""The label that Kubernetes gives the pods of a Job."""

MAIN: Final = "main"  # Argo's name of the container that runs the task
KEPT_AFTER_END_S: Final = 3600
"""How long Kubernetes keeps a Job that ended and that nothing deleted."""

_OF_THE_POD: Final = (
    *("affinity", "dnsConfig", "dnsPolicy", "hostAliases", "imagePullSecrets", "nodeSelector"),
    *("priorityClassName", "runtimeClassName", "schedulerName", "securityContext"),
    *("serviceAccountName", "tolerations"),
)
_OF_THE_CONTAINER: Final = ("image", "imagePullPolicy", "resources", "securityContext")
_VOLUMES: Final = ("persistentVolumeClaim", "secret", "configMap", "csi", "nfs")
"""The kinds of volumes that contain what a task reads; Argo and Kubeflow add others."""

# Of Argo, Kubeflow and the connection to ML Metadata, which a process of a training does not need.
_OTHER_VARIABLES: Final = ("ARGO_", "KFP_", "METADATA_", "TRAINER_POD_")
_OTHER_LABELS: Final = ("workflows.argoproj.io/", "pipelines.kubeflow.org/", "pipeline/")
_ANNOTATIONS: Final = (
    "cluster-autoscaler.kubernetes.io/safe-to-evict",
    "karpenter.sh/do-not-disrupt",
    "sidecar.istio.io/inject",
)
"""Those that are settings; network plug-ins write the address of a pod into others."""


def job(
    pod: Mapping[str, Any], name: str, count: int, variables: Mapping[str, str]
) -> dict[str, Any]:
    """The Job with `count` pods like the Trainer's.

    Args:
      pod: the Trainer's, as JSON.
      name: of the Job, and of its service.
      count: the number of pods.
      variables: environment variables of each, which replace those of the Trainer's pod.
    """
    spec = pod["spec"]
    (own,) = (one for one in spec["containers"] if one["name"] == MAIN)
    mounted = {one["name"] for one in own.get("volumeMounts", [])}
    volumes = [
        one
        for one in spec.get("volumes", [])
        if one["name"] in mounted and any(kind in one for kind in _VOLUMES)
    ]
    copied = {one["name"] for one in volumes}
    env = [
        one
        for one in own.get("env", [])
        if not one["name"].startswith(_OTHER_VARIABLES) and one["name"] not in variables
    ]
    container = {
        "name": MAIN,
        "command": ["python", "-m", pod_worker.__name__],
        **{key: own[key] for key in _OF_THE_CONTAINER if key in own},
        "env": [*env, *({"name": key, "value": value} for key, value in variables.items())],
        "volumeMounts": [one for one in own.get("volumeMounts", []) if one["name"] in copied],
        "ports": [{"name": "tensorflow", "containerPort": PORT}],
    }
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": dict([LABEL])},
    }
    deadline = {key: spec[key] for key in ("activeDeadlineSeconds",) if key in spec}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _metadata(pod, name, pod),
        "spec": {
            **deadline,
            "completionMode": "Indexed",
            "completions": count,
            "parallelism": count,
            "backoffLimit": 0,  # a process that starts again cannot join the training
            "ttlSecondsAfterFinished": KEPT_AFTER_END_S,
            "template": {
                "metadata": {"labels": _labels(pod), "annotations": _annotations(pod)},
                "spec": {
                    **{key: spec[key] for key in _OF_THE_POD if key in spec},
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


def service(pod: Mapping[str, Any], job: Mapping[str, Any]) -> dict[str, Any]:
    """The headless service that gives each pod of the Job a name.

    Args:
      pod: the Trainer's, as JSON.
      job: the Job, as Kubernetes made it.
    """
    name = job["metadata"]["name"]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(pod, name, job),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {JOB_NAME: name},
            "ports": [{"name": "tensorflow", "port": PORT}],
        },
    }


def _metadata(pod: Mapping[str, Any], name: str, owner: Mapping[str, Any]) -> dict[str, Any]:
    reference = {key: owner[key] for key in ("apiVersion", "kind")}
    reference |= {key: owner["metadata"][key] for key in ("name", "uid")}
    return {"name": name, "labels": _labels(pod), "ownerReferences": [reference]}


def _labels(pod: Mapping[str, Any]) -> dict[str, str]:
    found: Mapping[str, str] = pod["metadata"].get("labels") or {}
    return {key: value for key, value in found.items() if not key.startswith(_OTHER_LABELS)}


def _annotations(pod: Mapping[str, Any]) -> dict[str, str]:
    found: Mapping[str, str] = pod["metadata"].get("annotations") or {}
    return {key: found[key] for key in _ANNOTATIONS if key in found}

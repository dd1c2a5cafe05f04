"""The manifests: valid for Kubernetes, minimal permissions, consistent with the cluster file."""

import shutil
import typing
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from doubles.kubectl import kustomize

import pipeline
from pipeline.kubeflow.cluster import cluster_config
from pipeline.kubeflow.cluster.task_config import Toleration
from pipeline.settings.toml_settings import Section
from trainer.workers import pod_manifests

DEPLOY = Path(pipeline.__file__).parent / "deploy"
SERVING = "../../serving/deploy/kubernetes"
FLINK = DEPLOY / "flink"
TRAINING = DEPLOY / "training"
KUBERNETES = "1.31"


def _kustomization(folder: Path = DEPLOY) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((folder / "kustomization.yaml").read_text())
    return loaded


def _objects(folder: Path = DEPLOY) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for name in _kustomization(folder)["resources"]:
        path = folder / name
        found += _objects(path) if path.is_dir() else list(yaml.safe_load_all(path.read_text()))
    return found


def _named(kind: str, name: str, folder: Path = DEPLOY) -> dict[str, Any]:
    (found,) = (o for o in _objects(folder) if (o["kind"], o["metadata"]["name"]) == (kind, name))
    return found


def _templates(folder: Path = DEPLOY) -> dict[str, dict[str, Any]]:
    """The template of the pods of each workload."""
    return {
        found["metadata"]["name"]: found["spec"]["template"]
        for found in _objects(folder)
        if found["kind"] in ("Deployment", "StatefulSet", "Job")
    }


def _pods(folder: Path = DEPLOY) -> dict[str, dict[str, Any]]:
    return {name: template["spec"] for name, template in _templates(folder).items()}


def _policies(folder: Path = DEPLOY) -> dict[str, dict[str, Any]]:
    return {
        found["metadata"]["name"]: found["spec"]
        for found in _objects(folder)
        if found["kind"] == "NetworkPolicy"
    }


@pytest.mark.parametrize(
    "manifest",
    [*_objects(), *_objects(FLINK)],
    ids=lambda o: f"{o['kind']}-{o['metadata']['name']}",
)
def test_every_manifest_is_valid_for_kubernetes(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


@pytest.mark.parametrize("folder", [DEPLOY, FLINK])
def test_every_file_is_in_the_kustomization(folder: Path) -> None:
    files = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"}
    assert files == set(_kustomization(folder)["resources"]) - {SERVING}
    assert (DEPLOY / SERVING).is_dir()


def test_kustomize_builds_them_into_one_namespace(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("*.env")
    deploy = shutil.copytree(DEPLOY, tmp_path / "pipeline" / "deploy", ignore=ignored)
    shutil.copytree(DEPLOY / SERVING, tmp_path / "serving" / "deploy" / "kubernetes")
    with pytest.raises(ValueError, match=r"metadata-secret\.env"):
        kustomize(deploy)  # there is no password yet
    shutil.copy(deploy / "metadata-secret.env.example", deploy / "metadata-secret.env")
    built = kustomize(deploy)
    assert len(built) == len(_objects()) + 2
    assert {m["metadata"]["name"] for m in built if m["kind"] == "ConfigMap"} == {
        "mnist-tfx-model-server"
    }
    (secret,) = (m for m in built if m["kind"] == "Secret")
    assert secret["metadata"]["name"] == cluster_config.load().metadata.secret  # type: ignore[union-attr]
    assert set(secret["data"]) == {"username", "password", "root-password"}
    for manifest in built:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
        assert manifest["metadata"]["namespace"] == "kubeflow"
        assert manifest["metadata"]["labels"]["app.kubernetes.io/part-of"] == "mnist-tfx"
    (job,) = (m for m in built if m["kind"] == "Job")
    assert job["spec"]["template"]["spec"]["containers"][0]["image"] == "mnist-tfx:latest"


@pytest.mark.parametrize("folder", [DEPLOY, FLINK])
def test_no_pod_has_more_than_it_needs(folder: Path) -> None:
    for name, pod in _pods(folder).items():
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in (*pod["containers"], *pod.get("initContainers", [])):
            context = dict(container["securityContext"])
            assert context.pop("runAsUser", 1) > 0
            assert context.pop("runAsGroup", 1) > 0
            assert context == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "memory" in container["resources"]["limits"]


def test_nobody_connects_to_a_pod_except_where_a_policy_says_so() -> None:
    policies = _policies()
    selected = {name: policy["podSelector"]["matchLabels"] for name, policy in policies.items()}
    labels = {name: template["metadata"]["labels"] for name, template in _templates().items()}
    for pod, own in (labels | {"a task": cluster_config.load().labels}).items():
        applied = [name for name, wanted in selected.items() if wanted.items() <= own.items()]
        assert len(applied) == 1, pod
    tasks, database = policies["mnist-tfx-tasks"], policies["mnist-tfx-mysql"]
    assert tasks["policyTypes"] == ["Ingress"]
    assert "ingress" not in tasks
    assert database["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in database
    (rule,) = database["ingress"]
    assert rule["ports"] == [{"port": "mysql"}]
    (peer,) = rule["from"]
    assert peer["podSelector"]["matchLabels"].items() <= cluster_config.load().labels.items()


def test_only_flink_connects_to_flink_and_only_tasks_to_the_job_server() -> None:
    own = {"app.kubernetes.io/name": "mnist-tfx-flink"}
    for template in _templates(FLINK).values():
        assert own.items() <= template["metadata"]["labels"].items()
    everything, job_server = (
        _policies(FLINK)[f"mnist-tfx-{name}"] for name in ("flink", "beam-job-server")
    )
    assert everything["podSelector"]["matchLabels"] == own
    (rule,) = everything["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": own}}]
    # Not 50000: a worker pool starts any program, and only its own pod may reach it.
    assert {port["port"] for port in rule["ports"]} == {6121, 6122, 6123, 6124, 6125, 8081}
    labels = _templates(FLINK)["mnist-tfx-beam-job-server"]["metadata"]["labels"]
    assert job_server["podSelector"]["matchLabels"].items() <= labels.items()
    (rule,) = job_server["ingress"]
    assert rule["ports"] == [{"port": "jobs"}, {"port": "artifacts"}]
    assert rule["from"] == [{"podSelector": {"matchLabels": cluster_config.load().labels}}]


def test_the_manifests_of_flink_fit_each_other_and_the_clusters_file() -> None:
    for manifest in kustomize(FLINK):
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    config = yaml.safe_load((FLINK / "config" / "config.yaml").read_text())
    service = _named("Service", config["jobmanager"]["rpc"]["address"], FLINK)
    ports = {port["name"]: port["port"] for port in service["spec"]["ports"]}
    assert ports == {
        "rpc": config["jobmanager"]["rpc"]["port"],
        "blob": config["blob"]["server"]["port"],
        "rest": config["rest"]["port"],
    }
    pods = _pods(FLINK)
    (job_server,) = pods["mnist-tfx-beam-job-server"]["containers"]
    assert f"--flink-master={config['rest']['address']}:{ports['rest']}" in job_server["args"]
    page = (DEPLOY.parents[1] / "docs" / "how-to" / "beam-runners.md").read_text()
    assert f'flink_master = "{service["metadata"]["name"]}:{ports["rest"]}"' in page
    (port,) = _named("Service", "mnist-tfx-beam-job-server", FLINK)["spec"]["ports"]
    assert f'job_endpoint = "mnist-tfx-beam-job-server:{port["port"]}"' in page
    flink, pool = pods["mnist-tfx-flink-task-manager"]["containers"]
    assert flink["resources"]["requests"]["memory"] == "3584Mi"
    assert config["taskmanager"]["memory"]["process"]["size"] == "3584m"
    mounts = {mount["name"]: mount["mountPath"] for mount in pool["volumeMounts"]}
    storage = cluster_config.load().storage
    assert mounts["mnist-tfx"] == storage.root
    volumes = {v["name"]: v for v in pods["mnist-tfx-flink-task-manager"]["volumes"]}
    assert volumes["mnist-tfx"]["persistentVolumeClaim"]["claimName"] == storage.pvc


def test_only_the_pods_of_a_training_connect_to_each_other() -> None:
    for manifest in kustomize(TRAINING):
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    (policy,) = _policies(TRAINING).values()
    own = dict([pod_manifests.LABEL])
    assert policy["podSelector"]["matchLabels"] == own
    (rule,) = policy["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": own}}]
    assert rule["ports"] == [{"port": pod_manifests.PORT}]
    (subject,) = _named("RoleBinding", "mnist-tfx-training", TRAINING)["subjects"]
    assert subject["name"] == cluster_config.load().service_account


def test_the_account_may_read_two_objects_and_report_results() -> None:
    rules = {
        tuple(rule["resources"]): (rule["verbs"], rule.get("resourceNames"))
        for rule in _named("Role", "mnist-tfx")["rules"]
    }
    assert rules == {
        ("configmaps",): (["get"], ["kfp-launcher"]),
        ("secrets",): (["get"], ["mlpipeline-minio-artifact"]),
        ("pods",): (["get", "list", "watch"], None),
        ("workflowtaskresults",): (["create", "patch"], None),
        ("workflowtasksets",): (["get", "list", "watch"], None),
        ("workflowtasksets/status",): (["patch"], None),
    }


def test_the_shipped_clusters_file_fits_the_manifests() -> None:
    loaded = cluster_config.load()
    assert _kustomization()["namespace"] == loaded.namespace
    _named("ServiceAccount", loaded.service_account)
    _named("PersistentVolumeClaim", loaded.storage.pvc)
    store = loaded.metadata
    assert isinstance(store, cluster_config.MysqlStoreConfig)
    assert [found["name"] for found in _kustomization()["secretGenerator"]] == [store.secret]
    ports = _named("Service", store.host)["spec"]["ports"]
    assert [port["port"] for port in ports] == [store.port]
    (database,) = _pods()["mnist-tfx-mysql"]["containers"]
    assert {"name": "MARIADB_DATABASE", "value": store.database} in database["env"]
    for pod in ("mnist-tfx-data", "mnist-tfx-model-server"):
        (container,) = _pods()[pod]["containers"]
        mounts = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
        assert mounts["mnist-tfx"] == loaded.storage.root
    (job,) = _pods()["mnist-tfx-data"]["containers"]
    assert job["command"][-1] == loaded.storage.folder(loaded.storage.data)
    (server,) = _pods()["mnist-tfx-model-server"]["containers"]
    models = DEPLOY / SERVING / "config" / "models.config"
    assert f'base_path: "{loaded.storage.serving("mnist")}"' in models.read_text()
    assert server["ports"][0]["containerPort"] == 8500


def _sections(section: type[Section]) -> set[type[Section]]:
    """A section and all sections within it."""
    found = {section}
    for field in section.model_fields.values():
        waiting = [field.annotation]
        while waiting:
            annotation = waiting.pop()
            waiting += typing.get_args(annotation)
            if isinstance(annotation, type) and issubclass(annotation, Section):
                found |= _sections(annotation)
    return found


def test_every_key_of_the_clusters_file_is_in_the_documentation() -> None:
    text = (DEPLOY / "README.md").read_text()
    sections = _sections(cluster_config.ClusterConfig)
    assert {Toleration, cluster_config.GrpcStoreConfig} <= sections
    for section in sections:
        for key in section.model_fields:
            assert any(form in text for form in (f"`{key}`", f"`{key}.", f".{key}`")), key

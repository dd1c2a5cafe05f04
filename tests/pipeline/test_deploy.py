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

DEPLOY = Path(pipeline.__file__).parent / "deploy"
SERVING = "../../serving/deploy/kubernetes"
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


def _named(kind: str, name: str) -> dict[str, Any]:
    (found,) = (o for o in _objects() if (o["kind"], o["metadata"]["name"]) == (kind, name))
    return found


def _pods() -> dict[str, dict[str, Any]]:
    return {
        found["metadata"]["name"]: found["spec"]["template"]["spec"]
        for found in _objects()
        if found["kind"] in ("Deployment", "StatefulSet", "Job")
    }


@pytest.mark.parametrize(
    "manifest", _objects(), ids=lambda o: f"{o['kind']}-{o['metadata']['name']}"
)
def test_every_manifest_is_valid_for_kubernetes(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_every_file_is_in_the_kustomization() -> None:
    files = {path.name for path in DEPLOY.glob("*.yaml")} - {"kustomization.yaml"}
    assert files == set(_kustomization()["resources"]) - {SERVING}
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


def test_no_pod_has_more_than_it_needs() -> None:
    for name, pod in _pods().items():
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "memory" in container["resources"]["limits"]


def test_nobody_connects_to_a_pod_except_where_a_policy_says_so() -> None:
    policies = {
        found["metadata"]["name"]: found["spec"]
        for found in _objects()
        if found["kind"] == "NetworkPolicy"
    }
    selected = {name: policy["podSelector"]["matchLabels"] for name, policy in policies.items()}
    labels = {
        found["metadata"]["name"]: found["spec"]["template"]["metadata"]["labels"]
        for found in _objects()
        if found["kind"] in ("Deployment", "StatefulSet", "Job")
    } | {"a task": cluster_config.load().labels}
    for pod, own in labels.items():
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
    assert peer["podSelector"]["matchLabels"].items() <= labels["a task"].items()


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

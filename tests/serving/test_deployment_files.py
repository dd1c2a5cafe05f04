"""The deployment files: valid for Kubernetes and for a server, minimal permissions."""

import contextlib
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import numpy as np
import pytest
import yaml
from doubles.kubectl import kustomize
from doubles.model_server import Server, available, started, wait_for

from serving import launcher
from serving.client import Client

DEPLOY = Path(launcher.__file__).parent / "deploy"
KUBERNETES = "1.31"
ZEROS = np.zeros((1, 28, 28), np.uint8)


def _objects() -> dict[str, dict[str, Any]]:
    files = ("model-server.yaml", "network-policy.yaml")
    return {
        found["kind"]: found
        for name in files
        for found in yaml.safe_load_all((DEPLOY / "kubernetes" / name).read_text())
    }


def _container() -> dict[str, Any]:
    (container,) = _objects()["Deployment"]["spec"]["template"]["spec"]["containers"]
    return container  # type: ignore[no-any-return]


def _compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return loaded["services"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("manifest", _objects().values(), ids=lambda o: o["kind"])
def test_every_manifest_is_valid_for_kubernetes(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


@pytest.mark.parametrize("folder", ["kubernetes", "canary", "rest"])
def test_kustomize_builds_them(folder: str) -> None:
    built = kustomize(DEPLOY / folder)
    for manifest in built:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    (config,) = (m for m in built if m["kind"] == "ConfigMap")
    assert config["metadata"]["name"] == "mnist-tfx-model-server"
    source = DEPLOY / ("canary" if folder == "canary" else "kubernetes/config")
    assert config["data"]["models.config"] == (source / "models.config").read_text()
    assert set(config["data"]) == {"models.config", "monitoring.config", "batching.config"}
    (service,) = (m for m in built if m["kind"] == "Service")
    (policy,) = (m for m in built if m["kind"] == "NetworkPolicy")
    ports = ["grpc", "rest"] if folder == "rest" else ["grpc"]
    assert [port["name"] for port in service["spec"]["ports"]] == ports
    assert [port["port"] for port in policy["spec"]["ingress"][0]["ports"]] == ports


def test_the_pods_have_no_more_than_they_need() -> None:
    pod = _objects()["Deployment"]["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    container = _container()
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert all(mount["readOnly"] for mount in container["volumeMounts"])
    assert {"cpu", "memory"} == set(container["resources"]["limits"])
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)


def test_rest_is_for_prometheus_only() -> None:
    policy = _objects()["NetworkPolicy"]["spec"]
    pod = _objects()["Deployment"]["spec"]["template"]
    assert policy["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in policy
    clients, prometheus = policy["ingress"]
    assert clients == {"from": [{"podSelector": {}}], "ports": [{"port": "grpc"}]}
    (peer,) = prometheus["from"]
    assert peer["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "prometheus"}
    assert prometheus["ports"] == [{"port": "rest"}]
    ports = {port["name"]: port["containerPort"] for port in _container()["ports"]}
    assert ports == {"grpc": 8500, "rest": 8501}
    assert _compose()["model-server"]["ports"] == ["127.0.0.1:8500:8500"]
    asked_for = yaml.safe_load((DEPLOY / "compose.rest.yaml").read_text())["services"]
    assert asked_for == {"model-server": {"ports": ["127.0.0.1:8501:8501"]}}


def test_metrics_are_served_where_prometheus_is_told() -> None:
    annotations = _objects()["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    config = (DEPLOY / "kubernetes" / "config" / "monitoring.config").read_text()
    assert f'path: "{annotations["prometheus.io/path"]}"' in config
    assert f"--rest_api_port={annotations['prometheus.io/port']}" in _container()["args"]
    scraped = yaml.safe_load((DEPLOY / "prometheus.yaml").read_text())["scrape_configs"][0]
    assert scraped["metrics_path"] == annotations["prometheus.io/path"]
    assert scraped["static_configs"] == [{"targets": ["model-server:8501"]}]


def test_compose_and_kubernetes_start_the_same_server() -> None:
    service = _compose()["model-server"]
    assert service["image"] == _container()["image"] == launcher.DOCKER_IMAGE
    assert service["entrypoint"] == _container()["command"] == ["tensorflow_model_server"]
    assert service["command"] == _container()["args"]


@pytest.mark.parametrize("name", _compose())
def test_a_compose_service_listens_on_loopback_with_few_privileges(name: str) -> None:
    service = _compose()[name]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["user"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(volume.endswith(":ro") for volume in service["volumes"])
    assert service["deploy"]["resources"]["limits"]["memory"]
    for volume in service["volumes"]:
        source = volume.partition(":")[0]
        assert source.startswith("${MODELS") or (DEPLOY / source).exists()


@contextlib.contextmanager
def _deployed(folder: Path, models_config: Path) -> Any:
    """The embedded server with these files and flags, on other ports and paths."""
    config = folder / "config"
    shutil.copytree(DEPLOY / "kubernetes" / "config", config)
    text = models_config.read_text().replace("/mnt/mnist-tfx/serving_model", str(folder))
    (config / "models.config").write_text(text)
    flags = [
        flag.replace("/config/", f"{config}/")
        for flag in _container()["args"]
        if not flag.startswith(("--port", "--rest_api_port"))
    ]
    with started(folder, *flags) as server:
        yield server


def test_a_server_accepts_the_files_and_the_health_check_works(
    tmp_path: Path, exported_model: Path
) -> None:
    (tmp_path / "mnist").mkdir()
    _, _, script = _compose()["model-server"]["healthcheck"]["test"][1:]
    with _deployed(tmp_path, DEPLOY / "kubernetes" / "config" / "models.config") as server:
        script = script.replace("8501", server.rest.rpartition(":")[2])
        wait_for(lambda: "watching" in server.log.read_text(), server)
        assert _is_healthy(script) is False
        shutil.copytree(exported_model, tmp_path / "mnist" / "1")
        wait_for(lambda: available(server, "mnist", 1), server)
        assert _is_healthy(script) is True
        ready = _container()["readinessProbe"]["httpGet"]["path"]
        assert server.get(ready).status_code == 200
        assert server.get("/monitoring/prometheus/metrics").status_code == 200


def _is_healthy(script: str) -> bool:
    return subprocess.run(["bash", "-c", script], check=False, timeout=60).returncode == 0


def test_the_canary_answers_to_its_labels(
    tmp_path: Path, exported_model: Path, second_model: Path
) -> None:
    shutil.copytree(exported_model, tmp_path / "mnist" / "1")
    shutil.copytree(second_model, tmp_path / "mnist" / "2")
    server: Server
    with _deployed(tmp_path, DEPLOY / "canary" / "models.config") as server:
        wait_for(lambda: available(server, "mnist", 1), server)
        with Client(server.address, "mnist") as client:
            assert client.predict(ZEROS, label="stable").version == 1
            assert client.predict(ZEROS, label="canary").version == 2
            assert client.predict(ZEROS).version == 2

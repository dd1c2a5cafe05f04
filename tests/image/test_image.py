"""The compiled pipeline in real containers of the image, with KFP's own local runner.

`make test-image` builds the image and calls this. The containers have Kubeflow's conditions: a
user other than root, no capabilities, the volume, and Debian's Python.
"""

import re
import shutil
from pathlib import Path

import docker  # type: ignore[import-untyped]
import pytest
import yaml
from doubles import mlmd_server
from kfp import components, local

from pipeline.kubeflow import compiler
from pipeline.kubeflow.cluster import cluster_config
from pipeline.settings import pipeline_config
from serving import launcher, version_folders
from serving.client import Client


@pytest.fixture(scope="module")
def image(request: pytest.FixtureRequest) -> str:
    name = request.config.getoption("--image")
    if not name:
        pytest.skip("no image was named: make test-image builds one and runs this")
    try:
        client = docker.from_env()
        client.ping()
    except docker.errors.DockerException as error:
        pytest.skip(f"no Docker engine answers here: {str(error)[:100]}")
    with_tag = name if ":" in name.rpartition("/")[2] else f"{name}:latest"
    if not any(with_tag in found.tags for found in client.images.list()):
        pytest.skip(f"there is no image {with_tag}: make image builds it")
    return str(name)


def _inside(image: str, *command: str) -> str:
    output = docker.from_env().containers.run(
        image,
        list(command),
        remove=True,
        network_mode="none",
        cap_drop=["ALL"],
        read_only=True,
        tmpfs={"/tmp": ""},
    )
    return str(output.decode().strip())


def test_the_content_of_the_image(image: str) -> None:
    assert _inside(image, "id", "-u") != "0"
    assert _inside(image, "cat", "/etc/debian_version").startswith("13")
    assert _inside(image, "python", "--version").startswith("Python 3.13")
    lock = (Path(__file__).parents[2] / "requirements.lock").read_text()
    # Short lines: Podman's API breaks lines of more than 8 KiB.
    installed = _inside(image, "python", "-m", "pip", "list", "--format=freeze").splitlines()
    versions = dict(line.lower().replace("_", "-").split("==") for line in installed)
    for package in ("tfx", "tensorflow", "kfp", "apache-beam"):
        assert f"\n{package}=={versions[package]} " in f"\n{lock}"
    find = "import importlib.util as i; print(i.find_spec('pipeline.graph').cached)"
    cached = _inside(image, "python", "-c", find)
    assert _inside(image, "ls", cached) == cached, "byte code is compiled"
    assert "mnist-tfx" in _inside(image, "mnist-tfx", "--help")
    read = "import json; parts = json.load(open('/app/sbom.cdx.json'))['components']; "
    listed = _inside(
        image, "python", "-c", read + "print(*(part['name'] for part in parts), sep='\\n')"
    )
    assert set(listed.lower().replace("_", "-").split()) == set(versions) - {"mnist-tfx"}


def test_the_image_contains_no_tools_for_an_intruder(image: str) -> None:
    programs = "apt apt-get dpkg cc gcc clang make curl wget git uv pytest ruff playwright"
    assert not _inside(image, "sh", "-c", f"command -v {programs} || true")
    find = "find / -xdev -type f -perm /6000 2>/dev/null || true"
    assert not _inside(image, "sh", "-c", find), "programs that change the user"
    writable = "find / -xdev ! -type l '(' -user 1000 -o -perm -0002 ! -perm -1000 ')'"
    assert not _inside(image, "sh", "-c", f"{writable} 2>/dev/null || true")


def test_no_layer_contains_the_registry_settings(image: str) -> None:
    assert not _inside(image, "sh", "-c", "ls /etc/pip.conf /app/.netrc 2>/dev/null || true")
    steps = docker.from_env().images.get(image).history()
    assert len(steps) > 5
    assert not [step for step in steps if re.search("(?i)password|token|://", step["CreatedBy"])]


def test_the_pipeline_runs_in_it(
    image: str, tmp_path: Path, digits: Path, digits_config: Path
) -> None:
    volume = tmp_path / "volume"
    outputs = tmp_path / "outputs"
    shutil.copytree(digits, volume / "data")
    for folder in (tmp_path, *tmp_path.parents[:2], volume, outputs):
        folder.mkdir(exist_ok=True)
        folder.chmod(0o777)  # the containers' user is another one
    with mlmd_server.running(tmp_path / "metadata.sqlite") as port:
        settings = cluster_config.load(
            overrides=[
                f"image={image}",
                f"storage.root={volume}",
                f"metadata={{store='grpc', host='127.0.0.1', port={port}}}",
            ]
        )
        pipeline = compiler.compile_pipeline(pipeline_config.load(digits_config), settings)
        specification = next(yaml.safe_load_all(pipeline.yaml))
        (container, *_) = specification["deploymentSpec"]["executors"].values()
        mount = docker.types.Mount(str(volume), str(volume), type="bind")
        runner = local.DockerRunner(
            mounts=[mount],
            network_mode="host",
            # KFP's local runner leaves the containers' variables out.
            environment={v["name"]: v["value"] for v in container["container"]["env"]},
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
        )
        local.init(runner, pipeline_root=str(outputs), raise_on_error=True)
        run = components.load_component_from_text(pipeline.yaml)
        run(recipe={"epochs": 5})
    (version,) = version_folders.find(volume / "serving_model" / "digits")
    (path,) = outputs.rglob("evaluator/verdict")
    assert path.read_text() == "The model was blessed: all gates passed.\n"
    serving = volume / "serving_model" / "digits"
    with (
        launcher.running("digits", serving, tmp_path / "server.txt") as server,
        Client(server.address, "digits") as client,
    ):
        assert client.wait_until_ready(timeout_s=120, check=server.check) == version

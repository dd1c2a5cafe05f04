"""The images of the cluster, built on this machine: nothing is pulled.

The base is a tree of Debian that debootstrap makes. Docker builds with its own engine, or with the
one that this module starts for as long as the build takes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from flink import flink_cluster

from .programs import CACHE, PROGRAMS_FOLDER, module_folder

ROOT: Final = Path(__file__).parents[2]
SOURCE: Final = Path(__file__).parent / "docker"
DOCKER: Final = os.environ.get("DOCKER", "docker")
BASE: Final = "debian:mnist-tfx-cluster"
PIPELINE: Final = "mnist-tfx:cluster"
PROGRAMS: Final = "kubeflow-programs:cluster"
PAUSE: Final = "pause:cluster"
FLINK: Final = "flink-programs:cluster"
IN_PODS: Final = (
    "apiserver",
    "persistence_agent",
    "controller",
    "driver",
    "launcher-v2",
    "workflow-controller",
    "argoexec",
    "versitygw",
)
ENGINE_START_S: Final = 60


@contextlib.contextmanager
def engine() -> Iterator[dict[str, str]]:
    """Yields the environment for Docker's client; starts an engine if none runs."""
    environment = {**os.environ, "DOCKER_BUILDKIT": "1", "DOCKER": DOCKER}
    if _answers(environment):
        yield environment
        return
    folder = CACHE / "docker"
    folder.mkdir(parents=True, exist_ok=True)
    socket = f"unix://{folder}/docker.sock"
    with (folder / "dockerd.log").open("w") as log:
        process = subprocess.Popen(
            [
                *("dockerd", "--host", socket, "--data-root", folder / "data"),
                *("--exec-root", folder / "exec", "--pidfile", folder / "docker.pid"),
                *("--bridge", "none", "--iptables=false"),
            ],
            stdout=log,
            stderr=log,
        )
    try:
        environment["DOCKER_HOST"] = socket
        _wait_for_engine(process, environment, folder / "dockerd.log")
        yield environment
    finally:
        process.terminate()
        process.wait()


def _answers(environment: dict[str, str]) -> bool:
    try:
        command = [DOCKER, "info"]
        return not subprocess.run(
            command, env=environment, check=False, capture_output=True
        ).returncode
    except FileNotFoundError:
        raise SystemExit("`docker` is not on PATH; install Docker (Debian: docker.io).") from None


def _wait_for_engine(
    process: subprocess.Popen[bytes], environment: dict[str, str], log: Path
) -> None:
    end = time.monotonic() + ENGINE_START_S
    while not _answers(environment):
        if process.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"dockerd does not start; its log is {log}.")
        time.sleep(0.5)


def build(environment: dict[str, str], report: Callable[[str], None]) -> None:
    """Builds the four images; what did not change comes from Docker's cache."""
    if not _has(environment, BASE):
        report("makes a Debian tree for the base image")
        _make_base(environment)
    report("builds the image of the pipeline")
    variables = [f"IMAGE={PIPELINE}", f"DOCKER_ARGS=--network host --build-arg BASE={BASE}"]
    with tempfile.TemporaryDirectory() as folder:
        if certificates := _own_certificates():
            configuration = Path(folder) / "pip.conf"
            configuration.write_text(f"[global]\ncert = {certificates}\n")
            variables.append(f"PIP_CONF={configuration}")
        _run(["make", "--no-print-directory", "image", *variables], environment, ROOT)
        report("builds the images of Kubeflow's programs and of Flink")
        _copy_programs(Path(folder) / "context")
        for target, tag in (("programs", PROGRAMS), ("pause", PAUSE), ("flink", FLINK)):
            arguments = ["--network", "host", "--build-arg", f"BASE={BASE}", "--target", target]
            _run([DOCKER, "build", *arguments, "--tag", tag, f"{folder}/context"], environment)


def save(environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """A process that writes the images to its standard output, in Docker's format."""
    command = [DOCKER, "save", PIPELINE, PROGRAMS, PAUSE, FLINK]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)


def _has(environment: dict[str, str], image: str) -> bool:
    command = [DOCKER, "image", "inspect", image]
    return not subprocess.run(command, env=environment, check=False, capture_output=True).returncode


def _make_base(environment: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        tree = Path(folder) / "tree"
        _run(
            ["debootstrap", "--variant=minbase", "--include=ca-certificates", "trixie", tree],
            environment,
        )
        if certificates := _own_certificates():
            shutil.copyfile(certificates, tree / certificates.relative_to("/"))
        packed = subprocess.Popen(["tar", "-C", tree, "-c", "."], stdout=subprocess.PIPE)
        subprocess.run(
            [DOCKER, "import", "-", BASE], env=environment, stdin=packed.stdout, check=True
        )
        if packed.wait():
            raise SystemExit(f"cannot pack the Debian tree in {tree}; tar's message is above.")


def _own_certificates() -> Path | None:
    """The certificates of this machine, which may include a company's own authority."""
    file = Path("/etc/ssl/certs/ca-certificates.crt")
    return file if file.exists() else None


def _copy_programs(context: Path) -> None:
    shutil.copytree(SOURCE, context)
    (context / "bin").mkdir()
    for name in IN_PODS:
        shutil.copy(PROGRAMS_FOLDER / name, context / "bin")
    shutil.copytree(flink_cluster.jars(), context / "jars")
    (context / "config").mkdir()
    kubeflow = module_folder("kubeflow", "github.com/kubeflow/pipelines")
    source = kubeflow / "backend" / "src" / "apiserver" / "config" / "config.json"
    shutil.copyfile(source, context / "config" / "config.json")
    (context / "config" / "sample_config.json").write_text('{"pipelines": []}')


def _run(
    command: list[str | Path], environment: dict[str, str], folder: Path | None = None
) -> None:
    try:
        ended = subprocess.run(command, env=environment, cwd=folder, check=False)
    except FileNotFoundError:
        raise SystemExit(f"`{command[0]}` is not on PATH; install it.") from None
    if ended.returncode:
        raise SystemExit(f"`{command[0]}` ended with status {ended.returncode}; see above.")

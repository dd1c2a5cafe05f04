"""`make cluster` and `make cluster-down`: a Kubernetes with Kubeflow Pipelines, on this machine.

    python -m cluster up
    python -m cluster down

Nothing is pulled: the Go programs are built from pinned module versions, and the images from
Debian's packages. docs/real-kubeflow.md says what is needed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from . import credentials, images, kubeflow, network, programs
from .node import CGROUP
from .programs import CACHE, PROGRAMS_FOLDER

ROOT: Final = Path(__file__).parents[2]
STATE: Final = CACHE / "state"
SAMPLE: Final = ROOT / "tests" / "data" / "digits"
PID_FILE: Final = STATE / "pid"
KUBECONFIG: Final = STATE / "credentials" / "admin.conf"
VOLUMES: Final = {  # and the user that writes to each
    "kubeflow-database": 999,
    "kubeflow-objects": 1000,
    "pipeline": 1000,
    "pipeline-database": 999,
}
KUBERNETES_START_S: Final = 180
STOP_S: Final = 180
NEEDED: Final = ("containerd", "runc", "iptables", "ip", "nsenter", "unshare", "debootstrap", "mvn")


def main() -> None:
    """Starts or stops the cluster."""
    parser = argparse.ArgumentParser(prog="cluster", description="A Kubernetes with Kubeflow.")
    parser.add_argument("action", choices=("up", "down"))
    arguments = parser.parse_args()
    _check_machine()
    if arguments.action == "up":
        up()
    else:
        down()


def up() -> None:
    """Builds what is missing, and starts the cluster anew."""
    down()
    programs.build(report)
    with images.engine() as environment:
        images.build(environment, report)
        report("starts Kubernetes")
        node = _start_node()
        _wait_for_kubernetes(node)
        report("copies the images to the node")
        _import_images(node, environment)
    report("starts Kubeflow Pipelines and the services of the pipeline")
    kubeflow.apply(STATE, KUBECONFIG)
    report(f"ready: export KUBECONFIG={KUBECONFIG}")


def down() -> None:
    """Ends every process of the cluster and removes its state; the programs and images stay."""
    if (node := _node_pid()) is not None:
        os.kill(node, signal.SIGKILL)
    end = time.monotonic() + STOP_S
    link = Path("/sys/class/net") / network.HOST_LINK  # the kernel removes it with the namespace
    while (_has_cgroups() or link.exists()) and time.monotonic() < end:
        time.sleep(0.2)
    if link.exists() or _has_cgroups():
        raise SystemExit(f"the network or cgroups of the last cluster exist after {STOP_S} s.")
    if STATE.exists():
        shutil.rmtree(STATE)


def _node_pid() -> int | None:
    """The process that holds the cluster; None if none runs, also after a reboot."""
    with contextlib.suppress(OSError, ValueError):
        pid = int(PID_FILE.read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"cluster.node" in words and os.fsencode(STATE) in words:
            return pid
    return None


def report(text: str) -> None:
    """Prints a step with the time of day."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def _check_machine() -> None:
    if os.geteuid():
        raise SystemExit("the cluster needs root: it makes namespaces, mounts and containers.")
    if missing := [name for name in NEEDED if not shutil.which(name)]:
        raise SystemExit(f"not on PATH: {', '.join(missing)}. See docs/real-kubeflow.md.")


def _start_node() -> int:
    """Starts the namespaces and their first process; returns the process id of `unshare`."""
    STATE.mkdir(parents=True)
    credentials.write(STATE / "credentials")
    for name, user in VOLUMES.items():
        folder = STATE / "volumes" / name
        folder.mkdir(parents=True)
        os.chown(folder, user, user)
    shutil.copytree(SAMPLE, STATE / "volumes" / "pipeline" / "data")
    subprocess.run(
        ["chown", "--recursive", "1000:1000", STATE / "volumes" / "pipeline"], check=True
    )
    with (STATE / "node.log").open("w") as log:
        process = subprocess.Popen(
            [
                *("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"),
                *("--mount-proc", sys.executable, "-m", "cluster.node", STATE),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    PID_FILE.write_text(str(process.pid))
    _join_networks(process.pid)
    return process.pid


def _join_networks(node: int) -> None:
    """Adds the link between host and node. It disappears with the node's network."""
    own = Path("/proc/self/ns/net").readlink()
    while Path(f"/proc/{node}/ns/net").readlink() == own:
        time.sleep(0.05)
    link = network.HOST_LINK
    address = f"{network.HOST_ADDRESS}/{network.NODE_MASK_BITS}"
    for command in (
        f"ip link add {link} type veth peer name {network.NODE_LINK} netns {node}",
        f"ip address add {address} dev {link}",
        f"ip link set {link} up",
        f"ip route add {network.PODS} via {network.NODE_ADDRESS}",
    ):
        subprocess.run(command.split(), check=True)


def _wait_for_kubernetes(node: int) -> None:
    """Waits until the node is ready."""
    end = time.monotonic() + KUBERNETES_START_S
    kubectl: list[str | Path] = [PROGRAMS_FOLDER / "kubectl", f"--kubeconfig={KUBECONFIG}"]
    while time.monotonic() < end and _node_pid() == node:
        answer = subprocess.run(
            [*kubectl, "get", "node", network.NODE, "--output=json"],
            check=False,
            capture_output=True,
        )
        if answer.returncode == 0:
            conditions = json.loads(answer.stdout)["status"]["conditions"]
            if any(c["type"] == "Ready" and c["status"] == "True" for c in conditions):
                return
        time.sleep(1)
    raise SystemExit(
        f"Kubernetes is not ready after {KUBERNETES_START_S} s; see node.log and logs/ in {STATE}."
    )


def _import_images(node: int, environment: dict[str, str]) -> None:
    saved = images.save(environment)
    subprocess.run(
        [
            *("nsenter", "--mount", f"--target={node}", "ctr", "--namespace=k8s.io"),
            *("images", "import", "--no-unpack", "-"),
        ],
        stdin=saved.stdout,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    if saved.wait():
        raise SystemExit("cannot save the images; Docker's message is above.")


def _has_cgroups() -> bool:
    """Removes the cgroups of ended pods; tells whether some are still in use."""
    found = False
    hierarchies = Path("/sys/fs/cgroup")
    for top in (
        *hierarchies.glob(f"*/{CGROUP}"),
        *hierarchies.glob(CGROUP),
    ):  # version 1, version 2
        folders = sorted((f for f in top.rglob("*") if f.is_dir()), reverse=True)
        for folder in (*folders, top):
            try:
                folder.rmdir()
            except OSError:
                found = True
    return found


if __name__ == "__main__":
    main()

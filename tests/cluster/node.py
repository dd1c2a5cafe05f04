"""The node: the first process of the cluster's namespaces, which starts all others.

    unshare --mount --net --pid --fork --kill-child --mount-proc python -m cluster.node STATE

Mounts, network and processes are the cluster's own. When this process ends, the kernel ends all
others, containers included, and removes their mounts and network.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from . import network
from .programs import PROGRAMS_FOLDER

RESTART_PAUSE_S: Final = 2
CGROUP: Final = "mnist-tfx-cluster"
CNI_PLUGINS: Final = "/usr/lib/cni"
PAUSE_IMAGE: Final = "docker.io/library/pause:cluster"


def main() -> None:
    """Starts every program, and starts one again that ends."""
    state = Path(sys.argv[1])
    _mount(state)
    _make_cgroups()
    _set_up_network()
    _write_configuration(state)
    logs = state / "logs"
    logs.mkdir()
    commands = _commands(state)
    # The objects are kept: subprocess would wait for the processes of those that are not.
    running = {name: _start(name, commands[name], logs) for name in commands}
    while True:
        pid, status = os.wait()  # also reaps the orphans of containers
        for name in [name for name, process in running.items() if process.pid == pid]:
            with (logs / f"{name}.log").open("a") as log:
                log.write(f"--- {name} ended with status {status}; it is started again.\n")
            time.sleep(RESTART_PAUSE_S)
            running[name] = _start(name, commands[name], logs)


def _start(name: str, command: list[str | Path], logs: Path) -> subprocess.Popen[bytes]:
    with (logs / f"{name}.log").open("a") as log:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )


def _make_cgroups() -> None:
    """The kubelet does not make its root."""
    for hierarchy in Path("/sys/fs/cgroup").iterdir():
        if (hierarchy / "cgroup.procs").exists() and hierarchy.is_mount():  # version 1
            (hierarchy / CGROUP).mkdir(exist_ok=True)
    if Path("/sys/fs/cgroup/cgroup.procs").exists():  # version 2
        Path("/sys/fs/cgroup", CGROUP).mkdir(exist_ok=True)


def _mount(state: Path) -> None:
    """Folders whose names the kubelet and containerd do not let one choose."""
    _run("mount", "--make-rshared", "/")
    for folder in ("/run", "/var/log"):
        _run("mount", "-t", "tmpfs", "tmpfs", folder)
    kubelet = state / "kubelet"
    kubelet.mkdir()
    Path("/var/lib/kubelet").mkdir(exist_ok=True)
    _run("mount", "--bind", kubelet, "/var/lib/kubelet")
    Path("/run/volumes").mkdir()
    _run("mount", "--bind", state / "volumes", "/run/volumes")


def _set_up_network() -> None:
    _run("ip", "link", "set", "lo", "up")
    while subprocess.run(
        ["ip", "link", "show", network.NODE_LINK], check=False, capture_output=True
    ).returncode:
        time.sleep(0.1)  # the host adds the link
    address = f"{network.NODE_ADDRESS}/{network.NODE_MASK_BITS}"
    _run("ip", "address", "add", address, "dev", network.NODE_LINK)
    _run("ip", "link", "set", network.NODE_LINK, "up")
    _run("ip", "route", "add", "default", "via", network.HOST_ADDRESS)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True)


def _write_configuration(state: Path) -> None:
    folder = state / "configuration"
    folder.mkdir()
    (folder / "resolv.conf").write_text("nameserver 127.0.0.1\n")  # no name outside the cluster
    (folder / "Corefile").write_text(_corefile(state))
    (folder / "containerd.toml").write_text(_containerd_configuration(state))
    (folder / "kubelet.json").write_text(json.dumps(_kubelet_configuration(state)))
    cni = folder / "cni"
    cni.mkdir()
    (cni / "10-pods.conflist").write_text(json.dumps(_cni_configuration(state)))


def _corefile(state: Path) -> str:
    return f"""\
.:53 {{
    bind {network.NODE_ADDRESS}
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {state}/credentials/coredns.conf
    }}
}}
"""


def _containerd_configuration(state: Path) -> str:
    return f"""\
version = 2
root = "{state}/containerd"
state = "/run/containerd"

[grpc]
address = "/run/containerd/containerd.sock"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
restrict_oom_score_adj = true  # root in a virtual machine or container may lack CAP_SYS_RESOURCE

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{CNI_PLUGINS}"
conf_dir = "{state}/configuration/cni"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"""


def _cni_configuration(state: Path) -> dict[str, object]:
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": network.PODS}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": str(state / "pod-addresses"),
    }
    plugins = [{"type": "ptp", "ipam": addresses}, {"type": "portmap"}]
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": plugins}


def _kubelet_configuration(state: Path) -> dict[str, object]:
    credentials = state / "credentials"
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": network.NODE_ADDRESS,
        "authentication": {"x509": {"clientCAFile": str(credentials / "ca.pem")}},
        "tlsCertFile": str(credentials / "server.pem"),
        "tlsPrivateKeyFile": str(credentials / "server.key"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{CGROUP}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [network.NODE_ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": str(state / "configuration" / "resolv.conf"),
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        # A full disk of the host evicts nothing, and no image is removed: none can be pulled.
        "evictionHard": {"memory.available": "200Mi"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "registryPullQPS": 0,
    }


def _commands(state: Path) -> dict[str, list[str | Path]]:
    credentials = state / "credentials"

    def kubeconfig(name: str) -> str:
        return f"--kubeconfig={credentials / name}.conf"

    configuration = state / "configuration"
    return {
        "etcd": [PROGRAMS_FOLDER / "etcd", f"--data-dir={state / 'etcd'}", "--unsafe-no-fsync"],
        "kube-apiserver": _apiserver(credentials),
        "kube-controller-manager": [
            PROGRAMS_FOLDER / "kube-controller-manager",
            kubeconfig("kube-controller-manager"),
            f"--root-ca-file={credentials / 'ca.pem'}",
            f"--service-account-private-key-file={credentials / 'service-accounts.key'}",
            "--use-service-account-credentials=true",
            "--leader-elect=false",
        ],
        "kube-scheduler": [
            PROGRAMS_FOLDER / "kube-scheduler",
            kubeconfig("kube-scheduler"),
            "--leader-elect=false",
        ],
        "containerd": ["containerd", f"--config={configuration / 'containerd.toml'}"],
        "kubelet": [
            PROGRAMS_FOLDER / "kubelet",
            f"--config={configuration / 'kubelet.json'}",
            kubeconfig("kubelet"),
            f"--hostname-override={network.NODE}",
            f"--node-ip={network.NODE_ADDRESS}",
        ],
        "kube-proxy": [
            PROGRAMS_FOLDER / "kube-proxy",
            kubeconfig("kube-proxy"),
            f"--hostname-override={network.NODE}",
            f"--cluster-cidr={network.PODS}",
            "--proxy-mode=iptables",
            "--conntrack-max-per-core=0",
        ],
        "coredns": [PROGRAMS_FOLDER / "coredns", f"-conf={configuration / 'Corefile'}"],
    }


def _apiserver(credentials: Path) -> list[str | Path]:
    return [
        PROGRAMS_FOLDER / "kube-apiserver",
        "--etcd-servers=http://127.0.0.1:2379",
        f"--bind-address={network.NODE_ADDRESS}",
        f"--advertise-address={network.NODE_ADDRESS}",
        f"--secure-port={network.KUBERNETES_PORT}",
        f"--service-cluster-ip-range={network.SERVICES}",
        "--allow-privileged=true",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--client-ca-file={credentials / 'ca.pem'}",
        f"--tls-cert-file={credentials / 'server.pem'}",
        f"--tls-private-key-file={credentials / 'server.key'}",
        f"--kubelet-certificate-authority={credentials / 'ca.pem'}",
        f"--kubelet-client-certificate={credentials / 'apiserver-to-kubelet.pem'}",
        f"--kubelet-client-key={credentials / 'apiserver-to-kubelet.key'}",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={credentials / 'service-accounts.key'}",
        f"--service-account-signing-key-file={credentials / 'service-accounts.key'}",
    ]


if __name__ == "__main__":
    main()

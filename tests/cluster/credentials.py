"""Certificates and kubeconfigs: each program of the control plane has a user of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import trustme

from . import network

USERS: Final = {  # the names and groups that Kubernetes gives its own programs
    "admin": ("admin", "system:masters"),
    "apiserver-to-kubelet": ("apiserver", "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager", ""),
    "kube-scheduler": ("system:kube-scheduler", ""),
    "kube-proxy": ("system:kube-proxy", ""),
    "coredns": ("coredns", "system:masters"),
    "kubelet": (f"system:node:{network.NODE}", "system:nodes"),
}


def write(folder: Path) -> None:
    """Writes the authority, certificates (.pem), keys (.key) and kubeconfigs (.conf)."""
    folder.mkdir(parents=True)
    folder.chmod(0o700)
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    authority.cert_pem.write_to_path(folder / "ca.pem")
    _write(
        folder / "server",
        authority.issue_cert(
            network.NODE,
            network.NODE_ADDRESS,
            network.KUBERNETES_SERVICE_ADDRESS,
            "127.0.0.1",
            "localhost",
            "kubernetes.default.svc",
        ),
    )
    for name, (user, group) in USERS.items():
        certificate = authority.issue_cert(
            f"{name}.invalid", common_name=user, organization_name=group or None
        )
        _write(folder / name, certificate)
        (folder / f"{name}.conf").write_text(json.dumps(_kubeconfig(folder, name)))
    signer = authority.issue_cert("service-accounts.invalid")
    signer.private_key_pem.write_to_path(folder / "service-accounts.key")


def _write(path: Path, certificate: trustme.LeafCert) -> None:
    certificate.private_key_pem.write_to_path(path.with_suffix(".key"))
    chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
    path.with_suffix(".pem").write_bytes(chain)


def _kubeconfig(folder: Path, user: str) -> dict[str, object]:
    name = "mnist-tfx"
    server = f"https://{network.NODE_ADDRESS}:{network.KUBERNETES_PORT}"
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": name,
                "cluster": {"server": server, "certificate-authority": str(folder / "ca.pem")},
            }
        ],
        "users": [
            {
                "name": user,
                "user": {
                    "client-certificate": str(folder / f"{user}.pem"),
                    "client-key": str(folder / f"{user}.key"),
                },
            }
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
        "current-context": name,
    }

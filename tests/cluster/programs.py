"""The Go programs of the cluster, built from the module versions that `go/*/go.mod` pin."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MODULES: Final = Path(__file__).parent / "go"
ARGO: Final = "github.com/argoproj/argo-workflows/v4"
KUBERNETES_VERSION: Final = "v1.34.4"
CACHE: Final = (
    Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mnist-tfx" / "cluster"
)
"""Outside the repository: programs, images, and the state of the running cluster."""

PROGRAMS_FOLDER: Final = CACHE / "bin"


@dataclass(frozen=True)
class Program:
    """One Go command."""

    name: str
    module: str
    """The folder in `go/` whose go.mod pins it, or `argo`, whose version Kubeflow's pins."""

    package: str
    tags: str = ""
    linker_flags: str = ""
    needs_c: bool = False


def _kubernetes(name: str) -> Program:
    version = f"k8s.io/component-base/version.gitVersion={KUBERNETES_VERSION}"
    return Program(
        name, "kubernetes", f"k8s.io/kubernetes/cmd/{name}", linker_flags=f"-X {version}"
    )


def _kubeflow(name: str, package: str) -> Program:
    return Program(name, "kubeflow", f"github.com/kubeflow/pipelines/backend/src/{package}")


def _argo(name: str) -> Program:
    return Program(name, "argo", f"./cmd/{name}")


PROGRAMS: Final = (
    Program("etcd", "kubernetes", "go.etcd.io/etcd/server/v3"),
    _kubernetes("kube-apiserver"),
    _kubernetes("kube-controller-manager"),
    _kubernetes("kube-scheduler"),
    _kubernetes("kube-proxy"),
    _kubernetes("kubelet"),
    _kubernetes("kubectl"),
    Program("coredns", "addons", "github.com/coredns/coredns"),
    Program("versitygw", "addons", "github.com/versity/versitygw/cmd/versitygw"),
    Program(
        "apiserver",
        "kubeflow",
        "github.com/kubeflow/pipelines/backend/src/apiserver",
        tags="netgo,osusergo,sqlite_omit_load_extension",
        linker_flags="-linkmode external -extldflags -static",
        needs_c=True,  # SQLite
    ),
    _kubeflow("persistence_agent", "agent/persistence"),
    _kubeflow("controller", "crd/controller/scheduledworkflow"),
    _kubeflow("driver", "v2/cmd/driver"),
    _kubeflow("launcher-v2", "v2/cmd/launcher-v2"),
    _argo("workflow-controller"),
    _argo("argoexec"),
)


def build(report: Callable[[str], None]) -> None:
    """Builds the programs that are not in the cache.

    Raises:
      SystemExit: Go is missing, or a build fails.
    """
    PROGRAMS_FOLDER.mkdir(parents=True, exist_ok=True)
    for program in PROGRAMS:
        target = PROGRAMS_FOLDER / program.name
        stamp = target.with_suffix(".digest")
        digest = _digest(program)
        if target.exists() and stamp.exists() and stamp.read_text() == digest:
            continue
        report(f"builds {program.name}")
        _build(program, target)
        stamp.write_text(digest)


def _build(program: Program, target: Path) -> None:
    flags = f"-s -w {program.linker_flags}".strip()
    command = ["go", "build", "-trimpath", "-tags", program.tags, "-ldflags", flags]
    environment = {**os.environ, "CGO_ENABLED": str(int(program.needs_c))}
    folder = _argo_source() if program.module == "argo" else MODULES / program.module
    try:
        built = subprocess.run(
            [*command, "-o", target, program.package], cwd=folder, env=environment, check=False
        )
    except FileNotFoundError:
        raise SystemExit("`go` is not on PATH; install Go 1.26 or later.") from None
    if built.returncode:
        raise SystemExit(f"cannot build {program.name} in {folder}; Go's message is above.")


def _argo_source() -> Path:
    """A copy of Argo's module with its symbolic link, because Go modules contain no links."""
    module = module_folder("kubeflow", ARGO)
    copy = CACHE / "argo" / module.name
    if not copy.exists():
        partial = copy.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(module, partial)
        for folder in (partial, *partial.glob("**/")):
            folder.chmod(0o755)
        osspecific = partial / "workflow" / "executor" / "osspecific"
        (osspecific / "signal_linux.go").symlink_to("signal_darwin.go")
        partial.rename(copy)
    return copy


def _digest(program: Program) -> str:
    module = "kubeflow" if program.module == "argo" else program.module
    pinned = (MODULES / module / "go.sum").read_bytes()
    return hashlib.sha256(pinned + repr(program).encode()).hexdigest()


def module_folder(module: str, path: str) -> Path:
    """The files of a Go module, from Go's own cache."""
    answer = subprocess.run(
        ["go", "mod", "download", "-json", path],
        cwd=MODULES / module,
        check=False,
        stdout=subprocess.PIPE,
        text=True,
    )
    if answer.returncode:
        raise SystemExit(f"cannot download the Go module {path}: {answer.stdout}")
    return Path(json.loads(answer.stdout)["Dir"])

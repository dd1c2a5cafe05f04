"""Kubeflow Pipelines and the services of the pipeline, from their own manifests and overlays."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from .programs import ARGO, PROGRAMS_FOLDER, module_folder

ROOT: Final = Path(__file__).parents[2]
NAMESPACE: Final = "kubeflow"
READY_TIMEOUT: Final = "600s"
ARGO_ADDRESS: Final = re.compile(
    r"https://github\.com/argoproj/argo-workflows/manifests/([^?\s]+)\S*"
)


def apply(state: Path, kubeconfig: Path) -> None:
    """Applies all manifests and waits until everything but the model server is ready.

    Raises:
      SystemExit: kubectl reports an error.
    """
    folder = _write_manifests(state / "manifests")

    def kubectl(*arguments: str | Path) -> None:
        command = [PROGRAMS_FOLDER / "kubectl", f"--kubeconfig={kubeconfig}", *arguments]
        if subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode:
            words = " ".join(map(str, arguments))
            raise SystemExit(f"`kubectl {words}` failed; its message is above.")

    kubectl("apply", "--server-side", "--kustomize", folder / "kfp" / "cluster-scoped-resources")
    kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    kubectl("apply", "--kustomize", folder / "kubeflow")
    kubectl("apply", "--kustomize", folder / "pipeline")
    waiting = ["rollout", "status", f"--namespace={NAMESPACE}", f"--timeout={READY_TIMEOUT}"]
    for name in ("mysql", "seaweedfs", "metadata-grpc-deployment", "ml-pipeline"):
        kubectl(*waiting, f"deployment/{name}")
    for name in ("ml-pipeline-persistenceagent", "ml-pipeline-scheduledworkflow"):
        kubectl(*waiting, f"deployment/{name}")
    kubectl(*waiting, "deployment/workflow-controller")
    kubectl(*waiting, "statefulset/mnist-tfx-mysql")


def _write_manifests(folder: Path) -> Path:
    """Puts Kubeflow's, Argo's and the project's manifests beside the overlays."""
    kubeflow = module_folder("kubeflow", "github.com/kubeflow/pipelines")
    argo = module_folder("kubeflow", ARGO)
    shutil.copytree(Path(__file__).parent / "manifests", folder)
    _copy(kubeflow / "manifests" / "kustomize", folder / "kfp")
    _copy(argo / "manifests", folder / "argo")
    for file in (folder / "kfp").rglob("kustomization.yaml"):
        # Kubeflow's manifests refer to Argo's in its repository.
        above = "../" * len(file.relative_to(folder).parents[0].parts)
        file.write_text(ARGO_ADDRESS.sub(rf"{above}argo/\1", file.read_text()))
    doubles = ROOT / "tests" / "doubles"
    shutil.copy(doubles / "mlmd_server.py", folder / "kubeflow")
    project = folder / "project"
    for part in ("pipeline/deploy", "serving/deploy"):
        _copy(ROOT / part, project / part)
    secret = project / "pipeline" / "deploy" / "metadata-secret.env"
    shutil.copy(secret.with_suffix(".env.example"), secret)
    return folder


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target)
    for path in (target, *target.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)

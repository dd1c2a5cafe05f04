"""A server that answers as kube-apiserver does about the pods of a training.

It accepts what the schema of Kubernetes and the role in `pipeline/deploy/training` allow. The pods
are recorded from a real cluster, and two are changed: `killed` is `lost` with another termination
message, and `failed` has no deletion timestamp.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import yaml
from werkzeug import Request, Response

import pipeline

RECORDED: Final = Path(__file__).parents[1] / "data" / "kubeflow" / "training_pods.json"
ROLE: Final = Path(pipeline.__file__).parent / "deploy" / "training" / "service-account.yaml"
VERSION: Final = "1.31"  # of the schema
UID: Final = "11111111-2222-3333-4444-555555555555"  # of the Job
_PATH: Final = re.compile(
    r"/(?:api|apis/(?P<group>\w+))/v1/namespaces/kubeflow"
    r"/(?P<kind>[a-z]+)(/(?P<name>[^/]+)(?P<part>/\w+)?)?"
)
_VERBS: Final = {"POST": "create", "DELETE": "delete"}


@dataclass
class KubernetesApi:
    """The settings and the content of the server; tests read them."""

    pods: list[list[str]] = field(default_factory=lambda: [["running", "running"]])
    """The name of each recorded pod, for each time that they are listed; the last one stays."""

    failed: int = 0
    """How many pods the status of the Job counts as failed."""

    errors: dict[str, int] = field(default_factory=dict)
    """The HTTP status of the answer to some requests, such as "create jobs"."""

    events: list[tuple[str, str]] = field(default_factory=list)
    """The kind and the message of each, the oldest first."""

    created: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By kind, what exists now."""

    requests: list[str] = field(default_factory=list)
    """The verb and the resource of each."""

    faults: list[str] = field(default_factory=list)
    """What the real server would not have accepted."""

    @property
    def trainer(self) -> dict[str, Any]:
        """The Trainer's own pod."""
        found: dict[str, Any] = json.loads(RECORDED.read_text())["trainer"]
        return found

    @property
    def changes(self) -> list[str]:
        """The requests that changed something."""
        return [request for request in self.requests if request.split()[0] in _VERBS.values()]

    def answer(self, request: Request) -> Response:
        try:
            return self._answer(request)
        except Exception as error:
            self.faults.append(repr(error))
            raise

    def _answer(self, request: Request) -> Response:
        match = _PATH.fullmatch(request.path)
        assert match, request.path
        kind, resource = match["kind"], match["kind"] + (match["part"] or "")
        verb = _VERBS.get(request.method, "get" if match["name"] else "list")
        self.requests.append(f"{verb} {resource}")
        request_of = (verb, match["group"] or "", resource)
        assert request_of in _allowed(), f"the role does not allow {request_of}"
        status = self.errors.get(self.requests[-1], 0)
        if verb == "create" and status in (0, 504):  # 504: the answer came too late
            self._create(kind, request.get_json())
        if status:
            return _json({"kind": "Status", "message": f'"mnist-tfx" cannot {verb} {kind}'}, status)
        return self._found(verb, match, request)

    def _create(self, kind: str, manifest: dict[str, Any]) -> None:
        kubernetes_validate.validate(manifest, VERSION, strict=True)
        manifest["metadata"]["uid"] = UID
        self.created[kind] = manifest

    def _found(self, verb: str, match: re.Match[str], request: Request) -> Response:
        """The answer to a request without an error."""
        kind, name, resource = match["kind"], match["name"], match["kind"] + (match["part"] or "")
        if verb == "create":
            return _json(self.created[kind], 201)
        if kind == "events":
            assert request.args["fieldSelector"].startswith("involvedObject.name=")
            items = [
                {
                    "metadata": {"creationTimestamp": f"2026-01-01T00:00:{second:02d}Z"},
                    "involvedObject": {},
                    "type": kind_of_event,
                    "message": message,
                }
                for second, (kind_of_event, message) in enumerate(self.events)
            ]
            return _json({"kind": "EventList", "items": items[::-1]})  # in no order of time
        if resource == "pods/log":
            return Response("a line of the pod's log\n", mimetype="text/plain")
        if resource == "pods" and name:
            assert name == self.trainer["metadata"]["name"]
            return _json(self.trainer)
        if "jobs" not in self.created:
            if verb == "list":
                return _json({"kind": f"{kind.title()}List", "items": []})
            return _json({"kind": "Status", "message": "not found"}, 404)
        job = self.created["jobs"]["metadata"]["name"]
        if verb == "delete":
            assert name == job
            given = request.get_json(silent=True) or request.args
            assert given["propagationPolicy"] == "Background"
            self.created.clear()  # the service as well, which the Job owns
            return _json({"kind": "Status", "status": "Success"})
        if kind == "jobs":
            assert name == job
            return _json({"kind": "Job", "status": {"failed": self.failed}})
        assert request.args["labelSelector"] == f"batch.kubernetes.io/job-name={job}"
        shown = self.pods.pop(0) if len(self.pods) > 1 else self.pods[0]
        recorded = json.loads(RECORDED.read_text())["pods"]
        return _json({"kind": "PodList", "items": [recorded[one] for one in shown]})


def _allowed() -> set[tuple[str, str, str]]:
    """Each verb with the group and the name of a resource."""
    role, _ = yaml.safe_load_all(ROLE.read_text())
    return {
        (verb, group, resource)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def _json(content: Mapping[str, Any], status: int = 200) -> Response:
    return Response(json.dumps(content), status, mimetype="application/json")

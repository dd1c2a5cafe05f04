"""The cluster, which `make cluster` starts; without one, its tests are skipped."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from werkzeug import Request, Response
from werkzeug.serving import make_server

from cluster import network
from cluster.__main__ import KUBECONFIG
from cluster.user import Kubeflow, forwarded, kubectl

WEBHOOK_SECRET: Final = "mnist-tfx-webhook"


@pytest.fixture(scope="module")
def kubeflow(request: pytest.FixtureRequest, digits_config: Path) -> Iterator[Kubeflow]:
    if not request.config.getoption("--cluster"):
        pytest.skip("not asked for: make test-cluster runs these on the cluster of make cluster")
    assert KUBECONFIG.exists(), "no cluster runs; start one with `make cluster`."
    environment = {**os.environ, "KUBECONFIG": str(KUBECONFIG)}
    with forwarded("svc/ml-pipeline", 8888) as port:
        yield Kubeflow(port, digits_config, environment)


@pytest.fixture(scope="module")
def notices() -> Iterator[list[dict[str, Any]]]:
    """What a web service on the host received; the secret of the cluster has its address."""
    received: list[dict[str, Any]] = []

    @Request.application
    def receive(request: Request) -> Response:
        received.append(request.get_json())
        return Response()

    server = make_server(network.HOST_ADDRESS, 0, receive, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://{network.HOST_ADDRESS}:{server.port}/"
        kubectl("delete", "secret", WEBHOOK_SECRET, "--ignore-not-found")
        kubectl("create", "secret", "generic", WEBHOOK_SECRET, f"--from-literal=url={address}")
        yield received
        kubectl("delete", "secret", WEBHOOK_SECRET)
    finally:
        server.shutdown()

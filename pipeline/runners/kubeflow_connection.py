"""The connection to Kubeflow Pipelines' API: where it is, who asks, and what a refusal means.

Whatever goes wrong between here and the server is one `ClusterError`, in one sentence
with the cure.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import ssl
import urllib.parse
import urllib.request
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import kfp
import kfp_server_api
import urllib3
import yaml
from kubernetes import config as kubeconfig

from pipeline.cluster import ClusterConfig
from pipeline.errors import ClusterError, ConfigError

ENDPOINT_VARIABLE: Final = "KF_PIPELINES_ENDPOINT"
ANSWER_TIMEOUT_S: Final = 20.0


class UnreachableError(ClusterError):
    """There was no answer; there may be one later."""


class Connection:
    """One server, one user.

    Args:
      cluster: where the server is and what to sign in with.
      environment: the environment variables; a token is nowhere else. (Cookies that the
        `kfp` program has remembered are used, too.)

    Raises:
      ConfigError: nothing says where the server is, or what is said cannot be.
      ClusterError: it cannot be reached, refuses, or is not Kubeflow Pipelines v2.
    """

    def __init__(self, cluster: ClusterConfig, environment: Mapping[str, str] = os.environ):
        server = cluster.server
        self.cluster = cluster
        self._host = server.host or environment.get(ENDPOINT_VARIABLE, "")
        self._token = _header(environment, server.token_env)
        self._cookies = _header(environment, server.cookies_env)
        if self._host and not self._host.startswith(("http://", "https://")):
            raise ConfigError(f"{ENDPOINT_VARIABLE} is {self._host}: http://... is expected.")
        if not self._host:
            _check_kubeconfig(server.kube_context, environment)
        if server.ca_cert and not Path(server.ca_cert).is_file():
            raise ConfigError(f"server.ca_cert is {server.ca_cert}: there is no such file.")
        with self.explained(), quietly():
            try:
                self.client = _Client(
                    host=self._host or None,
                    ui_host=server.ui_host or None,
                    namespace=server.install_namespace,
                    existing_token=self._token,
                    cookies=self._cookies,
                    ssl_ca_cert=server.ca_cert or None,
                    kube_context=server.kube_context or None,
                    verify_ssl=server.verify_tls,
                )
                multi_user = self.client.get_kfp_healthz().multi_user
                answer = self.client.healthzs.healthz_service_get_healthz(_preload_content=False)
            except kfp_server_api.ApiException as error:
                if error.status != 404:
                    raise
                raise ClusterError(
                    f"{self._where} has no API v2beta1 (404): Kubeflow Pipelines 2 is needed; "
                    "check the host, too, which is what comes before /apis in its addresses."
                ) from error
        self.check_answer(_is_json(answer.data))
        self.namespace = cluster.namespace if multi_user else None
        """To be named in every request where Kubeflow has several users, and only there."""

    @property
    def _where(self) -> str:
        return f"Kubeflow Pipelines at {self._host}" if self._host else "Kubeflow Pipelines"

    def page(self, path: str) -> str:
        """The address of a page of the UI."""
        host = self.cluster.server.ui_host or self._host
        return f"{host.rstrip('/')}/#/{path}" if host else f"#/{path} in Kubeflow's UI"

    def check_answer(self, is_one: object) -> None:
        """Raises ClusterError unless `is_one`: kfp.Client takes any page for an empty answer."""
        if not is_one:
            raise ClusterError(
                f"{self._where} answers, but not as Kubeflow Pipelines does: is it a sign-in page? "
                "Then put the cookies of a signed-in browser into "
                f"{self.cluster.server.cookies_env}."
            )

    def get_run(self, run_id: str) -> kfp_server_api.V2beta1Run:
        """A run as it is now.

        Raises:
          UnreachableError: there was no answer within `ANSWER_TIMEOUT_S`.
          ClusterError: the server refuses.
        """
        with self.explained():
            run = self.client.runs.run_service_get_run(run_id, _request_timeout=ANSWER_TIMEOUT_S)
        self.check_answer(run.run_id)
        return run

    def read_log(self, pod: str) -> list[str] | None:
        """The lines of a pod's log; None where they cannot be had.

        Logs are not in the API; the UI's server, which also passes the API on, has them.
        """
        server = self.cluster.server
        host = server.ui_host or self._host
        if not host:
            return None
        query = urllib.parse.urlencode({"podname": pod, "podnamespace": self.cluster.namespace})
        headers = {
            name: value
            for name, value in (
                ("Authorization", self._token and f"Bearer {self._token}"),
                ("Cookie", self._cookies),
            )
            if value
        }
        request = urllib.request.Request(f"{host.rstrip('/')}/k8s/pod/logs?{query}", None, headers)
        context = None
        try:
            if host.startswith("https"):
                context = ssl.create_default_context(cafile=server.ca_cert or None)
                if not server.verify_tls:
                    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            with urllib.request.urlopen(
                request, timeout=ANSWER_TIMEOUT_S, context=context
            ) as answer:
                content: bytes = answer.read()
        except (OSError, http.client.HTTPException, ValueError):
            return None
        return content.decode(errors="replace").splitlines()

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Turns what kfp.Client raises into a ClusterError."""
        try:
            yield
        except kfp_server_api.ApiException as error:
            raise self._refusal(error) from error
        except kfp_server_api.OpenApiException:  # it misses something in an answer before
            self.check_answer(False)
        except urllib3.exceptions.HTTPError as error:
            reason = getattr(error, "reason", None) or error
            cure = "check the host, and that the port-forward, if it is one, is running"
            if "CERTIFICATE_VERIFY_FAILED" in str(reason):
                cure = "name the file of its certificate authority in server.ca_cert"
            raise UnreachableError(
                f"{self._where} cannot be reached ({_short(str(reason))}): {cure}."
            ) from error

    def _refusal(self, error: kfp_server_api.ApiException) -> ClusterError:
        server, said = self.cluster.server, _message(error)
        if error.status == 401:
            return ClusterError(
                f"{self._where} does not know who is asking (401): put a fresh token into "
                f"{server.token_env}, or the cookies of a signed-in browser into "
                f"{server.cookies_env}."
            )
        if error.status == 403:
            return ClusterError(
                f"{self._where} does not allow this (403: {said}): ask for the rights in the "
                f"namespace {self.cluster.namespace}, or name your own with "
                "--set kubeflow.namespace."
            )
        if error.status in (502, 503, 504):
            return UnreachableError(f"{self._where} is not ready ({error.status}: {said}).")
        return ClusterError(f"{self._where} refused ({error.status}: {said}).")


class _Client(kfp.Client):  # type: ignore[misc]
    """kfp.Client, with one question about the server's health instead of five, 5 s apart, and
    with no namespace that is remembered from elsewhere."""

    def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
        return self.healthzs.healthz_service_get_healthz()

    def get_user_namespace(self) -> str:
        return ""


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keeps away what kfp.Client prints and warns of. Not for a time when something is shown."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _header(environment: Mapping[str, str], variable: str) -> str | None:
    """A variable that is sent as a header. Its value is shown nowhere."""
    value = environment.get(variable, "").strip()
    if not value.isprintable():
        raise ConfigError(f"{variable} has line breaks or control characters within it.")
    return value or None


def _check_kubeconfig(context: str, environment: Mapping[str, str]) -> None:
    """Raises ConfigError where kfp.Client would find no server, and only print that."""
    if "KUBERNETES_SERVICE_HOST" in environment:  # in a pod
        return
    try:
        kubeconfig.load_kube_config(
            client_configuration=kfp_server_api.Configuration(), context=context or None
        )
    except (kubeconfig.ConfigException, yaml.YAMLError) as error:
        raise ConfigError(
            "nothing says where Kubeflow Pipelines is: set server.host in the cluster's file or "
            f"the environment variable {ENDPOINT_VARIABLE}, for example to a port-forward's "
            f"http://localhost:8080; and there is no kubeconfig to use ({_short(str(error))})."
        ) from error


def _is_json(content: bytes) -> bool:
    try:
        json.loads(content)
    except ValueError:
        return False
    return True


def _message(error: kfp_server_api.ApiException) -> str:
    """What the server says, without what is around it."""
    body = error.body.decode(errors="replace") if isinstance(error.body, bytes) else error.body
    try:
        said = json.loads(body or "")
        body = said.get("message") or said.get("error")
    except (ValueError, AttributeError):
        pass
    return _short(str(body or error.reason))


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 200 else f"{text[:200]}..."

"""The connection to Kubeflow Pipelines' API: address, authentication, and errors.

Every error between the client and the server is one `ClusterError`: one sentence with the cure.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import kfp
import kfp_server_api
import urllib3
import yaml
from kubernetes import config as kubeconfig

from pipeline.kubeflow.cluster.cluster_config import ClusterConfig
from pipeline.settings.errors import ClusterError, ConfigError

ENDPOINT_VARIABLE: Final = "KF_PIPELINES_ENDPOINT"
ANSWER_TIMEOUT_S: Final = 20.0


class UnreachableError(ClusterError):
    """The server did not answer; it may answer later."""


class Connection:
    """One server, one user.

    Args:
      cluster: the address of the server, and the names of the variables with credentials.
      environment: the environment variables, the only place of a token. (Cookies that the `kfp`
        program has stored are used as well.)

    Raises:
      ConfigError: the address of the server is missing or invalid.
      ClusterError: the server cannot be reached, rejects the request, or is not Kubeflow
        Pipelines v2.
    """

    def __init__(self, cluster: ClusterConfig, environment: Mapping[str, str] = os.environ):
        server = cluster.server
        self.cluster = cluster
        self._host = server.host or environment.get(ENDPOINT_VARIABLE, "")
        self._token = _header(environment, server.token_env)
        self._cookies = _header(environment, server.cookies_env)
        if self._host and not self._host.startswith(("http://", "https://")):
            raise ConfigError(f"{ENDPOINT_VARIABLE} is {self._host}; expected a URL, http://...")
        if not self._host:
            _check_kubeconfig(server.kube_context, environment)
        if server.ca_cert and not Path(server.ca_cert).is_file():
            raise ConfigError(f"server.ca_cert is {server.ca_cert}; this file does not exist.")
        with self.translated_errors(), output_suppressed():
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
                    f"{self._where} has no API v2beta1 (404). Version 2 of Kubeflow Pipelines is "
                    "required; check also that server.host is the URL without /apis."
                ) from error
        self.check_answer(_is_json(answer.data))
        self.namespace = cluster.namespace if multi_user else None
        """Part of every request if Kubeflow has several users; else None."""

    @property
    def _where(self) -> str:
        return f"Kubeflow Pipelines at {self._host}" if self._host else "Kubeflow Pipelines"

    def page(self, path: str) -> str:
        """The URL of a page of the UI."""
        host = self.cluster.server.ui_host or self._host
        return f"{host.rstrip('/')}/#/{path}" if host else f"#/{path} in Kubeflow's UI"

    def check_answer(self, is_one: object) -> None:
        """Raises ClusterError unless `is_one`: kfp.Client parses any page as an empty answer."""
        if not is_one:
            raise ClusterError(
                f"{self._where} returned an unexpected response, possibly a sign-in page. Set the "
                f"cookies of a signed-in browser in {self.cluster.server.cookies_env}."
            )

    def get_run(self, run_id: str) -> kfp_server_api.V2beta1Run:
        """The current state of a run.

        Raises:
          UnreachableError: no answer within `ANSWER_TIMEOUT_S`.
          ClusterError: the server rejects the request.
        """
        with self.translated_errors():
            run = self.client.runs.run_service_get_run(run_id, _request_timeout=ANSWER_TIMEOUT_S)
        self.check_answer(run.run_id)
        return run

    def read_log(self, run_id: str, pod: str) -> list[str]:
        """The lines of a pod's log; none if the log is not available.

        The server reads the log of the pod, or, after its end, the one in Argo's archive. The path
        exists in all releases, but not behind Kubeflow's UI, which forwards only the API v2beta1.
        """
        try:
            answer = self.client.runs.api_client.call_api(
                f"/apis/v1alpha1/runs/{run_id}/nodes/{pod}/log",
                "GET",
                auth_settings=["Bearer"],
                _preload_content=False,
                _request_timeout=ANSWER_TIMEOUT_S,
                _return_http_data_only=True,
            )
            content: bytes = answer.data
        except (kfp_server_api.ApiException, urllib3.exceptions.HTTPError):
            return []
        return content.decode(errors="replace").splitlines()

    @contextlib.contextmanager
    def translated_errors(self) -> Iterator[None]:
        """Converts the errors of kfp.Client to ClusterErrors."""
        try:
            yield
        except kfp_server_api.ApiException as error:
            raise self._rejection(error) from error
        except kfp_server_api.OpenApiException:  # an answer lacks a required field
            self.check_answer(False)
        except urllib3.exceptions.HTTPError as error:
            reason = getattr(error, "reason", None) or error
            cure = "check the host and, if it is a port-forward, whether it is running"
            if "CERTIFICATE_VERIFY_FAILED" in str(reason):
                cure = "set server.ca_cert to the file of its certificate authority"
            raise UnreachableError(
                f"{self._where} cannot be reached ({_short(str(reason))}); {cure}."
            ) from error

    def _rejection(self, error: kfp_server_api.ApiException) -> ClusterError:
        server, reason = self.cluster.server, _message(error)
        if error.status == 401:
            return ClusterError(
                f"{self._where} requires authentication (401); set a fresh token in "
                f"{server.token_env}, or the cookies of a signed-in browser in "
                f"{server.cookies_env}."
            )
        if error.status == 403:
            return ClusterError(
                f"{self._where} denies permission (403: {reason}): the account has no access to "
                f"the namespace {self.cluster.namespace}. Request access, or use your own "
                "namespace with --set kubeflow.namespace."
            )
        if error.status in (502, 503, 504):
            return UnreachableError(f"{self._where} is not ready ({error.status}: {reason}).")
        return ClusterError(f"{self._where} rejected the request ({error.status}: {reason}).")


class _Client(kfp.Client):  # type: ignore[misc]
    """kfp.Client with one health check instead of five, 5 s apart, and without a namespace that an
    earlier session stored."""

    def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
        return self.healthzs.healthz_service_get_healthz()

    def get_user_namespace(self) -> str:
        return ""


@contextlib.contextmanager
def output_suppressed() -> Iterator[None]:
    """Suppresses the output and warnings of kfp.Client, and all other output meanwhile."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _header(environment: Mapping[str, str], variable: str) -> str | None:
    """The value of a variable that is sent as a header; it is never printed."""
    value = environment.get(variable, "").strip()
    if not value.isprintable():
        raise ConfigError(f"{variable} contains line breaks or control characters.")
    return value or None


def _check_kubeconfig(context: str, environment: Mapping[str, str]) -> None:
    """Raises ConfigError if kfp.Client would find no server, which it only prints."""
    if "KUBERNETES_SERVICE_HOST" in environment:  # in a pod
        return
    try:
        kubeconfig.load_kube_config(
            client_configuration=kfp_server_api.Configuration(), context=context or None
        )
    except (kubeconfig.ConfigException, yaml.YAMLError) as error:
        raise ConfigError(
            "the address of Kubeflow Pipelines is not set; set server.host in the cluster file or "
            f"the environment variable {ENDPOINT_VARIABLE}, for example http://localhost:8888 of "
            f"a port-forward. Reading the kubeconfig also failed ({_short(str(error))})."
        ) from error


def _is_json(content: bytes) -> bool:
    try:
        json.loads(content)
    except ValueError:
        return False
    return True


def _message(error: kfp_server_api.ApiException) -> str:
    """The server's message in an error."""
    body = error.body.decode(errors="replace") if isinstance(error.body, bytes) else error.body
    try:
        document = json.loads(body or "")
        body = document.get("message") or document.get("error")
    except (ValueError, AttributeError):
        pass
    return _short(str(body or error.reason))


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 200 else f"{text[:200]}..."

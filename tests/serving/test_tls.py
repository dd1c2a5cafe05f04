"""TLS with TF Serving's ssl_config_file and certificates of the test."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trustme
from doubles.model_server import Server, available, started, wait_for

from serving.client import AsyncClient, Client, Tls
from serving.errors import ServerUnavailableError, ServingError

ZEROS = np.zeros((1, 28, 28), np.uint8)


class Certificates:
    """An authority, its certificates for a server and a client, and another authority."""

    def __init__(self, folder: Path):
        authority, other = trustme.CA(), trustme.CA()
        self.server = authority.issue_cert("localhost", "127.0.0.1")
        self.authority_pem = authority.cert_pem.bytes().decode()
        self.ca = folder / "ca.pem"
        authority.cert_pem.write_to_path(self.ca)
        self.other_ca = folder / "other.pem"
        other.cert_pem.write_to_path(self.other_ca)
        client = authority.issue_cert("client@example.org")
        self.client, self.client_key = folder / "client.pem", folder / "client.key"
        client.cert_chain_pems[0].write_to_path(self.client)
        client.private_key_pem.write_to_path(self.client_key)

    def ssl_config(self, client_verify: bool) -> str:
        """The text of TF Serving's SSLConfig."""

        def quoted(pem: str) -> str:
            return '"' + pem.replace("\n", "\\n") + '"'

        key = self.server.private_key_pem.bytes().decode()
        certificate = self.server.cert_chain_pems[0].bytes().decode()
        text = f"server_key: {quoted(key)}\nserver_cert: {quoted(certificate)}\n"
        if client_verify:
            text += f"custom_ca: {quoted(self.authority_pem)}\nclient_verify: true\n"
        return text


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module", params=[False, True], ids=["TLS", "mutual TLS"])
def secure(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    exported_model: Path,
    certificates: Certificates,
) -> Iterator[tuple[Server, bool]]:
    folder = tmp_path_factory.mktemp("secure")
    shutil.copytree(exported_model, folder / "mnist" / "1")
    (folder / "ssl.config").write_text(certificates.ssl_config(request.param))
    flags = ["--model_name=mnist", f"--model_base_path={folder / 'mnist'}"]
    with started(folder, *flags, f"--ssl_config_file={folder / 'ssl.config'}") as server:
        wait_for(lambda: available(server, "mnist", 1), server)
        yield server, request.param


def test_a_client_with_the_right_credentials_is_answered(
    secure: tuple[Server, bool], certificates: Certificates
) -> None:
    server, is_mutual = secure
    own = (certificates.client, certificates.client_key) if is_mutual else (None, None)
    with Client(server.address, "mnist", tls=Tls(certificates.ca, *own)) as client:
        assert client.predict(ZEROS).version == 1


def test_a_client_without_the_right_credentials_is_rejected(
    secure: tuple[Server, bool], certificates: Certificates
) -> None:
    server, is_mutual = secure
    wrong = [None, Tls(certificates.other_ca, certificates.client, certificates.client_key)]
    if is_mutual:
        wrong.append(Tls(certificates.ca))
    for tls in wrong:
        with (
            Client(server.address, "mnist", timeout_s=1.5, tls=tls) as client,
            pytest.raises(ServerUnavailableError, match="no answer from the model server"),
        ):
            client.predict(ZEROS)


def test_the_name_in_the_certificate_can_be_overridden(
    secure: tuple[Server, bool], certificates: Certificates
) -> None:
    server, _ = secure
    own = (certificates.client, certificates.client_key)
    named = Tls(certificates.ca, *own, server_name="localhost")
    with Client(server.address, "mnist", tls=named) as client:
        assert client.predict(ZEROS).version == 1
    other = Tls(certificates.ca, *own, server_name="example.org")
    with (
        Client(server.address, "mnist", timeout_s=1.5, tls=other) as client,
        pytest.raises(ServerUnavailableError),
    ):
        client.predict(ZEROS)


async def _ask(address: str, tls: Tls) -> int:
    async with AsyncClient(address, "mnist", tls=tls) as client:
        return (await client.predict(ZEROS)).version


def test_the_asyncio_client_too(secure: tuple[Server, bool], certificates: Certificates) -> None:
    server, _ = secure
    tls = Tls(certificates.ca, certificates.client, certificates.client_key)
    assert asyncio.run(_ask(server.address, tls)) == 1


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ServingError, match="cannot read a TLS file: .*gone.pem"):
        Client("localhost:1", "mnist", tls=Tls(tmp_path / "gone.pem"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("server_key: 'a'", "server_key and server_cert are required"),
        (
            "server_key: 'a' server_cert: 'b' client_verify: true",
            "client_verify requires custom_ca",
        ),
        (
            "server_key: 'SECRET\nserver_cert",
            "Error parsing text-format tensorflow.serving.SSLConfig",
        ),
    ],
)
def test_an_invalid_tls_file_is_reported_in_one_sentence_without_the_key(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "ssl.config").write_text(text)
    flags = [f"--model_base_path={tmp_path}", f"--ssl_config_file={tmp_path / 'ssl.config'}"]
    with started(tmp_path, *flags) as server:
        assert server.process.wait(60) == 1
        last_line = server.log.read_text().splitlines()[-1]
    assert last_line.startswith("serving: ")
    assert message in last_line
    assert "SECRET" not in server.log.read_text()


def test_an_invalid_certificate_is_no_address_in_use(tmp_path: Path, toy_model: Path) -> None:
    shutil.copytree(toy_model, tmp_path / "toy" / "1")
    (tmp_path / "ssl.config").write_text("server_key: 'SECRET' server_cert: 'b'")
    flags = ["--model_name=toy", f"--model_base_path={tmp_path / 'toy'}"]
    with started(tmp_path, *flags, f"--ssl_config_file={tmp_path / 'ssl.config'}") as server:
        assert server.process.wait(120) == 1
        lines = server.log.read_text().splitlines()
    assert lines[-1].endswith(
        "see its message above. Possible causes: the address is in use; a key or certificate in "
        "--ssl_config_file is invalid."
    )
    assert any("Invalid cert chain" in line for line in lines)
    assert not any("SECRET" in line for line in lines)


@pytest.mark.parametrize("wrong", ["ca", "certificate", "key"])
def test_a_file_that_is_not_of_its_kind_is_named(
    certificates: Certificates, tmp_path: Path, wrong: str
) -> None:
    files: dict[str, Any] = {"ca": certificates.ca, "certificate": certificates.client}
    files["key"] = certificates.client_key
    files[wrong] = tmp_path / "README.md"
    files[wrong].write_text("# A document")
    kind = "private key" if wrong == "key" else "certificate"
    with pytest.raises(ServingError, match=rf"README\.md contains no {kind} in PEM format"):
        Client("127.0.0.1:1", "mnist", tls=Tls(**files))

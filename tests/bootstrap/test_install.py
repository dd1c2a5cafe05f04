"""The set-up: which machines it rejects, its messages, and stages that it does not repeat."""

import functools
import os
import platform
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

BOOTSTRAP = Path(__file__).parents[2] / "bootstrap"
sys.path.insert(0, str(BOOTSTRAP))
import install  # noqa: E402
import private_glibc  # noqa: E402

# The Python that this environment was made from.
BASE_PYTHON = private_glibc._base_interpreter(install.ENVIRONMENT)
NOBODY = "http://127.0.0.1:9"  # nothing listens there
Version = namedtuple("Version", "major minor micro releaselevel serial")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The set-up, with its files in an empty folder."""
    for name in ("requirements.lock", "pyproject.toml", "tools.lock"):
        (tmp_path / name).write_text("# nothing")
    monkeypatch.setattr(install, "ROOT", tmp_path)
    monkeypatch.setattr(install, "ENVIRONMENT", tmp_path / ".venv")
    monkeypatch.setattr(install, "LOCK", tmp_path / "requirements.lock")
    monkeypatch.setattr(install, "TOOLS_LOCK", tmp_path / "tools.lock")
    monkeypatch.setattr(install, "LOG", tmp_path / ".venv.log")
    return tmp_path


def _output(capsys: pytest.CaptureFixture[str]) -> str:
    lines = capsys.readouterr().err.strip().splitlines()
    return lines[-1]


def test_another_python_is_rejected(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", Version(3, 10, 0, "final", 0))
    monkeypatch.setattr(platform, "python_version", lambda: "3.10.0")
    assert install.main() == 1
    assert "is Python 3.10.0; TFX 1.21 requires 3.11, 3.12 or 3.13" in _output(capsys)
    assert not (place / ".venv").exists()


def test_another_processor_is_rejected(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert install.main() == 1
    assert "this machine is Linux on aarch64; TFX 1.21 has wheels for" in _output(capsys)


@pytest.mark.parametrize(
    ("system", "libc"),
    [
        ({"ID": "ubuntu", "VERSION_CODENAME": "jammy", "PRETTY_NAME": "Ubuntu 22.04"}, "2.35"),
        ({"ID": "alpine", "PRETTY_NAME": "Alpine Linux"}, ""),
        ({"ID": "debian", "VERSION_CODENAME": "stretch", "PRETTY_NAME": "Debian 9"}, "2.24"),
    ],
)
def test_an_unknown_old_system_is_rejected(
    place: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    system: dict[str, str],
    libc: str,
) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc" if libc else "", libc))
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: system)
    assert install.main() == 1
    output = _output(capsys)
    assert output.startswith(
        f"set-up: {system['PRETTY_NAME']} has {f'glibc {libc}' if libc else 'no'}"
    )
    assert "2.39" in output
    assert "debian:trixie-slim" in output


def test_a_new_enough_system_needs_no_private_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.39"))
    assert not private_glibc.is_needed()
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    assert private_glibc.is_needed()


def test_a_full_disk_is_reported_before_any_download(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(9, 9, 2**30))
    assert install.main() == 1
    assert "1.0 GiB are free at" in _output(capsys)
    assert not (place / ".venv").exists()


def test_an_unreachable_registry_is_one_sentence_and_the_next_call_resumes(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = "six==1.17.0 --hash=sha256:" + "0" * 64
    (place / "tools.lock").write_text(hashed)
    monkeypatch.setenv("PIP_INDEX_URL", NOBODY.replace("://", "://user:password@"))
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setattr(private_glibc, "is_needed", lambda: False)
    monkeypatch.setattr(sys, "executable", BASE_PYTHON)
    assert install.main() == 1
    output = _output(capsys)
    assert "cannot download the installer (uv) from the Python package registry" in output
    assert ".venv.log" in output
    assert "user:password" not in output + (place / ".venv.log").read_text()
    assert not (place / ".venv" / "interpreter.stamp").exists()


def test_an_interrupted_setup_resumes_at_its_stage(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def make_interpreter() -> None:
        calls.append("interpreter")
        (place / ".venv").mkdir()

    def install_packages() -> None:
        calls.append("packages")
        if len(calls) < 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(install, "make_interpreter", make_interpreter)
    monkeypatch.setattr(install, "install_packages", install_packages)
    assert install.main() == 130
    assert "run the same command again to finish" in _output(capsys)
    assert install.main() == 0
    assert install.main() == 0
    assert calls == ["interpreter", "packages", "packages"]
    (place / "requirements.lock").write_text("# something new")
    assert install.main() == 0
    assert calls[3:] == ["packages"]


def test_an_optional_stage_runs_only_if_it_is_named(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(install, "make_interpreter", (place / ".venv").mkdir)
    monkeypatch.setattr(install, "install_packages", lambda: None)
    stages: list[tuple[str, Any, list[Path]]] = [
        (name, functools.partial(calls.append, name), []) for name in ("audit", "fuzz")
    ]
    monkeypatch.setattr(install, "OPTIONAL_STAGES", stages)
    assert install.main() == 0
    assert calls == []
    assert [install.main("audit"), install.main("audit")] == [0, 0]
    assert calls == ["audit"]


@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), (["everything"], 2)])
def test_other_arguments_install_nothing(arguments: list[str], code: int) -> None:
    command = [sys.executable, install.__file__, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert all(name in done.stdout + done.stderr for name in ("audit", "fuzz", "image"))


def test_pips_registry_and_certificate_are_handed_to_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", NOBODY)
    monkeypatch.setenv("PIP_CERT", "/certificates.pem")
    settings = install.uv_settings()
    assert settings["UV_DEFAULT_INDEX"] == NOBODY
    assert settings["SSL_CERT_FILE"] == "/certificates.pem"
    monkeypatch.delenv("PIP_CERT")  # no certificate in pip's settings: the system's list
    monkeypatch.setattr(install, "SYSTEM_CERTIFICATES", ("/gone.pem", __file__))
    assert install.uv_settings()["SSL_CERT_FILE"] == __file__
    monkeypatch.setenv("UV_DEFAULT_INDEX", "the user's own")
    assert "UV_DEFAULT_INDEX" not in install.uv_settings()


def test_the_locks_have_a_hash_for_everything_and_no_address() -> None:
    root = BOOTSTRAP.parent
    for path in (root / "requirements.lock", *BOOTSTRAP.glob("*.lock")):
        text = path.read_text()
        assert "://" not in text
        blocks = [block for block in text.replace("\\\n", " ").splitlines() if "==" in block]
        assert blocks
        assert all("--hash=sha256:" in block for block in blocks)

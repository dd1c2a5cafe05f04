"""The wheel works outside the repository; its client needs only the packages of its extra."""

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from doubles.model_server import available, started, wait_for
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that contains the files of the wheel, as pip unpacks them."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=PROJECT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def _packages_of(extra: str) -> set[str]:
    """The distributions that `pip install mnist-tfx[EXTRA]` installs."""
    found: set[str] = set()
    waiting = [Requirement(f"mnist-tfx[{extra}]")]
    while waiting:
        requirement = waiting.pop()
        for text in metadata.requires(canonicalize_name(requirement.name)) or ():
            needed = Requirement(text)
            name = canonicalize_name(needed.name)
            contexts = [{"extra": extra} for extra in requirement.extras or {""}]
            is_needed = needed.marker is None or any(map(needed.marker.evaluate, contexts))
            if is_needed and name not in found:
                found.add(name)
                waiting.append(needed)
    return found


def _link(name: str, site: Path) -> None:
    """Makes the modules of a distribution importable from a folder, and nothing else."""
    distribution = metadata.distribution(name)
    for file in distribution.files or ():
        # A namespace such as `google` is shared: link what is below it.
        depth = 2 if file.parts[0] == "google" else 1
        link = site.joinpath(*file.parts[:depth])
        if ".." not in file.parts and not link.exists():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(Path(str(distribution.locate_file(Path(*file.parts[:depth])))))


@pytest.fixture
def address(tmp_path: Path, exported_model: Path) -> Iterator[str]:
    """A server of one model."""
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "1").symlink_to(exported_model)
    with started(
        tmp_path, f"--model_base_path={tmp_path / 'mnist'}", "--model_name=mnist"
    ) as server:
        wait_for(lambda: available(server, "mnist", 1), server)
        yield server.address


def test_the_client_extra_installs_no_tensorflow() -> None:
    packages = _packages_of("client")
    assert {"grpcio", "numpy", "pillow", "protobuf"} <= packages
    assert not packages & {"tensorflow", "tensorflow-serving-api", "tfx", "apache-beam", "kfp"}


@pytest.mark.cold
def test_the_client_runs_with_the_packages_of_its_extra(
    installed: Path, address: str, tmp_path: Path
) -> None:
    site = tmp_path / "client"
    for name in _packages_of("client"):
        _link(name, site)
    code = f"""
import sys
sys.path[:0] = [{str(installed)!r}, {str(site)!r}]
import numpy as np
import serving.images
from serving.client import Client
assert serving.client.__file__.startswith({str(installed)!r})
with Client({address!r}, "mnist", timeout_s=60) as client:
    answer = client.predict(np.zeros((2, 28, 28), np.uint8))
print(answer.version, answer.probabilities.shape)
"""
    # -S: without the site-packages of this environment.
    command = [sys.executable, "-I", "-S", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("1 (2, 10)\n", "")


@pytest.mark.cold
def test_the_command_line_runs_outside_the_repository(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(installed))  # comes before the editable installation
    code = "import pipeline; print(pipeline.__path__)\n"
    code += "from pipeline.cli.entry_point import main; main()"
    command = [sys.executable, "-c", code, "compile", "--to", "kubeflow", "-o", "pipeline.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert str(installed) in done.stdout
    assert (tmp_path / "pipeline.yaml").stat().st_size > 10_000


def test_each_package_has_its_data_files(installed: Path) -> None:
    """Every file of the four packages is in the wheel, except what git ignores."""
    packages = ("components", "pipeline", "serving", "trainer")
    files = [
        str(path.relative_to(PROJECT))
        for package in packages
        for path in (PROJECT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".env"
    ]
    assert files
    assert [name for name in files if not (installed / name).is_file()] == []
    for package in packages:
        assert (installed / package / "py.typed").is_file()

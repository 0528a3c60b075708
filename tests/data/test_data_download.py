"""Downloads, from a server on this machine: whole, wrong, absent, hostile."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import tarfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from stanley.data import CIFAR10, MNIST, cifar10, download, mnist
from stanley.data.download import CIFAR10_FILES, FLOWERS102_FILES, MNIST_FILES, Remote, fetch


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """Its address and its folder."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = tmp_path / "site"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", folder
        server.shutdown()
        thread.join()


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def test_a_file_with_the_right_checksum(site: tuple[str, Path], tmp_path: Path) -> None:
    url, folder = site
    (folder / "a.bin").write_bytes(b"abc" * 1000)
    remote = Remote(url, "a.bin", md5(folder / "a.bin"), "deep/er")
    fetch([remote], tmp_path / "root")
    assert [p.read_bytes() for p in (tmp_path / "root" / "deep" / "er").iterdir()] == [
        b"abc" * 1000
    ]
    (folder / "a.bin").unlink()
    fetch([remote], tmp_path / "root")  # already there: not asked for again


def test_another_address(site: tuple[str, Path], tmp_path: Path) -> None:
    url, folder = site
    (folder / "a.bin").write_bytes(b"abc")
    fetch(
        [Remote("http://nowhere.invalid/", "a.bin", md5(folder / "a.bin"))],
        tmp_path / "root",
        base_url=url[:-1],
    )
    assert (tmp_path / "root" / "a.bin").read_bytes() == b"abc"


def test_a_wrong_checksum(site: tuple[str, Path], tmp_path: Path, refused) -> None:
    url, folder = site
    (folder / "a.bin").write_bytes(b"abc")
    wrong = "0" * 32
    with refused(f"{url}a.bin", md5(folder / "a.bin"), wrong, "deleted; try again"):
        fetch([Remote(url, "a.bin", wrong)], tmp_path / "root")
    assert list((tmp_path / "root").iterdir()) == []
    (tmp_path / "root" / "a.bin").write_bytes(b"old")
    with refused(tmp_path / "root" / "a.bin", wrong, "delete it and try again"):
        fetch([Remote(url, "a.bin", wrong)], tmp_path / "root")
    assert (tmp_path / "root" / "a.bin").read_bytes() == b"old"


def test_no_such_file_and_no_such_server(site: tuple[str, Path], tmp_path: Path, refused) -> None:
    url, _ = site
    with refused(f"cannot download {url}a.bin", "404", "check the connection"):
        fetch([Remote(url, "a.bin", "0" * 32)], tmp_path / "root")
    with refused("cannot download http://127.0.0.1:1/a.bin", "check the connection"):
        fetch([Remote("http://127.0.0.1:1/", "a.bin", "0" * 32)], tmp_path / "root")
    (tmp_path / "file").write_text("")
    with refused("file cannot be written", "choose another"):
        fetch([Remote(url, "a.bin", "0" * 32)], tmp_path / "file")


def pack(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def test_archives_are_unpacked_and_removed(site: tuple[str, Path], tmp_path: Path) -> None:
    url, folder = site
    pack(folder / "a.tgz", {"jpg/one": b"1", "jpg/two": b"2", "top": b"3"})
    for _ in range(2):  # the second time over what is there
        fetch([Remote(url, "a.tgz", md5(folder / "a.tgz"), "set")], tmp_path / "root")
        root = tmp_path / "root" / "set"
        found = {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
        assert found == {"jpg/one": b"1", "jpg/two": b"2", "top": b"3"}


def test_hostile_and_damaged_archives(site: tuple[str, Path], tmp_path: Path, refused) -> None:
    url, folder = site
    pack(folder / "a.tar.gz", {"../../evil": b"1"})
    with refused("cannot unpack", "a.tar.gz", "evil"):
        fetch([Remote(url, "a.tar.gz", md5(folder / "a.tar.gz"))], tmp_path / "root")
    assert not list(tmp_path.rglob("evil"))
    whole = (folder / "a.tar.gz").read_bytes()
    for i, content in enumerate([b"no archive", whole[: len(whole) // 2]]):
        (folder / f"b{i}.tgz").write_bytes(content)
        with refused("cannot unpack", f"b{i}.tgz", "delete it"):
            fetch([Remote(url, f"b{i}.tgz", md5(folder / f"b{i}.tgz"))], tmp_path / "root")


def test_progress_bar(
    site: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    url, folder = site
    (folder / "a.bin").write_bytes(b"abc" * 1000)
    monkeypatch.setattr(download.sys.stderr, "isatty", lambda: True, raising=False)
    fetch([Remote(url, "a.bin", md5(folder / "a.bin"))], tmp_path / "root")
    assert "a.bin" in capsys.readouterr().err


def test_cifar10_downloads_itself(
    site: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, folder = site
    record = bytes(range(256)) * 13
    names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    pack(
        folder / "c.tar.gz",
        {f"cifar-10-batches-bin/{name}": record[:3073] + record[1:3074] for name in names},
    )
    monkeypatch.setattr(
        cifar10, "CIFAR10_FILES", (Remote(url, "c.tar.gz", md5(folder / "c.tar.gz")),)
    )
    data = CIFAR10(root=str(tmp_path / "root"), download=True).load()
    assert data.train.shape == (10, 3, 32, 32)
    (folder / "c.tar.gz").unlink()
    # there already: nothing is asked for
    CIFAR10(root=str(tmp_path / "root"), download=True).load()


def test_mnist_downloads_what_is_missing(
    site: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, folder = site
    content = gzip.compress(struct.pack(">4i", 2051, 3, 28, 28) + bytes(range(147)) * 16, mtime=0)
    for remote in MNIST_FILES:
        (folder / remote.name).write_bytes(content)
    sums = hashlib.md5(content).hexdigest()
    files = tuple(Remote(url, remote.name, sums, remote.folder) for remote in MNIST_FILES)
    monkeypatch.setattr(mnist, "MNIST_FILES", files)
    monkeypatch.setenv("STANLEY_CACHE", str(tmp_path / "cache"))
    assert MNIST(download=True).load().train.shape == (3, 1, 28, 28)
    (tmp_path / "cache" / "MNIST" / "raw" / "t10k-images-idx3-ubyte.gz").unlink()
    assert MNIST(download=True).load().test.shape == (3, 1, 28, 28)


def test_official_addresses_are_https_and_checksums_whole() -> None:
    for remote in (*CIFAR10_FILES, *FLOWERS102_FILES, *MNIST_FILES):
        assert remote.base_url.startswith("https://")
        assert remote.base_url.endswith("/")
        assert len(bytes.fromhex(remote.checksum)) == 16


def test_a_sha256_is_checked_as_one(tmp_path: Path, refused) -> None:
    """A checksum of 64 digits: accepted where it is the file's, refused otherwise."""
    (tmp_path / "a.bin").write_bytes(b"weights")
    right = hashlib.sha256(b"weights").hexdigest()
    fetch([Remote("http://nowhere.invalid/", "a.bin", right)], tmp_path)
    with refused(f"sha256 {right}", "0" * 64):
        fetch([Remote("http://nowhere.invalid/", "a.bin", "0" * 64)], tmp_path)

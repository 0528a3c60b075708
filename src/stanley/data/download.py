"""Where a data set is on disk, and the download of its official files, with their checksums."""

from __future__ import annotations

import os
import shutil
import sys
import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stanley.errors import StanleyError, require
from stanley.files import scratch, sweep
from stanley.progress import terminal


@dataclass(frozen=True)
class Remote:
    """One official file: its name under `base_url`, its checksum, and its folder under data.root.

    The checksum is an MD5 (32 digits) or a SHA-256 (64), whichever its publisher states. An archive
    is unpacked in `folder` and then removed; any other file is kept there.
    """

    base_url: str
    name: str
    checksum: str
    folder: str = ""


_CIFAR = "https://www.cs.toronto.edu/~kriz/"
_FLOWERS = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"
_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist/"

CIFAR10_FILES = (Remote(_CIFAR, "cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"),)
FLOWERS102_FILES = (
    Remote(_FLOWERS, "102flowers.tgz", "52808999861908f626f3c1f4e79d11fa", "flowers-102"),
    Remote(_FLOWERS, "imagelabels.mat", "e0620be6f572b9609742df49c70aed4d", "flowers-102"),
    Remote(_FLOWERS, "setid.mat", "a5357ecc9cb78c4bef273ce3793fc85c", "flowers-102"),
)
MNIST_FILES = (
    Remote(_MNIST, "train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873", "MNIST/raw"),
    Remote(_MNIST, "train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432", "MNIST/raw"),
    Remote(_MNIST, "t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3", "MNIST/raw"),
    Remote(_MNIST, "t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c", "MNIST/raw"),
)


def expand(path: str, name: str) -> Path:
    """The path with its ~ replaced by a home folder."""
    require("\0" not in path, f"{name} holds a null byte; no file has such a name")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise StanleyError(
            f"{name} is {path}, whose home folder is not known; write the path in full, or set HOME"
        ) from error


def cache_dir() -> Path:
    """$STANLEY_CACHE, else $XDG_CACHE_HOME/stanley, else ~/.cache/stanley."""
    if own := os.environ.get("STANLEY_CACHE"):
        return expand(own, "$STANLEY_CACHE")
    return expand(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "the cache folder") / "stanley"


@dataclass(frozen=True)
class Layout:
    """One way to store a data set under its root: files that must all be in `folder`."""

    folder: str
    names: tuple[str, ...]

    def missing(self, root: Path) -> list[str]:
        return [name for name in self.names if not (root / self.folder / name).exists()]


def locate(
    what: str, root: str | None, download: bool, layouts: Sequence[Layout], files: Sequence[Remote]
) -> tuple[Path, Layout]:
    """The folder that holds the data set, and its layout there; `download` fetches what is missing.

    `root` is the cache folder where it is None. A more complete layout is preferred, and then the
    earlier one. Raises StanleyError where files are missing.
    """
    base = expand(root, "data.root") if root is not None else cache_dir()
    found = min(layouts, key=lambda layout: len(layout.missing(base)) / len(layout.names))
    if found.missing(base) and download:
        fetch(files, base)
        found = min(layouts, key=lambda layout: len(layout.missing(base)) / len(layout.names))
    missing = found.missing(base)
    if len(missing) == len(found.names):
        where = f"data.root {base}" if root is not None else f"data.root is not set, and {base}"
        looked = ", ".join(dict.fromkeys(str(Path(x.folder) / x.names[0]) for x in layouts))
        raise StanleyError(
            f"{where} holds no {what} ({looked} were looked for); pass --data.root, or train with"
            " --data.download true"
        )
    folder = base / found.folder
    require(
        not missing,
        f"{folder} lacks {', '.join(missing)}, so {what} is incomplete; add them, or pass"
        " --data.download true",
    )
    sweep(folder)
    return folder, found


def fetch(files: Sequence[Remote], root: Path, base_url: str | None = None) -> None:
    """Download the files under `root`; a `base_url`, of a mirror, replaces that of each file.

    A file that is there with the right checksum is kept. A file gets its name only when it is
    complete.
    """
    require(
        hasattr(tarfile, "data_filter"),
        f"Python {sys.version.split()[0]} cannot unpack archives safely; update it to 3.10.12,"
        " 3.11.4 or later",
    )
    for remote in files:
        target = root / remote.folder / remote.name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StanleyError(
                f"data.root {root} cannot be written: {error}; choose another folder"
            ) from error
        if target.exists():
            check(target, remote.checksum, str(target), "delete it and try again")
        else:
            url = (base_url or remote.base_url).rstrip("/") + "/" + remote.name
            _download(url, target, remote.checksum)
        if target.name.endswith((".tgz", ".tar.gz")):
            _unpack(target)


def _download(url: str, target: Path, checksum: str) -> None:
    import pooch

    with scratch(target.parent) as folder:
        part = folder / target.name
        bar = _Bar(target.name) if sys.stderr.isatty() else None
        opened: list[Any] = []  # pooch leaves a refused response open
        hooks = {"response": lambda response, *_, **__: opened.append(response)}
        try:
            pooch.HTTPDownloader(progressbar=bar, hooks=hooks)(url, str(part), None)  # pyright: ignore[reportArgumentType]
        except OSError as error:  # requests' own errors are OSErrors too
            reason = " ".join(str(error).split())
            raise StanleyError(
                f"cannot download {url}: {reason}; check the connection, or put the file into"
                f" {target.parent}"
            ) from error
        finally:
            for closes in (*opened, *([bar] if bar is not None else [])):
                closes.close()
        check(
            part,
            checksum,
            url,
            f"the download was deleted; try again, or put the file into {target.parent}",
        )
        part.replace(target)


def check(path: Path, checksum: str, name: str, advice: str) -> None:
    import pooch

    kind = "sha256" if len(checksum) == 64 else "md5"
    require(path.is_file(), f"{name} is not a file; {advice}")
    got = pooch.file_hash(str(path), alg=kind)
    require(got == checksum, f"{name} has {kind} {got} instead of {checksum}; {advice}")


def _unpack(archive: Path) -> None:
    """Unpack an archive into its folder, once all files are complete, and remove it."""
    with scratch(archive.parent) as folder:
        try:
            with tarfile.open(archive, "r:gz") as tar:
                tar.extractall(folder, filter="data")
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            reason = " ".join(str(error).split())
            raise StanleyError(
                f"cannot unpack {archive}: {reason}; delete it and try again"
            ) from error
        for path in sorted(folder.rglob("*")):
            target = archive.parent / path.relative_to(folder)
            if path.is_dir():
                target.mkdir(exist_ok=True)
            else:
                shutil.move(path, target)
    archive.unlink()


class _Bar:
    """A progress bar of rich with the interface that pooch expects."""

    def __init__(self, name: str) -> None:
        from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

        columns = (*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn())
        self._progress = Progress(*columns, console=terminal())
        self._task = self._progress.add_task(name)
        self._progress.start()
        self.total = 0

    def update(self, n: int) -> None:
        self._progress.update(self._task, advance=n, total=self.total)

    def reset(self) -> None:
        self._progress.reset(self._task)

    def close(self) -> None:
        self._progress.stop()

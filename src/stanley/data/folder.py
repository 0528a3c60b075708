"""A folder of pictures, of any size, mode and nesting."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from stanley.data.base import Dataset, held_out_order, require_variety
from stanley.data.download import cache_dir, expand
from stanley.data.images import named, read_squares, refuse
from stanley.errors import StanleyError, require
from stanley.files import scratch, sweep, sync_folder, write_json
from stanley.reading import read_json

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class Folder:
    """The pictures under `path`: their central squares, averaged down to `size` pixels a side.

    These are the files with one of SUFFIXES, also in subfolders; hidden names and links to folders
    are left out. Their sorted list is permuted by `seed`, and the last share `held_out` of it,
    rounded up, is for testing. Where the decoded pictures take more than `memory_limit_mb`, they
    are written to a file under `cache` (default: $STANLEY_CACHE or ~/.cache/stanley) and read from
    there as they are drawn. The file is named by a hash of the pictures' names, times and sizes,
    and may be deleted. Pictures that are damaged or too small are named and skipped, or with
    `skip_bad` false refused.
    """

    path: str | None = None  # folder of images
    size: int = 64  # pixels a side
    channels: Literal[1, 3] = 3  # 1 for grey, 3 for colour
    flip: bool = True  # mirror training images at random
    held_out: float = 0.1  # share that is held out
    seed: int = 0  # seed of the order
    memory_limit_mb: int = 2048  # above this the decoded images go to a file
    cache: str | None = None  # folder of that file; null for ~/.cache/stanley
    skip_bad: bool = True  # skip pictures that cannot be used; false refuses them
    kind: Literal["folder"] = "folder"

    def __post_init__(self) -> None:
        require(self.size >= 1, f"data.size is {self.size}, but must be at least 1; use 32 or 64")
        require(
            self.channels in (1, 3),
            f"data.channels is {self.channels}, but must be 1 (grey) or 3 (colour)",
        )
        limit = self.memory_limit_mb
        require(
            limit >= 0,
            f"data.memory_limit_mb is {limit}, but must be at least 0; 0 always uses the cache",
        )

    def load(self) -> Dataset:
        require(self.path is not None, "data.path is not set; pass --data.path FOLDER of pictures")
        root = expand(self.path or "", "data.path")
        files = _pictures(root)
        order, num_train = held_out_order(len(files), self.held_out, self.seed, f"data.path {root}")
        files = [files[i] for i in order.tolist()]
        shape = (len(files), self.channels, self.size, self.size)
        streamed = bool(np.prod(shape, dtype=np.int64) > self.memory_limit_mb * 2**20)
        if streamed:
            folder = expand(self.cache, "data.cache") if self.cache is not None else cache_dir()
            images, bad = _cached(files, shape, folder, root)
        else:
            whole = np.empty(shape, np.uint8)
            bad = read_squares(files, whole, root.name)
            images = np.delete(whole, list(bad), 0) if bad else whole
        num_train -= sum(i < num_train for i in bad)
        if bad:
            if not self.skip_bad or num_train < 2 or len(images) == num_train:
                refuse(bad, len(files))
            warnings.warn(
                f"skipped {len(bad)} of {len(files)} pictures: {named(bad)}; --data.skip-bad false"
                f" refuses them",
                stacklevel=2,
            )
        rows = torch.from_numpy(images)
        require_variety(rows, f"data.path {root}")
        return Dataset(rows[:num_train], rows[num_train:], flip=self.flip, streamed=streamed)


def _pictures(root: Path) -> list[Path]:
    require(root.is_dir(), f"data.path {root} is not a folder; pass --data.path FOLDER of pictures")
    files = []

    def refuse(error: OSError) -> None:
        raise StanleyError(
            f"{error.filename} under data.path {root} cannot be listed: {error.strerror}; change"
            " its permissions"
        )

    for where, folders, names in os.walk(root, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [
            Path(where, n) for n in names if n.lower().endswith(SUFFIXES) and not n.startswith(".")
        ]
    require(
        files,
        f"data.path {root} holds no picture, nor do its subfolders; the suffixes of pictures are"
        f" {' '.join(SUFFIXES)}",
    )
    return sorted(files)


def _cached(
    files: Sequence[Path], shape: tuple[int, ...], folder: Path, root: Path
) -> tuple[np.ndarray, dict[int, str]]:
    """The decoded pictures as a copy-on-write memory map of a .npy file, made if it is missing.

    The second value says why a picture is not in it. It is kept beside the file, in a .json.
    """
    stats = [(str(f.relative_to(root)), *_size_and_time(f)) for f in files]
    key = hashlib.sha256(json.dumps([2, str(root.resolve()), shape, stats]).encode()).hexdigest()
    path = folder / f"folder-{key[:24]}.npy"
    if path.exists():
        sweep(folder)
    else:
        _write_cache(files, shape, path, root.name)
    about = path.with_suffix(".json")
    cure = "delete it, and it will be written again"
    kept = read_json(about, dict[str, str], cure) if about.exists() else {}
    bad = {int(i): reason for i, reason in kept.items() if i.isdecimal()}
    try:
        images = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise StanleyError(f"cannot map {path}: {error}; {cure}") from error
    shape = (shape[0] - len(bad), *shape[1:])
    good = images.shape == shape and images.dtype == np.uint8
    require(good, f"{path} holds {images.dtype} {images.shape} instead of uint8 {shape}; delete it")
    return images, bad


def _size_and_time(file: Path) -> tuple[int, int]:
    """Of a file that cannot be looked at, such as a link to nothing, -1: reading it says why."""
    try:
        about = file.stat()
    except OSError:
        return -1, -1
    return about.st_size, about.st_mtime_ns


def _write_cache(files: Sequence[Path], shape: tuple[int, ...], path: Path, name: str) -> None:
    """Decode into a temporary file, sync it and rename it: the cache is complete or absent."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StanleyError(
            f"data.cache {path.parent} cannot be made: {error.strerror}; choose another folder"
        ) from error
    need, free = int(np.prod(shape, dtype=np.int64)), shutil.disk_usage(path.parent).free
    require(
        need < free,
        f"data.cache {path.parent} has {free / 2**20:.0f} MB free, but the pictures take "
        f"{need / 2**20:.0f} MB; choose another folder or a smaller data.size",
    )
    try:
        with scratch(path.parent) as folder:
            part = folder / path.name
            images = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape)
            bad = read_squares(files, images, name)
            if bad:
                part, images = _without(bad, images, part)
                reasons = {str(i): reason for i, reason in bad.items()}
                write_json(path.with_suffix(".json"), reasons)
            images.flush()
            del images
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            part.replace(path)
            sync_folder(path.parent)
    except OSError as error:
        raise StanleyError(
            f"data.cache {path.parent} cannot be written: {error.strerror}; choose another folder"
        ) from error


def _without(bad: dict[int, str], images: np.ndarray, part: Path) -> tuple[Path, np.memmap]:
    """A memory map of the other rows, in a file beside the first one."""
    kept = [i for i in range(len(images)) if i not in bad]
    smaller = part.with_suffix(".fewer")
    shape = (len(kept), *images.shape[1:])
    rows = np.lib.format.open_memmap(smaller, mode="w+", dtype=np.uint8, shape=shape)
    for new, old in enumerate(kept):
        rows[new] = images[old]
    return smaller, rows

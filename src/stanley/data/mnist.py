"""MNIST from its official idx files, gzipped or not. LeCun, Bottou, Bengio & Haffner (1998)."""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from stanley.data.base import Dataset, class_labels, first_rows, of_class, require_variety
from stanley.data.download import MNIST_FILES, Layout, locate
from stanley.data.images import area_downsample
from stanley.errors import StanleyError, require

_GZ = ("train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz")
_PLAIN = ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte")
_LAYOUTS = tuple(
    Layout(folder, names) for folder in ("MNIST/raw", "raw", "") for names in (_PLAIN, _GZ)
)
_MAGIC = 2051  # unsigned bytes in three dimensions
_LABELS_MAGIC = 2049  # unsigned bytes in one


@dataclass(frozen=True)
class MNIST:
    """60,000 + 10,000 handwritten digits, 1×28×28.

    root       the folder that holds `MNIST/raw` or `raw`, or that folder itself
    download   whether to download the official files where they are missing
    size       pixels on a side: averages over areas below 28, a black border above; 32 suits
               networks that halve their input
    limit      train on this many images only, the first of a fixed permutation
    label      keep this digit only, before the limit

    Images are never mirrored: a mirrored digit is not a digit.
    """

    root: str | None = None  # folder that holds the official files
    download: bool = False  # download the official files where they are missing
    size: int = 28  # pixels a side
    limit: int | None = None  # number of images to train on; null for all
    label: int | None = None  # digit to keep; null for all
    kind: Literal["mnist"] = "mnist"

    def __post_init__(self) -> None:
        require(self.size >= 1, f"data.size is {self.size}, but must be at least 1; use 28 or 32")
        label = self.label
        require(
            label is None or 0 <= label <= 9,
            f"data.label is {label}, but must be 0 to 9; leave it out to use all digits",
        )

    def load(self) -> Dataset:
        folder, layout = locate("MNIST", self.root, self.download, _LAYOUTS, MNIST_FILES)
        train, test = (_read_idx(folder / name) for name in layout.names)
        if self.label is not None:
            pairs = zip((train, test), self._all_labels(), strict=True)
            train, test = (of_class(x, y, self.label, str(folder)) for x, y in pairs)
        train = first_rows(train, self.limit, str(folder))
        require_variety(train, str(folder))
        return Dataset(self._resize(train), self._resize(test))

    def labels(self) -> tuple[Tensor, Tensor]:
        """The digits 0..9, int64 (N,), of training and test images in the order of `load()`."""
        train, test = self._all_labels()
        if self.label is not None:
            train, test = (of_class(y, y, self.label, "MNIST") for y in (train, test))
        return first_rows(train, self.limit, "MNIST"), test

    def _all_labels(self) -> list[Tensor]:
        """The labels of all training and test images, whatever `label` and `limit` are."""
        folder, layout = locate("MNIST", self.root, self.download, _LAYOUTS, MNIST_FILES)
        return [
            _read_labels(folder / name.replace("images-idx3", "labels-idx1"))
            for name in layout.names
        ]

    def _resize(self, images: Tensor) -> Tensor:
        if self.size <= 28:
            return area_downsample(images, self.size)
        before = (self.size - 28) // 2
        after = self.size - 28 - before
        return pad(images, (before, after, before, after))


def _open(path: Path) -> gzip.GzipFile | BufferedReader:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def _read_labels(path: Path) -> Tensor:  # int64 (N,)
    try:
        with _open(path) as file:
            content = file.read()
    except (EOFError, zlib.error, OSError) as error:
        raise StanleyError(
            f"{path} cannot be read: {error}; delete it and download it again"
        ) from error
    magic, count = struct.unpack(">2i", content[:8]) if len(content) >= 8 else (0, 0)
    require(
        magic == _LABELS_MAGIC and count == len(content) - 8,
        f"{path} is not a complete file of MNIST labels: it has {len(content)} bytes, magic number "
        f"{magic} instead of {_LABELS_MAGIC}, and {count} labels by its header; "
        "delete it and download it again",
    )
    return class_labels(
        torch.from_numpy(np.frombuffer(content, np.uint8, offset=8).copy()), str(path)
    )


def _read_idx(path: Path) -> Tensor:  # uint8 (N, 1, 28, 28)
    try:
        with _open(path) as file:
            header = file.read(16)
            require(
                len(header) == 16,
                f"{path} ends after {len(header)} bytes; delete it and download it again",
            )
            magic, count, rows, columns = struct.unpack(">4i", header)
            require(
                (magic, rows, columns) == (_MAGIC, 28, 28) and count > 0,
                f"{path} has magic number {magic} and shape {count}×{rows}×{columns} instead of "
                f"{_MAGIC} and N×28×28, so it is not a file of MNIST images; "
                "delete it and download it again",
            )
            data = file.read()
    except (EOFError, zlib.error, OSError) as error:
        raise StanleyError(
            f"{path} cannot be read: {error}; delete it and download it again"
        ) from error
    require(
        len(data) == count * 784,
        f"{path} holds {len(data)} bytes of pixels, but the {count} images in its header take "
        f"{count * 784}; delete it and download it again",
    )
    return torch.from_numpy(np.frombuffer(data, np.uint8).copy()).reshape(count, 1, 28, 28)

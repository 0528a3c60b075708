"""CIFAR-10 from its official files, binary or Python version. Krizhevsky (2009)."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from stanley.data.base import Dataset, class_labels, first_rows, of_class, require_variety
from stanley.data.download import CIFAR10_FILES, Layout, locate
from stanley.data.images import area_downsample
from stanley.errors import StanleyError, require

_BINARY = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
_PYTHON = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
_LAYOUTS = (
    Layout("cifar-10-batches-bin", _BINARY),
    Layout("cifar-10-batches-py", _PYTHON),
    Layout("", _BINARY),
    Layout("", _PYTHON),
)
_RECORD = 1 + 3 * 32 * 32  # a label, then the red, green and blue planes


@dataclass(frozen=True)
class CIFAR10:
    """50,000 + 10,000 photographs, 3×32×32.

    root       the folder that holds `cifar-10-batches-bin` or `cifar-10-batches-py`, or one of
               these
    download   whether to download the official files where they are missing
    size       pixels on a side; below 32 they are averages over areas
    flip       whether to mirror images at random
    limit      train on this many images only, the first of a fixed permutation
    label      keep this class only, before the limit: 0 airplane, 1 automobile, 2 bird, 3 cat,
               4 deer, 5 dog, 6 frog, 7 horse, 8 ship, 9 truck
    """

    root: str | None = None  # folder that holds the official files
    download: bool = False  # download the official files where they are missing
    size: int = 32  # pixels a side
    flip: bool = True  # mirror training images at random
    limit: int | None = None  # number of images to train on; null for all
    label: int | None = None  # class to keep, 0 to 9; null for all
    kind: Literal["cifar10"] = "cifar10"

    def __post_init__(self) -> None:
        require(
            1 <= self.size <= 32,
            f"data.size is {self.size}, but must be 1 to 32: the images have 32×32 pixels",
        )
        label = self.label
        require(
            label is None or 0 <= label <= 9,
            f"data.label is {label}, but must be 0 to 9; leave it out to use all classes",
        )

    def load(self) -> Dataset:
        folder, layout = locate("CIFAR-10", self.root, self.download, _LAYOUTS, CIFAR10_FILES)
        read = _read_binary if layout.names is _BINARY else _read_python
        *batches, test = [read(folder / name) for name in layout.names]
        train, held_out = (
            torch.from_numpy(np.concatenate(batches)),
            torch.from_numpy(np.ascontiguousarray(test)),
        )
        if self.label is not None:
            pairs = zip((train, held_out), self._all_labels(), strict=True)
            train, held_out = (of_class(x, y, self.label, str(folder)) for x, y in pairs)
        train = first_rows(train, self.limit, str(folder))
        require_variety(train, str(folder))
        return Dataset(
            area_downsample(train, self.size), area_downsample(held_out, self.size), flip=self.flip
        )

    def labels(self) -> tuple[Tensor, Tensor]:
        """The classes 0..9, int64 (N,), of training and test images in the order of `load()`."""
        train, test = self._all_labels()
        if self.label is not None:
            train, test = (of_class(y, y, self.label, "CIFAR-10") for y in (train, test))
        return first_rows(train, self.limit, "CIFAR-10"), test

    def _all_labels(self) -> tuple[Tensor, Tensor]:
        """The labels of all training and test images, whatever `label` and `limit` are."""
        folder, layout = locate("CIFAR-10", self.root, self.download, _LAYOUTS, CIFAR10_FILES)
        read = _binary_labels if layout.names is _BINARY else _python_labels
        *batches, test = [read(folder / name) for name in layout.names]
        return torch.cat(batches), test


def _read_binary(path: Path) -> np.ndarray:  # uint8 (N, 3, 32, 32)
    return _records(path)[:, 1:].reshape(-1, 3, 32, 32)


def _binary_labels(path: Path) -> Tensor:
    return class_labels(torch.from_numpy(_records(path)[:, 0].copy()), str(path))


def _python_labels(path: Path) -> Tensor:
    batch = _unpickled(path)
    values = batch.get(b"labels", batch.get("labels")) if isinstance(batch, dict) else None
    count = len(_read_python(path))
    good = isinstance(values, list) and len(values) == count and all(type(v) is int for v in values)
    require(
        good, f"{path} lacks a list of {count} labels as b'labels'; delete it and download it again"
    )
    return class_labels(torch.tensor(values), str(path))


def _records(path: Path) -> np.ndarray:  # uint8 (N, 3073)
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise StanleyError(
            f"{path} cannot be read: {error.strerror or error}; it must be a readable file"
        ) from error
    require(
        len(data) > 0 and len(data) % _RECORD == 0,
        f"{path} has {len(data)} bytes, which is not a multiple of {_RECORD} (the official files "
        f"have {10_000 * _RECORD}); delete it and download it again",
    )
    return data.reshape(-1, _RECORD)


def _unpickled(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return _ArrayUnpickler(file, encoding="bytes").load()
    except StanleyError as error:
        raise StanleyError(f"{path} {error}") from None
    # a damaged pickle can ask for anything: a missing attribute, too much memory
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise StanleyError(
            f"{path} is not a CIFAR-10 batch: {reason}; delete it and download it again"
        ) from error


def _read_python(path: Path) -> np.ndarray:  # uint8 (N, 3, 32, 32)
    batch = _unpickled(path)
    data = batch.get(b"data", batch.get("data")) if isinstance(batch, dict) else None
    good = (
        isinstance(data, np.ndarray)
        and data.dtype == np.uint8
        and data.shape[1:] == (3072,)
        and len(data) > 0
    )
    if not isinstance(data, np.ndarray) or not good:
        got = f"{data.dtype} {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        raise StanleyError(
            f"{path} has {got} as b'data', but must have uint8 (N, 3072); delete it and download it"
            " again"
        )
    return data.reshape(-1, 3, 32, 32)


def _dtype(spec: Any, align: object = False, copy: object = False) -> np.dtype:
    # old pickles say 0 and 1 where numpy wants booleans
    return np.dtype(spec, align=bool(align), copy=bool(copy))


class _ArrayUnpickler(pickle._Unpickler):  # type: ignore[name-defined]  # in Python: C sets memory aside unread
    """Unpickles containers, numbers and numpy arrays, and imports nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        own = module.replace("numpy._core", "numpy.core")
        if (own, name) == ("numpy.core.multiarray", "_reconstruct"):
            return np.empty(0).__reduce__()[0]
        if (own, name) == ("numpy.core.numeric", "_frombuffer"):  # protocol 5
            return np.empty(0).__reduce_ex__(5)[0]
        if (own, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (own, name) == ("numpy", "dtype"):
            return _dtype
        if (own, name) == ("_codecs", "encode"):
            return _latin1
        raise StanleyError(
            f"needs {module}.{name}, which is refused, because a CIFAR-10 batch holds numpy arrays "
            "only; delete it and download the official file"
        )


def _latin1(text: str, encoding: str) -> bytes:
    """Bytes as Python 3 writes them in pickle protocol 2."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding!r} in a pickled array")
    return text.encode("latin1")

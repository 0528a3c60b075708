"""Oxford Flowers-102 from its official files. Nilsback & Zisserman (2008)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from stanley.data.base import Dataset, of_class, require_variety
from stanley.data.download import FLOWERS102_FILES, Layout, check, locate
from stanley.data.images import read_squares, refuse
from stanley.errors import StanleyError, require

_NAMES = ("setid.mat", "jpg")
_LAYOUTS = (Layout("flowers-102", _NAMES), Layout("", _NAMES))


@dataclass(frozen=True)
class Flowers102:
    """8,189 photographs of flowers: their central squares, averaged down to `size` pixels a side.

    The official splits in `setid.mat` are trnid (1,020 images), valid (1,020) and tstid (6,149).
    The first is too small to train on, so the default trains on trnid and tstid and tests on valid.
    `label` keeps one class only, 1 to 102 as in `imagelabels.mat`, which has 40 to 258 images.
    """

    root: str | None = None  # folder that holds the official files
    download: bool = False  # download the official files where they are missing
    size: int = 32  # pixels a side
    flip: bool = True  # mirror training images at random
    train_splits: tuple[Literal["trnid", "valid", "tstid"], ...] = ("trnid", "tstid")  # to train on
    test_split: Literal["trnid", "valid", "tstid"] = "valid"  # official split that is held out
    label: int | None = None  # class to keep, 1 to 102; null for all
    kind: Literal["flowers102"] = "flowers102"

    def __post_init__(self) -> None:
        require(self.size >= 1, f"data.size is {self.size}, but must be at least 1; use 32 or 64")
        label = self.label
        require(
            label is None or 1 <= label <= 102,
            f"data.label is {label}, but must be 1 to 102; leave it out to use all classes",
        )
        known = {"trnid", "valid", "tstid"}
        good = self.train_splits and len(set(self.train_splits)) == len(self.train_splits)
        good = good and {*self.train_splits, self.test_split} <= known
        require(
            good and self.test_split not in self.train_splits,
            f"data.train_splits is {self.train_splits} and data.test_split is {self.test_split!r}, "
            "but they must be different ones of trnid, valid, tstid; leave both out for the"
            " default",
        )

    def load(self) -> Dataset:
        folder, _ = locate("Flowers-102", self.root, self.download, _LAYOUTS, FLOWERS102_FILES)
        ids = _read_splits(folder / "setid.mat")
        train = np.concatenate([ids[name] for name in self.train_splits])
        test = ids[self.test_split]
        if self.label is not None:
            labels = _read_labels(folder / "imagelabels.mat")
            train, test = (
                _of_class(numbers, labels, self.label, str(folder)) for numbers in (train, test)
            )
        paths = [folder / "jpg" / f"image_{number:05d}.jpg" for number in (*train, *test)]
        missing = [path for path in paths if not path.is_file()]
        require(
            not missing,
            f"{len(missing)} of {len(paths)} images in setid.mat are missing, first "
            f"{missing[0] if missing else ''}; "
            f"add them, or delete {folder} and pass --data.download true",
        )
        images = _decode(paths, self.size)
        require_variety(images, str(folder))
        return Dataset(images[: len(train)], images[len(train) :], flip=self.flip)


def _decode(paths: Sequence[Path], size: int) -> torch.Tensor:  # uint8 (N, 3, size, size)
    out = np.empty((len(paths), 3, size, size), np.uint8)
    bad = read_squares(paths, out, "Flowers-102")
    if bad:
        refuse(bad, len(paths))
    return torch.from_numpy(out)


def _of_class(numbers: np.ndarray, labels: torch.Tensor, label: int, source: str) -> np.ndarray:
    """The image numbers (from 1) of one class."""
    require(
        int(numbers.max()) <= len(labels),
        f"{source} has {len(labels)} labels, but setid.mat names image {int(numbers.max())}; "
        "delete both files and download them again",
    )
    rows = torch.from_numpy(numbers.astype(np.int64))
    return of_class(rows, labels[rows - 1], label, source).numpy()


#: Of the official files: on some that are damaged scipy's parser ends the process.
CHECKSUMS = {file.name: file.checksum for file in FLOWERS102_FILES}


def require_official(path: Path) -> None:
    check(path, CHECKSUMS[path.name], str(path), "delete it and download it again")


def _read_labels(path: Path) -> torch.Tensor:  # int64 (N,), of image 1, 2, …
    from scipy.io import loadmat

    require_official(path)
    try:
        labels = np.asarray(loadmat(path, variable_names=("labels",))["labels"]).ravel()
    except Exception as error:  # whatever the parser trips over in a damaged file
        reason = " ".join(str(error).split()) or type(error).__name__
        raise StanleyError(
            f"{path} cannot be read: {reason}; delete it and download it again"
        ) from error
    require(
        labels.dtype.kind in "iu",
        f"{path} holds labels of type {labels.dtype}, but they must be numbers; replace the file",
    )
    return torch.from_numpy(labels.astype(np.int64))


def _read_splits(path: Path) -> dict[str, np.ndarray]:
    from scipy.io import loadmat

    require_official(path)
    names = ("trnid", "valid", "tstid")
    try:
        mat = loadmat(path, variable_names=names)
        ids = {name: np.asarray(mat[name]).ravel() for name in names}
    except Exception as error:  # whatever the parser trips over in a damaged file
        reason = " ".join(str(error).split()) or type(error).__name__
        raise StanleyError(
            f"{path} cannot be read: {reason}; delete it and download it again"
        ) from error
    for name, values in ids.items():
        require(
            len(values) > 0 and values.dtype.kind in "iu",
            f"{path} has {len(values)} entries of type {values.dtype} in {name}, but they must be "
            "image numbers; replace the file",
        )
    return ids

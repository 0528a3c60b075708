"""Vectors or images from a numpy file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from stanley.data.base import Dataset, held_out_order
from stanley.data.download import expand
from stanley.errors import StanleyError, require

#: Standard deviations whose squares, and products with gradients, float32 can hold.
SCALE = (1e-12, 1e12)


@dataclass(frozen=True)
class Array:
    """Vectors or images from a `.npy` file, or from the array `key` of a `.npz` file.

    Floats (N, d) are N vectors, converted to float32. Bytes (uint8) are images: (N, H, W) are grey,
    (N, H, W, C) or (N, C, H, W) have C = 1 or 3 channels. The rows are permuted by `seed`, and the
    last share `held_out` of them, rounded up, is for testing. Pickled objects are never loaded.
    Not true: that anything is rescaled. Bring columns of very different scale to a common one
    first.
    """

    path: str | None = None  # .npy or .npz file
    key: str | None = None  # name of the array in a .npz file
    held_out: float = 0.1  # share that is held out
    seed: int = 0  # seed of the order
    kind: Literal["array"] = "array"

    def load(self) -> Dataset:
        advice = "pass --data.path FILE.npy or FILE.npz"
        require(self.path is not None, f"data.path is not set; {advice}")
        path = expand(self.path or "", "data.path")
        array = _read(path, self.key)
        require(
            array.size > 0,
            f"{path} has shape {array.shape}, which is empty; use an array with rows",
        )
        x = _images(array, path) if array.dtype == np.uint8 else _vectors(array, path)
        order, num_train = held_out_order(len(x), self.held_out, self.seed, str(path))
        rows = torch.from_numpy(np.ascontiguousarray(x))[order]
        return Dataset(rows[:num_train], rows[num_train:])


def _read(path: Path, key: str | None) -> np.ndarray:
    require(
        path.is_file(), f"data.path {path} is not a file; pass --data.path FILE.npy or FILE.npz"
    )
    try:
        with path.open("rb") as file:  # numpy leaves a damaged archive open
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                require(
                    key is None,
                    f"data.key is {key!r}, but {path} holds one array without a name; leave it out",
                )
                return loaded
            with loaded:
                names = loaded.files
                known = ", ".join(names)
                require(names, f"{path} holds no array; save one with numpy.savez")
                require(
                    key is None or key in names,
                    f"{path} holds no array {key!r}; set data.key to one of: {known}",
                )
                require(
                    key is not None or len(names) == 1,
                    f"{path} holds {len(names)} arrays; set data.key to one of: {known}",
                )
                return loaded[names[0] if key is None else key]
    except StanleyError:
        raise
    # whatever the parsers of headers and archives trip over in a damaged file
    except Exception as error:
        if "Object arrays" in str(error):
            reason = "it holds Python objects, which are never loaded; save an array of numbers"
        elif "allow_pickle" in str(error):  # numpy takes whatever it does not know for a pickle
            reason = "it is not a .npy or .npz file; save it with numpy.save or numpy.savez"
        else:
            reason = f"{' '.join(str(error).split())}; save it again with numpy.save or numpy.savez"
        raise StanleyError(f"cannot read {path}: {reason}") from error


def _images(array: np.ndarray, path: Path) -> np.ndarray:  # uint8 (N, C, H, W)
    wanted = "uint8 images must be (N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1 or 3"
    require(
        array.ndim in (3, 4),
        f"{path} holds uint8 {array.shape}, but {wanted}; vectors must be float",
    )
    require(
        (array != array.flat[0]).any(),
        f"{path} has {array.flat[0]} in every pixel, so nothing can be learned; use other data",
    )
    if array.ndim == 3:
        return array[:, None]
    first, last = array.shape[1] in (1, 3), array.shape[3] in (1, 3)
    require(first or last, f"{path} holds uint8 {array.shape}, but {wanted}")
    require(
        not (first and last),
        f"{path} holds uint8 {array.shape}, whose channels can be axis 1 or 3; pad the images",
    )
    return array if first else array.transpose(0, 3, 1, 2)


def _vectors(array: np.ndarray, path: Path) -> np.ndarray:  # float32 (N, d)
    require(
        array.dtype.kind == "f",
        f"{path} holds {array.dtype} {array.shape}, but must hold float vectors (N, d) or uint8 "
        "images; convert it with astype",
    )
    require(
        array.ndim == 2,
        f"{path} holds {array.dtype} {array.shape}, but float vectors must be (N, d), and images "
        "uint8; reshape or convert it",
    )
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes inf, and is refused below
        x = array.astype(np.float32)
    bad = ~np.isfinite(x)
    if bad.any():
        row = int(bad.any(1).argmax())
        raise StanleyError(
            f"{path} has {bad.sum()} NaN or infinite values in float32, the first in row {row};"
            " remove them"
        )
    constant = np.flatnonzero((x == x[0]).all(0))
    require(
        len(constant) < x.shape[1],
        f"{path} has the same row {len(x)} times, so nothing can be learned; use other data",
    )
    some = ", ".join(map(str, constant[:5])) + (", ..." if len(constant) > 5 else "")
    require(
        len(constant) == 0,
        f"{path} has {len(constant)} constant column(s) of {x.shape[1]}: {some}; remove them",
    )
    std = x.std(0, dtype=np.float64)
    require(
        std.min() > SCALE[0] and std.max() < SCALE[1],
        f"{path} has columns with standard deviations from {std.min():.2g} to {std.max():.2g}, but "
        f"they must lie in {SCALE[0]:g} to {SCALE[1]:g}; rescale the columns to about 1",
    )
    return x

"""Vectors or images from a table or a numpy file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from stanley.data.base import Dataset, held_out_order, standardised
from stanley.data.download import expand
from stanley.data.table import Table, chosen_columns, is_table, read_table
from stanley.errors import StanleyError, require

#: Standard deviations whose squares, and products with gradients, float32 can hold.
SCALE = (1e-12, 1e12)


#: `a,b`, or a list of names and numbers.
Columns = tuple[str | int, ...] | str | int | None


@dataclass(frozen=True)
class Array:
    """Vectors or images from a `.npy` file, the array `key` of a `.npz` file, or a `.csv` or `.tsv`
    file.

    Numbers (N, d) are N vectors, integers too. Bytes (uint8) with more axes are images: (N, H, W)
    are grey, (N, H, W, C) or (N, C, H, W) have C = 1 or 3 channels. The rows are permuted by
    `seed`, and the last share `held_out` of them, rounded up, is for testing. Pickled objects are
    never loaded.

    With `standardise` training sees z = (x - mean)/std of each column, over the training rows: see
    `Standardisation`. The run keeps both numbers, and its samples, scores and densities are those
    of x again; step sizes, `data_noise` and noise levels are in units of z. Images stay as they
    are.
    """

    path: str | None = None  # .csv, .tsv, .npy or .npz file
    key: str | None = None  # name of the array in a .npz file
    columns: Columns = None  # names of the columns to take, a,b, or numbers from 0; null: all
    header: bool | None = None  # whether the first line of a .csv names the columns; null: look
    standardise: bool = True  # train on each column less its mean, over its standard deviation
    held_out: float = 0.1  # share that is held out
    seed: int = 0  # seed of the order
    kind: Literal["array"] = "array"

    def load(self) -> Dataset:
        advice = "pass --data.path FILE, a .csv, .npy or .npz file"
        require(self.path is not None, f"data.path is not set; {advice}")
        path = expand(self.path or "", "data.path")
        table = read_array(path, self.key, self.header, self.chosen)
        require(
            table.rows.size > 0,
            f"{path} has shape {table.rows.shape}, which is empty; use an array with rows",
        )
        if is_images(table.rows):
            return self._split(replace(table, rows=_images(table.rows, path)), path)
        require_numbers(table, path)
        data = self._split(replace(table, rows=table.rows.astype(np.float64)), path)
        data = replace(data, columns=table.columns)
        return standardised(data, str(path)) if self.standardise else _as_float32(data, path)

    @property
    def chosen(self) -> tuple[str | int, ...] | None:
        """The columns to take; `a,b` names two."""
        if isinstance(self.columns, str):
            return tuple(name.strip() for name in self.columns.split(","))
        return (self.columns,) if isinstance(self.columns, int) else self.columns

    def _split(self, table: Table, path: Path) -> Dataset:
        order, num_train = held_out_order(len(table.rows), self.held_out, self.seed, str(path))
        x = torch.from_numpy(np.ascontiguousarray(table.rows))[order]
        places = replace(table, rows=table.rows[:0].copy())  # not the numbers again

        def row_name(row: int) -> str:
            return f"{path} {places.row_name(int(order[row]))}"

        return Dataset(x[:num_train], x[num_train:], row_name=row_name)


def read_array(
    path: Path,
    key: str | None = None,
    header: bool | None = None,
    columns: Sequence[str | int] | None = None,
) -> Table:
    """The numbers of a .csv, .tsv, .npy or .npz file, in the type that it has; `columns` of vectors
    alone.
    """
    require(
        path.is_file(),
        f"data.path {path} is not a file; pass --data.path FILE, a .csv, .npy or .npz file",
    )
    if is_table(path):
        require(
            key is None, f"data.key is {key!r}, but {path} is a table without arrays; leave it out"
        )
        return read_table(path, header, columns)
    require(
        header is None,
        f"data.header is {header}, but {path} holds an array, whose columns have no names; leave it"
        " out",
    )
    rows = _read(path, key)
    if columns is None:
        return Table(rows)
    require(
        rows.ndim == 2,
        f"data.columns is {','.join(map(str, columns))}, but {path} has shape {rows.shape}, not"
        " (N, d); leave it out",
    )
    return Table(rows[:, chosen_columns(path, None, rows.shape[1], columns)])


def is_images(rows: np.ndarray) -> bool:
    """Whether they are bytes with more axes than vectors have."""
    return rows.dtype == np.uint8 and rows.ndim != 2


def _read(path: Path, key: str | None) -> np.ndarray:
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
            reason = (
                "it is not a .npy or .npz file; save it with numpy.save or numpy.savez, or give a "
                "text file the ending .csv"
            )
        else:
            reason = f"{' '.join(str(error).split())}; save it again with numpy.save or numpy.savez"
        raise StanleyError(f"cannot read {path}: {reason}") from error


def _images(array: np.ndarray, path: Path) -> np.ndarray:  # uint8 (N, C, H, W)
    wanted = "uint8 images must be (N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1 or 3"
    require(
        array.ndim in (3, 4),
        f"{path} holds uint8 {array.shape}, but {wanted}; vectors must be (N, d)",
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


def require_numbers(table: Table, path: Path) -> None:
    """Vectors (N, d) of finite numbers, of which no column is constant."""
    array = table.rows
    require(
        array.dtype.kind in "fiu",
        f"{path} holds {array.dtype} {array.shape}, but must hold vectors of numbers (N, d) or "
        "uint8 images; convert it with astype",
    )
    require(
        array.ndim == 2,
        f"{path} holds {array.dtype} {array.shape}, but vectors must be (N, d), and images "
        "uint8; reshape or convert it",
    )
    bad = ~np.isfinite(array)
    if bad.any():
        row, column = (int(k[0]) for k in np.nonzero(bad))
        missing = "missing, NaN or infinite" if table.lines is not None else "NaN or infinite"
        raise StanleyError(
            f"{path} has {bad.sum()} {missing} values, the first in {table.row_name(row)},"
            f" {table.column_name(column)}; fill them in, or remove their rows"
        )
    constant = np.flatnonzero((array == array[0]).all(0))
    require(
        len(constant) < array.shape[1],
        f"{path} has the same row {len(array)} times, so nothing can be learned; use other data",
    )
    names = [str(k) if table.columns is None else table.columns[k] for k in constant[:5]]
    some = ", ".join(names) + (", ..." if len(constant) > 5 else "")
    require(
        len(constant) == 0,
        f"{path} has {len(constant)} constant column(s) of {array.shape[1]}: {some}; remove them, "
        "or name the others with --data.columns",
    )


def _as_float32(data: Dataset, path: Path) -> Dataset:
    """Vectors as they are, where float32 can hold them and the squares of their spread."""
    largest = max(float(rows.abs().max()) for rows in (data.train, data.test))
    require(
        largest <= torch.finfo(torch.float32).max,
        f"{path} has values up to {largest:.2g}, which are infinite in float32; rescale the columns"
        " to about 1, or leave data.standardise true",
    )
    std = data.train.float().double().std(0, unbiased=False)
    low, high = float(std.min()), float(std.max())
    require(
        low > SCALE[0] and high < SCALE[1],
        f"{path} has columns with standard deviations from {low:.2g} to {high:.2g} in float32, but "
        f"they must lie in {SCALE[0]:g} to {SCALE[1]:g}; rescale the columns to about 1, or leave "
        "data.standardise true",
    )
    return replace(data, train=data.train.float(), test=data.test.float())

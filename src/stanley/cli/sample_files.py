"""Samples as files: an array for programs, a picture for people."""

from __future__ import annotations

import csv
import io
import math
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from stanley.batches import finite_chains
from stanley.cli.printable import cell
from stanley.data import to_bytes
from stanley.files import make_folder, write_atomic
from stanley.judging.evaluate import window
from stanley.metrics import density_on_grid, half_side
from stanley.plots import (
    Drawing,
    Panel,
    chain_film,
    densities,
    image_grid,
    marginals,
    pairs,
    write_grid_png,
)
from stanley.plots.coordinates import coordinate_name
from stanley.plots.figures import USUAL, label
from stanley.plots.marginals import MOST_PAIRED
from stanley.types import Energy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from stanley.models.trained import Trained

GRID = 200  # cells a side of a density in a picture


def write_samples(
    x: Tensor,
    folder: Path,
    name: str,
    drawing: Drawing,
    title: str,
    *,
    density: Energy | None = None,
    model: Trained | None = None,
) -> list[Path]:
    """NAME.npy, x as it is, and NAME.png of the finite ones: a grid of images (C, H, W), C = 1 or
    3; points in the plane, over the `density` exp(-U) where one is given; or the coordinates of
    other points (`coordinates`). A PNG of images has a whole number of pixels for each of theirs,
    unless `drawing` says another size. The picture of points in the plane leaves out those that are
    far from nearly all, and says how many these are.

    Points of a `model` on standardised vectors are written in the units of the data, and where
    these have names of columns also as NAME.csv.
    """
    original = x if model is None else model.original(x)
    columns = None if model is None else model.columns
    files = [write_array(original, folder, name)]
    if columns is not None:
        files.append(write_table(original, columns, folder / f"{name}.csv"))
    finite = x[finite_chains(x)].cpu()
    event = tuple(x.shape[1:])
    if len(finite) == 0:
        return files
    if len(event) == 3 and event[0] in (1, 3):
        files += write_grid(to_bytes(finite).numpy(), folder, name, drawing)
    elif event == (2,):
        box = half_side(finite)
        grid = None if density is None else density_on_grid(density, box, GRID).numpy()
        panel = Panel(title, grid, finite.numpy(), box)
        if model is not None and model.standardisation is not None:
            area = math.exp(model.log_scale)  # of a cell in the units of the data
            grid = None if grid is None else grid / area
            left, right, bottom, top = window(model, box).tolist()
            points = model.original(finite).numpy()
            panel = Panel(title, grid, points, (left, right, bottom, top))
        if columns is not None:
            panel = replace(panel, names=(label(columns[0]), label(columns[1])))
        files += drawing.write({name: densities([panel])}, folder)
    else:
        points = finite if model is None else model.original(finite)
        names = columns or [coordinate_name(j, event) for j in range(finite[0].numel())]
        files += drawing.write({name: coordinates(points.reshape(len(finite), -1), names)}, folder)
    return files


def coordinates(points: Tensor, names: Sequence[str]) -> Figure:
    """Coordinates of points (N, d), each against each where there are 2 to 6; else histograms."""
    groups = {"samples": points}
    paired = 2 <= len(names) <= MOST_PAIRED
    return pairs(groups, names) if paired else marginals(groups, names)


def write_grid(images: np.ndarray, folder: Path, name: str, drawing: Drawing) -> list[Path]:
    """NAME.EXT in every format: images uint8 (N, C, H, W) in a grid."""
    if drawing.dpi != USUAL.dpi or drawing.size is not None:
        return drawing.write({name: image_grid(images)}, folder)
    others = tuple(suffix for suffix in drawing.formats if suffix != "png")
    files = (
        [write_grid_png(images, folder / f"{name}.png", scale=2)]
        if "png" in drawing.formats
        else []
    )
    return files + (Drawing(others).write({name: image_grid(images)}, folder) if others else [])


def write_table(x: Tensor, columns: tuple[str, ...], path: Path) -> Path:
    """The points (N, d) as CSV, their columns' names in the first line; what is not finite is an
    empty cell.
    """
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow([cell(name) for name in columns])
    for row in x.cpu().numpy():
        writer.writerow([str(v) if math.isfinite(v) else "" for v in row])
    write_atomic(path, table.getvalue().encode("utf-8", "replace"))
    return path


def write_film(
    x0: Tensor,
    draws: Tensor,
    every: int,
    folder: Path,
    name: str,
    drawing: Drawing,
    chains: int = 6,
    columns: int = 8,
) -> list[Path]:
    """NAME.EXT: the first chains along time, a row each: their starts x0 (B, C, H, W), then about
    `columns` of the kept states (T, B, C, H, W), from the first to the last in equal ratios of
    steps; what is not finite is mid-grey."""
    shown = np.unique(np.geomspace(1, len(draws), min(columns, len(draws))).round().astype(int))
    states = torch.cat([x0[None, :chains], draws[shown - 1, :chains]]).nan_to_num(0.0)
    steps = [0, *(every * int(k) for k in shown)]
    return drawing.write({name: chain_film(to_bytes(states.cpu()).numpy(), steps)}, folder)


def write_array(x: Tensor, folder: Path, name: str) -> Path:
    """NAME.npy, atomically; the folder is made when it is missing."""
    make_folder(folder)
    buffer = io.BytesIO()
    np.save(buffer, x.cpu().numpy())
    path = folder / f"{name}.npy"
    write_atomic(path, buffer.getvalue())
    return path


def write_named(arrays: dict[str, np.ndarray], folder: Path, name: str) -> Path:
    """NAME.npz, one array for each name."""
    make_folder(folder)
    buffer = io.BytesIO()
    # by hand: np.savez takes the name `file` for itself
    with zipfile.ZipFile(buffer, "w") as archive:
        for key, array in arrays.items():
            with archive.open(f"{key}.npy", "w") as part:
                np.lib.format.write_array(part, np.ascontiguousarray(array), allow_pickle=False)
    path = folder / f"{name}.npz"
    write_atomic(path, buffer.getvalue())
    return path

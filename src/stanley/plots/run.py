"""The figures of a run directory, from its records and the arrays that `evaluate` kept there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from stanley.data.base import to_bytes
from stanley.errors import require
from stanley.plots import (
    Panel,
    autocorrelation,
    chain_traces,
    densities,
    energy_histograms,
    energy_landscape,
    labelled_grids,
    learning_curves,
    save,
)
from stanley.plots.density import NAMES, Window
from stanley.plots.figures import label
from stanley.reading import read_archive
from stanley.runs.directory import RunDirectory

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 64  # images in a grid
LABELS = {"data": "held-out data", "fresh": "fresh chains, from noise", "bank": "bank"}


def plot_run(run: RunDirectory) -> list[Path]:
    """Write the figures of a run as plots/*.png, and return their paths."""
    return [save(figure, run.plots / f"{name}.png") for name, figure in figures_of_run(run).items()]


def figures_of_run(run: RunDirectory) -> dict[str, Figure]:
    """The figures of a run by name: curves, energies, traces, autocorrelation, samples, landscape.

    Without samples/evaluated.npz, which `evaluate` writes, there are only the learning curves.
    """
    drawn: dict[str, Figure] = {}
    drawn["curves"] = learning_curves(run.records(), run.went_wrong(), title=str(run.path))
    kept = run.samples / "evaluated.npz"
    if kept.exists():
        arrays = kept_arrays(kept)
        names = [n for n in ("data", "held_out", "fresh", "bank") if f"energy_{n}" in arrays]
        columns = arrays["columns"].tolist() if "columns" in arrays else None
        if names:  # a flow has no energies
            drawn["energies"] = energy_histograms(
                {n.replace("_", " "): arrays[f"energy_{n}"] for n in names}
            )
        drawn["traces"] = chain_traces(arrays["draws"], names=columns)
        drawn["autocorrelation"] = autocorrelation(arrays["draws"], names=columns)
        if "box" in arrays:
            drawn |= plane(arrays)
        if arrays["data"].dtype == np.uint8:
            drawn["samples"] = labelled_grids(
                [
                    (LABELS[n], images(arrays, n))
                    for n in LABELS
                    if n == "data" or f"samples_{n}" in arrays
                ]
            )
    return drawn


def kept_arrays(path: Path) -> dict[str, np.ndarray]:
    """What `evaluate` kept, of the kinds and numbers of axes that the figures are drawn from."""
    cure = "run stanley evaluate again"
    arrays = read_archive(path, cure)
    is_image = arrays["data"].dtype == np.uint8 if "data" in arrays else False
    axes = {"data": 4 if is_image else 2, "draws": 3}
    axes |= {"box": 0} if {"box", "model_density"} & set(arrays) else {}
    axes |= {name: 2 for name in ("model_density", "data_density") if name in arrays}
    kinds = [kind for kind in ("fresh", "bank") if kind == "fresh" or f"samples_{kind}" in arrays]
    axes |= {f"samples_{kind}": axes["data"] for kind in kinds}
    if any(name.startswith("energy_") for name in arrays):
        axes |= {f"energy_{kind}": 1 for kind in ("data", "held_out", *kinds)}
    if "box" in axes and arrays["box"].shape == (4,):  # of columns with units of their own
        axes["box"] = 1
    for name, number in axes.items():
        require(name in arrays, f"{path} lacks the array {name!r}; {cure}")
        array = arrays[name]
        fits = array.ndim == number and array.size > 0 and array.dtype.kind in "fu"
        found = f"{array.dtype} {array.shape}"
        require(fits, f"{path}: {name!r} is {found}, must be numbers with {number} axes; {cure}")
    if "columns" in arrays:
        names, d = arrays["columns"], arrays["data"].shape[-1]
        require(
            not is_image and names.dtype.kind == "U" and names.shape == (d,),
            f"{path}: 'columns' is {names.dtype} {names.shape}, must be {d} names; {cure}",
        )
    return arrays


def plane(arrays: dict[str, np.ndarray]) -> dict[str, Figure]:
    box, model = box_of(arrays["box"]), arrays.get("model_density")
    names = axis_names(arrays)
    truth = arrays.get("data_density")
    panels = [Panel("data", truth, arrays["data"], box, names=names)]
    panels += [
        Panel(f"model, {LABELS[n]}", model, arrays[f"samples_{n}"], box, names=names)
        for n in ("fresh", "bank")
        if f"samples_{n}" in arrays
    ]
    drawn = {"samples": densities(panels)}
    if model is not None:
        energy = -np.log(np.maximum(model, 1e-300))
        drawn["landscape"] = energy_landscape(energy, box, "energy + log Z", names)
    return drawn


def box_of(box: np.ndarray) -> float | Window:
    """Half the width of the plot about 0, or its window in the units of the data."""
    if box.ndim == 0:
        return float(box)
    left, right, bottom, top = box.tolist()
    return left, right, bottom, top


def axis_names(arrays: dict[str, np.ndarray]) -> tuple[str, str]:
    if "columns" not in arrays:
        return NAMES
    first, second = map(label, arrays["columns"].tolist())
    return first, second


def images(arrays: dict[str, np.ndarray], name: str) -> np.ndarray:
    if name == "data":
        return arrays["data"][:SHOWN]
    return to_bytes(torch.from_numpy(arrays[f"samples_{name}"][:SHOWN])).numpy()

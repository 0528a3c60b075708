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
    marginals,
)
from stanley.plots.density import NAMES, Window, histogram
from stanley.plots.figures import USUAL, Drawing, label
from stanley.reading import read_archive
from stanley.runs.directory import RunDirectory

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 64  # images in a grid
LABELS = {
    "data": "Held-out data",
    "fresh": "Fresh chains, from noise",
    "bank": "Bank of chains",
}
#: Of groups of energies.
GROUPS = LABELS | {"data": "Training data", "held_out": LABELS["data"]}


def plot_run(run: RunDirectory, drawing: Drawing = USUAL) -> list[Path]:
    """Write the figures of a run into its folder plots/, and return their paths."""
    return drawing.write(figures_of_run(run), run.plots)


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
            drawn["energies"] = energy_histograms({GROUPS[n]: arrays[f"energy_{n}"] for n in names})
        drawn["traces"] = chain_traces(arrays["draws"], names=columns)
        drawn["autocorrelation"] = autocorrelation(arrays["draws"], names=columns)
        if "box" in arrays:
            drawn |= plane(arrays)
        elif arrays["data"].dtype != np.uint8:
            kinds = {n: "data" if n == "data" else f"samples_{n}" for n in LABELS}
            groups = {LABELS[n]: arrays[key] for n, key in kinds.items() if key in arrays}
            drawn["samples"] = marginals(groups, columns)
        if arrays["data"].dtype == np.uint8:
            drawn["samples"] = labelled_grids(
                [
                    (LABELS[n], images(arrays, n))
                    for n in LABELS
                    if n == "data" or f"samples_{n}" in arrays
                ],
                most=SHOWN,
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
    """Densities above and points below: of the data, of the model with its fresh chains, of the
    bank. Where a density is not known there is a histogram of the points.
    """
    box, model = box_of(arrays["box"]), arrays.get("model_density")
    names, truth = axis_names(arrays), arrays.get("data_density")

    def panel(title: str, density: np.ndarray | None, points: np.ndarray, says: str) -> Panel:
        if density is not None:
            return Panel(title, density, points, box, f"density, and {says}", names)
        binned = histogram(points, box)
        return Panel(title, binned, points, box, f"histogram, and {says}", names, binned=True)

    panels = [panel("Data", truth, arrays["data"], "held-out points")]
    panels.append(panel("Model", model, arrays["samples_fresh"], "fresh chains, from noise"))
    if "samples_bank" in arrays:
        panels.append(panel("Bank", None, arrays["samples_bank"], "chains of the training"))
    drawn = {"samples": densities(panels)}
    if model is not None:
        energy = -np.log(np.maximum(model, 1e-300))
        drawn["landscape"] = energy_landscape(energy, box, "Energy of the model", names)
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
        return arrays["data"]
    return to_bytes(torch.from_numpy(arrays[f"samples_{name}"])).numpy()

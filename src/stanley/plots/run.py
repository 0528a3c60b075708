"""The figures of a run directory, from its records and the arrays that `evaluate` kept there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from stanley.data.base import to_bytes
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
from stanley.runs.directory import RunDirectory

SHOWN = 64  # images in a grid
LABELS = {"data": "held-out data", "fresh": "fresh chains, from noise", "bank": "bank"}


def plot_run(run: RunDirectory) -> list[Path]:
    """Write the figures of a run as plots/*.png, and return their paths.

    Without samples/evaluated.npz, which `evaluate` writes, there are only the learning curves.
    """
    drawn: dict[str, Any] = {}
    events = [e for e in run.events() if e["kind"] in ("collapsed", "rollback", "diverged")]
    drawn["curves"] = learning_curves(run.records(), events, title=str(run.path))
    kept = run.samples / "evaluated.npz"
    if kept.exists():
        with np.load(kept, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        names = [n for n in ("data", "held_out", "fresh", "bank") if f"energy_{n}" in arrays]
        drawn["energies"] = energy_histograms(
            {n.replace("_", " "): arrays[f"energy_{n}"] for n in names}
        )
        drawn["traces"] = chain_traces(arrays["draws"])
        drawn["autocorrelation"] = autocorrelation(arrays["draws"])
        if "model_density" in arrays:
            drawn |= plane(arrays)
        if arrays["data"].dtype == np.uint8:
            drawn["samples"] = labelled_grids(
                [
                    (LABELS[n], images(arrays, n))
                    for n in LABELS
                    if n == "data" or f"samples_{n}" in arrays
                ]
            )
    return [save(figure, run.plots / f"{name}.png") for name, figure in drawn.items()]


def plane(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    box, model = float(arrays["box"]), arrays["model_density"]
    truth = arrays.get("data_density")
    panels = [Panel("data", truth, arrays["data"], box)]
    panels += [
        Panel(f"model, {LABELS[n]}", model, arrays[f"samples_{n}"], box)
        for n in ("fresh", "bank")
        if f"samples_{n}" in arrays
    ]
    return {
        "samples": densities(panels),
        "landscape": energy_landscape(-np.log(np.maximum(model, 1e-300)), box, "energy + log Z"),
    }


def images(arrays: dict[str, np.ndarray], name: str) -> np.ndarray:
    if name == "data":
        return arrays["data"][:SHOWN]
    return to_bytes(torch.from_numpy(arrays[f"samples_{name}"][:SHOWN])).numpy()

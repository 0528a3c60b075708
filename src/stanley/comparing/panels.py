"""What every arm learned, or drew, at its median seed: densities in the plane, else samples."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stanley.comparing.sampling import DRAWS as DRAWS_FILE
from stanley.comparing.sampling import density_of, read_sampled
from stanley.comparing.tables import named, number, ordered
from stanley.config import from_dict
from stanley.data import to_bytes
from stanley.judging.evaluate import window
from stanley.metrics import density_on_grid, half_side
from stanley.models.trained import Trained, data_of, load
from stanley.runs.directory import RunDirectory
from stanley.streams import stream
from stanley.targets import Target
from stanley.targets.named import TARGETS
from stanley.training.by_name import named_parts, of_the_model
from stanley.training.config import TrainConfig
from stanley.types import Energy

CELLS = 160  # per side of a density
DRAWS = 32  # pictures of an arm
POINTS = 2_000
#: How a score is written under an arm's name.
NOTES = {
    "kl": "KL {} nats",
    "tv": "total variation {}",
    "nll_held_out": "held-out -log p {} nats",
    "bias2": "b² {}",
}
MOST_PANELS = 7  # arms whose draws are shown, the best ones


def median_seed(result: dict[str, Any], arm: str) -> int | None:
    """The seed whose first score is the lower median of the arm; None where all failed."""
    score = result["asked"]["scores"][0]
    known = sorted(
        (value, int(seed))
        for seed, value in result["scores"][score][arm]["values"].items()
        if value is not None
    )
    return known[(len(known) - 1) // 2][1] if known else None


def panels(result: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """The data, then the arms from the best on: title, note, and in the plane `samples` of fresh
    chains and their `density` (n, n), in the units of the data; of pictures `images`. Empty for
    vectors in space.
    """
    if result["asked"].get("target") is not None:
        return draws_of_arms(result, folder)
    found: list[dict[str, Any]] = []
    for arm, note, at in median_runs(result, folder):
        place = RunDirectory(at)
        model = load(place, device="cpu", **own_parts(place, result)).standardised
        if not found:
            found.append(of_data(model))
        found.append(of_model(model) | {"title": arm, "note": note})
    drawn = found and found[0].keys() & {"density", "samples", "images"}
    return found if drawn else []


def median_runs(result: dict[str, Any], folder: Path) -> Iterator[tuple[str, str, Path]]:
    """Arm, its first score in words, and the folder of its median seed; the best arm first."""
    score = result["asked"]["scores"][0]
    for arm in ordered(result, score):
        seed = median_seed(result, arm)
        if seed is not None:
            run = next(r for r in result["arms"][arm]["runs"] if r["seed"] == seed)
            value = result["scores"][score][arm]["values"][str(seed)]
            note = NOTES.get(score, f"{score} {{}}").format(number(value))
            yield arm, note, where(folder, run["folder"])


def draws_of_arms(result: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """The density, or exact draws of it, then draws of the best arms, all in the plane of the first
    two coordinates. Empty for pictures, and above the plane where no exact draws are known.
    """
    runs = list(median_runs(result, folder))[:MOST_PANELS]
    if not runs or ("runs" in result["asked"] and not drawable(result, runs)):
        return []
    density = density_of(read_sampled(runs[0][2])[0])
    if len(density.event_shape) != 1 or density.event_shape[0] < 2:
        return []
    found = [(arm, note, flat(np.load(at / DRAWS_FILE))) for arm, note, at in runs]
    potential = density.potential
    exact = None
    if isinstance(potential, Target) and potential.log_z is not None:
        exact = potential.sample(POINTS, stream(0, "exact draws"))[:, :2].numpy()
    truth = found[0][2] if exact is None else exact  # without exact draws the best arm's window
    side = half_side(torch.from_numpy(truth))
    shown = [
        {"title": named(result, arm), "note": note, "box": side, "samples": thinned(points)}
        for arm, note, points in found
    ]
    first: dict[str, Any] = {"title": "density", "note": "exact", "box": side}
    if density.event_shape == (2,):
        return [first | {"density": density_on_grid(potential, side, CELLS).numpy()}, *shown]
    return [] if exact is None else [first | {"samples": exact}, *shown]


def drawable(result: dict[str, Any], runs: list[tuple[str, str, Path]]) -> bool:
    """Whether seeds that were there kept their draws, on a density that needs no code of a user."""
    return result["asked"]["target"] in TARGETS and all(
        (at / DRAWS_FILE).is_file() for _, _, at in runs
    )


def flat(draws: np.ndarray) -> np.ndarray:
    """(draws, chains, d) to the first two coordinates of all, (n, 2)."""
    return draws.reshape(-1, *draws.shape[2:])[..., :2]


def thinned(points: np.ndarray) -> np.ndarray:
    """At most 2,000 of them, whatever chains they are of."""
    some = np.random.default_rng(0).permutation(len(points))[:POINTS]
    return points[np.sort(some)]


def own_parts(run: RunDirectory, result: dict[str, Any]) -> dict[str, Any]:
    """The user's own parts of a run of this comparison; of runs that were there nothing that they
    name is imported.
    """
    if "runs" in result["asked"]:
        return {}
    return of_the_model(named_parts(from_dict(TrainConfig, run.read_config())))


def where(folder: Path, name: str) -> Path:
    """A run of the comparison in `folder`, or one that was there before it."""
    inside = folder / name
    return inside if inside.is_dir() else Path(name)


def of_data(model: Trained) -> dict[str, Any]:
    """The truth, or a part of the data."""
    data = data_of(model)
    panel: dict[str, Any] = {"title": "data", "note": "held out"}
    if model.is_image:
        return panel | {"images": data.test[:DRAWS].cpu().numpy()}
    if model.event_shape != (2,):
        return panel
    panel |= axes(model) | {"samples": in_units(model, data.test[:POINTS])}
    if data.log_density is None:
        return panel
    log_density = data.log_density
    negative: Energy = lambda x: -log_density(x)  # noqa: E731
    panel |= {"title": "true density", "note": "and held-out data"}
    return panel | {"density": grid_of(negative, model)}


def of_model(model: Trained) -> dict[str, Any]:
    if model.is_image:
        return {"images": to_bytes(model.sample(DRAWS, seed=0).x).cpu().numpy()}
    if model.event_shape != (2,):
        return {}
    panel = axes(model) | {"samples": in_units(model, model.sample(POINTS, seed=0).x)}
    if model.flow is not None:
        return panel
    return panel | {"density": grid_of(model.potential, model)}


def axes(model: Trained) -> dict[str, Any]:
    """The window and the names of its coordinates, in the units of the data."""
    side = side_of(model)
    box = side if model.standardisation is None else tuple(window(model, side).tolist())
    names = {} if model.columns is None else {"names": model.columns}
    return {"box": box} | names


def grid_of(energy: Energy, model: Trained) -> np.ndarray:
    """The density of an energy of standardised points, in the units of the data: a cell of it is
    Π std as large.
    """
    return density_on_grid(energy, side_of(model), CELLS).numpy() / math.exp(model.log_scale)


def in_units(model: Trained, z: Tensor) -> np.ndarray:
    return model.original(z).cpu().numpy()


def side_of(model: Trained) -> float:
    """Half the side of the window of standardised points."""
    return half_side(data_of(model).test)

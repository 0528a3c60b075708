"""From a run directory to samples, every metric, and scores.json."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from stanley.batches import finite_chains, in_chunks
from stanley.config import to_dict
from stanley.data import AnyData, Dataset, Rings, centre
from stanley.errors import StanleyError, require
from stanley.features import Features, Reference, features_named, reference_of, score_names
from stanley.files import write_atomic, write_json
from stanley.metrics import (
    FeatureStatistics,
    class_score,
    coverage,
    density_on_grid,
    frechet,
    frechet_limit,
    judge_density,
    kernel_distance,
    log_z,
    mmd_test,
    mode_coverage,
    nearest_ring,
    nll,
    prdc,
)
from stanley.models.trained import Start, Trained, Weights, data_of, load, with_data_at
from stanley.overwriting import make_room
from stanley.runs.directory import RunDirectory
from stanley.samplers import ChainResult
from stanley.samplers.base import values
from stanley.streams import stream
from stanley.types import Energy, in_float32

CHUNK = 1024  # rows of data at a time through the network
EVALUATED = "evaluated.npz"  # in the run's samples/
GRID = 200  # cells a side of the densities kept for plots
MMD_ROWS = 2000
MMD_PERMUTATIONS = 199
NEAREST = 5  # k of precision, recall, density and coverage
KERNEL_ROWS = 2000  # rows of the reference, at least, that kernel distances look at

Against = Literal["held-out", "train"]


def evaluate(
    run: str | os.PathLike[str] | RunDirectory,
    *,
    num: int | None = None,
    steps: int | None = None,
    seed: int = 0,
    weights: Weights = "average",
    data_root: str | None = None,
    device: str = "auto",
    progress: bool = False,
    features: Sequence[str] = (),
    against: Against = "held-out",
    kid: bool | None = None,
    neighbours: bool | None = None,
    extrapolate: bool = False,
) -> dict[str, Any]:
    """Judge a run's newest checkpoint; returns what it writes to scores.json, where the answer to
    another request (another step, n, seed, features, …) is kept as scores-former.json first.

    2-D: exact log Z, and against a known data density KL(data‖model) and total variation, by
    quadrature. All: energies of data, held-out data and samples; MMD² with a permutation p-value;
    modes covered where the data have modes. In each of the features: Fréchet distance fd_NAME, for
    images kernel distance kd_NAME and prdc_NAME, and score_NAME where they are a classifier's; fid
    and kid in the published Inception alone. Samples are of two kinds, kept apart: `fresh` chains
    from noise, `steps` long, and the `bank` after K further steps. Every number comes with its n;
    the seed, the weights and the sampler stand once at the top.

    num          samples of each kind: 2,000 vectors or 256 images unless given, at most the bank's
                 size for the bank
    features     names of `features_named`: 'pixels-8x8' for images wider than that unless given,
                 else 'pixels'
    against      the data whose features the samples' are compared with; published FIDs use all of
                 the training set
    kid          kernel distance in each of the features; images unless said otherwise
    neighbours   precision, recall, density and coverage likewise
    extrapolate  also the Fréchet distance extrapolated to infinitely many samples
    """
    model = with_data_at(load(run, weights=weights, device=device), data_root)
    data = data_of(model)
    num = (256 if model.is_image else 2000) if num is None else num
    require(num >= 1, f"num is {num}, must be at least 1")
    require(
        against in ("held-out", "train"), f"against is {against!r}, must be 'held-out' or 'train'"
    )
    maps = [features_named(name, device=model.device) for name in features or usual_features(model)]
    reference_rows = data.train if against == "train" else data.test
    references = [
        reference_of(reference_rows, seen_through, device=model.device) for seen_through in maps
    ]
    kid, neighbours = (model.is_image if wanted is None else wanted for wanted in (kid, neighbours))
    samples = draw_samples(model, num, steps, seed, progress)
    held_out, training = as_points(data.test, model), as_points(data.train, model)

    asked = {"step": model.step, "weights": weights, "seed": seed, "num": num}
    asked |= {"steps": model.default_steps("noise") if steps is None else steps}
    asked |= {"features": [seen_through.name for seen_through in maps], "against": against}
    asked |= {"kid": kid, "neighbours": neighbours, "extrapolate": extrapolate}
    scores: dict[str, Any] = {
        "asked": asked,
        "step": model.step,
        "weights": weights,
        "seed": seed,
        "temperature": model.config.temperature,
        "sampler": to_dict(model.sampler),
        "torch": torch.__version__,
        "device": str(model.device),
        "chains": {name: describe(chains, name, model, steps) for name, chains in samples.items()},
    }
    if model.event_shape == (2,):
        scores |= judge_plane(model, data, held_out)
    points = {"data": training, "held_out": held_out} | {
        name: chains.x for name, chains in samples.items()
    }
    energies = {name: energy_of(model, x) for name, x in points.items()}
    scores["energy"] = {name: moments(e) for name, e in energies.items()}
    for name, chains in samples.items():
        scores[name] = compare(
            chains.x,
            held_out,
            model.config.data,
            data,
            stream(seed, "MMD", name, device=model.device),
        )
        for seen_through, reference in zip(maps, references, strict=True):
            scores[name] |= compare_features(
                chains.x[finite_chains(chains.x)],
                seen_through,
                reference,
                against=against,
                kid=kid,
                neighbours=neighbours,
                extrapolate=extrapolate,
                generator=stream(seed, "features", seen_through.name, name, device=model.device),
            )

    directory = RunDirectory(model.path)
    make_room(directory.scores_file, asked, beside=[directory.samples / EVALUATED])
    keep_for_plots(directory, model, data, samples, energies)
    write_json(directory.scores_file, scores)
    return scores


def draw_samples(
    model: Trained, num: int, steps: int | None, seed: int, progress: bool
) -> dict[str, ChainResult]:
    samples: dict[str, ChainResult] = {}
    kinds: tuple[tuple[str, Start], ...] = (("fresh", "noise"), ("bank", "bank"))
    for name, start in kinds:
        available = num if start == "noise" else min(num, len(model.bank))
        if available:
            chain_steps = steps if start == "noise" else None
            total = chain_steps or model.default_steps(start)
            samples[name] = model.sample(
                available,
                steps=chain_steps,
                start=start,
                seed=seed,
                keep_every=max(1, total // 200),
                progress=progress,
            )
    return samples


def describe(chains: ChainResult, name: str, model: Trained, steps: int | None) -> dict[str, Any]:
    start: Start = "noise" if name == "fresh" else "bank"
    return {
        "n": len(chains.x),
        "start": start,
        "steps": (steps if start == "noise" else None) or model.default_steps(start),
        "gradients_per_chain": chains.info.num_gradients,
        "acceptance": float(chains.info.acceptance.mean()),
        "step_scale": float(chains.info.step_scale.mean()),
        "nonfinite": int(chains.info.nonfinite.sum()),
    }


def judge_plane(model: Trained, data: Dataset, held_out: Tensor) -> dict[str, Any]:
    """Exact numbers in two dimensions, of the network in float64; where the model has no finite Z
    in reach, null and the reason."""
    box = 1.25 * float(model.noise.mean.abs().max() + 3 * model.noise.std.max())
    try:
        if data.log_density is None:
            z = log_z(model.potential, box)
            exact = {"log_z": z.value, "quadrature": asdict(z)}
        else:
            result = judge_density(model.potential, data.log_density, box)
            exact = {
                "kl": result.kl,
                "tv": result.tv,
                "log_z": result.log_z,
                "quadrature": asdict(result),
            }
    except StanleyError as error:
        return {"kl": None, "tv": None, "log_z": None, "not_settled": str(error)}
    value = nll(model.potential, held_out, exact["log_z"])
    return exact | {"nll_held_out": {"value": value, "n": len(held_out), "unit": "nats"}}


def compare(
    x: Tensor, held_out: Tensor, spec: AnyData, data: Dataset, generator: torch.Generator
) -> dict[str, Any]:
    """Sample metrics of one kind of samples against held-out data;
    non-finite samples are left out and counted.
    """
    finite = x[finite_chains(x)]
    scores: dict[str, Any] = {"n": len(x), "nonfinite": len(x) - len(finite)}
    if len(finite) < 2:
        return scores
    rows = min(MMD_ROWS, len(finite), len(held_out))
    test = mmd_test(finite[:rows], held_out[:rows], MMD_PERMUTATIONS, generator)
    scores["mmd2"] = {
        "value": test.mmd2.value,
        "p_value": test.p_value,
        "bandwidth": test.mmd2.bandwidth,
        "n": rows,
        "permutations": test.num_permutations,
    }
    if data.modes is not None:
        modes = data.modes.to(x)
        scores["modes"] = asdict(mode_coverage(finite, modes, data.mode_radius))
    elif isinstance(spec, Rings):
        scores["modes"] = asdict(
            coverage(finite, nearest_ring(spec.radii, 3 * spec.std), len(spec.radii))
        )
    return scores


def usual_features(model: Trained) -> tuple[str, ...]:
    """Pixels, of images wider than 8 their averages over 8 × 8: cheap,
    and only comparable among themselves.
    """
    return ("pixels-8x8",) if model.is_image and min(model.event_shape[1:]) > 8 else ("pixels",)


@torch.no_grad()
def compare_features(
    x: Tensor,
    features: Features,
    reference: Reference,
    *,
    against: Against,
    kid: bool,
    neighbours: bool,
    extrapolate: bool,
    generator: torch.Generator,
) -> dict[str, Any]:
    """Finite samples against a data set in one feature map; each number with the n of both
    sides.
    """
    if len(x) < 2:
        return {}
    (fd, kd), name = score_names(features), features.name
    seen = in_chunks(features, x, CHUNK)
    of_samples = FeatureStatistics.empty(
        name, seen.shape[1], reference.statistics.mean.device
    ).update(seen)
    found: dict[str, Any] = {fd: frechet(of_samples, reference.statistics)}
    if extrapolate:
        found[f"{fd}_limit"] = frechet_limit(seen, reference.statistics, generator=generator)
    for result in found.values():
        if result.caution:
            warnings.warn(result.caution, stacklevel=2)
    if kid and min(len(seen), len(reference.rows)) >= 3:
        found[kd] = kernel_distance(
            seen, reference.rows[: max(KERNEL_ROWS, len(seen))], generator=generator
        )
    real = reference.rows[: len(seen)]  # as many as samples: only equal numbers compare
    if neighbours and len(real) > NEAREST:
        found[f"prdc_{name}"] = prdc(real, seen[: len(real)], NEAREST)
    if hasattr(features, "probabilities"):
        p = in_chunks(features.probabilities, x, CHUNK)  # type: ignore[attr-defined]
        found[f"score_{name}"] = class_score(p, splits=10 if len(p) >= 10 * p.shape[1] else 1)
    return {key: asdict(result) | {"against": against} for key, result in found.items()}


def energy_of(model: Trained, x: Tensor) -> Tensor:
    """E(x) in float32 whatever precision chains run in: these values are compared."""
    return values(in_float32(model.potential).energy, x, CHUNK).cpu()


def moments(energy: Tensor) -> dict[str, Any]:
    finite = energy[energy.isfinite()]
    if len(finite) < 2:
        return {"n": len(energy), "nonfinite": len(energy) - len(finite), "mean": None, "sd": None}
    return {
        "n": len(energy),
        "nonfinite": len(energy) - len(finite),
        "mean": float(finite.mean()),
        "sd": float(finite.std()),
    }


def as_points(rows: Tensor, model: Trained, limit: int = 10_000) -> Tensor:
    """The first rows as points in the model's space, on its device."""
    rows = rows[:limit]
    return (centre(rows) if model.is_image else rows.float()).to(model.device)


def keep_for_plots(
    directory: RunDirectory,
    model: Trained,
    data: Dataset,
    samples: dict[str, ChainResult],
    energies: dict[str, Tensor],
) -> None:
    """samples/evaluated.npz: plain arrays, so that plotting needs neither the model nor the
    data.
    """
    arrays: dict[str, Any] = {f"energy_{name}": e.numpy() for name, e in energies.items()}
    for name, chains in samples.items():
        arrays[f"samples_{name}"] = chains.x.cpu().numpy()
    fresh = samples["fresh"].draws
    assert fresh is not None
    arrays["draws"] = fresh[:, :64].flatten(2)[:, :, :4].cpu().numpy()  # 64 chains, 4 coordinates
    arrays["data"] = (
        data.test[:256].cpu().numpy() if model.is_image else data.test[:2000].cpu().numpy()
    )
    if model.event_shape == (2,):
        box = 1.25 * float(data.test.abs().max())
        arrays["box"] = np.array(box)
        arrays["model_density"] = density_on_grid(model.potential, box, GRID).numpy()
        if data.log_density is not None:
            log_density = data.log_density
            negative: Energy = lambda x: -log_density(x)  # noqa: E731
            arrays["data_density"] = density_on_grid(negative, box, GRID).numpy()
    directory.samples.mkdir(exist_ok=True)
    write_arrays(directory.samples / EVALUATED, arrays)


def write_arrays(path: Path, arrays: dict[str, Any]) -> None:
    import io

    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_atomic(path, buffer.getvalue())

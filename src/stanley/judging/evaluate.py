"""Evaluation of a run: samples, all metrics, and the file scores.json."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from stanley.batches import finite_chains, in_chunks
from stanley.data import Dataset, Rings, centre
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
    half_side,
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
from stanley.training.objectives.flow_matching import no_density
from stanley.types import Energy, in_float32

CHUNK = 1024  # rows of data at a time through the network
EVALUATED = "evaluated.npz"  # in the folder samples/ of the run
GRID = 200  # cells per side of the densities that are kept for plots
MMD_ROWS = 2000
MMD_PERMUTATIONS = 199
NOT_SETTLED = {"kl": None, "tv": None, "log_z": None}  # with the reason as "not_settled"
NEAREST = 5  # k of precision, recall, density and coverage
KERNEL_ROWS = 2000  # rows of the reference in kernel distances; more if there are more samples

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
    energy: Any = None,
    data: Any = None,
    sampler: Any = None,
) -> dict[str, Any]:
    """Evaluate the newest checkpoint of a run, write the scores to scores.json, and return them.

    For all data the scores are the energies of data, held-out data and samples; MMD² with a
    permutation p-value; the coverage of the data's modes, if they have any; and, in each of the
    features, the Fréchet distance fd_NAME, the kernel distance kd_NAME, prdc_NAME (precision,
    recall, density, coverage) and, for features of a classifier, score_NAME. In the published
    Inception features alone fd and kd are called fid and kid. In two dimensions there are also
    log Z and, if the density of the data is known, KL(data‖model) and total variation, by
    quadrature. A run that was trained by flow matching is no density: it has the scores of samples
    alone, and the reason under "not_settled".

    There are two kinds of samples with scores of their own: `fresh` chains of `steps` steps from
    noise, and the `bank` after as many further steps as in a training iteration. Every score has
    its n; the seed, the weights and the sampler are at the top. Energies, log-likelihoods and the
    entropy of standardised vectors are those of points in the units of the data; distances between
    sets, and step sizes, are in standard deviations of the columns. A scores.json with the answer
    to another request (another step, n, seed, features, …) is kept as scores-former.json.

    num          samples of each kind, by default 2,000 vectors or 256 images; of the bank at most
                 its size
    features     names of `features_named`; by default 'pixels-8x8' for images wider than 8 pixels,
                 else 'pixels'
    against      the data with which the samples are compared in the features; published FIDs use
                 the whole training set
    kid          whether to compute kernel distances; by default for images only
    neighbours   whether to compute precision, recall, density and coverage; by default for images
                 only
    extrapolate  whether to extrapolate Fréchet distances to infinitely many samples
    energy       the network, `data` and `sampler` that were handed over to `train`, where they were

    Warns if there are too few samples for a Fréchet distance. Raises StanleyError for a run, data
    or features that cannot be read.
    """
    model = load(run, weights=weights, device=device, energy=energy, data=data, sampler=sampler)
    model = with_data_at(model, data_root).standardised
    data = data_of(model)
    num = (256 if model.is_image else 2000) if num is None else num
    require(num >= 1, f"num is {num}, but must be at least 1")
    require(
        against in ("held-out", "train"),
        f"against is {against!r}, but must be 'held-out' or 'train'",
    )
    maps = [features_named(name, device=model.device) for name in features or usual_features(model)]
    reference_rows = data.train if against == "train" else data.test
    references = [
        reference_of(reference_rows, feature_map, device=model.device) for feature_map in maps
    ]
    kid, neighbours = (model.is_image if wanted is None else wanted for wanted in (kid, neighbours))
    samples = draw_samples(model, num, steps, seed, progress)
    held_out, training = as_points(data.test, model), as_points(data.train, model)

    asked = {"step": model.step, "weights": weights, "seed": seed, "num": num}
    asked |= {"steps": model.default_steps("noise") if steps is None else steps}
    asked |= {"features": [feature_map.name for feature_map in maps], "against": against}
    asked |= {"kid": kid, "neighbours": neighbours, "extrapolate": extrapolate}
    scores: dict[str, Any] = {
        "asked": asked,
        "step": model.step,
        "weights": weights,
        "seed": seed,
        "temperature": model.config.temperature,
        "sampler": model.sampled_by,
        "torch": torch.__version__,
        "device": str(model.device),
        "went_wrong": what_went_wrong(run),
        "chains": {name: describe(chains, name, model, steps) for name, chains in samples.items()},
    }
    if model.standardisation is not None:
        scores["standardised"] = standardisation_as_json(model)
    if model.flow is not None:
        scores |= NOT_SETTLED | {"not_settled": str(no_density(model.path))}
    elif model.event_shape == (2,):
        scores |= judge_plane(model, data, held_out)
    points = {"data": training, "held_out": held_out} | {
        name: chains.x for name, chains in samples.items()
    }
    energies = {}
    if model.flow is None:
        shift = model.config.temperature * model.log_scale  # from E of z to E of x
        energies = {name: energy_of(model, x) + shift for name, x in points.items()}
    scores["energy"] = {name: moments(e) for name, e in energies.items()}
    for name, chains in samples.items():
        scores[name] = compare(
            chains.x,
            held_out,
            model.config.data,
            data,
            stream(seed, "MMD", name, device=model.device),
        )
        for feature_map, reference in zip(maps, references, strict=True):
            scores[name] |= compare_features(
                chains.x[finite_chains(chains.x)],
                feature_map,
                reference,
                against=against,
                kid=kid,
                neighbours=neighbours,
                extrapolate=extrapolate,
                generator=stream(seed, "features", feature_map.name, name, device=model.device),
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


def what_went_wrong(run: str | os.PathLike[str] | RunDirectory) -> list[dict[str, Any]]:
    """The divergences, collapses and rollbacks of the training, with their steps and reasons."""
    run = run if isinstance(run, RunDirectory) else RunDirectory(run)
    return [{key: event[key] for key in ("kind", "step", "reason")} for event in run.went_wrong()]


def exact_kl(
    run: str | os.PathLike[str] | RunDirectory,
    *,
    energy: Any = None,
    data: Any = None,
    sampler: Any = None,
) -> float | None:
    """KL(data‖model) of a run's newest averaged weights in nats, by quadrature.

    None if the data are not in the plane or have no known density, if log Z of the model cannot be
    computed, and if the run was trained by flow matching, which makes no density. It takes about a
    second.
    """
    scores = exact_scores(run, energy=energy, data=data, sampler=sampler)
    return scores.get("kl")


def exact_scores(
    run: str | os.PathLike[str] | RunDirectory,
    *,
    step: int | None = None,
    energy: Any = None,
    data: Any = None,
    sampler: Any = None,
) -> dict[str, Any]:
    """The scores of a run that need no samples: log Z and the held-out NLL in two dimensions, and
    KL(data‖model) and total variation where the density of the data is known, by quadrature.

    Of the averaged weights of the newest checkpoint, or of that of a `step`. Empty in other
    dimensions and for a run that was trained by flow matching; None, with the reason under
    "not_settled", where log Z cannot be computed. Raises StanleyError for a run that cannot be
    read, and a step that was not kept.
    """
    model = load(run, step=step, device="cpu", energy=energy, data=data, sampler=sampler)
    model = model.standardised
    if model.event_shape != (2,) or model.flow is not None:
        return {}
    known = data_of(model)
    scores = judge_plane(model, known, as_points(known.test, model))
    return scores if known.log_density is not None else without_density(scores)


def without_density(scores: dict[str, Any]) -> dict[str, Any]:
    """Without the scores that compare with the data's own density, which is not known."""
    return {name: value for name, value in scores.items() if name not in ("kl", "tv")}


@dataclass(frozen=True)
class RelativeFrechet:
    """How far `num` fresh chains are from the training data, in units of the data's own spread.

        value = d² / tr C,    d² the Fréchet distance in cheap features, C their covariance

    0 is the mean and covariance of the data; 1 is what copies of their mean have, and more is
    farther away than any one picture need be. As many points of the data have `of_data`, which is
    not 0 either. `value` is None where chains diverged. Not true: that 0 means the same density.
    """

    value: float | None
    of_data: float
    num: int
    features: str


def relative_frechet(
    run: str | os.PathLike[str] | RunDirectory,
    *,
    num: int = 128,
    seed: int = 0,
    device: str = "auto",
    energy: Any = None,
    data: Any = None,
    sampler: Any = None,
) -> RelativeFrechet | None:
    """Whether fresh chains of a run's newest averaged weights come anywhere near its data.

    None where the data have no spread. What was handed over for training is handed over again. It
    takes as long as `num` samples. Raises StanleyError for a run or data that cannot be read.
    """
    model = load(run, device=device, energy=energy, data=data, sampler=sampler).standardised
    known = data_of(model)
    (name,) = usual_features(model)
    features = features_named(name, device=model.device)
    reference = reference_of(known.train, features, keep=num, device=model.device)
    num = len(reference.rows)
    if num < 2 or not (spread := float(reference.statistics.covariance.trace())) > 0:
        return None

    def relative(rows: Tensor) -> float:
        empty = FeatureStatistics.empty(name, rows.shape[1], reference.statistics.mean.device)
        return frechet(empty.update(rows), reference.statistics).value / spread

    x = model.sample(num, seed=seed).x
    value = relative(in_chunks(features, x, CHUNK)) if finite_chains(x).all() else None
    return RelativeFrechet(value, relative(reference.rows), num, name)


def judge_plane(model: Trained, data: Dataset, held_out: Tensor) -> dict[str, Any]:
    """The scores by quadrature in two dimensions, with the network in float64.

    They are taken on standardised points, where there are such, and told in the units of the data:
    log Z, KL and total variation are the same, NLL and entropy get Σ log std. If log Z cannot be
    computed they are None, with the reason under "not_settled".
    """
    box = 1.25 * float(model.noise.mean.abs().max() + 3 * model.noise.std.max())
    try:
        if data.log_density is None:
            z = log_z(model.potential, box)
            exact = {"log_z": z.value, "quadrature": asdict(z)}
        else:
            result = judge_density(model.potential, data.log_density, box)
            quadrature = asdict(result) | {"entropy_data": result.entropy_data + model.log_scale}
            exact = {
                "kl": result.kl,
                "tv": result.tv,
                "log_z": result.log_z,
                "quadrature": quadrature,
            }
    except StanleyError as error:
        return NOT_SETTLED | {"nll_held_out": None, "not_settled": str(error)}
    value = nll(model.potential, held_out, exact["log_z"]) + model.log_scale
    return exact | {"nll_held_out": {"value": value, "n": len(held_out), "unit": "nats"}}


def compare(
    x: Tensor, held_out: Tensor, spec: object, data: Dataset, generator: torch.Generator
) -> dict[str, Any]:
    """MMD² and coverage of one kind of samples; non-finite samples are left out and counted."""
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
    """The default features, which are cheap: pixels, of images wider than 8 averaged to 8 × 8."""
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
    """The scores of finite samples against a data set in one feature map, each with both n."""
    if len(x) < 2:
        return {}
    (fd, kd), name = score_names(features), features.name
    rows = in_chunks(features, x, CHUNK)
    of_samples = FeatureStatistics.empty(
        name, rows.shape[1], reference.statistics.mean.device
    ).update(rows)
    scores: dict[str, Any] = {fd: frechet(of_samples, reference.statistics)}
    if extrapolate:
        scores[f"{fd}_limit"] = frechet_limit(rows, reference.statistics, generator=generator)
    for result in scores.values():
        if result.caution:
            warnings.warn(result.caution, stacklevel=2)
    if kid and min(len(rows), len(reference.rows)) >= 3:
        scores[kd] = kernel_distance(
            rows, reference.rows[: max(KERNEL_ROWS, len(rows))], generator=generator
        )
    real = reference.rows[: len(rows)]  # as many as samples, since the scores depend on both n
    if neighbours and len(real) > NEAREST:
        scores[f"prdc_{name}"] = prdc(real, rows[: len(real)], NEAREST)
    if hasattr(features, "probabilities"):
        p = in_chunks(features.probabilities, x, CHUNK)  # type: ignore[attr-defined]
        scores[f"score_{name}"] = class_score(p, splits=10 if len(p) >= 10 * p.shape[1] else 1)
    return {key: asdict(result) | {"against": against} for key, result in scores.items()}


def energy_of(model: Trained, x: Tensor) -> Tensor:
    """E(x) in float32, whatever the precision of the chains, since these values are compared."""
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
    """The first rows of data as points of the model, on its device."""
    rows = rows[:limit]
    return (centre(rows) if model.is_image else rows.float()).to(model.device)


def keep_for_plots(
    directory: RunDirectory,
    model: Trained,
    data: Dataset,
    samples: dict[str, ChainResult],
    energies: dict[str, Tensor],
) -> None:
    """Write samples/evaluated.npz, from which plots are drawn without the model or the data; points
    and densities are in the units of the data.
    """
    arrays: dict[str, Any] = {f"energy_{name}": e.numpy() for name, e in energies.items()}
    for name, chains in samples.items():
        arrays[f"samples_{name}"] = model.original(chains.x).cpu().numpy()
    fresh = samples["fresh"].draws
    assert fresh is not None
    kept = model.original(fresh[:, :64])
    arrays["draws"] = kept.flatten(2)[:, :, :4].cpu().numpy()  # 64 chains, 4 coordinates
    arrays["data"] = (
        data.test[:256].cpu().numpy()
        if model.is_image
        else model.original(data.test[:2000]).cpu().numpy()
    )
    if not model.is_image:  # points of any shape are drawn as vectors
        for name in ("data", *(f"samples_{name}" for name in samples)):
            arrays[name] = arrays[name].reshape(len(arrays[name]), -1)
    if model.columns is not None:
        arrays["columns"] = np.array(model.columns)
    if model.event_shape == (2,):
        box = half_side(data.test)
        arrays["box"] = np.array(box) if model.standardisation is None else window(model, box)
        area = math.exp(model.log_scale)  # of a cell in the units of the data
        if model.flow is None:
            arrays["model_density"] = density_on_grid(model.potential, box, GRID).numpy() / area
        if data.log_density is not None:
            log_density = data.log_density
            negative: Energy = lambda x: -log_density(x)  # noqa: E731
            arrays["data_density"] = density_on_grid(negative, box, GRID).numpy() / area
    directory.samples.mkdir(exist_ok=True)
    write_arrays(directory.samples / EVALUATED, arrays)


def window(model: Trained, box: float) -> np.ndarray:
    """(left, right, bottom, top), in the units of the data, of [-box, box]² of standardised
    points.
    """
    corners = torch.tensor([[-box, -box], [box, box]], device=model.device)
    return model.original(corners).T.flatten().cpu().numpy()


def standardisation_as_json(model: Trained) -> dict[str, Any]:
    """The numbers between points of training and those of the data, ready for JSON."""
    found = model.standardisation
    assert found is not None
    return {
        "columns": None if model.columns is None else list(model.columns),
        "mean": found.mean.tolist(),
        "std": found.std.tolist(),
        "log_scale": model.log_scale,
    }


def write_arrays(path: Path, arrays: dict[str, Any]) -> None:
    import io

    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_atomic(path, buffer.getvalue())

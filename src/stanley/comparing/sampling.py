"""Chains of one sampler on one density: the configuration of an arm, and one seed carried out.

The folder of a seed holds

sampling.json    the configuration, and the sampler as it ran: its step size where that was adapted
draws.npy        of the second half of the steps, thinned: (draws, chains, *event)
compared.json    the scores
checkpoints/     only while chains run for longer than half a minute
"""

from __future__ import annotations

import io
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from typing_extensions import TypedDict

from stanley.batches import finite_chains
from stanley.comparing.moments import LIMIT, Moments, functions
from stanley.config import from_dict
from stanley.diagnostics import ess_bulk, rhat
from stanley.errors import require
from stanley.files import make_folder, write_atomic
from stanley.models.trained import load
from stanley.reading import read_json
from stanley.runs import checkpoint
from stanley.runs.directory import RunDirectory
from stanley.samplers import AnySampler, Langevin, OwnSampler, Sampler
from stanley.samplers.adapt import Precondition
from stanley.samplers.base import values
from stanley.samplers.given import own_inside, with_own
from stanley.samplers.joint import joint
from stanley.samplers.run import potential_for
from stanley.samplers.runaway import check_mass
from stanley.samplers.traits import (
    has_quantile,
    is_adjusted,
    traits_of,
    why_not_adjustable,
    with_step_size,
    with_threshold,
)
from stanley.samplers.warm_up import warm_up
from stanley.streams import stream
from stanley.targets.by_name import DType, find
from stanley.training.by_name import made_of, named_parts, of_the_model
from stanley.training.config import TrainConfig
from stanley.types import Energy

FIRST = Langevin(0.1)
FILE, DRAWS = "sampling.json", "draws.npy"
CHECKPOINT_AFTER = 30.0  # seconds of chains
BLOCK = 64  # steps whose moments are taken together
JUDGED = 1 << 24  # numbers in the draws that are judged, at most
KEPT = 1 << 18  # and in those that are written


@dataclass(frozen=True)
class SamplingConfig:
    """Chains of one sampler on a density: what an arm of a comparison of samplers is.

    Chains start from N(start_mean, start_std²) in every coordinate: off the centre, since a density
    that is symmetric about it would be right by the symmetry of its start. The second half of the
    steps is judged.

    With `adapt` the step size is the first guess, and each seed finds its own by `stanley.adapt`:
    at the usual acceptance, or of a sampler that never rejects at that of its adjusted twin. These
    steps are no part of the budget, and the chains start anew after them.
    """

    target: str  # density: a name that stanley targets lists, file.py:U, or a run directory
    sampler: AnySampler | OwnSampler = FIRST  # moves the chains
    steps: int = 5_000  # steps of each chain; where gradients are equal, so many gradients
    chains: int = 64  # chains of each seed
    adapt: int = 0  # steps in which each seed finds a step size; 0 takes it as it is
    precondition: Precondition | None = None  # scale found with it: draws, gradients, both, dense
    start_mean: float = 2.0  # mean of every coordinate of the starts
    start_std: float = 2.0  # its standard deviation
    shape: int | tuple[int, ...] | None = None  # shape of one point, of a density of your own
    log_density: bool = False  # the function is log p in place of U
    dtype: DType | None = None  # precision; null: float64, or that of a network's weights
    along: int = 4  # places in each doubling of the steps at which moments are noted
    seed: int = 0  # seed of starts and chains

    def __post_init__(self) -> None:
        least = {"steps": 8, "chains": 4, "adapt": 0, "along": 1, "seed": 0}
        for name, low in least.items():
            value = getattr(self, name)
            require(value >= low, f"{name} is {value}, but must be at least {low}")
        require(0 < self.start_std < math.inf, f"start_std is {self.start_std}, but must be > 0")
        require(
            self.precondition is None or self.adapt,
            f"precondition is {self.precondition!r} and adapt is 0: a scale is found along with the"
            " step size; give adapt steps, such as 300, or leave it out",
        )


@dataclass(frozen=True)
class DensityAt:
    """A potential that a configuration names, and what its points are like."""

    potential: Energy
    event_shape: tuple[int, ...]
    dtype: torch.dtype

    def starts(self, config: SamplingConfig, num: int | None = None) -> Tensor:
        """Where the chains of a seed begin, or as many as are asked for."""
        num = config.chains if num is None else num
        return self.initial(config, num, stream(config.seed, "starts"))

    def initial(self, config: SamplingConfig, num: int, generator: torch.Generator) -> Tensor:
        noise = torch.randn(num, *self.event_shape, generator=generator, dtype=torch.float64)
        return (config.start_mean + config.start_std * noise).to(self.dtype)


def density_of(config: SamplingConfig) -> DensityAt:
    """The density; whatever a configuration names is imported. A trained energy is that of
    standardised points, where training had such.

    Raises StanleyError for one that cannot be found, or called.
    """
    if ":" not in config.target and (Path(config.target) / "config.json").is_file():
        given = {"shape": config.shape, "log_density": config.log_density or None}
        unused = next((name for name, value in given.items() if value is not None), None)
        require(unused is None, f"{unused} is given, but a run knows its density; leave it out")
        run = RunDirectory.existing(config.target)
        own = of_the_model(named_parts(from_dict(TrainConfig, run.read_config())))
        model = load(run, device="cpu", **own).standardised
        require(
            config.dtype in (None, "float32"),
            f"dtype is {config.dtype}, but a run has the type of its weights; leave it out",
        )
        return DensityAt(model.potential, tuple(model.event_shape), torch.float32)
    shape = (config.shape,) if isinstance(config.shape, int) else config.shape
    found = find(
        config.target,
        shape=shape,
        start_std=config.start_std,
        dtype=config.dtype,
        log_density=config.log_density,
    )
    return DensityAt(found.potential, found.event_shape, found.dtype)


def sampler_of(config: SamplingConfig) -> Any:
    """The sampler itself, also where it is the user's own."""
    record: Any = own_inside(config.sampler)
    if record is None:
        return config.sampler
    return with_own(config.sampler, made_of("sampler", record.name, record.arguments))


def require_runnable(config: SamplingConfig, density: DensityAt) -> None:
    """Raise StanleyError for a sampler that cannot make a step on the density, or not adapt."""
    sampler, x = sampler_of(config), density.starts(config, 4)
    if config.adapt and not is_adjusted(sampler):
        why = why_not_adjustable(sampler)
        require(why is None, f"adapt is {config.adapt}, and no step size can be found: {why}")
    require_finite(density.potential, x)
    potential = potential_for(sampler, density.potential)
    sampler.step(potential, sampler.init(potential, x), stream(0, "one step"))


def require_finite(potential: Energy, x: Tensor) -> None:
    out = int((~values(potential, x).isfinite()).sum())
    require(
        out == 0,
        f"U is not finite at {out} of {len(x)} starts: no chain can leave such a point; change "
        "start_mean and start_std so that they lie where the density is",
    )


def ready(config: SamplingConfig, density: DensityAt, x0: Tensor) -> Sampler:
    """The sampler with its step size, adapted where that is asked for."""
    sampler = sampler_of(config)
    if not config.adapt:
        return sampler
    return warm_up(
        sampler,
        density.potential,
        x0,
        config.adapt,
        generator=stream(config.seed, "adaptation"),
        tune=True,
        precondition=config.precondition if is_adjusted(sampler) else None,
    ).sampler


def noted_at(steps: int, along: int) -> set[int]:
    """The steps at which moments are noted: `along` in each doubling up to the last, and half of
    each of them.
    """
    places = math.ceil(math.log2(steps)) * along
    at = {round(steps / 2 ** (k / along)) for k in range(places + 1)}
    return {*at, *(t // 2 for t in at)} - {0}


@dataclass
class Chains:
    """Chains under way, or at their end: all that a checkpoint holds.

    sums       time -> sum of f over the steps so far and mean over chains, (k,)
    spent      time -> gradients of each chain so far; one of U without its gradient counts half
    seconds    CPU seconds of the second half of the steps
    """

    step: int
    state: Any
    generator: torch.Generator
    total: Tensor
    sums: dict[int, Tensor]
    spent: dict[int, float]
    gradients: float
    accepted: float
    seconds: float
    draws: Tensor

    def save(self, folder: Path) -> None:
        leaves, _ = pytree.tree_flatten(self.state)
        there = {k: leaf for k, leaf in enumerate(leaves) if leaf is not None}
        tensors = {f"state.{k}": torch.as_tensor(leaf) for k, leaf in there.items()}
        tensors |= {f"sums.{t}": value for t, value in self.sums.items()}
        tensors |= {"generator": self.generator.get_state(), "total": self.total}
        tensors |= {"draws": self.draws}
        meta = {"step": self.step, "holds": "chains", "gradients": self.gradients}
        meta |= {"accepted": self.accepted, "seconds": self.seconds}
        meta |= {"spent": {str(t): value for t, value in self.spent.items()}}
        make_folder(folder)
        checkpoint.save(checkpoint.Checkpoint(tensors, meta), folder, keep=2)

    def restore(self, found: checkpoint.Checkpoint, like: Any) -> None:
        """Go on where a checkpoint was; `like` is a state of the same structure."""
        leaves, structure = pytree.tree_flatten(like)
        saved = found.part("state")

        def value(k: int) -> Any:
            found = saved.get(str(k))
            return found if found is None or isinstance(leaves[k], Tensor) else found.item()

        restored = [value(k) for k in range(len(leaves))]
        self.state = pytree.tree_unflatten(restored, structure)
        self.generator.set_state(found.tensors["generator"])
        self.total, self.draws = found.tensors["total"], found.tensors["draws"]
        self.sums = {int(t): value for t, value in found.part("sums").items()}
        self.spent = {int(t): value for t, value in found.meta["spent"].items()}
        self.step, self.gradients = found.step, found.meta["gradients"]
        self.accepted, self.seconds = found.meta["accepted"], found.meta["seconds"]


@torch.no_grad()
def run(config: SamplingConfig, density: DensityAt, sampler: Sampler, folder: Path) -> Chains | str:
    """The chains at their end; where one of them leaves the finite numbers, a sentence of when."""
    x0, generator = density.starts(config), stream(config.seed, "chains")
    require_finite(density.potential, x0)
    potential = joint(potential_for(sampler, density.potential), x0)
    cost, times = traits_of(sampler), noted_at(config.steps, config.along)
    state, half = sampler.init(potential, x0), config.steps // 2
    every = max(1, math.ceil((config.steps - half) * x0.numel() / JUDGED))
    started = cost.init_gradients + cost.init_potentials / 2
    none = torch.zeros(functions(density.potential, x0[None]).shape[-1], dtype=torch.float64)
    kept = x0.new_zeros((config.steps - half) // every, *x0.shape)
    chains = Chains(0, state, generator, none, {}, {}, started, 0.0, 0.0, kept)
    place = folder / "checkpoints"
    if (found := checkpoint.newest(place)) is not None:
        like, _ = sampler.step(potential, state, stream(0, "structure"))
        chains.restore(found, like)
    last, block = time.monotonic(), []
    while chains.step < config.steps:
        began = time.process_time()
        chains.state, info = sampler.step(potential, chains.state, generator)
        took = time.process_time() - began
        chains.step += 1
        n = chains.step
        gradients = cost.gradients if info.num_gradients is None else info.num_gradients
        potentials = cost.potentials if info.num_potentials is None else info.num_potentials
        chains.gradients += gradients + potentials / 2
        if info.acceptance is not None:
            chains.accepted += float(info.acceptance.mean())
        if n > half:
            chains.seconds += took
            if (n - half) % every == 0:
                chains.draws[(n - half) // every - 1] = chains.state.x
        block.append(chains.state.x)
        if n in times or len(block) == BLOCK or n == config.steps:
            lost = int((~finite_chains(chains.state.x)).sum())
            if lost:
                return f"{lost} of {len(x0)} chains left the finite numbers by step {n}"
            f = functions(density.potential, torch.stack(block))
            chains.total, block = chains.total + f.mean(1).sum(0), []
        if n in times:
            chains.sums[n], chains.spent[n] = chains.total, chains.gradients
        if not block and time.monotonic() - last > CHECKPOINT_AFTER and n < config.steps:
            chains.save(place)
            last = time.monotonic()
    if is_adjusted(sampler):  # one that never rejects runs away from a good density, too
        check_mass(density.potential, x0, chains.state.x)
    return chains


def scores_of(chains: Chains, density: DensityAt, moments: Moments | None) -> dict[str, Any]:
    """All scores of chains at their end, but b² where no moments are known.

    ess                 smallest bulk ESS over the test functions, of the second half of the steps
    ess_per_gradient    per gradient evaluation of all chains in that half
    ess_per_second      per CPU second of it, on one thread
    rhat                largest R̂ over the test functions, rank-normalised
    bias2               b² at the end
    gradients_to_bias2  gradients of each chain when b² fell below 0.01 to stay; None where it did
                        not
    gradients           of all chains, the start and the first half included
    seconds             CPU seconds of the second half
    """
    num, half = chains.draws.shape[1], chains.step // 2
    judged = num * (chains.gradients - chains.spent[half])
    f = functions(density.potential, chains.draws)
    moved = float(f.std(0).amax(0).min()) > 0
    ess = float(ess_bulk(f).min()) if moved else math.nan
    found = {
        "ess": ess,
        "ess_per_gradient": ess / judged if judged else math.nan,
        "ess_per_second": ess / chains.seconds if chains.seconds else math.nan,
        "rhat": float(rhat(f).max()) if moved else math.nan,
        "gradients": num * chains.gradients,
        "seconds": chains.seconds,
    }
    if moments is None:
        return found
    curve = errors_along(chains, moments)
    above = [k for k, (_, b2) in enumerate(curve) if not b2 < LIMIT]
    first = above[-1] + 1 if above else 0
    reached = chains.spent[curve[first][0]] if first < len(curve) else None
    return found | {"bias2": curve[-1][1], "gradients_to_bias2": reached}


def errors_along(chains: Chains, moments: Moments) -> list[tuple[int, float]]:
    """(step, b²) at every step that was noted, and whose half was."""
    curve = []
    for t, total in sorted(chains.sums.items()):
        before = chains.sums.get(t // 2)
        if before is None and t > 1:
            continue
        mean = total if before is None else (total - before) / (t - t // 2)
        curve.append((t, moments.error(mean)))
    return curve


def rhat_along(chains: Chains, density: DensityAt) -> list[tuple[int, float]]:
    """(step, R̂) over growing parts of the second half of the steps."""
    curve, half = [], chains.step // 2
    every = (chains.step - half) / len(chains.draws)
    for t in sorted(t for t in chains.spent if t > half):
        draws = chains.draws[: int((t - half) / every)]
        if len(draws) >= 8:
            curve.append((t, float(rhat(functions(density.potential, draws)).max())))
    return curve


class Sampled(TypedDict):
    """What sampling.json holds; `step_size` and `threshold` as they ran."""

    config: dict[str, Any]
    sampler: str
    step_size: float
    threshold: float | None


def read_sampled(folder: Path) -> tuple[SamplingConfig, Sampled]:
    """The configuration of chains that were carried out, and how their sampler ran.

    Raises StanleyError where the folder has no sampling.json, or one that says something else.
    """
    found = read_json(
        folder / FILE, Sampled, "give a folder runs/ARM/SETTING/seed-N of a comparison"
    )
    return from_dict(SamplingConfig, found["config"]), found


def as_it_ran(folder: Path) -> tuple[SamplingConfig, Sampler]:
    """The sampler of chains that were carried out, with the step size and threshold that it had.

    Whatever the configuration names is imported. Raises StanleyError for one with a scale that was
    found along with its step size, which is not kept.
    """
    config, ran = read_sampled(folder)
    require(
        config.precondition is None,
        f"{folder} ran with precondition {config.precondition}, whose scale is not kept; name the "
        "density with --target, and the sampler with --sampler and --precondition",
    )
    sampler = with_step_size(sampler_of(config), ran["step_size"])
    if has_quantile(sampler) and ran["threshold"] is not None:
        sampler = with_threshold(sampler, torch.tensor(ran["threshold"]))
    return config, sampler


def write_draws(draws: Tensor, folder: Path) -> None:
    every = max(1, math.ceil(draws.numel() / KEPT))
    buffer = io.BytesIO()
    np.save(buffer, draws[every - 1 :: every].numpy().astype(np.float32))
    write_atomic(folder / DRAWS, buffer.getvalue())

"""Samples of a density or of a trained energy: warm up, find the step size where none is given,
and run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from stanley.diagnostics.coupling import Initial
from stanley.errors import require
from stanley.models.trained import Start, Trained
from stanley.samplers import ChainResult, Sampler, run_chains
from stanley.samplers.adapt import Precondition
from stanley.samplers.run import potential_for
from stanley.samplers.warm_up import Ready, warm_up
from stanley.streams import stream
from stanley.types import Energy

DENSITY_STEPS = 1000  # of a chain on a density, after the warm-up


@dataclass(frozen=True)
class Samples:
    """The last states of chains, and how they came about."""

    ready: Ready  # the sampler with nothing left open, and where its chains began
    chains: ChainResult

    @property
    def numbers(self) -> dict[str, Any]:
        """Step size, acceptance, gradients and non-finite chains, ready for JSON."""
        return self.ready.numbers(self.chains.info)


def start_chains(
    sampler: Sampler,
    potential: Energy,
    initial: Initial,
    num: int,
    warm_up_steps: int,
    *,
    seed: int,
    device: torch.device,
    tune: bool,
    precondition: Precondition | None = None,
) -> tuple[Ready, torch.Generator]:
    """`num` chains after their warm-up, and the generator to go on with.

    initial  the law that chains start from, (n, generator) -> (n, *event)
    tune     whether the step size is to be found in the warm-up; see `warm_up`
    """
    require(num >= 1, f"num is {num}, must be at least 1")
    generator = stream(seed, "warm-up and chains", device=device)
    x0 = initial(num, generator)
    ready = warm_up(
        sampler,
        potential,
        x0,
        warm_up_steps,
        generator=generator,
        tune=tune,
        precondition=precondition,
    )
    return ready, generator


def sample_density(
    sampler: Sampler,
    potential: Energy,
    initial: Initial,
    num: int,
    steps: int | None = None,
    *,
    warm_up_steps: int,
    seed: int,
    device: torch.device,
    tune: bool,
    precondition: Precondition | None = None,
    keep_every: int | None = None,
    progress: bool = False,
) -> Samples:
    """`num` chains on exp(-U): the warm-up of `start_chains`, then `steps` steps
    (1,000 unless given).
    """
    ready, generator = start_chains(
        sampler,
        potential,
        initial,
        num,
        warm_up_steps,
        seed=seed,
        device=device,
        tune=tune,
        precondition=precondition,
    )
    chains = run_chains(
        ready.sampler,
        potential_for(ready.sampler, potential),
        ready.x,
        DENSITY_STEPS if steps is None else steps,
        generator=generator,
        keep_every=keep_every,
        progress=progress,
    )
    return Samples(ready, chains)


def sample_trained(
    model: Trained,
    num: int,
    steps: int | None = None,
    *,
    start: Start = "noise",
    seed: int = 0,
    keep_every: int | None = None,
    progress: bool = False,
) -> Samples:
    """`Trained.sample`, with the points that its chains start from beside it: no warm-up,
    the run's own step size.
    """
    chains = model.sample(
        num, steps=steps, start=start, seed=seed, keep_every=keep_every, progress=progress
    )
    x0 = model.starts(num, start, model.stream(seed, start))  # the draw of the chains above
    return Samples(Ready(model.sampler, x0, "the run"), chains)

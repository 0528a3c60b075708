"""Step sizes for adjusted samplers, found from the acceptance rate."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from stanley.errors import StanleyError, require
from stanley.samplers.base import Sampler
from stanley.samplers.run import check_request
from stanley.types import Energy

S = TypeVar("S", bound=Sampler)


@torch.no_grad()
def adapt(
    sampler: S,
    potential: Energy,
    x0: Tensor,
    num_steps: int,
    *,
    generator: torch.Generator,
    target_acceptance: float | None = None,
) -> tuple[S, Tensor]:
    """The sampler with the step size at which its chains accept at the target rate, and where the chains ended.

    Dual averaging (Hoffman & Gelman 2014, section 3.2.1) on log h, with the acceptance averaged over all finite
    chains at each step:

        H̄_n = (1 - 1/(n + n₀))·H̄_{n-1} + (a* - a_n)/(n + n₀),   log h_n = μ - (√n/κ)·H̄_n,
        log h̄_n = n^{-c}·log h_n + (1 - n^{-c})·log h̄_{n-1},     μ = log 10h₀, n₀ = 10, κ = 0.05, c = 0.75.

    a* is `target_acceptance`, the sampler's own unless given: 0.574 for Langevin-type moves, 0.8 for HMC, 0.4 for
    Barker, 0.234 for a random walk. Returns a new frozen sampler with h̄; the chain that adapts is not invariant,
    throw its draws away.
    Raises StanleyError for a sampler that is not adjusted: nothing is rejected, so there is nothing to aim at.
    """
    require(
        adjustable_step(sampler),
        f"adapt needs a Metropolis-adjusted sampler, got {type(sampler).__name__}, which never rejects; "
        f"use MALA or Adjusted({type(sampler).__name__}(...))",
    )
    target_acceptance = target_of(sampler) if target_acceptance is None else target_acceptance
    require(0 < target_acceptance < 1, f"target_acceptance is {target_acceptance}, must lie between 0 and 1")
    check_request(x0, num_steps, generator, None)
    first = float(sampler.step_size)
    averaging = DualAveraging(target_acceptance, first)
    state = sampler.init(potential, x0)
    for _ in range(num_steps):
        state, info = with_step_size(sampler, averaging.step_size).step(potential, state, generator)
        averaging.update(mean_acceptance(info.acceptance, state.potential))
    if not math.isfinite(averaging.mean_step_size) or averaging.mean_step_size < 1e-30 * first:
        raise StanleyError(
            f"adapt: the step size fell from {first:g} to {averaging.mean_step_size:g} in {num_steps} steps and "
            "nothing was accepted; check that the potential is finite where the chains start"
        )
    return with_step_size(sampler, averaging.mean_step_size), state.x


class DualAveraging:
    """The recursion in `adapt`'s docstring."""

    def __init__(self, target: float, step_size: float) -> None:
        self.target, self.centre = target, math.log(10 * step_size)
        self.error, self.log_step, self.log_mean, self.n = 0.0, math.log(step_size), 0.0, 0

    def update(self, acceptance: float) -> None:
        self.n += 1
        n, kappa, n0, c = self.n, 0.05, 10, 0.75
        self.error += (self.target - acceptance - self.error) / (n + n0)
        self.log_step = self.centre - n**0.5 / kappa * self.error
        self.log_mean = n**-c * self.log_step + (1 - n**-c) * self.log_mean

    @property
    def step_size(self) -> float:
        return math.exp(min(max(self.log_step, -700.0), 700.0))

    @property
    def mean_step_size(self) -> float:
        return math.exp(min(max(self.log_mean, -700.0), 700.0))


@dataclass(frozen=True)
class RobbinsMonro:
    """log h ← min(log h₀, log h + ρ·(a - a*)), once per training iteration, a the mean acceptance of its chains.

    The target moves with the weights, so the rate ρ = `rate` is constant and never averaged. h never exceeds the
    sampler's own step size h₀: early in training the energy is smooth and any step is accepted, but noise wider
    than the finest scale of the data cannot see that scale, and training then diverges.
    Robbins & Monro (1951).
    """

    target_acceptance: float = 0.574
    rate: float = 0.05

    def __post_init__(self) -> None:
        a = self.target_acceptance
        require(0 < a < 1, f"adapt.target_acceptance is {a}, must lie between 0 and 1")
        require(self.rate > 0, f"adapt.rate is {self.rate}, must be > 0; 0.05 is usual")

    def update(self, step_size: float, acceptance: float, largest: float) -> float:
        return min(largest, step_size * math.exp(self.rate * (acceptance - self.target_acceptance)))


def mean_acceptance(acceptance: Tensor | None, potential: Tensor) -> float:
    """Mean over the chains that are still finite; 0 when none is."""
    assert acceptance is not None
    finite = potential.isfinite()
    return float((acceptance * finite).sum() / finite.sum().clamp(min=1))


def adjustable_step(sampler: Sampler) -> bool:
    """Whether the acceptance rate says anything about the step size."""
    return getattr(sampler, "adjusted", False)


def target_of(sampler: Sampler) -> float:
    """The acceptance rate that is best, by theory, for this kind of move."""
    return getattr(sampler, "target_acceptance", 0.574)


def with_step_size(sampler: S, step_size: float) -> S:
    """The same sampler with another h, also inside a sampler that wraps another."""
    for name in ("proposal", "sampler"):
        if hasattr(sampler, name):
            return replace(sampler, **{name: with_step_size(getattr(sampler, name), step_size)})  # type: ignore[type-var]
    return replace(sampler, step_size=step_size)  # type: ignore[type-var]

"""Hamiltonian Monte Carlo: several leapfrog steps, then one Metropolis test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from stanley.errors import require
from stanley.samplers.base import (
    ChainState,
    StepInfo,
    evaluate,
    gradients,
    metropolis,
    per_chain,
    require_positive,
)
from stanley.samplers.noise import normal_like
from stanley.samplers.traits import Traits
from stanley.types import Energy, layers

MOST_LEAPFROG = 10_000  # so that no file can ask for a step that does not end

#: (potential, state, momentum, ε, number of steps) -> (state, momentum) of `leapfrog`.
Leapfrog = Callable[[Energy, ChainState, Tensor, float, int], tuple[ChainState, Tensor]]


@dataclass(frozen=True)
class WithLeapfrog:
    """The same potential, whose leapfrog steps another function takes: see `trajectories.py`."""

    energy: Energy
    leapfrog: Leapfrog

    def __call__(self, x: Tensor) -> Tensor:  # (B, *event) -> (B,)
        return self.energy(x)


@dataclass(frozen=True)
class HMC:
    """(y, p') = leapfrog^L(x, p),   p ~ N(0, I),   accepted with probability min(1, α),

        log α = U(x) - U(y) + ½|p|² - ½|p'|².

    `step_size` is the leapfrog step ε, not a variance: one leapfrog step (L = 1) with ε = √h is
    MALA with h. `num_leapfrog` is L. With `jitter` each step draws its own L, one draw for all
    chains, uniform on {1, …, 2L - 1} (mean L), so that no trajectory length meets a period of the
    target.
    Cost: one gradient per leapfrog step, first derivatives only; `jitter` reads one number back
    from the device. Leaves exp(-U) invariant exactly, for every ε and L. Not true: that a longer
    trajectory is always better; without jitter, on an isotropic Gaussian, one that lasts a whole
    period comes back to where it started. Neal (2011), sections 5.2.3, 5.3.2 and 5.4.2.
    """

    step_size: float  # ε, a leapfrog step: √h of a Langevin sampler
    num_leapfrog: int = 10  # leapfrog steps of a step
    jitter: bool = True  # draw their number anew for each step
    kind: Literal["hmc"] = "hmc"

    def __post_init__(self) -> None:
        require_positive(self, step_size=self.step_size)
        num = self.num_leapfrog
        require(
            isinstance(num, int) and 1 <= num <= MOST_LEAPFROG,
            f"HMC: num_leapfrog is {num!r}, must be a whole number of at least 1 and at most "
            f"{MOST_LEAPFROG:,}; 10 is a good start",
        )

    @property
    def traits(self) -> Traits:
        why = "HMC with jitter draws its number of leapfrog steps anew; jitter=False keeps it"
        return Traits(
            adjusted=True,
            # 0.651 in the limit of Beskos et al. (2013); higher is the safer side
            target_acceptance=0.8,
            step_is_time=True,
            step_size_hint="it is the leapfrog step ε, √h of a Langevin sampler",
            gradients=self.num_leapfrog,
            not_traceable=why if self.jitter else None,
        )

    def init(self, potential: Energy, x: Tensor) -> ChainState:
        return evaluate(potential, x)

    def step(
        self, potential: Energy, state: ChainState, generator: torch.Generator
    ) -> tuple[ChainState, StepInfo]:
        num, momentum = self.length(generator), normal_like(state.x, generator)
        candidate, end = leapfrog(potential, state, momentum, self.step_size, num)
        log_ratio = per_chain(momentum**2 - end**2) / 2
        return metropolis(state, candidate, log_ratio, generator, StepInfo(num_gradients=num))

    def length(self, generator: torch.Generator) -> int:
        """The number of leapfrog steps of one trajectory."""
        if not self.jitter:
            return self.num_leapfrog
        return int(
            torch.randint(
                1, 2 * self.num_leapfrog, (), generator=generator, device=generator.device
            )
        )


def leapfrog(
    potential: Energy, state: ChainState, momentum: Tensor, step_size: float, num: int
) -> tuple[ChainState, Tensor]:
    """`num` times   p ← p - (ε/2)·∇U(x),   x ← x + ε·p,   p ← p - (ε/2)·∇U(x).

    Reversible: from (x', -p') it leads back to (x, -p). Volume preserving: each of the three moves
    is a shear. Of order 2: over a fixed time U + ½|p|² is off by O(ε²). One gradient per step, the
    state's own is used again.
    """
    for layer in layers(potential):
        if isinstance(layer, WithLeapfrog):
            return layer.leapfrog(potential, state, momentum, step_size, num)
    gradient, half = gradients(potential, len(state.x)), step_size / 2
    x, u, kick = state.x, state.potential, half * state.grad
    grad = state.grad
    for _ in range(num):
        momentum = momentum - kick
        x = x + step_size * momentum
        u, grad = gradient(x)
        kick = half * grad  # the end of this step, and the beginning of the next
        momentum = momentum - kick
    return ChainState(x, u, grad), momentum

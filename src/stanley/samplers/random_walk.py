"""Random-walk Metropolis: no gradients at all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from stanley.samplers.base import (
    ChainState,
    Law,
    StepInfo,
    metropolis,
    number_like,
    per_chain,
    require_positive,
    values,
)
from stanley.samplers.noise import normal_like
from stanley.samplers.traits import Traits
from stanley.types import Energy


@dataclass(frozen=True)
class RandomWalk:
    """y = x + √h·ξ,   ξ ~ N(0, I),   accepted with probability min(1, α),   log α = U(x) - U(y).

    h = `step_size` is the variance of the noise. Leaves exp(-U) invariant exactly. One evaluation
    of U per step and no gradient: U need not be differentiable, nor even written in torch.
    `ChainState.grad` and `ChainInfo.grad_norm` are NaN: not computed.
    Not true: that it scales; on product targets h must shrink like 1/d, against d^{-1/3} for MALA.
    Metropolis et al. (1953); the acceptance to aim at: Roberts, Gelman & Gilks (1997).
    """

    step_size: float  # h, the variance of the noise of a step
    kind: Literal["random-walk"] = "random-walk"

    traits: ClassVar[Traits] = Traits(
        adjusted=True,
        target_acceptance=0.234,
        gradients=0,
        potentials=1,
        init_gradients=0,
        init_potentials=1,
    )

    def __post_init__(self) -> None:
        require_positive(self, step_size=self.step_size)

    def init(self, potential: Energy, x: Tensor) -> ChainState:
        return evaluate_only(potential, x)

    def step(
        self, potential: Energy, state: ChainState, generator: torch.Generator
    ) -> tuple[ChainState, StepInfo]:
        candidate, noise, info = self.propose(potential, state, generator)
        return metropolis(
            state, candidate, self.log_ratio(potential, state, candidate, noise), generator, info
        )

    def propose(
        self, potential: Energy, state: ChainState, generator: torch.Generator
    ) -> tuple[ChainState, Tensor, StepInfo]:
        noise = normal_like(state.x, generator)
        candidate = evaluate_only(potential, state.x + self.step_size**0.5 * noise)
        return candidate, noise, StepInfo()

    def log_ratio(
        self, potential: Energy, state: ChainState, candidate: ChainState, move: Tensor
    ) -> Tensor:
        """0: the way back is as likely as the way there."""
        return per_chain(state.x.new_zeros(len(state.x), 1))

    def law(self, potential: Energy, state: ChainState, signs: Tensor | None = None) -> Law:
        """N(x, h)."""
        return Law(state.x, number_like(self.step_size, state.x))


def evaluate_only(potential: Energy, x: Tensor) -> ChainState:
    """U(x) for all chains, and NaN where ∇U(x) would stand."""
    x = x.detach()
    return ChainState(x, values(potential, x), x.new_full((), math.nan).expand_as(x))

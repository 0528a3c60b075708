"""Random-walk Metropolis: no gradients at all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from stanley.samplers.base import (
    ChainState,
    StepInfo,
    check_shape,
    chunks,
    metropolis,
    per_chain,
    require_positive,
)
from stanley.samplers.noise import normal_like
from stanley.types import Energy


@dataclass(frozen=True)
class RandomWalk:
    """y = x + √h·ξ,   ξ ~ N(0, I),   accepted with probability min(1, α),   log α = U(x) - U(y).

    h = `step_size` is the variance of the noise. Leaves exp(-U) invariant exactly. One evaluation of U per step and
    no gradient: U need not be differentiable, nor even written in torch. `ChainState.grad` and
    `ChainInfo.grad_norm` are NaN: not computed.
    Not true: that it scales; on product targets h must shrink like 1/d, against d^{-1/3} for MALA.
    Metropolis et al. (1953); the acceptance to aim at: Roberts, Gelman & Gilks (1997).
    """

    step_size: float  # h, the variance of the noise of a step
    kind: Literal["random-walk"] = "random-walk"

    adjusted: ClassVar[bool] = True
    target_acceptance: ClassVar[float] = 0.234
    init_gradients: ClassVar[int] = 0
    init_potentials: ClassVar[int] = 1

    def __post_init__(self) -> None:
        require_positive(self, step_size=self.step_size)

    def init(self, potential: Energy, x: Tensor) -> ChainState:
        return evaluate_only(potential, x)

    def step(self, potential: Energy, state: ChainState, generator: torch.Generator) -> tuple[ChainState, StepInfo]:
        candidate, noise, info = self.propose(potential, state, generator)
        return metropolis(state, candidate, self.log_ratio(potential, state, candidate, noise), generator, info)

    def propose(
        self, potential: Energy, state: ChainState, generator: torch.Generator
    ) -> tuple[ChainState, Tensor, StepInfo]:
        noise = normal_like(state.x, generator)
        candidate = evaluate_only(potential, state.x + self.step_size**0.5 * noise)
        return candidate, noise, StepInfo(num_gradients=0, num_potentials=1)

    def log_ratio(self, potential: Energy, state: ChainState, candidate: ChainState, move: Tensor) -> Tensor:
        """0: the way back is as likely as the way there."""
        return per_chain(state.x.new_zeros(len(state.x), 1))


@torch.no_grad()
def evaluate_only(potential: Energy, x: Tensor) -> ChainState:
    """U(x) for all chains, and NaN where ∇U(x) would stand."""
    x = x.detach()
    u = torch.cat([check_shape(potential(part), part) for part in chunks(potential, x)])
    return ChainState(x, u, x.new_full((), math.nan).expand_as(x))

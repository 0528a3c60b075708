"""MALA: Langevin proposals with a Metropolis test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from stanley.samplers.base import (
    ChainState,
    Law,
    StepInfo,
    evaluate,
    metropolis,
    number_like,
    per_chain,
    require_positive,
)
from stanley.samplers.noise import normal_like
from stanley.samplers.traits import Traits
from stanley.types import Energy


@dataclass(frozen=True)
class MALA:
    """y = x - (h/2)·∇U(x) + √h·ξ, accepted with probability min(1, α),

        log α = U(x) - U(y) + ½|ξ|² - |x - y + (h/2)·∇U(y)|² / 2h.

    Leaves exp(-U) invariant exactly. One gradient per step. Not true: that it always mixes; on
    exp(-x⁴) it has no spectral gap, because far-out chains overshoot and are rejected for ever.
    Roberts & Tweedie (1996), section 1.4.1.
    """

    step_size: float  # h, the variance of the noise of a step
    kind: Literal["mala"] = "mala"

    traits: ClassVar[Traits] = Traits(adjusted=True)

    def __post_init__(self) -> None:
        require_positive(self, step_size=self.step_size)

    def init(self, potential: Energy, x: Tensor) -> ChainState:
        return evaluate(potential, x)

    def step(
        self, potential: Energy, state: ChainState, generator: torch.Generator
    ) -> tuple[ChainState, StepInfo]:
        candidate, noise, info = self.propose(potential, state, generator)
        log_ratio = self.log_ratio(potential, state, candidate, noise)
        return metropolis(state, candidate, log_ratio, generator, info)

    def propose(
        self, potential: Energy, state: ChainState, generator: torch.Generator
    ) -> tuple[ChainState, Tensor, StepInfo]:
        h, noise = self.step_size, normal_like(state.x, generator)
        x = self.mean(state) + h**0.5 * noise
        return evaluate(potential, x), noise, StepInfo()

    def log_ratio(
        self, potential: Energy, state: ChainState, candidate: ChainState, move: Tensor
    ) -> Tensor:
        """log q(y→x) - log q(x→y) = ½|ξ|² - |x - y + (h/2)·∇U(y)|² / 2h; the normalisers cancel."""
        h, noise = self.step_size, move
        back = state.x - candidate.x + h / 2 * candidate.grad
        return per_chain(noise**2 - back**2 / h) / 2

    def law(self, potential: Energy, state: ChainState, signs: Tensor | None = None) -> Law:
        """N(x - (h/2)·∇U(x), h)."""
        return Law(self.mean(state), number_like(self.step_size, state.x))

    def mean(self, state: ChainState) -> Tensor:
        """x - (h/2)·∇U(x)."""
        return state.x - self.step_size / 2 * state.grad

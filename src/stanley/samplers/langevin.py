"""Unadjusted Langevin, the vanilla sampler of energy-based models."""

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
    number_like,
    per_chain,
    require_positive,
)
from stanley.samplers.noise import normal_like
from stanley.samplers.traits import Traits
from stanley.types import Energy


@dataclass(frozen=True)
class Langevin:
    """x' = x - (h/2)·∇U(x) + √h·ξ,   ξ ~ N(0, I).

    h = `step_size` is the variance of the noise. One gradient per step.
    Unadjusted: for U = x²/2 its stationary variance is 1/(1 - h/4), not 1, and on potentials that
    grow faster than x² it diverges from far enough out.
    Roberts & Tweedie (1996), section 1.4; the draft's (6) with γ = 1.
    """

    step_size: float  # h, the variance of the noise of a step
    kind: Literal["langevin"] = "langevin"

    traits: ClassVar[Traits] = Traits(gradient_is_for_next=True)

    def __post_init__(self) -> None:
        require_positive(self, step_size=self.step_size)

    def init(self, potential: Energy, x: Tensor) -> ChainState:
        return evaluate(potential, x)

    def step(
        self, potential: Energy, state: ChainState, generator: torch.Generator
    ) -> tuple[ChainState, StepInfo]:
        candidate, _, info = self.propose(potential, state, generator)
        return candidate, info

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

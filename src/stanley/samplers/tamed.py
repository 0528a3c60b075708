"""Tamed Langevin: a drift that cannot overshoot, and full noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from stanley.errors import require
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
from stanley.samplers.scale import magnitude
from stanley.samplers.traits import Traits
from stanley.types import Energy


@dataclass(frozen=True)
class TamedLangevin:
    """x' = x - (h/2)·G(x) + √h·ξ,   G = ∇U / (1 + (h/2)·|∇U|),   ξ ~ N(0, I).

    h = `step_size` is the variance of the noise; the source's step γ is h/2, its noise √(2γ)·ξ.
    With scope 'sample' |·| is the norm over the event (TULA), with 'element' the absolute value of
    each component (the coordinate-wise TULAc). No drift is longer than 1, for any gradient, so it
    stays finite where Langevin diverges. One gradient per step; `Adjusted(TamedLangevin(...))` is
    exact. Not true: that it leaves exp(-U) invariant. The taming vanishes with h: the bias of the
    invariant law is O(h). Brosse, Durmus, Moulines & Sabanis (2019).
    """

    step_size: float  # h, the variance of the noise of a step
    scope: Literal["sample", "element"] = "sample"  # what |∇U| is taken over: sample or element
    kind: Literal["tamed-langevin"] = "tamed-langevin"

    traits: ClassVar[Traits] = Traits(gradient_is_for_next=True)

    def __post_init__(self) -> None:
        require_positive(self, step_size=self.step_size)
        require(
            self.scope in ("sample", "element"),
            f"TamedLangevin: scope is {self.scope!r}, must be one of sample, element",
        )

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
        taming = self.taming(state)
        x = self.mean(state, taming) + h**0.5 * noise
        return evaluate(potential, x), noise, StepInfo(scale=taming.flatten(1).mean(1))

    def log_ratio(
        self, potential: Energy, state: ChainState, candidate: ChainState, move: Tensor
    ) -> Tensor:
        """log q(y→x) - log q(x→y) = ½|ξ|² - |x - y + (h/2)·G(y)|² / 2h; the normalisers cancel."""
        h, noise = self.step_size, move
        back = state.x - candidate.x + h / 2 * self.taming(candidate) * candidate.grad
        return per_chain(noise**2 - back**2 / h) / 2

    def law(self, potential: Energy, state: ChainState, signs: Tensor | None = None) -> Law:
        """N(x - (h/2)·G(x), h)."""
        return Law(self.mean(state, self.taming(state)), number_like(self.step_size, state.x))

    def mean(self, state: ChainState, taming: Tensor) -> Tensor:
        """x - (h/2)·G(x)."""
        return state.x - self.step_size / 2 * taming * state.grad

    def taming(self, state: ChainState) -> Tensor:
        """1 / (1 + (h/2)·|∇U|), broadcastable to the event: G = taming·∇U."""
        return 1 / (1 + self.step_size / 2 * magnitude(state.grad, self.scope))

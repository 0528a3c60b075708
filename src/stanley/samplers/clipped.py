"""Clipped Langevin: STANLEY's drift with isotropic noise, the first control of its claim."""

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
from stanley.samplers.scale import (
    Quantile,
    Scope,
    check_scope,
    check_threshold,
    follow_threshold,
    resolve_threshold,
    scale,
)
from stanley.samplers.traits import Traits
from stanley.types import Energy


@dataclass(frozen=True)
class ClippedLangevin:
    """x' = x - (h/2)·γ⊙∇U(x) + √h·ξ,   γ = th / max(th, |∇U|).

    Gradient clipping (elementwise: to [-th, th]; per sample: by norm) and full noise. One gradient
    per step. Not true: that it leaves exp(-U) invariant as h → 0; it over-disperses steep regions,
    where it follows the wrong drift. For 'element' scope and h → 0 it targets exp(-∫γ⊙∇U) in one
    dimension.
    """

    step_size: float  # h, the variance of the noise of a step
    threshold: float | Quantile = Quantile(0.9)  # limit of |∇U|, or threshold.quantile Q
    scope: Scope = "element"  # what |∇U| is taken over: element, pixel or sample
    kind: Literal["clipped-langevin"] = "clipped-langevin"

    traits: ClassVar[Traits] = Traits(gradient_is_for_next=True)

    def __post_init__(self) -> None:
        require_positive(self, step_size=self.step_size)
        check_threshold(self, self.threshold)
        check_scope(self, self.scope)

    def init(self, potential: Energy, x: Tensor) -> ChainState:
        state = evaluate(potential, x)
        return state._replace(threshold=resolve_threshold(self.threshold, state.grad, self.scope))

    def step(
        self, potential: Energy, state: ChainState, generator: torch.Generator
    ) -> tuple[ChainState, StepInfo]:
        candidate, _, info = self.propose(potential, state, generator)
        return candidate, info

    def propose(
        self, potential: Energy, state: ChainState, generator: torch.Generator
    ) -> tuple[ChainState, Tensor, StepInfo]:
        threshold = follow_threshold(state.threshold, self.threshold, state.grad, self.scope)
        state = state._replace(threshold=threshold)
        h, noise = self.step_size, normal_like(state.x, generator)
        gamma = self.scale(state)
        x = self.mean(state, gamma) + h**0.5 * noise
        candidate = evaluate(potential, x)._replace(threshold=state.threshold)
        return candidate, noise, StepInfo(scale=gamma.flatten(1).mean(1))

    def log_ratio(
        self, potential: Energy, state: ChainState, candidate: ChainState, move: Tensor
    ) -> Tensor:
        """log q(y→x) - log q(x→y) = ½|ξ|² - |x - y + (h/2)·γ(y)⊙∇U(y)|² / 2h."""
        h, noise = self.step_size, move
        back = state.x - candidate.x + h / 2 * self.scale(candidate) * candidate.grad
        return per_chain(noise**2 - back**2 / h) / 2

    def law(self, potential: Energy, state: ChainState, signs: Tensor | None = None) -> Law:
        """N(x - (h/2)·γ⊙∇U(x), h)."""
        return Law(self.mean(state, self.scale(state)), number_like(self.step_size, state.x))

    def mean(self, state: ChainState, gamma: Tensor) -> Tensor:
        """x - (h/2)·γ⊙∇U(x)."""
        return state.x - self.step_size / 2 * gamma * state.grad

    def scale(self, state: ChainState) -> Tensor:
        assert state.threshold is not None
        return scale(state.grad, state.threshold, self.scope)

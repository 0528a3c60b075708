"""Noise-matched Langevin: STANLEY with its noise made isotropic,
the second control of its claim.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from stanley.batches import finite_chains
from stanley.samplers.base import ChainState, Law, StepInfo, evaluate, require_positive
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
class MatchedLangevin:
    """x' = x - (h/2)·γ⊙∇U(x) + √(h·γ̄)·ξ,   γ̄ = mean of γ = th / max(th, |∇U|) over the event and
                                             all chains.

    STANLEY's drift and STANLEY's mean noise variance, spread evenly: what it does worse than
    STANLEY is due to where the noise goes, not to how much there is. One gradient per step.
    Not true: that it leaves exp(-U) invariant, or that chains are independent (they share the one
    number γ̄, taken over finite chains only).
    """

    step_size: float  # h, the variance of the noise of a step
    threshold: float | Quantile = Quantile(0.9)  # limit of |∇U|, or threshold.quantile Q
    scope: Scope = "element"  # what |∇U| is taken over: element, pixel or sample
    kind: Literal["matched-langevin"] = "matched-langevin"

    traits: ClassVar[Traits] = Traits(
        independent_chains=False,
        gradient_is_for_next=True,
        not_adjustable=(
            "its noise depends on all chains at once, so one chain's move has no density of its own"
        ),
    )

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
        threshold = follow_threshold(state.threshold, self.threshold, state.grad, self.scope)
        state = state._replace(threshold=threshold)
        gamma = self.scale(state)
        law = self.law_at(state, gamma)
        x = law.mean + law.variance**0.5 * normal_like(state.x, generator)
        candidate = evaluate(potential, x)._replace(threshold=state.threshold)
        return candidate, StepInfo(scale=gamma.flatten(1).mean(1))

    def law(self, potential: Energy, state: ChainState, signs: Tensor | None = None) -> Law:
        """N(x - (h/2)·γ⊙∇U(x), h·γ̄)."""
        return self.law_at(state, self.scale(state))

    def law_at(self, state: ChainState, gamma: Tensor) -> Law:
        h, finite = self.step_size, finite_chains(state.grad)
        mean_gamma = gamma.flatten(1).mean(1).where(finite, torch.nan).nanmean()  # γ̄
        return Law(state.x - h / 2 * gamma * state.grad, h * mean_gamma)

    def scale(self, state: ChainState) -> Tensor:
        assert state.threshold is not None
        return scale(state.grad, state.threshold, self.scope)

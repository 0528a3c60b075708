"""MALA: Langevin proposals with a Metropolis test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from stanley.samplers.base import ChainState, StepInfo, evaluate, metropolis, require_positive
from stanley.samplers.langevin import Langevin
from stanley.types import Energy


@dataclass(frozen=True)
class MALA:
    """y = x - (h/2)·∇U(x) + √h·ξ, accepted with probability min(1, α),

        log α = U(x) - U(y) + ½|ξ|² - |x - y + (h/2)·∇U(y)|² / 2h.

    Leaves exp(-U) invariant exactly. One gradient per step. Not true: that it always mixes; on exp(-x⁴) it has
    no spectral gap, because far-out chains overshoot and are rejected for ever.
    Roberts & Tweedie (1996), section 1.4.1.
    """

    step_size: float  # h, the variance of the noise of a step
    kind: Literal["mala"] = "mala"

    adjusted: ClassVar[bool] = True
    target_acceptance: ClassVar[float] = 0.574  # Roberts & Rosenthal (1998)

    def __post_init__(self) -> None:
        require_positive(self, step_size=self.step_size)

    def init(self, potential: Energy, x: Tensor) -> ChainState:
        return evaluate(potential, x)

    def step(self, potential: Energy, state: ChainState, generator: torch.Generator) -> tuple[ChainState, StepInfo]:
        langevin = Langevin(self.step_size)
        candidate, noise, info = langevin.propose(potential, state, generator)
        log_ratio = langevin.log_ratio(potential, state, candidate, noise)
        return metropolis(state, candidate, log_ratio, generator, info)

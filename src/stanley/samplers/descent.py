"""Gradient descent: the Langevin step without its noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from stanley.samplers.base import ChainState, StepInfo, evaluate, require_positive
from stanley.samplers.traits import Traits
from stanley.types import Energy


@dataclass(frozen=True)
class GradientDescent:
    """x' = x - (h/2)·∇U(x).

    Not a sampler: it ends in the modes and leaves no density invariant. One gradient per step.
    The half keeps h the same number as in `Langevin`, of which this is the zero-temperature limit.
    """

    step_size: float  # h, twice the step along -∇U
    kind: Literal["gradient-descent"] = "gradient-descent"

    traits: ClassVar[Traits] = Traits(
        deterministic=True,
        gradient_is_for_next=True,
        not_adjustable="its move is a point, which has no density",
    )

    def __post_init__(self) -> None:
        require_positive(self, step_size=self.step_size)

    def init(self, potential: Energy, x: Tensor) -> ChainState:
        return evaluate(potential, x)

    def step(
        self, potential: Energy, state: ChainState, generator: torch.Generator
    ) -> tuple[ChainState, StepInfo]:
        return evaluate(potential, state.x - self.step_size / 2 * state.grad), StepInfo()

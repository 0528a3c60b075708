"""The Barker proposal: the gradient decides only which way each component goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from stanley.samplers.base import (
    ChainState,
    StepInfo,
    evaluate,
    metropolis,
    per_chain,
    require_positive,
)
from stanley.samplers.noise import normal_like, uniform_like
from stanley.samplers.traits import Traits
from stanley.types import Energy


@dataclass(frozen=True)
class Barker:
    """y = x + b⊙z,   z ~ N(0, h·I),   b_i = +1 with probability σ(-z_i·∂_iU(x)), else -1,   σ(t) =
                      1/(1 + e^{-t}),

        log α = U(x) - U(y) + Σ_i log σ(w_i·∂_iU(y)) - log σ(-w_i·∂_iU(x)),   w = y - x.

    h = `step_size` is the variance of z; |y - x| does not depend on the gradient, so that a steep
    energy cannot throw a chain far out: it is slower to go wrong than MALA when h is too large, and
    as h → 0 both have the drift -(h/2)·∇U. Leaves exp(-U) invariant exactly. One gradient per step.
    Not true: that it sees correlations; each component picks its sign alone.
    Livingstone & Zanella (2022), who aim at 0.40; the optimum in the limit of many dimensions is
    0.574 (Vogrinc, Livingstone & Zanella 2023).
    """

    step_size: float  # h, the variance of the noise of a step
    kind: Literal["barker"] = "barker"

    traits: ClassVar[Traits] = Traits(adjusted=True, target_acceptance=0.40)

    def __post_init__(self) -> None:
        require_positive(self, step_size=self.step_size)

    def init(self, potential: Energy, x: Tensor) -> ChainState:
        return evaluate(potential, x)

    def step(
        self, potential: Energy, state: ChainState, generator: torch.Generator
    ) -> tuple[ChainState, StepInfo]:
        candidate, move, info = self.propose(potential, state, generator)
        return metropolis(
            state, candidate, self.log_ratio(potential, state, candidate, move), generator, info
        )

    def propose(
        self, potential: Energy, state: ChainState, generator: torch.Generator
    ) -> tuple[ChainState, Tensor, StepInfo]:
        z = self.step_size**0.5 * normal_like(state.x, generator)
        coin = uniform_like(z, generator)
        move = torch.where(coin < torch.sigmoid(-z * state.grad), z, -z)  # w = b⊙z
        return evaluate(potential, state.x + move), move, StepInfo()

    def log_ratio(
        self, potential: Energy, state: ChainState, candidate: ChainState, move: Tensor
    ) -> Tensor:
        """q(x→y) = Π_i 2·N(w_i; 0, h)·σ(-w_i·∂_iU(x)), and on the way back w changes sign:
        the normals cancel.
        """
        return per_chain(logsigmoid(move * candidate.grad) - logsigmoid(-move * state.grad))

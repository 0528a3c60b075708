"""MALA whose chains now and then try a long jump: modes that lie apart exchange chains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from stanley.errors import require
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
class MALAWithJumps:
    """With chance p a chain tries y = x + s·ξ, else y = x - (h/2)·∇U(x) + √h·ξ,   ξ ~ N(0, I).

    Accepted with probability min(1, α),

        log α = U(x) - U(y)                                              of a jump,
        log α = U(x) - U(y) + ½|ξ|² - |x - y + (h/2)·∇U(y)|² / 2h        else.

    p = `jump_share`, s = `jump_std`, about the distance between modes; None is twice the standard
    deviation of the coordinates of all chains, where the run starts. The coin does not look at
    x, so each of the two moves leaves exp(-U) invariant, and so does their mixture. One gradient
    per step. The acceptance to aim at is (1 - p)·0.574: that of MALA where no jump is accepted.
    Not true: that None finds modes which the starts do not hint at: chains that start close
    together jump as little. Nor that it helps in many dimensions. A jump in a random direction is
    then hardly ever accepted, and costs a share p of the steps.
    Mixtures of kernels: Tierney (1994), section 2.4.
    """

    step_size: float  # h, the variance of the noise of a Langevin step
    jump_std: float | None = 1.0  # s of a jump in each coordinate; null: from the chains
    jump_share: float = 0.1  # p, the probability that a step is a jump
    kind: Literal["mala-with-jumps"] = "mala-with-jumps"

    def __post_init__(self) -> None:
        require_positive(self, step_size=self.step_size)
        if self.jump_std is not None:
            require_positive(self, jump_std=self.jump_std)
        require(
            isinstance(self.jump_share, Tensor) or 0 < self.jump_share < 1,
            f"MALAWithJumps: jump_share is {self.jump_share}, but must lie between 0 and 1; "
            "0.1 is usual, and MALA has no jumps",
        )

    @property
    def traits(self) -> Traits:
        return Traits(
            adjusted=True,
            target_acceptance=(1 - self.jump_share) * Traits().target_acceptance,
            not_adjustable="it ends in a Metropolis test already",
            not_markov=None
            if self.jump_std is not None
            else "its jumps are as wide as the chains at the start",
        )

    def init(self, potential: Energy, x: Tensor) -> ChainState:
        state = evaluate(potential, x)
        return state if self.jump_std is not None else state._replace(memory=spread_of(x))

    def step(
        self, potential: Energy, state: ChainState, generator: torch.Generator
    ) -> tuple[ChainState, StepInfo]:
        h, noise = self.step_size, normal_like(state.x, generator)
        jumps = uniform_like(state.potential, generator) < self.jump_share  # (B,)
        rows = jumps.view(-1, *[1] * (state.x.dim() - 1))
        langevin = state.x - h / 2 * state.grad + h**0.5 * noise
        jump_std = state.memory if self.jump_std is None else self.jump_std
        y = torch.where(rows, state.x + jump_std * noise, langevin)
        candidate = evaluate(potential, y)._replace(memory=state.memory)
        log_ratio = torch.where(jumps, 0.0, self.langevin_log_ratio(state, candidate, noise))
        return metropolis(state, candidate, log_ratio, generator, StepInfo())

    def langevin_log_ratio(self, state: ChainState, candidate: ChainState, noise: Tensor) -> Tensor:
        """log q(y→x) - log q(x→y) of a Langevin move; that of a jump is 0."""
        h = self.step_size
        back = state.x - candidate.x + h / 2 * candidate.grad
        return per_chain(noise**2 - back**2 / h) / 2


def spread_of(x: Tensor) -> Tensor:
    """Twice the standard deviation of the chains' coordinates around their means: 0-d."""
    require(
        len(x) >= 2,
        "MALAWithJumps: jump_std is null, which takes the spread of the chains, but there is one "
        "chain; give jump_std a number, or use more chains",
    )
    spread = 2 * x.var(0).mean().sqrt()
    if x.device.type == "cpu":  # elsewhere reading it would wait for the device
        require(
            float(spread) > 0,
            "MALAWithJumps: jump_std is null, which takes the spread of the chains, but all start "
            "at one point; give jump_std a number, or spread the starts",
        )
    return spread

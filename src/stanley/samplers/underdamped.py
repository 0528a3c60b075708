"""Underdamped Langevin: positions with momentum, integrated by BAOAB."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from stanley.errors import require
from stanley.samplers.base import ChainState, StepInfo, evaluate, require_positive
from stanley.samplers.noise import normal_like
from stanley.samplers.traits import Traits
from stanley.types import Energy


@dataclass(frozen=True)
class Underdamped:
    """dx = p dt,  dp = -∇U dt - η·p dt + √(2η) dW, of which exp(-U(x) - |p|²/2) is stationary; one
                   step of Δt:

        B  p ← p - (Δt/2)·∇U(x)
        A  x ← x + (Δt/2)·p
        O  p ← c·p + √(1 - c²)·ξ,   c = e^{-ηΔt},  ξ ~ N(0, I)
        A  x ← x + (Δt/2)·p
        B  p ← p - (Δt/2)·∇U(x)

    Δt = `step_size` is a time, not the variance of a noise. As η → ∞ (c = 0) the positions obey,
    exactly and from the second step on, x' = x - (h/2)·∇U(x) + √h·(ξ_{n-1} + ξ_n)/2 with h = Δt²:
    Langevin whose noise two steps share. With η = `friction` = 0 it is velocity Verlet.
    p (B, *event) lives in the state's memory and is drawn from N(0, I) at the first step of a run,
    so two runs are not one run. One gradient per step.
    Unadjusted. Where U is quadratic the positions are exact for every stable Δt (Δt·ω < 2 at the
    stiffest frequency ω) and η > 0, the momenta are not: for U = x²/2 they have variance 1 - Δt²/4.
    Not true: that other potentials have no bias; it is O(Δt²), and with η = 0 nothing converges at
    all. Leimkuhler & Matthews (2013), "Rational construction of stochastic numerical methods for
    molecular sampling".
    """

    step_size: float  # Δt, a time step: √h of a Langevin sampler
    friction: float = 1.0  # η, the friction
    kind: Literal["underdamped"] = "underdamped"

    traits: ClassVar[Traits] = Traits(
        step_is_time=True,
        step_size_hint="it is the time step Δt, √h of a Langevin sampler",
        not_markov="it carries momentum from step to step",
        not_adjustable=(
            "its step moves position and momentum together, and q(y→x) given x alone has no closed "
            "form; use Langevin inside Adjusted, or MALA"
        ),
    )

    def __post_init__(self) -> None:
        require_positive(self, step_size=self.step_size)
        require(
            0 <= self.friction < math.inf,
            f"Underdamped: friction is {self.friction}, must be >= 0 and finite; 1 suits a target"
            " of width 1",
        )

    def init(self, potential: Energy, x: Tensor) -> ChainState:
        return evaluate(potential, x)

    def step(
        self, potential: Energy, state: ChainState, generator: torch.Generator
    ) -> tuple[ChainState, StepInfo]:
        dt, keep = self.step_size, math.e ** (-self.friction * self.step_size)  # Δt, c
        p = normal_like(state.x, generator) if state.memory is None else state.memory
        p = p - dt / 2 * state.grad
        x = state.x + dt / 2 * p
        p = keep * p + (1 - keep**2) ** 0.5 * normal_like(p, generator)
        after = evaluate(potential, x + dt / 2 * p)
        return after._replace(memory=p - dt / 2 * after.grad), StepInfo()

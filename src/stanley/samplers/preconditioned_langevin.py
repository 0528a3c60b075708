"""Preconditioned SGLD: Langevin with a diagonal metric made of the chain's own past gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from stanley.errors import require
from stanley.samplers.base import (
    ChainState,
    Law,
    StepInfo,
    evaluate,
    hessian_vector,
    require_positive,
)
from stanley.samplers.noise import normal_like, signs_like
from stanley.samplers.stanley import refuse_kinked
from stanley.samplers.traits import Traits
from stanley.types import Energy


class SecondMoment(NamedTuple):
    """V after t steps, per chain and element."""

    value: Tensor  # (B, *event)
    steps: int  # t


@dataclass(frozen=True)
class PreconditionedLangevin:
    """V ← β·V + (1 - β)·g²,   G = 1/(ε + √V̂),   x' = x - (h/2)·G⊙g + √(hG)⊙ξ  (+ (h/2)·Γ),   g =
                               ∇U(x).

    h = `step_size` is the variance of the noise where G = 1. All operations are per element; V
    starts at 0.

    beta             β in [0, 1), how long V remembers; 0.99 is 100 steps
    epsilon          ε > 0, bounds G by 1/ε
    bias_correction  V̂ = V/(1 - βᵗ) as Adam has it; else V̂ = V as RMSprop has it, whose first
                     steps are as if the gradient were 1/√(1 - β) times smaller
    correction       'none'; 'drift' adds Γ_i = ∂G_i/∂x_i at fixed past, with w = (1 - β)/(1 - βᵗ)
                     or 1 - β,

                         Γ_i = -w·G_i²·g_i·H_ii/√V̂_i,   H_ii ≈ v_i (Hv)_i,   v_i = ±1 at random

    Cost: 1 gradient per step, 3 with 'drift'. V lives in the state's memory: each run starts it
    anew. Unadjusted, and not Markov in x alone. Not true: that it leaves exp(-U) invariant as h →
    0. In one dimension, and for every factorised π, h → 0 at fixed β lets V follow g², and the law
    tends to π·Π_i (ε + |∂_iU|) without correction and to π·Π_i (ε + |∂_iU|)^β with it: 'drift'
    removes the bias at β = 0 and next to none of it at 0.99. What keeps the bias small there is a V
    that averages over many independent states, (1 - β) ≪ h. For an exact diagonal metric use
    `adapt(..., precondition=...)`. Li, Chen, Carlson & Carin (2016), "Preconditioned stochastic
    gradient Langevin dynamics", algorithm 1.
    """

    step_size: float  # h, the variance of the noise of a step where G = 1
    beta: float = 0.99  # how long the scale remembers
    epsilon: float = 1e-5  # bounds the scale by 1/ε
    bias_correction: bool = True  # correct the first steps as Adam does
    correction: Literal["none", "drift"] = "none"  # of the drift: none or drift
    kind: Literal["preconditioned-langevin"] = "preconditioned-langevin"

    def __post_init__(self) -> None:
        require_positive(self, step_size=self.step_size, epsilon=self.epsilon)
        require(
            0 <= self.beta < 1,
            f"PreconditionedLangevin: beta is {self.beta}, must lie in [0, 1); 0.99 is usual",
        )
        known = ("none", "drift")
        require(
            self.correction in known,
            f"PreconditionedLangevin: correction is {self.correction!r}, must be one of"
            f" {', '.join(known)}",
        )

    @property
    def traits(self) -> Traits:
        return Traits(
            gradients=3 if self.correction == "drift" else 1,
            gradient_is_for_next=self.correction == "none",
            not_markov="it carries second moments of the gradient from step to step",
            not_adjustable=(
                "its metric depends on the whole history of the chain, so that x alone is not a"
                " Markov chain; use adapt(MALA(...), precondition='draws') for an exact diagonal"
                " metric"
            ),
        )

    def init(self, potential: Energy, x: Tensor) -> ChainState:
        state = evaluate(potential, x)
        if self.correction == "drift":
            refuse_kinked(potential, state, instead="correction='none'")
        return state._replace(memory=SecondMoment(torch.zeros_like(state.x), 0))

    def step(
        self, potential: Energy, state: ChainState, generator: torch.Generator
    ) -> tuple[ChainState, StepInfo]:
        moment = self.remember(state)
        law = self.law(potential, state, self.signs(state.x, generator), moment)
        candidate = evaluate(
            potential, law.mean + law.variance.sqrt() * normal_like(state.x, generator)
        )
        return candidate._replace(memory=moment), StepInfo(
            scale=self.metric(moment).flatten(1).mean(1)
        )

    def law(
        self,
        potential: Energy,
        state: ChainState,
        signs: Tensor | None = None,
        moment: SecondMoment | None = None,
    ) -> Law:
        """μ = x - (h/2)·G⊙g (+ (h/2)·Γ), variance hG, with `moment` the V that has just seen g."""
        moment = self.remember(state) if moment is None else moment
        h, metric = self.step_size, self.metric(moment)
        mean = state.x - h / 2 * metric * state.grad
        if signs is not None:
            mean = mean + h / 2 * self.divergence(potential, state, moment, signs)
        return Law(mean, h * metric, signs)

    def remember(self, state: ChainState) -> SecondMoment:
        """V ← βV + (1 - β)g²."""
        value, steps = state.memory
        return SecondMoment(self.beta * value + (1 - self.beta) * state.grad**2, steps + 1)

    def corrected(self, moment: SecondMoment) -> Tensor:
        """V̂."""
        return (
            moment.value / (1 - self.beta**moment.steps) if self.bias_correction else moment.value
        )

    def metric(self, moment: SecondMoment) -> Tensor:
        """G = 1/(ε + √V̂)."""
        return 1 / (self.epsilon + self.corrected(moment).sqrt())

    def divergence(
        self, potential: Energy, state: ChainState, moment: SecondMoment, signs: Tensor
    ) -> Tensor:
        """Γ_i = ∂G_i/∂x_i = -G_i²·∂√V̂_i/∂x_i,  ∂√V̂_i/∂x_i = w·g_i·H_ii/√V̂_i;  0 where V̂_i = 0,
        a kink of G.
        """
        weight = (1 - self.beta) / (1 - self.beta**moment.steps if self.bias_correction else 1)
        root = self.corrected(moment).sqrt()
        direction = torch.where(root > 0, state.grad / root, 0.0)  # g_i/√V̂_i
        curvature = signs * hessian_vector(potential, state.x, signs)  # H_ii
        return -weight * self.metric(moment) ** 2 * direction * curvature

    def signs(self, x: Tensor, generator: torch.Generator) -> Tensor | None:
        """Random ±1 per element for the drift's estimate of diag H."""
        if self.correction != "drift":
            return None
        return signs_like(x, generator)

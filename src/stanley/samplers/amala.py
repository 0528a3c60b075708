"""AMALA: noise stretched along the gradient, with a Metropolis test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from stanley.samplers.base import (
    ChainState,
    StepInfo,
    evaluate,
    metropolis,
    per_chain,
    require_positive,
)
from stanley.samplers.noise import normal_like
from stanley.samplers.scale import (
    Quantile,
    check_threshold,
    follow_threshold,
    resolve_threshold,
    scale,
)
from stanley.samplers.traits import Traits
from stanley.types import Energy


@dataclass(frozen=True)
class AMALA:
    """y ~ N(x + (h/2)·D, h·(εI + DDᵀ)),   D = -γ·∇U(x),   γ = th / max(th, |∇U(x)|),   then a
                                           Metropolis test.

    h = `step_size`, ε = `epsilon`: the variance of the noise is h·ε across the gradient and h·(ε +
    |D|²) along it, with |D| ≤ th. Drawn as √h·(√ε·ξ + D·ζ), ξ ~ N(0, I), one ζ ~ N(0, 1) per chain;
    the density takes O(d). |·| is the norm over the event; th in units of |∇U|, or `Quantile(q)`
    resolved over the chains when a run starts. The source writes N(x + δ·D, δ·(εI + DDᵀ)): h = δ
    with twice this drift. Here it is h/2, as in every Langevin sampler of this library. Leaves
    exp(-U) invariant exactly, for every h, ε and th. One gradient per step. Not true: that ε is
    free of units. D has those of 1/x, so what counts as stretched depends on the scale of x.
    Allassonnière & Kuhn (2015); the truncated drift is that of MALTA, Roberts & Tweedie (1996).
    """

    step_size: float  # h, the variance of the noise of a step
    threshold: float | Quantile = Quantile(0.9)  # limit of |∇U|, or threshold.quantile Q
    epsilon: float = 1.0  # ε, the noise across the gradient
    kind: Literal["amala"] = "amala"

    traits: ClassVar[Traits] = Traits(adjusted=True)

    def __post_init__(self) -> None:
        require_positive(self, step_size=self.step_size, epsilon=self.epsilon)
        check_threshold(self, self.threshold)

    def init(self, potential: Energy, x: Tensor) -> ChainState:
        state = evaluate(potential, x)
        return state._replace(threshold=resolve_threshold(self.threshold, state.grad, "sample"))

    def step(
        self, potential: Energy, state: ChainState, generator: torch.Generator
    ) -> tuple[ChainState, StepInfo]:
        candidate, noise, info = self.propose(potential, state, generator)
        state = state._replace(threshold=candidate.threshold)  # which may have followed the chains
        log_ratio = self.log_ratio(potential, state, candidate, noise)
        return metropolis(state, candidate, log_ratio, generator, info)

    def propose(
        self, potential: Energy, state: ChainState, generator: torch.Generator
    ) -> tuple[ChainState, Tensor, StepInfo]:
        threshold = follow_threshold(state.threshold, self.threshold, state.grad, "sample")
        state = state._replace(threshold=threshold)
        h, gamma = self.step_size, self.scale(state)
        drift = -gamma * state.grad
        xi, zeta = normal_like(state.x, generator), normal_like(gamma, generator)
        noise = h**0.5 * (self.epsilon**0.5 * xi + drift * zeta)
        candidate = evaluate(potential, state.x + h / 2 * drift + noise)._replace(
            threshold=state.threshold
        )
        return candidate, noise, StepInfo(scale=gamma.flatten(1).mean(1))

    def log_ratio(
        self, potential: Energy, state: ChainState, candidate: ChainState, move: Tensor
    ) -> Tensor:
        """log q(y→x) - log q(x→y), q(x→·) = N(x + (h/2)·D(x), h·(εI + D(x)D(x)ᵀ))."""
        there, back = -self.scale(state) * state.grad, -self.scale(candidate) * candidate.grad
        reverse = state.x - candidate.x - self.step_size / 2 * back
        return self.log_normal(reverse, back) - self.log_normal(move, there)

    def log_normal(self, v: Tensor, drift: Tensor) -> Tensor:
        """log N(v; 0, h(εI + DDᵀ)) but for its constant; eigenvalues: h(ε + |D|²) once, along D,
        and hε.

        v = (v - au) + au with u = D/|D| and a = v·u, so

            vᵀΣ⁻¹v = |v - au|² / hε + a² / h(ε + |D|²),   log|Σ| = d·log hε + log(1 + |D|²/ε).
        """
        h, epsilon = self.step_size, self.epsilon
        u = unit(drift)
        square, a = per_chain(drift**2), per_chain(v * u)
        across = per_chain((v - a.to(v).view(-1, *[1] * (v.dim() - 1)) * u) ** 2)
        form = across / (h * epsilon) + a**2 / (h * (epsilon + square))
        return -(form + (square / epsilon).log1p()) / 2

    def scale(self, state: ChainState) -> Tensor:
        assert state.threshold is not None
        return scale(state.grad, state.threshold, "sample")


def unit(drift: Tensor) -> Tensor:
    """D/|D| chain by chain, 0 where D is. By its largest part first: the square of 1e-23 is 0 in
    float32.
    """
    dims = tuple(range(1, drift.dim()))
    largest = drift.abs().amax(dims, keepdim=True)
    scaled = torch.where(largest > 0, drift / largest, 0.0)
    norm = torch.linalg.vector_norm(scaled, dim=dims, keepdim=True)
    return torch.where(largest > 0, scaled / norm, 0.0)

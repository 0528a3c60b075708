"""STANLEY: Langevin whose step and noise shrink together where the energy is steep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from stanley.batches import finite_chains
from stanley.errors import StanleyError, require
from stanley.samplers.base import (
    ChainState,
    Law,
    StepInfo,
    evaluate,
    hessian_vector,
    log_normal,
    require_positive,
)
from stanley.samplers.noise import normal_like, signs_like
from stanley.samplers.scale import (
    Quantile,
    Scope,
    check_scope,
    check_threshold,
    follow_threshold,
    magnitude,
    resolve_threshold,
    scale,
)
from stanley.samplers.traits import Traits
from stanley.types import Energy, piecewise_linear


@dataclass(frozen=True)
class Stanley:
    """γ(x) = th / max(th, |∇U(x)|),   x' = x - (h/2)·γ⊙∇U(x) + √(hγ)⊙ξ,   ξ ~ N(0, I).

    h = `step_size` is the variance of the noise where γ = 1. The drift is gradient clipping; what
    is new against clipped Langevin is that the noise shrinks with it.

    threshold   th in units of |∇U|, or `Quantile(q)` of |∇U| over the chains
    scope       what |·| is: 'element' absolute value; 'pixel' norm over channels; 'sample' norm
                over the event
    refresh     'step' γ recomputed at every step; 'start' γ of the chain's own first state, kept
                for the run; 'lagged' γ of another chain's first state, kept for the run (plain
                preconditioning; needs B > 1)
    correction  'none'; 'drift' adds h·½∇·γ, by Hessian-vector products (exact for 'sample', one
                random-sign probe for 'element' and 'pixel'); 'midpoint' corrects without second
                derivatives
    floor       lower bound of γ; a positive floor restores the lower Gaussian bound of the draft's
                (18)

    Cost: 1 gradient per step, 2 with 'midpoint', 3 with 'drift'.
    Not true: that it leaves exp(-U) invariant. As h → 0 the uncorrected chain targets π·max(1,
    |∇U|/th) for 'sample' scope, and π·Π_i max(1, |∂_iU|/th) for 'element' scope when π factorises:
    steep regions are over-weighted. Either correction removes this up to O(h), `Adjusted` removes
    it exactly; 'lagged' has no such bias. Karimi, Xie & Li, STANLEY, eq. (5)-(6) with h = 1;
    midpoint: Hütter & Öttinger (1998).
    """

    step_size: float  # h, the variance of the noise of a step where γ = 1
    threshold: float | Quantile = Quantile(0.9)  # limit of |∇U|, or threshold.quantile Q
    scope: Scope = "element"  # what |∇U| is taken over: element, pixel or sample
    refresh: Literal["step", "start", "lagged"] = "step"  # γ of each step, of the start, or lagged
    correction: Literal["none", "drift", "midpoint"] = "none"  # of the drift
    floor: float = 0.0  # lower bound of γ
    kind: Literal["stanley"] = "stanley"

    def __post_init__(self) -> None:
        require_positive(self, step_size=self.step_size)
        check_threshold(self, self.threshold)
        check_scope(self, self.scope)
        require(
            0 <= self.floor <= 1,
            f"Stanley: floor is {self.floor}, must lie in [0, 1]; 0 means none",
        )
        for name, known in (
            ("refresh", ("step", "start", "lagged")),
            ("correction", ("none", "drift", "midpoint")),
        ):
            value = getattr(self, name)
            require(
                value in known, f"Stanley: {name} is {value!r}, must be one of {', '.join(known)}"
            )
        require(
            self.correction == "none" or self.refresh == "step",
            f"Stanley: correction={self.correction!r} is for γ that follows the chain; with "
            f"refresh={self.refresh!r} γ is constant along the run, use correction='none'",
        )

    @property
    def traits(self) -> Traits:
        midpoint = "the midpoint move has no tractable density; use correction='none' or 'drift'"
        kept = f"refresh={self.refresh!r} keeps γ from the start of a run; use refresh='step'"
        # also of a value that is about to be refused: its message asks for the unit of h
        return Traits(
            independent_chains=self.refresh != "lagged",
            gradient_is_for_next=self.correction == "none",
            gradients=(
                3 if self.correction == "drift" else 2 if self.correction == "midpoint" else 1
            ),
            log_ratio_gradients=2 if self.correction == "drift" else 0,
            not_markov=None if self.refresh == "step" else kept,
            not_adjustable=midpoint if self.correction == "midpoint" else None,
        )

    def init(self, potential: Energy, x: Tensor) -> ChainState:
        state = evaluate(potential, x)
        state = state._replace(threshold=resolve_threshold(self.threshold, state.grad, self.scope))
        if self.correction == "drift":
            refuse_kinked(potential, state)
        if self.refresh == "start":
            return state._replace(scale=self.scale(state))
        if self.refresh == "lagged":
            return state._replace(scale=of_another_chain(self.scale(state), state.grad))
        return state

    def step(
        self, potential: Energy, state: ChainState, generator: torch.Generator
    ) -> tuple[ChainState, StepInfo]:
        candidate, _, info = self.propose(potential, state, generator)
        return candidate, info

    def propose(
        self, potential: Energy, state: ChainState, generator: torch.Generator
    ) -> tuple[ChainState, Law, StepInfo]:
        state = self.followed(state)
        law = self.law(potential, state, self.signs(state.x, generator))
        noise = law.variance.sqrt() * normal_like(state.x, generator)  # √(hγ)⊙ξ
        if self.correction == "midpoint":  # x* = one plain step; x' = μ + ½(1 + γ(x*)/γ(x))⊙√(hγ)⊙ξ
            there = evaluate(potential, law.mean + noise)._replace(threshold=state.threshold)
            noise = (1 + self.scale(there) / self.scale(state)) / 2 * noise
        candidate = evaluate(potential, law.mean + noise)
        gamma = law.variance / self.step_size  # exactly 1 where γ is
        info = StepInfo(scale=gamma.flatten(1).mean(1))
        return candidate._replace(threshold=state.threshold, scale=state.scale), law, info

    def log_ratio(
        self, potential: Energy, state: ChainState, candidate: ChainState, move: Law
    ) -> Tensor:
        """log N(x; μ(y), hγ(y)) - log N(y; μ(x), hγ(x)), the draft's (17) with the ratio the right
        way up.

        The reverse move uses the same random signs, so that a random drift is an auxiliary
        variable, drawn independently of the state, and the kernel stays exact.
        """
        reverse = self.law(potential, candidate, move.signs)
        return log_normal(state.x, reverse) - log_normal(candidate.x, move)

    def law(self, potential: Energy, state: ChainState, signs: Tensor | None = None) -> Law:
        """μ(x) = x - (h/2)γ⊙g (+ hΓ), variance hγ."""
        h, gamma = self.step_size, self.scale(state)
        mean = state.x - h / 2 * gamma * state.grad
        if self.correction == "drift":
            mean = mean + h * self.divergence(potential, state, gamma, signs)
        return Law(mean, h * gamma, signs)

    def followed(self, state: ChainState, factor: float = 2.0) -> ChainState:
        """The state with the threshold of the step that it is about to take."""
        if state.scale is not None:  # γ is that of the start
            return state
        current, grad = state.threshold, state.grad
        threshold = follow_threshold(current, self.threshold, grad, self.scope, factor)
        return state._replace(threshold=threshold)

    def scale(self, state: ChainState) -> Tensor:
        """γ at the state, or the one that was frozen when the run started."""
        if state.scale is not None:
            return state.scale
        assert state.threshold is not None
        return scale(state.grad, state.threshold, self.scope, self.floor)

    def signs(self, x: Tensor, generator: torch.Generator) -> Tensor | None:
        """Random ±1 per element or pixel for the drift's diagonal estimate;
        none where the drift is exact.
        """
        if self.correction != "drift" or self.scope == "sample":
            return None
        shape = tuple(x.shape) if self.scope == "element" else (x.shape[0], 1, *x.shape[2:])
        return signs_like(x, generator, shape)

    def divergence(
        self, potential: Energy, state: ChainState, gamma: Tensor, signs: Tensor | None
    ) -> Tensor:
        """Γ = ½∇·γ with H = ∇²U, where th < |g| and γ is above its floor; 0 elsewhere.

        element  Γ_i = -½γ_i·H_ii/g_i            H_ii     ≈ v_i (Hv)_i,        v_i = ±1
        pixel    Γ_p = -½γ_p·H_pp g_p/|g_p|²     H_pp g_p ≈ s_p (H(s⊙g))_p,    s_p = ±1
        sample   Γ   = -½γ·Hg/|g|²               exact
        """
        g, size = state.grad, magnitude(state.grad, self.scope)
        assert state.threshold is not None
        active = (size > state.threshold) & (gamma > self.floor)
        square = torch.where(active, size, 1.0) ** 2
        if self.scope == "sample":
            curvature = hessian_vector(potential, state.x, g)
        elif self.scope == "pixel":
            assert signs is not None
            curvature = signs * hessian_vector(potential, state.x, signs * g)
        else:
            assert signs is not None
            curvature = (
                signs * hessian_vector(potential, state.x, signs) * g
            )  # H_ii g_i, so that /|g_i|² gives H_ii/g_i
        return torch.where(active, -gamma * curvature / square / 2, 0.0)


def of_another_chain(gamma: Tensor, grad: Tensor) -> Tensor:
    """Each chain gets the γ of the next one; one with a non-finite gradient hands nothing on
    (∞ would make γ = 0).
    """
    require(
        len(gamma) > 1,
        "refresh='lagged' takes γ from another chain: 1 chain was given, needs at least 2",
    )
    order = torch.arange(len(gamma), device=gamma.device)
    finite = finite_chains(grad)
    donors = order[finite]
    source = order.clone()
    source[donors] = donors.roll(-1)
    return gamma[source]


def refuse_kinked(
    potential: Energy, state: ChainState, instead: str = "correction='midpoint'"
) -> None:
    """correction='drift' needs second derivatives that are not zero almost everywhere."""
    name = piecewise_linear(potential)
    if name is None and bool(
        (hessian_vector(potential, state.x, state.grad) == 0).all() & (state.grad != 0).any()
    ):
        name = "a potential whose Hessian is exactly zero at every chain"
    if name is not None:
        raise StanleyError(
            f"correction='drift' with {name}: the Hessian of a piecewise-linear energy is zero"
            f" almost everywhere, so the correction would vanish and the bias stay; use {instead}"
            " or a smooth activation (SiLU)"
        )

"""STANLEY: γ, its divergence, its biased laws, and what each refresh and correction promises."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from stanley.errors import StanleyError
from stanley.samplers import (
    Adjusted,
    ClippedLangevin,
    Langevin,
    Quantile,
    Stanley,
    evaluate,
    run_chains,
)
from tests.seeds import RNG

from . import formulas, grid, targets
from .bounds import SIGMAS, assert_mean, cdf_distance, dkw
from .cases import SCOPES, STANLEYS
from .invariants import Invariants, generator, identical, starts


class TestStanley(Invariants):
    cases: ClassVar[dict] = STANLEYS

    def test_one_step_has_the_mean_and_variance_of_its_formula(self, sampler):
        """Midpoint has neither in closed form: the same move written out, with other random
        numbers, has the same means and second moments."""
        if sampler.correction != "midpoint":
            return super().test_one_step_has_the_mean_and_variance_of_its_formula(sampler)
        copies, points = 20_000, starts((3, 2, 3, 1), seed=5)
        potential = targets.skewed if sampler.scope == "element" else targets.coupled
        x = points.repeat_interleave(copies, 0)
        y, _, _ = sampler.propose(potential, sampler.init(potential, x), generator(11))
        here = formulas.gamma(formulas.gradient(potential, x), 1.0, sampler.scope, sampler.floor)
        mean = x - sampler.step_size / 2 * here * formulas.gradient(potential, x)
        noise = (sampler.step_size * here).sqrt() * torch.randn(
            x.shape, generator=generator(23), dtype=x.dtype
        )
        there = formulas.gamma(
            formulas.gradient(potential, mean + noise), 1.0, sampler.scope, sampler.floor
        )
        again = mean + (1 + there / here) / 2 * noise
        draws, again = (
            z.reshape(3, copies, *points.shape[1:]).transpose(0, 1).numpy() for z in (y.x, again)
        )
        for power in (1, 2):
            a, b = draws**power, again**power
            error = np.abs(a.mean(0) - b.mean(0)) / np.sqrt((a.var(0) + b.var(0)) / copies)
            assert error.max() < SIGMAS
        return None


# --- γ


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("floor", [0.0, 0.4])
def test_gamma_is_its_formula(scope, floor):
    """γ = max(floor, min(1, th/|∇U|)), and γ∇U without a floor is gradient clipping."""
    sampler = Stanley(0.1, 0.7, scope, floor=floor)
    state = sampler.init(targets.coupled, starts())
    gamma = sampler.scale(state).expand_as(state.x)
    torch.testing.assert_close(
        gamma, formulas.gamma(state.grad, 0.7, scope, floor), rtol=1e-12, atol=0
    )
    assert ((gamma >= floor) & (gamma <= 1)).all()
    assert (gamma < 1).any()
    if scope == "element" and not floor:
        torch.testing.assert_close(gamma * state.grad, state.grad.clamp(-0.7, 0.7))
    if scope == "sample" and not floor:
        norms = (gamma * state.grad).flatten(1).norm(dim=1)
        torch.testing.assert_close(norms, state.grad.flatten(1).norm(dim=1).clamp(max=0.7))


def test_pixel_scope_of_one_channel_is_element_scope():
    x0 = starts((4, 1, 3, 2))
    runs = [
        run_chains(Stanley(0.1, 0.7, s), targets.coupled, x0, 5, generator=generator()).x
        for s in ("pixel", "element")
    ]
    torch.testing.assert_close(*runs, rtol=1e-12, atol=1e-12)


def test_pixel_scope_needs_images():
    with pytest.raises(StanleyError, match="scope 'pixel' needs images"):
        run_chains(
            Stanley(0.1, 1.0, "pixel"), targets.gaussian, starts((4, 3)), 1, generator=generator()
        )


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("correction", ["none", "midpoint"])
def test_a_huge_threshold_is_langevin(scope, correction):
    """γ = 1 exactly, hence the same numbers; drift's Γ is zero too, but it draws signs first."""
    sampler = Stanley(0.1, 1e9, scope, correction=correction)
    a = run_chains(sampler, targets.coupled, starts(), 5, generator=generator())
    b = run_chains(Langevin(0.1), targets.coupled, starts(), 5, generator=generator())
    torch.testing.assert_close(a.x, b.x, rtol=1e-13, atol=1e-13)
    assert (a.info.step_scale == 1).all()


@pytest.mark.parametrize("scope", SCOPES)
def test_a_huge_threshold_leaves_no_divergence(scope):
    sampler = Stanley(0.1, 1e9, scope, correction="drift")
    state = sampler.init(targets.coupled, starts())
    law = sampler.law(targets.coupled, state, sampler.signs(state.x, generator()))
    assert identical(law.mean, state.x - 0.05 * state.grad)


@pytest.mark.parametrize("scope", SCOPES)
def test_adjusted_with_a_huge_threshold_is_mala(scope):
    a = run_chains(
        Adjusted(Stanley(0.3, 1e9, scope)), targets.coupled, starts(), 8, generator=generator()
    )
    b = run_chains(Adjusted(Langevin(0.3)), targets.coupled, starts(), 8, generator=generator())
    torch.testing.assert_close(a.x, b.x, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(a.info.acceptance, b.info.acceptance, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("scope", SCOPES)
def test_clipped_langevin_has_its_drift(scope):
    """With the same ξ both candidates are μ + s⊙ξ with one μ."""
    x0 = starts()
    a, b = Stanley(0.1, 0.7, scope), ClippedLangevin(0.1, 0.7, scope)
    x, law, _ = a.propose(targets.coupled, a.init(targets.coupled, x0), generator())
    y, noise, _ = b.propose(targets.coupled, b.init(targets.coupled, x0), generator())
    torch.testing.assert_close(y.x - 0.1**0.5 * noise, law.mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(x.x - law.variance.sqrt() * noise, law.mean, rtol=1e-12, atol=1e-12)


# --- refresh


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("adjusted", [False, True])
def test_start_keeps_the_gamma_of_the_first_state(scope, adjusted):
    inner = Stanley(0.1, 0.7, scope, refresh="start")
    sampler = Adjusted(inner) if adjusted else inner
    state, rng = sampler.init(targets.coupled, starts()), generator()
    first = formulas.gamma(state.grad, 0.7, scope)
    for _ in range(4):
        torch.testing.assert_close(state.scale.expand_as(first), first, rtol=1e-12, atol=0)
        state, _ = sampler.step(targets.coupled, state, rng)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("adjusted", [False, True])
def test_lagged_keeps_the_gamma_of_another_chain(scope, adjusted):
    inner = Stanley(0.1, 0.7, scope, refresh="lagged")
    sampler = Adjusted(inner) if adjusted else inner
    state, rng = sampler.init(targets.coupled, starts()), generator()
    own = formulas.gamma(state.grad, 0.7, scope)
    kept = state.scale.expand_as(own)
    givers = [
        [j for j in range(len(own)) if torch.allclose(kept[i], own[j], rtol=1e-12)]
        for i in range(len(own))
    ]
    assert all(len(g) == 1 and g[0] != i for i, g in enumerate(givers)), givers
    assert sorted(g[0] for g in givers) == list(range(len(own)))  # each γ is used once
    first = state.scale
    for _ in range(4):
        state, _ = sampler.step(targets.coupled, state, rng)
        assert identical(state.scale, first)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_lagged_takes_nothing_from_a_non_finite_chain(bad):
    x0 = starts()
    x0[2, 0, 0, 0] = 60.0
    state = Stanley(0.1, 0.7, refresh="lagged").init(targets.walled(targets.gaussian, bad), x0)
    kept = state.scale[[0, 1, 3, 4]]
    assert (kept.isfinite() & (kept > 0)).all()


def test_lagged_needs_two_chains():
    with pytest.raises(StanleyError, match="1 chain was given, needs at least 2"):
        run_chains(
            Stanley(0.1, 1.0, refresh="lagged"),
            targets.gaussian,
            starts((1, 3)),
            1,
            generator=generator(),
        )


@pytest.mark.parametrize("refresh", ["start", "lagged"])
@pytest.mark.parametrize("correction", ["drift", "midpoint"])
def test_a_constant_gamma_takes_no_correction(refresh, correction):
    with pytest.raises(StanleyError, match="use correction='none'"):
        Stanley(0.1, 1.0, refresh=refresh, correction=correction)


@pytest.mark.parametrize(
    "change", [{"refresh": "never"}, {"correction": "ito"}, {"floor": -0.1}, {"floor": 1.1}]
)
def test_refuses_what_it_does_not_know(change):
    (name,) = change
    with pytest.raises(StanleyError, match=f"Stanley: {name} is"):
        Stanley(0.1, 1.0, **change)


# --- quantile threshold


def test_quantile_threshold_is_resolved_once_and_recorded():
    result = run_chains(
        Stanley(0.1, Quantile(0.8)), targets.coupled, starts(), 3, generator=generator()
    )
    sizes = formulas.gradient(targets.coupled, starts()).abs().flatten().numpy()
    assert float(result.info.threshold) == np.quantile(sizes, 0.8, method="nearest")
    fixed = run_chains(
        Stanley(0.1, float(result.info.threshold)),
        targets.coupled,
        starts(),
        3,
        generator=generator(),
    )
    assert identical(result.x, fixed.x)


# --- the divergence of γ


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("floor", [0.0, 0.4])
def test_divergence_is_the_derivative_of_gamma(scope, floor):
    """Mean over all 2ⁿ sign patterns = ½∂_iγ_i by autograd, which central differences confirm. No
    sampling.

    The probe is linear in products s_i s_j, so the enumeration is exact: 1e-10. Differences of step
    1e-6 on γ with third derivatives below 1e3: error 1e-12·1e3 + rounding 1e-16/1e-6 ~ 2e-9, so
    1e-7.
    """
    x = starts((3, 2, 2, 1), seed=9)
    sizes = formulas.size(formulas.gradient(targets.coupled, x), scope)
    threshold = float(sizes.median()) / 1.5  # so that γ is 1 here, between the floor and 1 there
    sampler = Stanley(0.1, threshold, scope, correction="drift", floor=floor)
    state = sampler.init(targets.coupled, x)
    gamma = sampler.scale(state)
    shape = {"element": (2, 2, 1), "pixel": (1, 2, 1), "sample": ()}[scope]
    patterns = list(itertools.product((-1.0, 1.0), repeat=int(np.prod(shape)))) if shape else [None]
    found = 0
    for pattern in patterns:
        signs = (
            None
            if pattern is None
            else torch.tensor(pattern, dtype=x.dtype).reshape(1, *shape).expand(3, *shape)
        )
        found = found + sampler.divergence(targets.coupled, state, gamma, signs) / len(patterns)
    expected = formulas.divergence(targets.coupled, x, threshold, scope, floor)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    assert (expected != 0).any()

    eps, differences = 1e-6, torch.zeros_like(x)
    for i in np.ndindex(*x.shape[1:]):
        up, down = x.clone(), x.clone()
        up[(slice(None), *i)] += eps
        down[(slice(None), *i)] -= eps
        above, below = (
            sampler.scale(sampler.init(targets.coupled, p)).expand_as(x) for p in (up, down)
        )
        differences[(slice(None), *i)] = ((above - below) / (2 * eps))[(slice(None), *i)] / 2
    torch.testing.assert_close(found, differences, rtol=1e-6, atol=1e-7)


def test_one_probe_is_exact_on_a_diagonal_hessian():
    x = starts((3, 4), seed=9)
    sampler = Stanley(0.1, 0.7, correction="drift")
    state = sampler.init(targets.quartic, x)
    for seed in range(5):
        found = sampler.divergence(
            targets.quartic, state, sampler.scale(state), sampler.signs(x, generator(seed))
        )
        torch.testing.assert_close(
            found, formulas.divergence(targets.quartic, x, 0.7, "element"), rtol=1e-10, atol=1e-12
        )


def test_signs_are_fair_and_one_per_element_or_pixel():
    """±1 with equal chance: 200,000 draws, Hoeffding at 1e-7 per bound (range 2):
    |mean| ≤ 2·0.0065.
    """
    x = torch.zeros(1000, 2, 10, 10, dtype=torch.float64)
    for scope, shape in (("element", (1000, 2, 10, 10)), ("pixel", (1000, 1, 10, 10))):
        signs = Stanley(0.1, 1.0, scope, correction="drift").signs(x, generator())
        assert signs.shape == shape
        assert (signs.abs() == 1).all()
        assert abs(float(signs.mean())) < 2 * dkw(signs.numel())
    assert Stanley(0.1, 1.0, "sample", correction="drift").signs(x, generator()) is None


class Kinked(nn.Module):
    def __init__(self, activation):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), activation, nn.Linear(8, 1)).double()

    def forward(self, x):
        return self.net(x).squeeze(1)


@pytest.mark.parametrize(
    ("potential", "name"),
    [
        (Kinked(nn.ReLU()), "ReLU"),
        (Kinked(nn.LeakyReLU()), "LeakyReLU"),
        (lambda x: x.abs().sum(1), "exactly zero"),
        (lambda x: torch.relu(x).sum(1) + 2 * torch.relu(-x).sum(1), "exactly zero"),
        (lambda x: 3 * x.sum(1), "exactly zero"),
    ],
)
@pytest.mark.parametrize("wrap", [lambda s: s, Adjusted])
def test_drift_refuses_kinked_potentials(potential, name, wrap):
    with pytest.raises(StanleyError, match=name) as error:
        run_chains(
            wrap(Stanley(0.1, 0.1, correction="drift")),
            potential,
            starts((4, 3)),
            1,
            generator=generator(),
        )
    assert "correction='midpoint'" in str(error.value)
    assert "\n" not in str(error.value)


def test_drift_takes_smooth_networks():
    result = run_chains(
        Stanley(0.1, 0.1, correction="drift"),
        Kinked(nn.SiLU()),
        starts((4, 3)),
        2,
        generator=generator(),
    )
    assert result.x.isfinite().all()


# --- stationary laws


@pytest.mark.parametrize(
    ("target", "potential"),
    [(grid.GAUSSIAN, targets.gaussian), (grid.QUARTIC, targets.quartic)],
    ids=["gaussian", "quartic"],
)
@pytest.mark.parametrize(
    ("law", "sampler"),
    [
        (grid.stanley, Stanley(0.2, 1.0)),
        (grid.stanley, Stanley(0.2, 4.0, "sample")),
        (grid.stanley_drift, Stanley(0.2, 1.0, correction="drift")),
    ],
    ids=["th=1", "th=4", "drift"],
)
def test_keeps_its_own_biased_law(target, potential, law, sampler):
    """Start in the oracle's stationary law, four steps: still there.

    DKW at 1e-7 for n = 100,000; the oracle's CDF is linear on cells of dx < 0.02: slack dx²·max|ρ'|
    < 2e-4. E x² within six standard errors and the oracle's own 1e-4.
    """
    x = grid.grid(target, 901, sampler.threshold)
    chain = grid.unadjusted(x, *law(target, x, 0.2, sampler.threshold))
    n = 100_000
    x0 = torch.from_numpy(chain.quantile(RNG.random(n)))[:, None]
    draws = run_chains(sampler, potential, x0, 4, generator=generator()).x[:, 0].numpy()
    assert cdf_distance(draws, chain.cdf) < dkw(n) + 2e-4
    assert_mean(draws**2, chain.moment(2), slack=1e-4)
    if sampler.threshold == 1.0 and sampler.correction == "none":  # and it is not π
        assert cdf_distance(
            draws, grid.adjusted(target, x, *law(target, x, 0.2, 1.0)).cdf
        ) > 2 * dkw(n)


@pytest.mark.parametrize(
    ("potential", "h", "second", "tolerance", "steps"),
    [
        (targets.gaussian, 0.2, 1.013, 0.005, 80),
        (targets.gaussian, 0.04, 1.006, 0.005, 200),
        (targets.quartic, 0.2, 0.349, 0.003, 40),
    ],
)
def test_midpoint_reduces_the_bias(potential, h, second, tolerance, steps):
    """The specification's simulated E x² (stated tolerance) plus six standard errors of this
    simulation.

    From exact draws of π the distance to the stationary value shrinks by |λ₂|ᵗ: 0.94⁸⁰ < 0.01 of a
    bias of 0.013 (h = 0.2), 0.11 of 0.006 (h = 0.04): inside the tolerance. Uncorrected: 1.476,
    1.427 and 0.694.
    """
    exact = targets.NORMAL if potential is targets.gaussian else targets.LIGHT
    n = 60_000 if h == 0.2 else 25_000
    x0 = torch.from_numpy(exact.draw(RNG, n))[:, None]
    sampler = Stanley(h, 1.0, correction="midpoint")
    draws = run_chains(sampler, potential, x0, steps, generator=generator(1)).x.numpy()
    assert_mean(draws**2, second, slack=tolerance)


def test_midpoint_moves_by_half_of_one_plus_the_ratio():
    """x' = μ + ½(1 + γ(x*)/γ(x))⊙ξ_h with the ξ of the plain step, exactly."""
    plain, midpoint = Stanley(0.2, 0.7), Stanley(0.2, 0.7, correction="midpoint")
    state = plain.init(targets.coupled, starts())
    star, law, _ = plain.propose(targets.coupled, state, generator())
    moved, _, _ = midpoint.propose(targets.coupled, state, generator())
    ratio = plain.scale(star) / plain.scale(state)
    torch.testing.assert_close(
        moved.x, law.mean + (1 + ratio) / 2 * (star.x - law.mean), rtol=1e-12, atol=1e-12
    )
    assert (ratio != 1).any()


def residual(sampler, potential, weight, wave) -> float:
    """|Σ_x ρ(x)·E[e^{ik·x'} - e^{ik·x}]| / h for ρ ∝ weight on a square: zero as h → 0 iff ρ is
    stationary.

    The expectation is closed: e^{ik·μ - kᵀVk/2}. Two sign patterns up to a global sign, both
    averaged.
    """
    axis = torch.linspace(-6, 6, 701, dtype=torch.float64) + 1e-3
    x = torch.cartesian_prod(axis, axis)
    state = sampler.init(potential, x)
    rho = weight(state)
    rho = rho / rho.sum()
    k = torch.tensor(wave, dtype=torch.float64)
    after = 0
    for second in (-1.0, 1.0):
        signs = torch.tensor([1.0, second], dtype=torch.float64).expand_as(x)
        law = sampler.law(potential, state, signs)
        variance = law.variance.expand_as(x)
        after = after + torch.polar((-(variance * k**2).sum(1) / 2).exp(), law.mean @ k) / 2
    before = torch.polar(torch.ones(len(x), dtype=torch.float64), x @ k)
    return float((rho * (after - before)).sum().abs()) / sampler.step_size


def pi(state):
    return (-state.potential).exp()


def over_weighted(state):  # π·max(1, |∇U|/th), th = 0.8
    return pi(state) * (state.grad.norm(dim=1) / 0.8).clamp(min=1)


def over_weighted_each(state):  # π·Π_i max(1, |∂_iU|/th)
    return pi(state) * (state.grad.abs() / 0.8).clamp(min=1).prod(1)


@pytest.mark.parametrize("wave", [(0.7, 0.0), (0.5, -0.9), (1.1, 0.6)])
@pytest.mark.parametrize(
    ("sampler", "potential", "weight"),
    [
        (Stanley(0.1, 0.8, "sample"), targets.anisotropic, over_weighted),
        (Stanley(0.1, 0.8, "element"), targets.gaussian, over_weighted_each),
        (Stanley(0.1, 0.8, "sample", correction="drift"), targets.anisotropic, pi),
        (Stanley(0.1, 0.8, "element", correction="drift"), targets.anisotropic, pi),
        (Langevin(0.1), targets.anisotropic, pi),
    ],
)
def test_law_as_the_step_vanishes(sampler, potential, weight, wave):
    """The residual is O(h): at h = 1e-4 below 5e-4 (h·½E|∇U|²|k|², E|∇U|² = tr Λ = 3.5, |k|² <
    1.6).

    Quadrature: where the law is continuous O(dx²) < 1e-5; the drift's Γ jumps at the kink, which
    costs at most ½dx·∮ρ|ΔΓ||k| < ½·0.017·0.3 = 2.5e-3. Negative controls below: > 0.04.
    """
    if isinstance(sampler, Langevin):
        sampler = Stanley(0.1, 1e9)  # its law with γ = 1
    found = residual(replace(sampler, step_size=1e-4), potential, weight, wave)
    assert found < (3e-3 if sampler.correction == "drift" else 5e-4)


@pytest.mark.parametrize(
    ("sampler", "potential", "weight"),
    [
        (Stanley(1e-4, 0.8, "sample"), targets.anisotropic, pi),
        (Stanley(1e-4, 0.8, "element"), targets.gaussian, pi),
        (
            Stanley(1e-4, 0.8, "element"),
            targets.anisotropic,
            over_weighted_each,
        ),  # no closed form when correlated
        (Stanley(1e-4, 0.8, "sample", correction="drift"), targets.anisotropic, over_weighted),
    ],
)
def test_the_residual_sees_a_wrong_law(sampler, potential, weight):
    """Negative control: none of these is stationary, by more than ten times the bound above."""
    assert (
        max(residual(sampler, potential, weight, k) for k in ((0.7, 0.0), (0.5, -0.9), (1.1, 0.6)))
        > 0.04
    )


def test_evaluate_knows_no_threshold():
    assert evaluate(targets.gaussian, starts()).threshold is None

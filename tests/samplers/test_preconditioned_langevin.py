"""Preconditioned SGLD: its metric, its divergence, and what it targets."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from stanley.errors import StanleyError
from stanley.samplers import Adjusted, Langevin, PreconditionedLangevin, run_chains
from stanley.samplers.preconditioned_langevin import SecondMoment
from tests.seeds import RNG

from . import formulas, grid, targets
from .bounds import SIGMAS
from .invariants import Invariants, generator, starts


class TestPreconditionedLangevin(Invariants):
    cases: ClassVar[dict] = {
        "β=0.99": PreconditionedLangevin(0.1, epsilon=0.1),
        "β=0.9-rmsprop": PreconditionedLangevin(0.02, beta=0.9, epsilon=0.1, bias_correction=False),
        "β=0-drift": PreconditionedLangevin(0.1, beta=0.0, epsilon=0.3, correction="drift"),
        "β=0.9-drift": PreconditionedLangevin(0.1, beta=0.9, epsilon=0.3, correction="drift"),
        "β=0.5-rmsprop-drift": PreconditionedLangevin(
            0.05, beta=0.5, epsilon=0.3, bias_correction=False, correction="drift"
        ),
    }


@pytest.mark.parametrize("bias_correction", [True, False])
def test_second_moments_are_the_weighted_mean_of_past_squares(bias_correction):
    """V_t = (1 - β)·Σ_k β^{t-k}·g_k², g_k at the k-th state; the weights add up to 1 - βᵗ,
    which V̂ divides out.
    """
    sampler, rng, beta = PreconditionedLangevin(0.1, 0.8, 0.2, bias_correction), generator(), 0.8
    state, squares = sampler.init(targets.coupled, starts()), []
    for t in range(1, 8):
        squares.append(state.grad**2)
        state, info = sampler.step(targets.coupled, state, rng)
        weights = [(1 - beta) * beta ** (t - k) for k in range(1, t + 1)]
        assert sum(weights) == pytest.approx(1 - beta**t)
        value = sum(w * s for w, s in zip(weights, squares, strict=True))
        torch.testing.assert_close(state.memory.value, value, rtol=1e-12, atol=1e-14)
        hat = value / sum(weights) if bias_correction else value
        metric = 1 / (0.2 + hat.sqrt())
        torch.testing.assert_close(sampler.metric(state.memory), metric, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(info.scale, metric.flatten(1).mean(1), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("bias_correction", [True, False])
@pytest.mark.parametrize("beta", [0.0, 0.6, 0.99])
def test_drift_is_the_divergence_of_the_metric(beta, bias_correction):
    """(h/2)·∂G_i/∂x_i by autograd through V at fixed past; the mean over all 2⁴ sign patterns is
    exact.
    """
    sampler = PreconditionedLangevin(0.3, beta, 0.2, bias_correction, "drift")
    x, steps = starts((3, 4)), 4
    state = sampler.init(targets.coupled, x)
    state = state._replace(
        memory=SecondMoment(torch.rand(x.shape, generator=generator(), dtype=x.dtype), steps)
    )
    plain = replace(sampler, correction="none")

    def metric(flat):  # (4,) -> (4,), written out
        g = formulas.gradient(targets.coupled, flat[None])[0]
        value = beta * past + (1 - beta) * g**2
        hat = value / (1 - beta ** (steps + 1)) if bias_correction else value
        return 1 / (0.2 + hat.sqrt())

    divergence = []
    for row, past in zip(x, state.memory.value, strict=True):  # noqa: B007  # `past` is read by metric
        divergence.append(torch.func.jacrev(metric)(row).diagonal())
    base = plain.law(targets.coupled, state)
    means = []
    for bits in range(2**4):
        signs = torch.tensor(
            [1.0 if bits >> i & 1 else -1.0 for i in range(4)], dtype=x.dtype
        ).expand_as(x)
        law = sampler.law(targets.coupled, state, signs)
        torch.testing.assert_close(law.variance, base.variance, rtol=0, atol=0)
        means.append(law.mean - base.mean)
    torch.testing.assert_close(
        torch.stack(means).mean(0), 0.15 * torch.stack(divergence), rtol=1e-9, atol=1e-12
    )
    assert (torch.stack(divergence).abs() > 1e-4).any()


def metric_law(target, x, h, epsilon, weight):
    """β = 0: N(x - (h/2)·G·U' + weight·(h/2)·G', h·G), G = 1/(ε + |U'|), on the grid, numpy."""
    du = target.du(x)
    metric = 1 / (epsilon + np.abs(du))
    slope = -(metric**2) * np.sign(du) * target.d2u(x)
    return x - h / 2 * metric * du + weight * h / 2 * slope, h * metric


@pytest.mark.parametrize("target", [grid.GAUSSIAN, grid.SKEWED], ids=["gaussian", "skewed"])
@pytest.mark.parametrize(("correction", "weight"), [("none", 0), ("drift", 1)])
def test_library_draws_from_the_law_of_the_oracle(target, correction, weight):
    """β = 0 in one dimension, where any sign gives the exact drift: float64 rounding."""
    potential = targets.gaussian if target is grid.GAUSSIAN else targets.skewed
    x = np.linspace(max(target.low, -6), min(target.high, 3), 300) + 1e-3
    sampler = PreconditionedLangevin(0.2, 0.0, 1.0, correction=correction)
    state = sampler.init(potential, torch.from_numpy(x)[:, None])
    signs = torch.ones_like(state.x) if weight else None
    law = sampler.law(potential, state, signs)
    mean, variance = metric_law(target, x, 0.2, 1.0, weight)
    np.testing.assert_allclose(law.mean[:, 0].numpy(), mean, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(law.variance[:, 0].numpy(), variance, rtol=1e-11)


def total_variation(h: float, weight: float, power: float) -> float:
    """Between the stationary law on the grid and π·(1 + |x|)^power, π = N(0, 1), β = 0, ε = 1."""
    x = np.linspace(-7, 7, 1000)  # no point on the kink at 0; dx = 0.014 against √(hG) ≥ 0.05
    law = grid.unadjusted(x, *metric_law(grid.GAUSSIAN, x, h, 1.0, weight)).law
    expected = np.exp(-(x**2) / 2) * (1 + np.abs(x)) ** power
    return float(np.abs(law - expected / expected.sum()).sum() / 2)


def test_what_it_targets_as_the_step_vanishes():
    """β = 0. Corrected: π. Uncorrected: π/G. The distance to it is O(h): a quarter of h leaves less
    than 0.4.

    Negative control: the distance to the other law tends to TV(π, π(1 + |x|)/Z) = 0.134. No
    randomness.
    """
    for weight, right, wrong in ((1, 0, 1), (0, 1, 0)):
        coarse, fine = total_variation(0.08, weight, right), total_variation(0.02, weight, right)
        assert fine < 0.4 * coarse
        assert fine < 0.003
        assert abs(total_variation(0.02, weight, wrong) - 0.134) < 0.003


@pytest.mark.parametrize(
    ("correction", "power", "other"), [("none", 1.0, 0.5), ("drift", 0.5, 1.0)]
)
def test_at_fixed_beta_the_metric_follows_the_chain(correction, power, other):
    """The docstring's π·(ε + |∂U|)^β with 'drift' and π·(ε + |∂U|) without, β = ½, ε = 1, on N(0,
    1), as h → 0.

    E x² over the second half of a run of time 12 from that law, extrapolated from h and h/4 as if
    the bias were O(h); a next term b·h^{3/2} leaves b·h^{3/2}/6 < 0.011 for |b| ≤ 1, h = 0.16. Six
    standard errors over independent chains. Negative control: the other of the two laws is further
    away than that, and so is π.
    """
    x = np.linspace(-10, 10, 20_001)

    def law(power):
        weight = np.exp(-(x**2) / 2) * (1 + np.abs(x)) ** power
        return weight / weight.sum()

    chains, found = 16_000, []
    for h in (0.16, 0.04):
        start = np.interp(RNG.random(chains), np.cumsum(law(power)), x)
        sampler = PreconditionedLangevin(h, 0.5, 1.0, correction=correction)
        x0, steps = torch.from_numpy(start)[:, None], int(12 / h)
        draws = run_chains(
            sampler, targets.gaussian, x0, steps, generator=generator(6), keep_every=4
        ).draws
        found.append((draws[len(draws) // 2 :] ** 2).mean(0)[:, 0])
    (coarse, fine), errors = (
        (f.mean() for f in found),
        [float(f.std()) / chains**0.5 for f in found],
    )
    limit, bound = (
        float(fine + (fine - coarse) / 3),
        0.011 + SIGMAS * (16 * errors[1] ** 2 + errors[0] ** 2) ** 0.5 / 3,
    )
    assert abs(limit - law(power) @ x**2) < bound
    assert min(abs(limit - law(p) @ x**2) for p in (other, 0.0)) > bound


def test_a_metric_of_one_is_langevin():
    """h = ε·h', ε large: G = (1/ε)(1 - O(|g|/ε)), |g| < 10³, ε = 10¹²."""
    flat, langevin = PreconditionedLangevin(0.1e12, epsilon=1e12), Langevin(0.1)
    x = run_chains(flat, targets.coupled, starts(), 3, generator=generator()).x
    expected = run_chains(langevin, targets.coupled, starts(), 3, generator=generator()).x
    torch.testing.assert_close(x, expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"beta": 1.0}, "beta is 1.0"),
        ({"beta": -0.1}, "beta is -0.1"),
        ({"epsilon": 0.0}, "epsilon is 0.0"),
        ({"correction": "midpoint"}, "correction is 'midpoint'"),
    ],
)
def test_refuses_in_one_line(change, says):
    with pytest.raises(StanleyError, match=says) as error:
        PreconditionedLangevin(0.1, **change)
    assert "\n" not in str(error.value)


def test_drift_refuses_a_kinked_network():
    net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1)).double()
    sampler = PreconditionedLangevin(0.1, correction="drift")

    class Energy(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x):
            return self.net(x).squeeze(1)

    with pytest.raises(StanleyError, match=r"ReLU.*use correction='none'"):
        sampler.init(Energy(), starts((4, 3)))


def test_is_not_adjustable_and_says_why():
    with pytest.raises(
        StanleyError, match=r"Adjusted\(PreconditionedLangevin\): its metric depends"
    ):
        Adjusted(PreconditionedLangevin(0.1))

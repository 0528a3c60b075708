"""Step sizes from the acceptance rate."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from stanley.errors import StanleyError
from stanley.samplers import (
    MALA,
    Adjusted,
    ClippedLangevin,
    GradientDescent,
    Langevin,
    MatchedLangevin,
    RobbinsMonro,
    Stanley,
    adapt,
    evaluate,
)
from stanley.samplers.adapt import DualAveraging

from . import targets
from .bounds import hoeffding
from .invariants import generator, starts


@pytest.mark.parametrize("target", [0.4, 0.8])
@pytest.mark.parametrize(
    "sampler",
    [MALA(0.02), Adjusted(Stanley(0.02, 1.0, "sample")), Adjusted(Stanley(5.0, 1.0))],
    ids=["mala", "sample", "element"],
)
def test_reaches_its_target_on_a_gaussian(sampler, target):
    """Mean acceptance at stationarity, 20,000 exact starts and one step, against the target.

    The recursion makes Σ_{k≤n}(a* - a_k) = κ(μ - log h_n)(n + n₀)/√n, so a_n misses a* by
    κ|μ - log h|/(2√n) plus the noise: κ = 0.05, |μ - log h| < 8, effective n ≥ 200 of 400 steps: 0.015.
    Noise: a step's error has sd ≤ 0.5/√1000 = 0.016, averaged over the last ~n^{3/4} = 90 steps under 0.0025,
    six times that 0.015. The final mean: Hoeffding at 1e-7.
    """
    x0 = torch.randn(1000, 4, generator=generator(), dtype=torch.float64)
    tuned, x = adapt(sampler, targets.gaussian, x0, 400, generator=generator(1), target_acceptance=target)
    assert x.shape == x0.shape
    fresh = torch.randn(20_000, 4, generator=generator(2), dtype=torch.float64)
    _, info = tuned.step(targets.gaussian, tuned.init(targets.gaussian, fresh), generator(3))
    assert abs(float(info.acceptance.mean()) - target) < 0.015 + 0.015 + hoeffding(20_000)


def test_returns_a_new_sampler_and_leaves_the_old_one():
    sampler = Adjusted(Stanley(0.02, 1.5, "sample", floor=0.1))
    x0 = starts((20, 3))
    before = x0.clone()
    tuned, _ = adapt(sampler, targets.gaussian, x0, 20, generator=generator())
    assert sampler == Adjusted(Stanley(0.02, 1.5, "sample", floor=0.1))
    assert torch.equal(x0, before)
    h = tuned.step_size
    assert h != 0.02
    assert tuned == Adjusted(replace(sampler.proposal, step_size=h))
    again, _ = adapt(sampler, targets.gaussian, x0, 20, generator=generator())
    assert again == tuned


@pytest.mark.parametrize(
    "sampler", [Langevin(0.1), Stanley(0.1), ClippedLangevin(0.1), MatchedLangevin(0.1), GradientDescent(0.1)]
)
def test_needs_an_adjusted_sampler(sampler):
    with pytest.raises(StanleyError, match="adapt needs a Metropolis-adjusted sampler") as error:
        adapt(sampler, targets.gaussian, starts((4, 3)), 5, generator=generator())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("target", [0.0, 1.0, float("nan")])
def test_target_lies_between_0_and_1(target):
    with pytest.raises(StanleyError, match="target_acceptance is"):
        adapt(MALA(0.1), targets.gaussian, starts((4, 3)), 5, generator=generator(), target_acceptance=target)
    with pytest.raises(StanleyError, match="target_acceptance is"):
        RobbinsMonro(target_acceptance=target)


def test_says_so_when_nothing_is_ever_accepted():
    with pytest.raises(StanleyError, match="nothing was accepted"):
        adapt(MALA(0.1), lambda x: x.sum(1) * float("nan"), starts((4, 3)), 100, generator=generator())


def test_dual_averaging_balances_its_books():
    """(n + n₀)·H̄_n = Σ(a* - a_k) is an identity, which gives log h_n; log h̄ by its weights."""
    averaging, total, log_mean = DualAveraging(0.6, 0.3), 0.0, 0.0
    rates = torch.rand(50, generator=generator(), dtype=torch.float64).tolist()
    assert averaging.step_size == pytest.approx(0.3)
    for n, rate in enumerate(rates, 1):
        averaging.update(rate)
        total += 0.6 - rate
        log_step = math.log(3.0) - n**0.5 / 0.05 * total / (n + 10)
        log_mean = n**-0.75 * log_step + (1 - n**-0.75) * log_mean
        assert math.log(averaging.step_size) == pytest.approx(log_step, rel=1e-9)
        assert math.log(averaging.mean_step_size) == pytest.approx(log_mean, rel=1e-9)


def test_robbins_monro_rests_at_its_target_and_moves_the_right_way():
    rule = RobbinsMonro(0.6, 0.1)
    assert rule.update(0.3, 0.6, 1.0) == 0.3
    assert rule.update(0.3, 1.0, 1.0) == pytest.approx(0.3 * math.exp(0.04))
    assert rule.update(0.3, 0.0, 1.0) == pytest.approx(0.3 * math.exp(-0.06))
    assert rule.update(0.3, 1.0, 0.3) == 0.3  # never above the sampler's own step
    with pytest.raises(StanleyError, match="rate is 0"):
        RobbinsMonro(rate=0)


def test_robbins_monro_finds_the_step_that_accepts_at_its_target():
    """Exact starts each time: log h moves by rate·(a(h) - a*), whose only zero is a(h) = a*.

    After 200 updates at rate 0.2 the distance has shrunk by e^{-40·|a'|}, |a'| = |da/dlog h| > 0.2; left is
    noise of sd ≤ √(rate/2|a'|)·0.5/√4000 < 0.006 in log h, less in a. Six times: 0.036. Then Hoeffding.
    """
    rule, h, rng = RobbinsMonro(0.6, 0.2), 0.5, generator()

    def acceptance(h, n):
        x0 = torch.randn(n, 3, generator=rng, dtype=torch.float64)
        _, info = MALA(h).step(targets.gaussian, evaluate(targets.gaussian, x0), rng)
        return float(info.acceptance.mean())

    for _ in range(200):
        h = rule.update(h, acceptance(h, 4000), 100.0)
    assert abs(acceptance(h, 20_000) - 0.6) < 0.036 + hoeffding(20_000)

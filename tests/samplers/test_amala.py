"""AMALA: its dense Gaussian, its two limits."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal

from stanley.errors import StanleyError
from stanley.samplers import AMALA, Quantile, RandomWalk, run_chains

from . import formulas, targets
from .balance import DetailedBalance
from .bounds import assert_mean
from .invariants import generator, identical, starts


class TestAMALA(DetailedBalance):
    cases: ClassVar[dict] = {
        "th=1": AMALA(0.1, 1.0),
        "stretched": AMALA(0.1, 1.0, epsilon=0.05),
        "round": AMALA(0.3, 1.0, epsilon=4.0),
    }

    def way_back(self, inner, potential, state, candidate, move):
        return state.x - self.oracle(inner).law(potential, candidate.x)[0]


@pytest.mark.parametrize("epsilon", [1e-6, 0.3, 5.0])
@pytest.mark.parametrize("length", [0.0, 1e-200, 1e-3, 1.0, 30.0])
def test_density_is_the_dense_gaussian(epsilon, length):
    """By eigenvalues against a Cholesky factor, up to the constant -½·d·log(2πhε) that is left out.

    The condition number is 1 + |D|²/ε ≤ 10⁹ and the oracle loses that much: 1e-16·1e9 = 1e-7,
    relative.
    """
    sampler, d = AMALA(0.2, 1.0, epsilon), 5
    drift = starts((4, d), seed=2)
    drift = length * drift / drift.norm(dim=1, keepdim=True)
    dense = MultivariateNormal(
        torch.zeros(d, dtype=torch.float64), formulas.stretched(sampler, drift)
    )
    v = 0.2**0.5 * (epsilon**0.5 * starts((4, d), seed=3) + drift * starts((4, 1), seed=4))
    constant = -d / 2 * np.log(2 * np.pi * 0.2 * epsilon)
    torch.testing.assert_close(
        sampler.log_normal(v, drift) + constant, dense.log_prob(v), rtol=1e-6, atol=1e-6
    )


def test_noise_has_the_dense_covariance():
    """E vvᵀ = h(εI + DDᵀ), all d² entries: 100,000 draws from one point, six standard errors."""
    sampler, point = AMALA(0.2, 2.0, 0.3), starts((1, 3), seed=6)
    x0 = point.expand(100_000, 3).contiguous()
    _, noise, _ = sampler.propose(targets.coupled, sampler.init(targets.coupled, x0), generator())
    drift = formulas.truncated(formulas.gradient(targets.coupled, point), 2.0)
    assert float(drift.norm()) > 1.0
    assert_mean(
        (noise[:, :, None] * noise[:, None]).numpy(), formulas.stretched(sampler, drift)[0].numpy()
    )
    assert_mean(noise.numpy(), 0.0)


def test_a_tiny_threshold_is_a_random_walk():
    """|D| ≤ th = 1e-12: mean x and covariance hε·I up to 1e-12·(h/2 + √h|ζ|), |ζ| < 9;
    the same acceptance.
    """
    sampler, walk = AMALA(0.4, 1e-12, epsilon=0.5), RandomWalk(0.2)
    state = sampler.init(targets.coupled, starts())
    candidate, move, _ = sampler.propose(targets.coupled, state, generator())
    other, _, _ = walk.propose(targets.coupled, state, generator())
    torch.testing.assert_close(candidate.x, other.x, rtol=0, atol=1e-11)
    torch.testing.assert_close(
        sampler.log_ratio(targets.coupled, state, candidate, move),
        torch.zeros(5, dtype=torch.float64),
        rtol=0,
        atol=1e-9,
    )


def test_quantile_threshold_is_of_the_norm_and_recorded():
    result = run_chains(
        AMALA(0.1, Quantile(0.5)), targets.coupled, starts(), 3, generator=generator()
    )
    norms = formulas.gradient(targets.coupled, starts()).flatten(1).norm(dim=1).numpy()
    assert float(result.info.threshold) == pytest.approx(
        np.quantile(norms, 0.5, method="nearest"), rel=1e-12
    )
    fixed = run_chains(
        AMALA(0.1, float(result.info.threshold)),
        targets.coupled,
        starts(),
        3,
        generator=generator(),
    )
    assert identical(result.x, fixed.x)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, float("nan"), float("inf")])
def test_refuses_a_bad_epsilon(epsilon):
    with pytest.raises(StanleyError, match="AMALA: epsilon is"):
        AMALA(0.1, 1.0, epsilon)

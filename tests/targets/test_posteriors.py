"""The posteriors of `stanley.targets`, against their models written out a second time,
and the targets with names.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import distributions

from stanley.errors import StanleyError
from stanley.targets import ABOUT, EightSchools, LogisticRegression, Target, named
from stanley.targets.named import TARGETS
from tests.seeds import stream

SCHOOLS = EightSchools()
Y, SIGMA = np.array(SCHOOLS.effects), np.array(SCHOOLS.errors)


def points(d: int) -> torch.Tensor:
    return torch.randn(20, d, generator=stream(), dtype=torch.float64)


def stated(mean: float, std: float) -> distributions.Normal:
    """In float64: of a number torch.distributions makes float32."""
    return distributions.Normal(*torch.tensor([mean, std], dtype=torch.float64))


def test_eight_schools_is_its_model():
    """-U differs from log p(y, μ, τ, θ̃) + log τ by a constant."""
    x = points(10)
    mu, tau, theta = x[:, 0], x[:, 1].exp(), x[:, 2:]
    joint = (
        stated(0.0, 5.0).log_prob(mu)
        + distributions.HalfCauchy(torch.tensor(5.0, dtype=torch.float64)).log_prob(tau)
        + tau.log()
        + stated(0.0, 1.0).log_prob(theta).sum(1)
        + distributions.Normal(mu[:, None] + tau[:, None] * theta, torch.from_numpy(SIGMA))
        .log_prob(torch.from_numpy(Y))
        .sum(1)
    )
    gap = joint + SCHOOLS(x)
    torch.testing.assert_close(gap, gap[:1].expand(20), rtol=0, atol=1e-11)


def marginal(tau: float) -> float:
    """p(y | τ) p(τ), μ and θ integrated out, as one multivariate normal."""
    covariance = np.diag(SIGMA**2 + tau**2) + 25
    return stats.multivariate_normal(np.zeros(8), covariance).pdf(Y) * stats.halfcauchy.pdf(
        tau, 0, 5
    )


def test_eight_schools_by_adaptive_quadrature():
    """The constants of U against the densities: (2π)^{1/2}·5 for μ, (2π)⁴ for θ̃, (2π)⁴·Πσ for y,
    5π/2 for τ.
    """

    def over_tau(f) -> float:
        pieces = [(0, 1), (1, 10), (10, 100), (100, np.inf)]
        return sum(
            integrate.quad(lambda t: f(t) * marginal(t), a, b, epsabs=0, epsrel=1e-11)[0]
            for a, b in pieces
        )

    Z = over_tau(lambda t: 1.0)
    constants = (
        4.5 * math.log(2 * math.pi) + math.log(5) + np.log(SIGMA).sum() + 4 * math.log(2 * math.pi)
    )
    # HalfCauchy(5) = (2/(5π)) / (1 + τ²/25)
    assert SCHOOLS.log_z == pytest.approx(
        math.log(Z) + constants + math.log(5 * math.pi / 2), abs=1e-8
    )

    def mean_of_mu(t: float) -> float:
        w = 1 / (SIGMA**2 + t**2)
        return (w @ Y) / (1 / 25 + w.sum())

    assert float(SCHOOLS.mean[0]) == pytest.approx(over_tau(mean_of_mu) / Z, abs=1e-7)
    assert float(SCHOOLS.mean[1]) == pytest.approx(over_tau(math.log) / Z, abs=1e-6)


def test_eight_schools_moments_are_those_of_its_samples():
    """20 comparisons at 1e-8 each; the samples use the same conditional laws,
    the moments their integrals.
    """
    x = SCHOOLS.sample(50_000, stream(1))
    z = stats.norm.isf(1e-8 / 2)
    for values, expected in ((x, SCHOOLS.mean), (x**2, SCHOOLS.second_moment)):
        assert ((values.mean(0) - expected).abs() <= z * values.std(0) / 50_000**0.5).all()
    # it can fail
    assert not ((x.mean(0) - SCHOOLS.mean * 1.1).abs() <= z * x.std(0) / 50_000**0.5).all()


def test_logistic_regression_is_its_model():
    """-U differs from log p(labels | w) + log p(w) by a constant, here log N(0; 0, σ²) alone."""
    target = LogisticRegression.synthetic(50, 4, prior_std=2.0)
    w = points(4)
    joint = distributions.Bernoulli(logits=w @ target.design.T).log_prob(target.labels).sum(1)
    joint = joint + stated(0.0, 2.0).log_prob(w).sum(1)
    constant = 4 * math.log(2.0 * math.sqrt(2 * math.pi))
    torch.testing.assert_close(joint, -target(w) - constant, rtol=1e-12, atol=1e-12)


def test_logistic_regression_is_stable_far_out():
    target = LogisticRegression.synthetic(50, 4)
    w = (1e4 * points(4)).requires_grad_()
    U = target(w)
    (grad,) = torch.autograd.grad(U.sum(), w)
    assert U.isfinite().all()
    assert grad.isfinite().all()
    assert (w.square().sum(1) / 2 <= U).all()


def test_synthetic_data_have_the_shape_of_german_credit():
    target = LogisticRegression.synthetic()
    assert target.design.shape == (1000, 25)
    assert (target.design[:, -1] == 1).all()
    assert 0.2 < float(target.labels.mean()) < 0.8
    again = LogisticRegression.synthetic()
    assert torch.equal(target.design, again.design)
    assert torch.equal(target.labels, again.labels)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: LogisticRegression(torch.ones(3), torch.ones(3)), r"design has shape \(3,\)"),
        (lambda: LogisticRegression(torch.ones(3, 2), torch.ones(2)), r"labels has shape \(2,\)"),
        (lambda: LogisticRegression(torch.ones(3, 2), 2 * torch.ones(3)), "neither 0 nor 1"),
        (lambda: replace(LogisticRegression.synthetic(5, 2), prior_std=0.0), "prior_std is 0"),
        (lambda: LogisticRegression.synthetic(5, 1), "d is 1"),
        (lambda: LogisticRegression.synthetic(correlation=1.0), "correlation is 1"),
        (
            lambda: LogisticRegression.synthetic(5, 2).sample(3, torch.Generator()),
            "no independent samples",
        ),
        (lambda: LogisticRegression.synthetic(5, 2).log_density(torch.ones(1, 2)), "log Z"),
        (lambda: named("bananna"), "did you mean 'banana'"),
    ],
)
def test_impossible_requests_name_the_value(make, told):
    with pytest.raises(StanleyError, match=told) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", TARGETS)
def test_named_targets_are_potentials(name):
    target = named(name)
    assert isinstance(target, Target)
    x = points(*target.event_shape).requires_grad_()
    U = target(x)
    assert U.shape == (20,)
    (grad,) = torch.autograd.grad(U.sum(), x)
    assert grad.isfinite().all()


def test_every_name_has_a_line():
    assert set(ABOUT) == set(TARGETS)

"""The grid oracle against the specification's table, and the library's one-step laws against the
oracle's.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from stanley.samplers import Langevin, Stanley, evaluate
from tests.seeds import stream

from . import grid, targets
from .grid import GAUSSIAN, QUARTIC, SKEWED

# Converged values (Richardson over two grids). What is left of the error is O(dx⁴) ~ 1e-6 of the
# value; eigenvalues come from ARPACK at machine precision. So: 1e-5 of the value, or 1e-5.
STATIONARY = [  # target, law, h, th, E x², E x⁴, |λ₂|
    (GAUSSIAN, grid.langevin, 0.2, 1, 1 / (1 - 0.05), 3 / (1 - 0.05) ** 2, 0.9),
    (GAUSSIAN, grid.stanley, 0.2, 1, 1.476133, 5.942190, 0.94418),
    (GAUSSIAN, grid.stanley, 0.2, 4, 1.052730, 3.326051, 0.90001),
    (GAUSSIAN, grid.stanley, 0.04, 1, 1.426834, 5.575872, 0.98875),
    (GAUSSIAN, grid.stanley_drift, 0.04, 1, 1.013869, 3.076645, 0.98403),
    (QUARTIC, grid.stanley, 0.2, 1, 0.694353, 0.884891, 0.90516),
    (QUARTIC, grid.stanley, 0.2, 4, 0.426381, 0.462547, 0.74641),
    (QUARTIC, grid.stanley_drift, 0.2, 1, 0.461382, 0.499731, None),
]
ADJUSTED = [  # target, law, h, th, E x², E x⁴, acceptance, |λ₂|
    (GAUSSIAN, grid.langevin, 0.2, 1, 1, 3, 0.99288, 0.89650),
    (GAUSSIAN, grid.stanley, 0.2, 1, 1, 3, 0.97107, 0.92918),
    (QUARTIC, grid.langevin, 0.2, 1, math.gamma(0.75) / math.gamma(0.25), 0.25, 0.91744, None),
    (QUARTIC, grid.stanley, 0.2, 1, math.gamma(0.75) / math.gamma(0.25), 0.25, 0.88505, 0.85037),
    (QUARTIC, grid.stanley, 0.2, 4, math.gamma(0.75) / math.gamma(0.25), 0.25, 0.92722, 0.74726),
]
TORCH = {id(GAUSSIAN): targets.gaussian, id(QUARTIC): targets.quartic, id(SKEWED): targets.skewed}


def arguments(law, h, th):
    return (h,) if law is grid.langevin else (h, th)


@pytest.mark.parametrize(("target", "law", "h", "th", "second", "fourth", "rate"), STATIONARY)
def test_stationary_law_of_unadjusted_chains(target, law, h, th, second, fourth, rate):
    def read(x):
        chain = grid.unadjusted(x, *law(target, x, *arguments(law, h, th)))
        return np.array(
            [chain.moment(2), chain.moment(4), chain.second_eigenvalue() if rate else 0.0]
        )

    found = grid.extrapolated(read, target, th)
    np.testing.assert_allclose(found, [second, fourth, rate or 0.0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("target", "law", "h", "th", "second", "fourth", "acceptance", "rate"), ADJUSTED
)
def test_adjusted_chains(target, law, h, th, second, fourth, acceptance, rate):
    def read(x):
        chain = grid.adjusted(target, x, *law(target, x, *arguments(law, h, th)))
        # π is left invariant
        np.testing.assert_allclose(chain.law @ chain.matrix, chain.law, rtol=0, atol=1e-12)
        values = [
            chain.moment(2),
            chain.moment(4),
            chain.acceptance,
            chain.second_eigenvalue() if rate else 0.0,
        ]
        return np.array(values)

    found = grid.extrapolated(read, target, th)
    np.testing.assert_allclose(
        found, [second, fourth, acceptance, rate or 0.0], rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("target", [GAUSSIAN, QUARTIC, SKEWED])
@pytest.mark.parametrize(
    ("law", "sampler"),
    [
        (grid.stanley, Stanley(0.2, 1.0)),
        (grid.stanley, Stanley(0.2, 1.0, "sample")),
        (grid.stanley_drift, Stanley(0.2, 1.0, correction="drift")),
        (grid.stanley_drift, Stanley(0.2, 1.0, "sample", correction="drift")),
    ],
)
def test_library_draws_from_the_law_of_the_oracle(target, law, sampler):
    """Exact in float64. In one dimension the Hessian is diagonal,
    so any sign gives the exact drift.
    """
    x = np.linspace(target.low, target.high, 400) + 1e-3  # off the kink, where the drift jumps
    potential, points = TORCH[id(target)], torch.from_numpy(x)[:, None]
    state = sampler.init(potential, points)
    found = sampler.law(potential, state, torch.ones_like(points))
    mean, variance = law(target, x, 0.2, 1.0)
    np.testing.assert_allclose(found.mean[:, 0].numpy(), mean, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(found.variance.expand_as(points)[:, 0].numpy(), variance, rtol=1e-11)


def test_langevin_draws_from_the_law_of_the_oracle():
    """y - √h·ξ is the mean, with ξ handed out by `propose`."""
    x = np.linspace(-3, 3, 400)
    state = evaluate(targets.quartic, torch.from_numpy(x)[:, None])
    candidate, noise, _ = Langevin(0.2).propose(targets.quartic, state, stream())
    mean, variance = grid.langevin(QUARTIC, x, 0.2)
    np.testing.assert_allclose(
        (candidate.x[:, 0] - torch.from_numpy(variance).sqrt() * noise[:, 0]).numpy(),
        mean,
        atol=1e-11,
    )


def test_mala_has_no_spectral_gap_on_light_tails_and_adjusted_stanley_has():
    """From x on exp(-x⁴), MALA with h = 0.2 overshoots by 0.4·x³ - x: it never leaves."""
    x = grid.grid(QUARTIC, 1401)
    stuck = 1 - np.diag(grid.adjusted(QUARTIC, x, *grid.langevin(QUARTIC, x, 0.2)).matrix)
    free = 1 - np.diag(grid.adjusted(QUARTIC, x, *grid.stanley(QUARTIC, x, 0.2, 1.0)).matrix)
    assert stuck[0] < 1e-12
    assert free.min() > 0.3

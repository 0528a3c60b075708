"""Unadjusted Langevin."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch

from stanley.samplers import Langevin, run_chains

from . import targets
from .bounds import assert_mean
from .invariants import Invariants, generator


class TestLangevin(Invariants):
    cases: ClassVar[dict] = {"h=0.1": Langevin(0.1), "h=0.02": Langevin(0.02)}


@pytest.mark.parametrize("h", [0.04, 0.2, 1.0])
def test_stationary_variance_on_a_gaussian(h):
    """x' = (1 - h/2)x + √h·ξ keeps N(0, 1/(1 - h/4)): E x² and E x⁴ stay,
    within six standard errors.
    """
    variance = 1 / (1 - h / 4)
    x0 = variance**0.5 * torch.randn(200_000, 1, generator=generator(), dtype=torch.float64)
    x = run_chains(Langevin(h), targets.gaussian, x0, 5, generator=generator(1)).x.numpy()
    assert_mean(x**2, variance)
    assert_mean(x**4, 3 * variance**2)


@pytest.mark.parametrize("h", [0.2, 1.0])
def test_transient_law_on_a_gaussian(h):
    """From x0 = 3: mean 3(1 - h/2)ⁿ, variance h·Σ_k (1 - h/2)^{2k}:
    any error in h shows at once.
    """
    n, a = 4, 1 - h / 2
    x0 = torch.full((100_000, 1), 3.0, dtype=torch.float64)
    x = run_chains(Langevin(h), targets.gaussian, x0, n, generator=generator(2)).x.numpy()
    assert_mean(x, 3 * a**n)
    assert_mean((x - 3 * a**n) ** 2, h * sum(a ** (2 * k) for k in range(n)))


def test_diverges_on_light_tails():
    """On x⁴ from x = 10 with h = 0.2 the drift is -0.4·x³ = -400:
    the chain overflows and is marked.
    """
    x0 = torch.full((3, 1), 10.0, dtype=torch.float64)
    result = run_chains(Langevin(0.2), targets.quartic, x0, 50, generator=generator())
    assert result.info.nonfinite.all()

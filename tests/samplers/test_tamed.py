"""Tamed Langevin. Its adjusted form is in `test_adjusted.py`."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch

from stanley.errors import StanleyError
from stanley.samplers import Langevin, TamedLangevin, evaluate, run_chains

from . import targets
from .invariants import Invariants, generator, starts

SCOPES = ("sample", "element")


class TestTamed(Invariants):
    cases: ClassVar[dict] = {scope: TamedLangevin(0.1, scope) for scope in SCOPES}


@pytest.mark.parametrize("scope", SCOPES)
def test_the_drift_is_its_formula(scope):
    """-(h/2)·G with G = g/(1 + (h/2)|g|): the step of the source is γ = h/2, its noise √(2γ)·ξ."""
    h, x, xi = (
        0.3,
        starts(),
        torch.randn(starts().shape, generator=generator(), dtype=torch.float64),
    )
    state = evaluate(targets.coupled, x)
    candidate, _, _ = TamedLangevin(h, scope).propose(targets.coupled, state, generator())
    gamma = h / 2
    size = (
        state.grad.abs()
        if scope == "element"
        else (state.grad**2).sum((1, 2, 3), keepdim=True).sqrt()
    )
    drift = -gamma * state.grad / (1 + gamma * size)
    torch.testing.assert_close(
        candidate.x, x + drift + (2 * gamma) ** 0.5 * xi, rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("scope", SCOPES)
def test_no_drift_is_longer_than_one(scope):
    """(h/2)|G| = t/(1 + t) < 1: where Langevin diverges in a few steps, U = x⁴ from x = 10,
    it comes home.
    """
    x0 = torch.full((50, 3), 10.0, dtype=torch.float64)
    state = evaluate(targets.quartic, x0)
    drift = (0.1 * TamedLangevin(0.2, scope).taming(state) * state.grad).abs()
    length = drift if scope == "element" else drift.norm(dim=1)
    assert (length < 1).all()
    assert (length > 0.98).all()
    x = run_chains(TamedLangevin(0.2, scope), targets.quartic, x0, 60, generator=generator()).x
    assert (x.abs() < 6).all()
    assert run_chains(
        Langevin(0.2), targets.quartic, x0, 60, generator=generator()
    ).info.nonfinite.all()


def test_one_component_has_one_scope():
    a, b = (
        run_chains(
            TamedLangevin(0.2, scope), targets.skewed, starts((6, 1)), 9, generator=generator()
        )
        for scope in SCOPES
    )
    torch.testing.assert_close(a.x, b.x, rtol=1e-12, atol=1e-12)


def test_knows_no_pixels():
    with pytest.raises(StanleyError, match="scope is 'pixel', must be one of sample, element"):
        TamedLangevin(0.1, "pixel")  # type: ignore[arg-type]

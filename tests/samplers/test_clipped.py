"""Clipped Langevin, the control with full noise."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch

from stanley.samplers import Adjusted, ClippedLangevin, run_chains
from tests.seeds import RNG

from . import grid, targets
from .bounds import cdf_distance, dkw
from .cases import SCOPES
from .invariants import Invariants, generator, starts


class TestClipped(Invariants):
    cases: ClassVar[dict] = {scope: ClippedLangevin(0.1, 1.0, scope) for scope in SCOPES}


@pytest.mark.parametrize("h", [0.2, 0.5])
def test_keeps_the_law_of_the_oracle(h):
    """Start in the oracle's stationary law, four steps; DKW at 1e-7, n = 100,000,
    oracle slack 2e-4.
    """
    target, n = grid.Target1D(*vars(grid.GAUSSIAN).values()), 100_000
    x = grid.grid(target, 901)
    chain = grid.unadjusted(x, *grid.clipped(target, x, h, 1.0))
    x0 = torch.from_numpy(chain.quantile(RNG.random(n)))[:, None]
    draws = (
        run_chains(ClippedLangevin(h, 1.0), targets.gaussian, x0, 4, generator=generator())
        .x[:, 0]
        .numpy()
    )
    assert cdf_distance(draws, chain.cdf) < dkw(n) + 2e-4


def test_small_steps_target_the_clipped_force():
    """As h → 0 the law is exp(-∫clip(U')): on the grid the distance is O(h),
    below h/2 at h = 0.02.
    """
    x = grid.grid(grid.GAUSSIAN, 1201)
    huber = np.exp(-np.where(np.abs(x) < 1, x**2 / 2, np.abs(x) - 0.5))
    huber /= huber.sum()
    distances = [
        np.abs(grid.unadjusted(x, *grid.clipped(grid.GAUSSIAN, x, h, 1.0)).law - huber).sum() / 2
        for h in (0.08, 0.02)
    ]
    assert distances[1] < distances[0] / 3
    assert distances[1] < 0.01


def test_a_huge_threshold_under_metropolis_is_mala():
    from stanley.samplers import MALA

    a = run_chains(
        Adjusted(ClippedLangevin(0.3, 1e9)), targets.coupled, starts(), 8, generator=generator()
    )
    b = run_chains(MALA(0.3), targets.coupled, starts(), 8, generator=generator())
    torch.testing.assert_close(a.x, b.x, rtol=1e-12, atol=1e-12)

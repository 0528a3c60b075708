"""The Barker proposal."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import pytest
import torch

from stanley.samplers import Barker, run_chains

from . import formulas, targets
from .balance import DetailedBalance
from .bounds import cdf_distance, dkw, hoeffding
from .invariants import generator, starts


class TestBarker(DetailedBalance):
    cases: ClassVar[dict] = {"h=0.1": Barker(0.1), "h=1": Barker(1.0)}

    def way_back(self, inner, potential, state, candidate, move):
        return state.x - candidate.x


@pytest.mark.parametrize("slope", [0.0, 0.8, -3.0, 40.0])
def test_the_move_has_its_skewed_density(slope):
    """w ~ 2·N(w; 0, h)·σ(-w·g) on U = g·x: DKW at 1e-7, n = 100,000,
    and a rectangle rule of spacing √h/1000.
    """
    h, n = 0.7, 100_000
    sampler = Barker(h)
    state = sampler.init(
        lambda x: slope * x.sum(1) + 0 * x.sum(1) ** 2, torch.zeros(n, 1, dtype=torch.float64)
    )
    _, move, _ = sampler.propose(lambda x: slope * x.sum(1), state, generator())
    w = np.linspace(-9, 9, 18_001) * math.sqrt(h)
    density = (
        2
        * np.exp(-(w**2) / (2 * h))
        / math.sqrt(2 * math.pi * h)
        / (1 + np.exp(np.clip(w * slope, -500, 500)))
    )
    total = np.cumsum(density) * (w[1] - w[0])
    assert total[-1] == pytest.approx(1, abs=1e-3)
    assert cdf_distance(move[:, 0].numpy(), lambda v: np.interp(v, w, total)) < dkw(n) + 1e-3


def test_the_size_of_a_move_does_not_depend_on_the_energy():
    """|y - x| = √h·|ξ|, whatever the gradient; on a flat potential every move is accepted."""
    sampler, noise = (
        Barker(0.4),
        torch.randn(5, 2, 3, 2, generator=generator(), dtype=torch.float64),
    )
    for potential in (targets.coupled, targets.quartic, lambda x: 0 * x.flatten(1).sum(1)):
        _, move, _ = sampler.propose(potential, sampler.init(potential, starts()), generator())
        torch.testing.assert_close(move.abs(), 0.4**0.5 * noise.abs(), rtol=1e-12, atol=0)
    flat = run_chains(
        sampler, lambda x: 0 * x.flatten(1).sum(1), starts(), 3, generator=generator()
    )
    assert (flat.info.acceptance == 1).all()


def test_each_component_tosses_its_own_coin():
    """On a flat potential b_i = w_i/z_i are fair and independent: E b = 0 and E b_1·b_2 = 0, within
    Hoeffding's bound.

    z is drawn first, so a generator in the same state gives it back. One coin for both would make
    b_1·b_2 = 1.
    """
    sampler, n = Barker(0.4), 20_000
    z = 0.4**0.5 * torch.randn(n, 2, generator=generator(), dtype=torch.float64)
    state = sampler.init(lambda x: 0 * x.sum(1), torch.zeros(n, 2, dtype=torch.float64))
    _, w, _ = sampler.propose(lambda x: 0 * x.sum(1), state, generator())
    for signs in (*(w / z).sign().T, (w / z).sign().prod(1)):
        assert abs(float(((signs + 1) / 2).mean()) - 0.5) <= hoeffding(n)


@pytest.mark.parametrize("steepness", [1e-3, 1e3, 1e8])
def test_log_ratio_is_stable(steepness):
    """log σ of ±10⁸ is finite in float32 too: against the formula in float64,
    whose sums are the same.
    """

    def steep(x):
        return steepness * targets.gaussian(x)

    sampler, x = Barker(0.5), starts(dtype=torch.float32)
    state = sampler.init(steep, x)
    candidate, move, _ = sampler.propose(steep, state, generator())
    found = sampler.log_ratio(steep, state, candidate, move)
    w, there, back = move.double(), state.grad.double(), candidate.grad.double()
    expected = (np.logaddexp(0, w * there) - np.logaddexp(0, -w * back)).flatten(1).sum(1)
    assert found.isfinite().all()
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_small_steps_drift_like_langevin():
    """E w = -E w·tanh(wg/2) = -(h/2)·g + h²·g³/8 - …, by t - t³/3 < tanh t < t - t³/3 + 2t⁵/15 and
    E w⁴ = 3h².
    """
    grad = torch.tensor([-3.0, -0.5, 0.2, 2.0], dtype=torch.float64)
    for h in (1e-2, 1e-3):
        error = (formulas.barker_moments(grad, h)[0] / h + grad / 2) / (h * grad**3 / 8)
        assert (error < 1).all()
        assert (error > 1 - h * grad**2 / 2).all()  # 2/15·(g/2)⁵·15h³ over h²g³/8·h

"""Chains that start in π stay in π, and kernels that are broken on purpose do not (negative controls)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from stanley.samplers import MALA, Adjusted, ClippedLangevin, Langevin, Stanley, run_chains
from stanley.samplers.base import per_chain

from . import targets
from .bounds import cdf_distance, dkw
from .invariants import generator

N, STEPS = 40_000, 6
TARGETS = {"gaussian": targets.NORMAL, "quartic": targets.LIGHT, "skewed": targets.SKEW}


def leaves_invariant(sampler, exact: targets.Exact, potential=None, steps: int = STEPS, n: int = N) -> bool:
    """sup |F_m - F| ≤ √(ln(2/1e-7)/2m) over the m = 2n components of n chains in two dimensions.

    Components of π are independent, so an invariant kernel fails this with probability 1e-7 at most.
    """
    x0 = torch.from_numpy(exact.draw(np.random.default_rng(7), 2 * n).reshape(n, 2))
    x = run_chains(sampler, potential or exact.potential, x0, steps, generator=generator(8)).x.numpy()
    return cdf_distance(x.ravel(), exact.cdf) <= dkw(2 * n)


EXACT = {
    "mala": MALA(0.5),
    "adjusted-langevin": Adjusted(Langevin(0.5)),
    "element": Adjusted(Stanley(0.5, 1.0)),
    "sample": Adjusted(Stanley(0.5, 1.0, "sample")),
    "floor": Adjusted(Stanley(0.5, 0.5, floor=0.3)),
    "drift": Adjusted(Stanley(0.5, 1.0, correction="drift")),
    "drift-sample": Adjusted(Stanley(0.5, 1.0, "sample", correction="drift")),
    "lagged": Adjusted(Stanley(0.5, 1.0, refresh="lagged")),
    "clipped": Adjusted(ClippedLangevin(0.5, 1.0)),
}


@pytest.mark.parametrize("target", list(TARGETS))
@pytest.mark.parametrize("name", list(EXACT))
def test_adjusted_samplers_leave_their_target_invariant(name, target):
    assert leaves_invariant(EXACT[name], TARGETS[target])


@dataclass(frozen=True)
class Broken(Stanley):
    """STANLEY with a wrong log-ratio."""

    fault: str = ""

    def log_ratio(self, potential, state, candidate, move):
        right = super().log_ratio(potential, state, candidate, move)
        reverse = self.law(potential, candidate, move.signs)
        log_det = per_chain(reverse.variance.expand_as(state.x).log() - move.variance.expand_as(state.x).log()) / 2
        return {"no ratio": 0 * right, "flipped": -right, "no log-determinant": right + log_det}[self.fault]


@pytest.mark.parametrize("target", list(TARGETS))
@pytest.mark.parametrize("fault", ["no ratio", "flipped", "no log-determinant"])
@pytest.mark.parametrize("scope", ["element", "sample"])
def test_negative_control_wrong_ratio(fault, target, scope):
    assert not leaves_invariant(Adjusted(Broken(0.5, 1.0, scope, fault=fault)), TARGETS[target])


@pytest.mark.parametrize("target", list(TARGETS))
def test_negative_control_unadjusted(target):
    assert not leaves_invariant(Stanley(0.5, 1.0), TARGETS[target])


@pytest.mark.parametrize("target", list(TARGETS))
@pytest.mark.parametrize("name", ["mala", "element"])
def test_negative_control_wrong_temperature(target, name):
    """1.1·U on exp(-x⁴) moves the CDF by 0.0073 only: n is such that the bound is 0.0046."""
    exact, n = TARGETS[target], 200_000 if target == "quartic" else 100_000
    assert not leaves_invariant(EXACT[name], exact, lambda x: 1.1 * exact.potential(x), n=n)


def test_frozen_start_is_not_exact_from_the_first_step():
    """Documented: γ is a function of the start, so a run from π leaves π at its first steps."""
    assert not leaves_invariant(Adjusted(Stanley(1.0, 0.5, refresh="start")), targets.NORMAL, steps=1, n=N)

"""Chains that start in π stay in π, and kernels that are broken on purpose do not
(negative controls).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.stats import binom

from stanley.samplers import (
    AMALA,
    HMC,
    MALA,
    Adjusted,
    Barker,
    ChEES,
    ClippedLangevin,
    DensePreconditioned,
    Langevin,
    MALAWithJumps,
    RandomWalk,
    Stanley,
    StepInfo,
    TamedLangevin,
    run_chains,
)
from stanley.samplers.base import metropolis, per_chain
from stanley.samplers.hmc import leapfrog
from stanley.samplers.noise import normal_like
from stanley.samplers.preconditioned import Sheared
from tests.seeds import RNG

from . import targets
from .bounds import ALPHA, cdf_distance, dkw
from .invariants import generator

N, STEPS = 40_000, 6
FACTOR = torch.tensor([[1.2, 0.0], [0.7, 0.9]], dtype=torch.float64)
TARGETS = {"gaussian": targets.NORMAL, "quartic": targets.LIGHT, "skewed": targets.SKEW}


def leaves_invariant(
    sampler, exact: targets.Exact, potential=None, steps: int = STEPS, n: int = N
) -> bool:
    """sup |F_m - F| ≤ √(ln(2/1e-7)/2m) over the m = 2n components of n chains in two dimensions.

    Components of π are independent, so an invariant kernel fails this with probability 1e-7 at
    most.
    """
    x0 = torch.from_numpy(exact.draw(RNG, 2 * n).reshape(n, 2))
    x = run_chains(
        sampler, potential or exact.potential, x0, steps, generator=generator(8)
    ).x.numpy()
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
    "tamed-sample": Adjusted(TamedLangevin(0.5)),
    "tamed-element": Adjusted(TamedLangevin(0.5, "element")),
    "amala": AMALA(0.5, 1.5, 0.5),
    "barker": Barker(1.0),
    "random-walk": RandomWalk(0.5),
    "mala-with-jumps": MALAWithJumps(0.5, 1.5, 0.3),
    "hmc": HMC(0.4, 3, jitter=False),
    "hmc-jitter": HMC(0.4, 3),
    "chees": ChEES(0.4, 1.2),
    "dense-mala": DensePreconditioned(MALA(0.4), FACTOR),
    "dense-hmc": DensePreconditioned(HMC(0.3, 3, jitter=False), FACTOR),
    "dense-chees": DensePreconditioned(ChEES(0.3, 1.2), FACTOR),
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
        log_det = (
            per_chain(
                reverse.variance.expand_as(state.x).log() - move.variance.expand_as(state.x).log()
            )
            / 2
        )
        return {"no ratio": 0 * right, "flipped": -right, "no log-determinant": right + log_det}[
            self.fault
        ]


@pytest.mark.parametrize("target", list(TARGETS))
@pytest.mark.parametrize("fault", ["no ratio", "flipped", "no log-determinant"])
@pytest.mark.parametrize("scope", ["element", "sample"])
def test_negative_control_wrong_ratio(fault, target, scope):
    assert not leaves_invariant(Adjusted(Broken(0.5, 1.0, scope, fault=fault)), TARGETS[target])


@dataclass(frozen=True)
class BrokenBarker(Barker):
    """Accepts by U(x) - U(y) alone."""

    def log_ratio(self, potential, state, candidate, move):
        return 0 * super().log_ratio(potential, state, candidate, move)


@dataclass(frozen=True)
class BrokenAMALA(AMALA):
    """Forgets log|Σ|."""

    def log_normal(self, v, drift):
        return super().log_normal(v, drift) + (per_chain(drift**2) / self.epsilon).log1p() / 2


class Askew(DensePreconditioned):
    """Chains in z that step on another U than theirs."""

    def inside(self, potential, x):
        return Sheared(potential, 0.8 * self.scale)


@dataclass(frozen=True)
class BrokenHMC(HMC):
    fault: str = ""

    def step(self, potential, state, generator):
        momentum = normal_like(state.x, generator)
        candidate, end = leapfrog(potential, state, momentum, self.step_size, self.num_leapfrog)
        if self.fault == "no test":
            return candidate, StepInfo(num_gradients=self.num_leapfrog)
        log_ratio = -per_chain(momentum**2 - end**2) / 2  # the kinetic term upside down
        return metropolis(
            state, candidate, log_ratio, generator, StepInfo(num_gradients=self.num_leapfrog)
        )


BROKEN = {
    "dense with two factors": Askew(MALA(0.4), FACTOR),
    "barker without its ratio": BrokenBarker(1.0),
    "amala without its log-determinant": BrokenAMALA(0.5, 1.5, 0.5),
    "hmc without its test": BrokenHMC(1.0, 1, fault="no test"),
    "hmc with the wrong sign": BrokenHMC(1.0, 1, fault="sign"),
}


@pytest.mark.parametrize("target", list(TARGETS))
@pytest.mark.parametrize("name", list(BROKEN))
def test_negative_control_broken_kernels(name, target):
    """Three steps: enough to see, too few to overflow where nothing is rejected."""
    assert not leaves_invariant(BROKEN[name], TARGETS[target], steps=3)


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
    assert not leaves_invariant(
        Adjusted(Stanley(1.0, 0.5, refresh="start")), targets.NORMAL, steps=1, n=N
    )


# --- ranks, for reversible kernels


def rank_is_uniform(sampler, exact: targets.Exact, n: int = 20_000, length: int = 8) -> bool:
    """Besag & Clifford (1989): a draw of π at a random place M of a chain, run from there to both
    of its ends.

    A reversible kernel runs backwards as it runs forwards, so given the chain its start is any of
    its `length` states with equal chance, and the rank of U + x₁ at the start is uniform; ties,
    from rejections, are broken by a coin. Each of the counts is Bin(n, 1/length): two tails and
    `length` counts share a false-positive rate of 1e-7. HMC with jitter draws one L a step for all
    chains, so their ranks are not independent: not for this test.
    """
    x0 = torch.from_numpy(exact.draw(RNG, 2 * n).reshape(n, 2))
    backward, forward = (
        run_chains(
            sampler, exact.potential, x0, length - 1, generator=generator(seed), keep_every=1
        ).draws
        for seed in (10, 11)
    )
    place = RNG.integers(0, length, n)
    steps = np.arange(1, length)[:, None]
    chain = torch.cat([backward, forward])  # (2·(length - 1), n, 2)
    inside = np.concatenate([steps <= place, steps <= length - 1 - place])

    def statistic(x):
        return (exact.potential(x) + x[:, 0]).numpy()

    start, others = statistic(x0), np.stack([statistic(x) for x in chain])
    below = (inside & (others < start)).sum(0)
    ties = (inside & (others == start)).sum(0)
    counts = np.bincount(below + RNG.integers(0, ties + 1), minlength=length)
    low, high = binom.ppf([ALPHA / (2 * length), 1 - ALPHA / (2 * length)], n, 1 / length)
    return bool((counts >= low).all() and (counts <= high).all())


@pytest.mark.parametrize("target", list(TARGETS))
@pytest.mark.parametrize("name", ["mala", "element", "amala", "barker", "hmc", "dense-hmc"])
def test_rank_of_an_exact_start_is_uniform(name, target):
    assert rank_is_uniform(EXACT[name], TARGETS[target])


@pytest.mark.filterwarnings("ignore:U is about")  # a broken kernel may run away
@pytest.mark.parametrize("target", list(TARGETS))
@pytest.mark.parametrize(
    "sampler",
    [*BROKEN.values(), Langevin(1.0), Adjusted(Broken(1.0, 0.5, fault="no log-determinant"))],
    ids=[*BROKEN, "unadjusted", "no log-determinant"],
)
def test_negative_control_ranks(sampler, target):
    assert not rank_is_uniform(sampler, TARGETS[target], n=100_000)

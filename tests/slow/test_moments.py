"""Every adjusted sampler, tuned, has the moments of four posteriors;
kernels that are broken on purpose do not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import pytest
import torch

from stanley.samplers import (
    AMALA,
    HMC,
    MALA,
    Adjusted,
    Barker,
    ClippedLangevin,
    Langevin,
    Quantile,
    RandomWalk,
    ReplicaExchange,
    Sampler,
    Stanley,
    TamedLangevin,
    adapt,
)
from stanley.targets import Banana, EightSchools, Funnel
from stanley.types import Potential
from tests.samplers.test_exact_start import Broken

from .posteriors import (
    LIMIT,
    Logistic,
    Posterior,
    agrees,
    deviations,
    false_positives,
    funnel,
    generator,
    logistic,
    moments,
    resolution,
    time_averages,
)

pytestmark = pytest.mark.slow

THRESHOLD = Quantile(0.7)  # three in ten gradients are above it
SAMPLERS = {
    "random-walk": RandomWalk(0.1),
    "mala": MALA(0.1),
    "element": Adjusted(Stanley(0.1, THRESHOLD)),
    "sample": Adjusted(Stanley(0.1, THRESHOLD, "sample")),
    "drift": Adjusted(Stanley(0.1, THRESHOLD, correction="drift")),
    "floor": Adjusted(Stanley(0.1, THRESHOLD, floor=0.3)),
    "clipped": Adjusted(ClippedLangevin(0.1, THRESHOLD)),
    "tamed-sample": Adjusted(TamedLangevin(0.1)),
    "tamed-element": Adjusted(TamedLangevin(0.1, "element")),
    "barker": Barker(0.1),
    "hmc": HMC(0.1, 5),
    "replica": ReplicaExchange(MALA(0.1)),
}
PRECONDITIONED = {name: SAMPLERS[name] for name in ("mala", "element", "hmc")} | {
    "amala": AMALA(0.1, THRESHOLD)
}
CASES: dict[str, tuple[Sampler, str | None]] = {name: (s, None) for name, s in SAMPLERS.items()}
CASES |= {f"preconditioned-{name}": (s, "both") for name, s in PRECONDITIONED.items()}

#: Upper bounds on `resolution`: a larger bias of any function, in its standard deviations, would be
#: seen.
RESOLUTION = {"banana": 0.03, "funnel": 0.03, "eight-schools": 0.04, "logistic": 0.12}


@cache
def logistic_regression() -> Logistic:
    return logistic(chains=4000, gradients=250)


@cache
def posterior(name: str) -> Posterior:
    if name == "logistic":
        return logistic_regression().posterior
    if name == "funnel":
        return funnel(Funnel(3, 1.5), chains=64_000, gradients=200)
    target, chains = {"banana": (Banana(), 64_000), "eight-schools": (EightSchools(), 32_000)}[name]
    return moments(target, chains, gradients=200)


def tuned(sampler: Sampler, target: Posterior, precondition: str | None = None) -> Sampler:
    """By 200 chains of its own that start in π: given them, the chains of the test are
    independent.
    """
    rng = generator(1)
    x0 = target.start(200, rng)
    return adapt(  # pyright: ignore[reportCallIssue]  # a union fits no single overload
        sampler, target.potential, x0, 500, generator=rng, precondition=precondition
    )[0]


def averages_of(
    sampler: Sampler,
    target: Posterior,
    potential=None,
    *,
    gradients_a_step: int = 1,
    burn_in: int = 0,
    shorter: int = 1,
) -> torch.Tensor:
    """From exact draws, as many steps as the target's budget of gradients allows."""
    rng = generator(2)
    steps = target.gradients // gradients_a_step // shorter
    x0 = target.start(target.chains, rng)
    return time_averages(
        sampler, potential or target.potential, target.functions, x0, steps, rng, burn_in
    )


@pytest.mark.parametrize("name", list(RESOLUTION))
@pytest.mark.parametrize("case", list(CASES))
def test_reproduces_the_moments(case, name):
    """`LIMIT` standard errors over at most 50 functions; the rate of false alarms is worked out and
    asserted.

    A `ReplicaExchange` alone does not start in its law: the hot replicas start where the cold do.
    It runs 300 steps first, three to ten τ of its cold chains (30 to 100 steps).
    """
    sampler, precondition = CASES[case]
    target = posterior(name)
    cost = {"drift": 5, "hmc": 5, "replica": 3}.get(case.removeprefix("preconditioned-"), 1)
    averages = averages_of(
        tuned(sampler, target, precondition),
        target,
        gradients_a_step=cost,
        burn_in=300 if isinstance(sampler, ReplicaExchange) else 0,
    )
    t = deviations(averages, target.expected, target.error)
    assert agrees(t), f"{t.abs().max():.1f} standard errors"
    assert resolution(averages, target) <= RESOLUTION[name]
    assert false_positives(averages) <= 1e-6


# --- the same statistic rejects


@dataclass(frozen=True)
class Unscaled(Langevin):
    """Accepts by U(x) - U(y) alone."""

    def log_ratio(self, potential, state, candidate, move):
        return 0 * super().log_ratio(potential, state, candidate, move)


def rejected(sampler: Sampler, name: str, potential=None) -> bool:
    """A finite t beyond the limit in a quarter of the run: no lost chain does the work."""
    averages = averages_of(sampler, posterior(name), potential, shorter=4)
    kept = averages[averages.isfinite().all(1)]
    assert len(kept) > 0.9 * len(averages)
    return not agrees(deviations(kept, posterior(name).expected, posterior(name).error))


@pytest.mark.parametrize("name", ["funnel", "eight-schools", "logistic"])
def test_negative_control_unadjusted_at_the_tuned_step(name):
    """Not on the banana, where most of its chains leave the finite numbers."""
    h = float(tuned(MALA(0.1), posterior(name)).step_size)
    assert rejected(Langevin(h), name)


@pytest.mark.parametrize("name", list(RESOLUTION))
def test_negative_control_without_the_ratio(name):
    h = float(tuned(MALA(0.1), posterior(name)).step_size)
    assert rejected(Adjusted(Unscaled(h)), name)


@pytest.mark.parametrize("name", list(RESOLUTION))
def test_negative_control_without_the_log_determinant(name):
    sampler = tuned(Adjusted(Broken(0.1, THRESHOLD, fault="no log-determinant")), posterior(name))
    assert rejected(sampler, name)


@pytest.mark.parametrize("name", list(RESOLUTION))
@pytest.mark.parametrize("case", ["mala", "element", "hmc"])
def test_negative_control_wrong_temperature(case, name):
    target = posterior(name)
    assert rejected(tuned(SAMPLERS[case], target), name, Potential(target.potential, 1 / 1.1))


# --- what the logistic posterior is measured against


def test_logistic_reference_against_independent_draws():
    """HMC against self-normalised importance sampling, 50 means with an error on both sides."""
    reference = logistic_regression()
    assert reference.effective > 100_000
    target, (mean, error) = reference.posterior, reference.independent
    both = (target.error**2 + error**2).sqrt()
    assert agrees((target.expected - mean) / both)
    assert reference.false_positives <= 1e-6
    assert (LIMIT * both / target.spread).max() < 0.05  # its resolution
    assert math.isclose(
        float(target.spread[:25].square().mean()), float(mean[25:].mean()), rel_tol=0.1
    )


def test_negative_control_the_mode_is_not_the_mean():
    """Expectations are of w - mode: the Laplace approximation, whose means are 0,
    is told from the posterior.
    """
    target = posterior("logistic")
    assert not agrees(target.expected[:25] / target.error[:25])

"""From starts that are too wide to an answer to trust, as a user works: tune, run, summarise, read
the verdict.

R̂² - 1 of B chains in halves is near (τ/n)·χ²/(2B - 1), n the draws of a half, χ² with 2B - 1 = 127
degrees of freedom, which stays below 1.81 of its mean but for 1e-7. Runs are as long as a mean R̂
of 1.003 asks: 1.0055 of 1.01 is then passed with that chance for a coordinate. Each ESS is above
2,000 of the 400 asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from stanley.diagnostics import ChainSummary, summarise, verdict
from stanley.samplers import HMC, MALA, Sampler, adapt, run_chains
from stanley.targets import Banana, EightSchools, LogisticRegression, Target
from tests.samplers.bounds import SIGMAS

from .posteriors import generator
from .test_moments import logistic_regression

pytestmark = pytest.mark.slow

CHAINS = 64


@dataclass(frozen=True)
class Run:
    target: Target
    width: float  # chains start uniformly on [-width, width] in every coordinate
    sampler: Sampler
    num_steps: int
    target_acceptance: float | None = None
    dtype: torch.dtype = torch.float64


#: The banana's horns are steep: chains that step for the middle of it stick there, so a higher
#: acceptance is asked for.
RUNS = {
    "banana-mala": Run(Banana(), 4.0, MALA(0.1), 24_000, 0.9),
    "banana-hmc": Run(Banana(), 4.0, HMC(0.1, 8), 4_000, 0.95),
    "eight-schools-mala": Run(EightSchools(), 2.0, MALA(0.1), 6_000),
    "eight-schools-hmc": Run(EightSchools(), 2.0, HMC(0.1, 4), 1_500),
    "logistic-mala": Run(
        LogisticRegression.synthetic(), 2.0, MALA(0.1), 16_000, dtype=torch.float32
    ),
    "logistic-hmc": Run(
        LogisticRegression.synthetic(), 2.0, HMC(0.1, 4), 2_000, dtype=torch.float32
    ),
}


def answer(run: Run, num_steps: int, burn_in: int = 500) -> ChainSummary:
    rng = generator(3)
    shape = (CHAINS, *run.target.event_shape)
    x0 = run.width * (2 * torch.rand(shape, generator=rng, dtype=run.dtype) - 1)
    sampler, x = adapt(
        run.sampler,
        run.target,
        x0,
        500,
        generator=rng,
        precondition="both",
        target_acceptance=run.target_acceptance,
    )
    x = run_chains(sampler, run.target, x, burn_in, generator=rng).x if burn_in else x0
    return summarise(
        run_chains(sampler, run.target, x, num_steps, generator=rng, keep_every=1).draws
    )


def truth(target: Target) -> tuple[Tensor, Tensor]:
    """E x and its error."""
    if target.mean is not None:
        return target.mean, torch.zeros_like(target.mean)
    reference = logistic_regression()
    d = target.event_shape[0]
    return reference.mode + reference.posterior.expected[:d], reference.posterior.error[:d]


@pytest.mark.parametrize("name", list(RUNS))
def test_nothing_speaks_against_the_draws_and_the_means_are_right(name):
    """Each mean within 6 of its own standard errors: at most 25, 5e-8;
    an MCSE from 2,000 draws is good to 5 %.
    """
    run = RUNS[name]
    summary = answer(run, run.num_steps)
    assert verdict(summary) == []
    expected, error = truth(run.target)
    assert summary.worst_ess_bulk > 2000
    assert ((summary.mean - expected).abs() <= SIGMAS * (summary.mcse**2 + error**2).sqrt()).all()


@pytest.mark.parametrize("name", list(RUNS))
def test_negative_control_the_start_is_still_in_the_draws(name):
    """Twenty steps from the start."""
    assert any("R̂" in sentence for sentence in verdict(answer(RUNS[name], 20, burn_in=0)))


def test_negative_control_chains_that_stick_in_the_horns():
    """Starts out to 20, ten standard deviations: a step found from the mean acceptance leaves some
    where they are.
    """
    run = Run(Banana(), 20.0, MALA(0.1), 4_000)
    assert any("R̂" in sentence for sentence in verdict(answer(run, run.num_steps)))

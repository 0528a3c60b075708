"""The warm-up is `run_chains` or `adapt` and nothing else, and leaves nothing open."""

from __future__ import annotations

import pytest
import torch

from stanley.errors import StanleyError
from stanley.samplers import (
    HMC,
    MALA,
    Adjusted,
    Langevin,
    Quantile,
    Stanley,
    Underdamped,
    adapt,
    run_chains,
)
from stanley.samplers.warm_up import warm_up
from stanley.targets import Banana, Gaussian
from tests.seeds import stream

U = Banana()


def generator():
    return stream()


def starts():
    return torch.randn(30, 2, generator=stream(1), dtype=torch.float64)


@pytest.mark.parametrize("sampler", [MALA(0.3), Stanley(0.3, 2.0), HMC(0.2, 3), Underdamped(0.3)])
def test_a_step_size_that_is_there_is_kept(sampler):
    ready = warm_up(sampler, U, starts(), 7, generator=generator(), tune=False)
    assert ready.sampler == sampler
    assert torch.equal(ready.x, run_chains(sampler, U, starts(), 7, generator=generator()).x)


def test_no_steps_leave_the_chains_where_they_are():
    assert torch.equal(
        warm_up(MALA(0.3), U, starts(), 0, generator=generator(), tune=False).x, starts()
    )


@pytest.mark.parametrize("precondition", [None, "both"])
def test_an_adjusted_sampler_is_adapted(precondition):
    ready = warm_up(
        MALA(0.1), U, starts(), 40, generator=generator(), tune=True, precondition=precondition
    )
    sampler, x = adapt(MALA(0.1), U, starts(), 40, generator=generator(), precondition=precondition)
    assert ready.sampler.step_size == sampler.step_size
    assert torch.equal(ready.x, x)


@pytest.mark.parametrize("sampler", [Langevin(0.1), Stanley(0.1, 1.5), Stanley(0.1, Quantile(0.5))])
def test_an_unadjusted_sampler_gets_what_its_adjusted_twin_found(sampler):
    g, gaussian = generator(), Gaussian.from_std(torch.ones(2))  # no chain of these diverges on it
    ready = warm_up(sampler, gaussian, starts(), 40, generator=generator(), tune=True)
    twin, x = adapt(Adjusted(sampler), gaussian, starts(), 40, generator=g)
    assert ready.sampler == twin.proposal
    assert torch.equal(ready.x, run_chains(twin.proposal, gaussian, x, 40, generator=g).x)


def test_a_quantile_becomes_the_number_of_where_the_chains_are_in_the_end():
    sampler = Stanley(0.3, Quantile(0.5))
    ready = warm_up(sampler, U, starts(), 5, generator=generator(), tune=False)
    assert ready.sampler.threshold == float(sampler.init(U, ready.x).threshold)
    assert ready.sampler.threshold != float(sampler.init(U, starts()).threshold)


def test_starts_outside_the_density_are_refused():
    def wall(x):
        return torch.where(x[:, 0] > 0, x.square().sum(1), torch.inf)

    out = int((starts()[:, 0] <= 0).sum())
    with pytest.raises(StanleyError, match=f"not finite at {out} of 30 starts"):
        warm_up(MALA(0.1), wall, starts(), 10, generator=generator(), tune=True)


@pytest.mark.parametrize(
    ("sampler", "steps", "options", "told"),
    [
        (MALA(0.1), -1, {"tune": False}, "warm-up is -1"),
        (MALA(0.1), 0, {"tune": True}, "warm-up is 0"),
        (Underdamped(0.1), 10, {"tune": True}, "none can be found"),
        (Stanley(0.1, correction="midpoint"), 10, {"tune": True}, "none can be found"),
        (Langevin(0.1), 40, {"tune": True, "precondition": "both"}, "precondition='both'"),
        (Langevin(3.0), 60, {"tune": False}, "of 30 chains of Langevin left the finite numbers"),
        (MALA(0.1), 40, {"tune": False, "precondition": "both"}, "precondition='both'"),
    ],
)
def test_bad_requests(sampler, steps, options, told):
    with pytest.raises(StanleyError, match=told) as caught:
        warm_up(sampler, U, starts(), steps, generator=generator(), **options)
    assert "\n" not in str(caught.value)

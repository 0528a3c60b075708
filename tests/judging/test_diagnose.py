"""A diagnosis says what its parts say, and what was left out and why;
a sampler that is wrong does not pass.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from stanley.diagnostics import summarise
from stanley.errors import StanleyError
from stanley.judging.diagnose import VECTORS, Effort, coordinate_table, diagnose, potential_of
from stanley.samplers import HMC, MALA, Langevin, Stanley, run_chains
from stanley.targets import Gaussian, LogisticRegression
from tests.seeds import stream

from ..samplers.bounds import SIGMAS

TARGET = Gaussian.from_std(torch.tensor([1.0, 0.5], dtype=torch.float64))
SMALL = Effort(chains=20, steps=400, pairs=30, coupled_steps=400, rays=8, copies=50)
NOTHING = replace(SMALL, pairs=0, rays=0, copies=0)


def generator():
    return stream()


def initial(n, g):
    return torch.randn(n, 2, generator=g, dtype=torch.float64)


def run(sampler, effort=SMALL, potential=TARGET, x0=None):
    x0 = TARGET.sample(effort.chains, stream(1)) if x0 is None else x0
    return diagnose(sampler, potential, initial, x0, generator=generator(), effort=effort)


def test_the_chains_are_those_of_run_chains():
    found = run(MALA(0.2))
    x0 = TARGET.sample(20, stream(1))
    draws = run_chains(MALA(0.2), TARGET, x0, 400, generator=generator(), keep_every=1).draws
    assert torch.equal(found.draws, draws)
    torch.testing.assert_close(
        found.potential, TARGET(draws.flatten(0, 1)).view(400, 20), rtol=1e-12, atol=1e-12
    )
    assert torch.equal(found.summary.rhat, summarise(draws).rhat)


def test_an_exact_sampler_agrees_with_the_exact_moments_and_a_biased_one_does_not():
    """Six standard errors of four means (false alarms below 1e-8);
    Langevin has variance 1/(1 - h/4σ²) = 2 at σ = ½.
    """
    exact = run(MALA(0.2), replace(NOTHING, steps=2000)).exact
    assert exact.mean.abs().max() < SIGMAS
    assert exact.second.abs().max() < SIGMAS
    wrong = run(Langevin(0.5), replace(NOTHING, steps=2000))
    assert wrong.exact.second[1] > SIGMAS
    assert "are off" in wrong.verdicts()["exact moments"][0]
    assert "biased" in " ".join(wrong.verdicts()["bias"])


def test_every_part_is_there_for_unadjusted_stanley():
    found = run(Stanley(0.2, 1.0))
    assert found.left_out == {}
    assert set(found.verdicts()) == {
        "chains",
        "exact moments",
        "bias",
        "coupling",
        "growth",
        "drift",
    }
    assert found.coupling.valid
    assert found.growth.holds
    assert found.drift.beyond is not None


def test_what_is_left_out_has_a_reason():
    found = run(HMC(0.3, 3), replace(SMALL, rays=0))
    assert "has no coupling" in found.left_out["coupling"]
    assert found.left_out["growth"] == "not asked for"
    assert "exact" in found.left_out["bias"]
    assert found.coupling is None
    assert found.growth is None


def test_a_density_without_known_moments_is_not_compared():
    potential = LogisticRegression.synthetic(30, 2)
    assert run(MALA(0.2), NOTHING, potential=potential).exact is None
    assert run(MALA(0.2), NOTHING, potential=lambda x: x.square().sum(1)).exact is None


def test_chains_in_two_places_are_seen():
    """A barrier that nothing crosses: R̂ of x and not of U."""

    def wells(x):
        return 200 * (x.square() - 1).square().sum(1)

    x0 = torch.ones(20, 2, dtype=torch.float64)
    x0[:10, 0] = -1
    found = run(MALA(0.001), NOTHING, potential=wells, x0=x0)
    assert found.summary.rhat[0] > 1.5
    assert any("have not mixed" in line for line in found.verdicts()["chains"])


def test_diverged_chains_are_counted_not_hidden():
    x0 = TARGET.sample(20, stream(1))
    found = run(Langevin(3.0), NOTHING, x0=x0, potential=lambda x: x.pow(4).sum(1))
    assert found.summary.nonfinite.any()
    assert "non-finite" in found.verdicts()["chains"][0]


def test_the_table_has_u_and_the_coordinates_with_the_largest_rhat():
    target = Gaussian.from_std(torch.logspace(-1, 0.5, 9, dtype=torch.float64))
    x0 = torch.randn(10, 9, generator=generator(), dtype=torch.float64)
    found = diagnose(
        MALA(0.01), target, initial, x0, generator=generator(), effort=replace(NOTHING, chains=10)
    )
    names = [row["name"] for row in coordinate_table(found)]
    assert names[0] == "U"
    assert len(names) == 7
    shown = sorted(row["rhat"] for row in coordinate_table(found)[1:])
    assert shown == sorted(found.summary.rhat.tolist())[-6:]


def test_the_table_names_pixels_by_their_place():
    x0 = torch.randn(4, 1, 2, 2, generator=generator())
    found = diagnose(
        MALA(0.1),
        lambda x: x.flatten(1).square().sum(1),
        None,
        x0,
        generator=generator(),
        effort=NOTHING,
    )
    assert [row["name"] for row in coordinate_table(found)][1:] == [
        "x[0, 0, 0]",
        "x[0, 0, 1]",
        "x[0, 1, 0]",
        "x[0, 1, 1]",
    ]


def test_draws_are_thinned_to_fit(monkeypatch):
    monkeypatch.setattr("stanley.judging.diagnose.KEPT", 1000)
    found = run(MALA(0.2), NOTHING)
    assert found.draws.numel() <= 1000
    assert len(found.draws) == 400 // math.ceil(400 * 40 / 1000)


def test_u_is_evaluated_without_a_graph():
    draws = torch.zeros(3, 4, 2, dtype=torch.float64, requires_grad=True)
    assert not potential_of(TARGET, draws).requires_grad


@pytest.mark.parametrize(
    ("effort", "chains", "told"),
    [
        ({"steps": 3}, 20, "steps is 3"),
        ({"chains": 1}, 20, "chains is 1"),
        ({"pairs": -1}, 20, "pairs is -1, must be at least 20, or 0"),
        ({"rays": -3}, 20, "rays is -3"),
        ({"copies": 1}, 20, "copies is 1"),
        ({"coupled_steps": 0}, 20, "coupled_steps is 0"),
        ({}, 1, "1 chain, must be at least 2"),
    ],
)
def test_bad_requests(effort, chains, told):
    with pytest.raises(StanleyError, match=told):
        run(MALA(0.2), replace(NOTHING, **effort), x0=torch.zeros(chains, 2, dtype=torch.float64))


def test_pairs_that_do_not_meet_are_said_to_be_a_first_try():
    """Started 20 standard deviations out, ten steps are too few."""

    def far(n, g):
        return 20 + torch.randn(n, 2, generator=g, dtype=torch.float64)

    x0 = TARGET.sample(20, stream(1))
    effort = replace(NOTHING, pairs=50, coupled_steps=10)
    found = diagnose(MALA(0.01), TARGET, far, x0, generator=generator(), effort=effort)
    assert not found.coupling.valid
    assert "first try of 20 pairs" in found.verdicts()["coupling"][1]


def test_the_usual_effort_is_enough_for_the_rules_of_thumb():
    """400 effective draws are possible."""
    assert VECTORS.chains * VECTORS.steps > 400

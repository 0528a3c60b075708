"""Draws that can be trusted: what is reached is true, what is not is told, and wrong requests are
one line.
"""

from __future__ import annotations

import csv
import io
import json
import math

import pytest
import torch
from torch import distributions as D

import stanley
from stanley.errors import StanleyError
from stanley.judging.draw import NotConverged, Wanted, draw
from stanley.samplers import ChEES, RandomWalk
from stanley.samplers.traits import innermost
from stanley.targets import Gaussian
from stanley.targets.parameters import Parameters, positive, real, simplex
from tests.seeds import fresh_seed

MODEL = Parameters(mu=real(), tau=positive(), w=simplex(3))
QUICK = {"chains": 16, "warm_up": 150}


def seed() -> int:
    return fresh_seed() % 2**62


def log_density(mu, tau, w):
    return -(mu**2) / 2 + D.Gamma(3.0, 2.0).log_prob(tau) + w.log().sum()  # Dirichlet(2, 2, 2)


@pytest.fixture(scope="module")
def out():
    return draw(MODEL.potential(log_density), seed=torch.seed() % 2**62, chains=32, warm_up=200)


def test_the_means_are_those_of_the_laws(out):
    """mu ~ N(0, 1), tau ~ Gamma(3, 2), w ~ Dirichlet(2, 2, 2): within 6 standard errors, 5
    comparisons, whose errors are known to a few per cent: below 1e-7.
    """
    assert out.converged
    table = out.summary()
    for name, mean in {"mu": 0.0, "tau": 1.5, "w[0]": 1 / 3, "w[1]": 1 / 3, "w[2]": 1 / 3}.items():
        row = table[name]
        assert abs(row["mean"] - mean) < 6 * row["mcse"], name
    assert abs(table["tau"]["sd"] - math.sqrt(0.75)) < 0.2


def test_draws_are_by_name_and_constrained(out):
    chains, num = out["tau"].shape
    assert chains == 32
    assert out["w"].shape == (32, num, 3)
    assert (out["tau"] > 0).all()
    torch.testing.assert_close(out["w"].sum(-1), torch.ones(32, num, dtype=torch.float64))
    assert list(out) == ["mu", "tau", "w"]
    assert "tau" in out
    with pytest.raises(StanleyError, match="did you mean 'tau'"):
        out["tua"]


def test_what_it_reached_is_in_the_table(out):
    table = out.summary()
    assert table.names == ("mu", "tau", "w[0]", "w[1]", "w[2]", "U")
    assert (table.column("rhat") <= 1.01).all()
    assert (table.column("ess_bulk") >= 400).all()
    assert (table.column("ess_tail") >= 400).all()
    pooled = out["tau"].flatten().sort().values
    assert abs(table["tau"]["50%"] - float(pooled.median())) < 1e-2
    assert table["tau"]["5%"] < table["tau"]["50%"] < table["tau"]["95%"]


def test_the_table_for_people_spreadsheets_and_programs(out, tmp_path):
    table = out.summary()
    lines = str(table).splitlines()
    assert "R̂" in lines[1]
    assert [line.split()[0] for line in lines[2:]][:2] == ["mu", "tau"]
    rows = list(csv.DictReader(io.StringIO(table.to_csv(tmp_path / "table.csv"))))
    assert (tmp_path / "table.csv").read_text() == table.to_csv()
    assert [row["name"] for row in rows] == list(table.names)
    assert float(rows[1]["mean"]) == table["tau"]["mean"]
    told = json.loads(table.to_json())
    assert told["chains"] == 32
    assert told["rows"][1]["mean"] == table["tau"]["mean"]
    assert "<table>" in out._repr_html_()
    assert repr(out).startswith("Draws(mu (32, ")


def test_to_arviz_reads_back(out):
    pytest.importorskip("arviz_base", reason="the extra arviz")
    data = out.to_arviz()
    assert torch.equal(torch.from_numpy(data["posterior"]["w"].values.copy()), out["w"])
    assert data["posterior"]["tau"].dims == ("chain", "draw")
    lp = torch.from_numpy(data["sample_stats"]["lp"].values.copy())
    torch.testing.assert_close(lp, -out.u.T)


def test_without_arviz_the_extra_is_named(out, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "arviz_base", None)
    monkeypatch.setitem(sys.modules, "arviz", None)
    with pytest.raises(StanleyError, match=r"stanley\[arviz\]"):
        out.to_arviz()


def test_a_seed_is_a_seed():
    target, s = Gaussian.from_std(torch.ones(2, dtype=torch.float64)), seed()
    one, two = (draw(target, seed=s, **QUICK) for _ in range(2))
    assert torch.equal(one.points, two.points)
    g = torch.Generator().manual_seed(3)
    assert not torch.equal(draw(target, generator=g, **QUICK).points[:4], one.points[:4])


def test_an_unreachable_wish_is_told_by_the_coordinate():
    with pytest.warns(NotConverged, match="bulk ESS is .* below 1e"):
        out = draw(normal, 2, ess=1e9, budget=600, seed=seed(), **QUICK)
    assert not out.converged
    assert "bulk ESS" in out.verdict()
    last = int(out.history[-1].split(" steps, ")[1].split()[0].replace(",", ""))
    assert out.gradients - last < 600 <= out.gradients  # no other round begins


def test_chains_that_cannot_meet_do_not_pass():
    """Two modes 60 standard deviations apart: R̂ sees chains that never cross."""

    def two(x):
        return -torch.logaddexp(-((x[:, 0] - 30) ** 2) / 2, -((x[:, 0] + 30) ** 2) / 2)

    start = 30 * torch.tensor([1.0, -1.0]).repeat(8)[:, None]
    with pytest.warns(NotConverged, match=r"R̂ is .* at x\[0\]"):
        out = draw(two, 1, start=start, budget=2000, seed=seed(), **QUICK)
    assert not out.converged


def test_the_error_of_a_mean_can_be_asked_for():
    target, s = Gaussian.from_std(torch.ones(2, dtype=torch.float64)), seed()
    coarse = draw(target, seed=s, **QUICK)
    fine = draw(target, seed=s, mcse=0.008, **QUICK)
    assert (fine.summary().column("mcse")[:2] <= 0.008).all()
    assert len(fine.points) > len(coarse.points)
    with pytest.raises(StanleyError, match="mcse names 'y'"):
        draw(target, seed=s, mcse={"y": 0.1}, **QUICK)


def test_an_error_is_asked_of_the_parameter_that_is_named():
    allowed = Wanted(mcse={"tau": 0.1, "w": 0.2}).errors(("mu", "tau", "w[0]", "w[1]", "U"))
    assert allowed.tolist() == [math.inf, 0.1, 0.2, 0.2, math.inf]


def test_what_may_be_handed_over():
    """A function of one point, a distribution, a potential without a gradient, a sampler's name."""
    assert draw(lambda x: (x**2).sum() / 2, 2, seed=seed(), **QUICK)["x"].shape[2:] == (2,)
    assert draw(D.Gamma(2.0, 3.0), seed=seed(), **QUICK)["x"].dim() == 2
    walk = draw(lambda x: (x.detach() ** 2).sum(1) / 2, 1, seed=seed(), **QUICK)
    assert isinstance(innermost(walk.sampler), RandomWalk)
    named = draw(lambda x: (x**2).sum(1) / 2, 2, sampler="hmc", seed=seed(), **QUICK)
    assert innermost(named.sampler).kind == "hmc"
    assert isinstance(innermost(draw(D.Normal(0.0, 1.0), seed=seed(), **QUICK).sampler), ChEES)


def test_starts_at_which_the_density_is_not_finite_are_drawn_again():
    """A half of the plane only."""

    def half(x):
        return torch.where(x[:, 0] > -0.5, x.square().sum(1) / 2, math.inf)

    out = draw(half, 2, sampler="mala", seed=seed(), ess=50, rhat=1.1, **QUICK)
    assert (out["x"][..., 0] > -0.5).all()


def normal(x):
    return x.square().sum(1) / 2


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda: draw(lambda x: -normal(x), 3, **QUICK), "was a log-density handed over"),
        (
            lambda: draw(lambda x: -normal(x), 3, sampler="mala", **QUICK),
            "was a log-density handed over",
        ),
        (lambda: draw(lambda x: 0 * x.sum(1), 3, **QUICK), "U is flat there"),
        (lambda: draw(lambda x: normal(x) * math.nan, 3), "U is NaN at 64 of 64 starts"),
        (lambda: draw(lambda x: normal(x) / 0, 3), "U is infinite at"),
        (lambda: draw(normal), "the shape of a point is not known"),
        (lambda: draw(normal, 3, sampler="langevin"), "langevin is not exact"),
        (lambda: draw(normal, 3, sampler="mela"), "did you mean 'mala'"),
        (lambda: draw(normal, 3, chains=1), "chains is 1"),
        (lambda: draw(normal, 3, budget=0), "budget is 0"),
        (lambda: draw(normal, 3, warm_up=3), "warm_up is 3"),
        (lambda: draw(normal, 3, ess=-1), "ess is -1"),
        (lambda: draw(normal, 3, rhat=1.0), "rhat is 1.0"),
        (lambda: draw(normal, 3, mcse=0.0), "mcse is 0.0"),
        (lambda: draw(normal, 3, start=torch.zeros(2)), r"start has shape \(2,\)"),
        (lambda: draw(normal, 3, start={"x": 1}), "no named parameters"),
        (lambda: draw(Gaussian.from_std(torch.ones(2)), 3), "have shape"),
        (lambda: draw(MODEL), "Parameters without a density"),
        (lambda: draw("U", 3), "cannot be"),
        (
            lambda: draw(MODEL.potential(log_density), start={"mu": 0, "tau": -1, "w": [0.2] * 5}),
            "tau is -1, but must be > 0",
        ),
    ],
)
def test_what_is_wrong_is_one_line(ask, told):
    with pytest.raises(StanleyError, match=told) as error:
        ask()
    assert "\n" not in str(error.value)


def test_the_public_names():
    assert stanley.draw is draw
    assert stanley.Parameters is Parameters

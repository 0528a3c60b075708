"""ChEES-HMC: the kernel is exact, its length is that of the formula, and the warm-up climbs the
criterion that gives it its name.
"""

from __future__ import annotations

import math
from typing import ClassVar

import pytest
import torch

import stanley
from stanley.diagnostics import summarise
from stanley.errors import StanleyError
from stanley.samplers import ChEES, Preconditioned, StepInfo, adapt, evaluate, run_chains
from stanley.samplers.chees import (
    MOST_LEAPFROG,
    Trajectory,
    TrajectorySearch,
    chees_gradient,
    van_der_corput,
)
from stanley.samplers.hmc import leapfrog
from stanley.targets import Gaussian

from . import targets
from .balance import SHAPES, TARGETS, DetailedBalance, clone
from .invariants import generator, identical, starts
from .test_hmc import hamiltonian, verlet


class TestChEES(DetailedBalance):
    cases: ClassVar[dict] = {
        "short": ChEES(0.3, 0.1),
        "long": ChEES(0.15, 0.9),
    }

    @pytest.mark.parametrize("target", list(TARGETS))
    @pytest.mark.parametrize("shape", list(SHAPES))
    def test_detailed_balance(self, sampler, target, shape):
        """As for HMC, of a trajectory of ⌈uT/ε⌉ steps, u the first draw of the step."""
        potential, rng = TARGETS[target], generator(5)
        state = sampler.init(potential, starts(SHAPES[shape], seed=7))
        for _ in range(3):
            copy = clone(rng)
            u = float(torch.rand((), generator=copy, dtype=torch.float64))
            num = max(1, math.ceil(u * sampler.trajectory / sampler.step_size))
            p = torch.randn(state.x.shape, generator=copy, dtype=torch.float64)
            y, end = verlet(potential, state.x, p, sampler.step_size, num)
            here, there = hamiltonian(potential, state.x, p), hamiltonian(potential, y, -end)
            after, info = sampler.step(potential, state, rng)
            torch.testing.assert_close(
                info.acceptance, (here - there).clamp(max=0).exp(), rtol=1e-9, atol=1e-12
            )
            assert info.num_gradients == num
            for chain in range(len(y)):
                if identical(after.x[chain], state.x[chain]):
                    assert identical(after.grad[chain], state.grad[chain])
                else:
                    torch.testing.assert_close(after.x[chain], y[chain], rtol=1e-9, atol=1e-9)
            state = after


@pytest.mark.parametrize("ratio", [0.3, 1.0, 1.5, 7.0, 33.3])
def test_the_mean_number_of_leapfrog_steps_is_the_sum(ratio):
    """E ⌈u·r⌉ by a fine grid of u, to the nearest whole number."""
    u = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    mean = float((u * ratio).ceil().clamp(min=1).mean())
    assert abs(ChEES(1.0, ratio).mean_leapfrog - mean) <= 0.5 + 1e-3


def test_a_trajectory_ends_after_a_thousand_steps():
    sampler = ChEES(1e-6, 1.0)
    move = sampler.move(targets.gaussian, evaluate(targets.gaussian, starts()), 0.9, generator(), 7)
    assert move.info.num_gradients == 7
    assert sampler.mean_leapfrog <= MOST_LEAPFROG


def criterion(before: torch.Tensor, end: torch.Tensor, weight: torch.Tensor) -> float:
    """¼ E[(|y - m|² - |x - m'|²)²], with the means m of y weighted, as the formula has it."""
    y = end - (weight[:, None] * end).sum(0) / weight.sum()
    x = before - before.mean(0)
    change = (y**2).sum(1) - (x**2).sum(1)
    return float((weight * change**2).sum() / weight.sum()) / 4


def test_the_gradient_is_the_derivative_of_the_criterion():
    """Of straight trajectories y + s·p: central differences of step 1e-5, whose error is below
    1e-8·|third derivative|; the means' own derivative drops out, as Σ w (y - m) = 0 does not hold
    for the change, and is left out by the paper: so p is taken with weighted mean zero.
    """
    g = generator(3)
    x, y, p = (torch.randn(40, 3, generator=g, dtype=torch.float64) for _ in range(3))
    weight = torch.rand(40, generator=g, dtype=torch.float64)
    p = p - (weight[:, None] * p).sum(0) / weight.sum()
    state = evaluate(targets.gaussian, y)
    move = Trajectory(state, StepInfo(acceptance=weight), state, p, 1.0)
    up, down = (criterion(x, y + s * p, weight) for s in (1e-5, -1e-5))
    assert abs(chees_gradient(x, move) - (up - down) / 2e-5) < 1e-5 * (1 + abs(up))


def test_chains_that_are_lost_do_not_count():
    """A chain that is rejected for sure may be anywhere, NaN included."""
    g = generator(4)
    x, y, p = (torch.randn(9, 2, generator=g, dtype=torch.float64) for _ in range(3))
    weight = torch.ones(9, dtype=torch.float64)
    weight[4] = 0
    state = evaluate(targets.gaussian, y)
    known = chees_gradient(x, Trajectory(state, StepInfo(acceptance=weight), state, p, 1.0))
    lost = state._replace(x=y.index_fill(0, torch.tensor(4), math.nan))
    told = chees_gradient(x, Trajectory(lost, StepInfo(acceptance=weight), lost, p, 1.0))
    assert told == known


def test_the_search_climbs_from_too_short_and_from_too_long():
    """On N(0, I) the criterion of time t is proportional to sin²t, the largest at π/2 and back to
    nothing at π: with t = uT it has its largest mean over u at T = 2.25 (tan 2T = 2T). From half
    of that the length grows, from a little less than the next valley it shrinks.
    """
    target, g = Gaussian.from_std(torch.ones(20, dtype=torch.float64)), generator(6)
    for first, way in ((0.5, 1), (3.4, -1)):
        search = TrajectorySearch(first)
        x = torch.randn(500, 20, generator=g, dtype=torch.float64)
        state = evaluate(target, x)
        for n in range(1, 41):
            sampler = ChEES(0.1, search.length)
            move = sampler.move(target, state, van_der_corput(n), g)
            search.update(state.x, move)
            state = move.after
        assert way * (search.mean_length - first) > 0
        assert 0.5 < search.mean_length < 3.4


def test_the_warm_up_finds_step_size_length_and_scale():
    """Standard deviations 0.01 to 100: the scale is right to a factor of 2, and afterwards all
    means are within 6 standard errors of 0 (20 comparisons: below 1e-7).
    """
    std = torch.logspace(-2, 2, 10, dtype=torch.float64)
    g = generator(8)
    x0 = torch.randn(64, 10, generator=g, dtype=torch.float64)
    target = Gaussian.from_std(std)
    sampler, x = adapt(ChEES(0.1), target, x0, 400, generator=g, precondition="draws")
    assert isinstance(sampler, Preconditioned)
    assert isinstance(sampler.sampler, ChEES)
    assert ((sampler.scale / std).log().abs() < math.log(2)).all()
    run = run_chains(sampler, target, x, 200, generator=g, keep_every=1)
    s = summarise(run.draws)
    assert (s.mean.abs() < 6 * s.mcse).all()
    assert s.worst_rhat < 1.1
    assert 0.5 < float(run.info.acceptance.mean()) < 0.99


def test_the_same_generator_gives_the_same_warm_up():
    target = Gaussian.from_std(torch.ones(3, dtype=torch.float64))
    found = [
        adapt(ChEES(0.1), target, starts((16, 3)), 40, generator=generator(1)) for _ in range(2)
    ]
    assert found[0][0] == found[1][0]
    assert identical(found[0][1], found[1][1])
    assert found[0][0].trajectory != 1.0


def test_one_leapfrog_is_shared_with_hmc():
    state, p = evaluate(targets.coupled, starts()), starts(seed=2)
    move = ChEES(0.2, 1.0).move(targets.coupled, state, 0.55, generator(9))
    copy = generator(9)
    p = torch.randn(state.x.shape, generator=copy, dtype=torch.float64)
    end, last = leapfrog(targets.coupled, state, p, 0.2, 3)
    torch.testing.assert_close(move.end.x, end.x)
    torch.testing.assert_close(move.momentum, last)


def test_the_sequence_fills_the_interval():
    assert [van_der_corput(n) for n in range(1, 8)] == [
        *(0.5, 0.25, 0.75, 0.125, 0.625, 0.375, 0.875)
    ]


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_refuses_a_bad_length(bad):
    with pytest.raises(StanleyError, match="ChEES: trajectory is"):
        ChEES(0.1, bad)


# Starts and levels that other samplers are tried on.


def levels(scale: float = 0.0):
    """N(0, I) about (1, 1, 1), at U = `scale` and above."""
    return lambda x: (x - 1).square().sum(1) / 2 + scale


@pytest.mark.parametrize("start", ["at the mode", "close to the mode", "far out"])
@pytest.mark.parametrize("kind", [None, "draws", "dense"])
def test_finds_its_trajectory_from_any_start(start, kind):
    """All chains on one point, where ∇U = 0 and no chain differs from another; 10⁻⁶ from it; and
    50 widths away. Afterwards the means and the variances are those of N(1, I), within 6 standard
    errors (12 comparisons: below 1e-7), and the length is of the order of a width.
    """
    x0 = torch.ones(64, 3, dtype=torch.float64)
    x0 = {
        "at the mode": x0,
        "close to the mode": x0 + 1e-6 * starts((64, 3)),
        "far out": x0 + 50.0,
    }[start]
    sampler, x = adapt(ChEES(0.1), levels(), x0, 150, seed=1, precondition=kind)
    widths = sampler.scale if kind else torch.ones(3, dtype=torch.float64)
    assert widths.shape == (3,)
    assert ((widths / 1.0).log().abs() < math.log(2)).all()
    inside = sampler.sampler if kind else sampler
    assert 0.2 < inside.trajectory < 10
    run = run_chains(sampler, levels(), x, 200, seed=2, keep_every=1)
    first, second = summarise(run.draws), summarise((run.draws - 1) ** 2)
    assert ((first.mean - 1).abs() < 6 * first.mcse).all()
    assert ((second.mean - 1).abs() < 6 * second.mcse).all()


def test_the_level_of_the_potential_does_not_matter():
    """U + 10⁸ in float64 is known to 10⁻⁸: the same step size and length, but for the decisions
    that this changes, and the same law."""
    found = {}
    for level in (0.0, 1e8):
        x0 = starts((64, 3))
        sampler, x = adapt(ChEES(0.1), levels(level), x0, 100, seed=3, precondition="dense")
        run = run_chains(sampler, levels(level), x, 200, seed=4, keep_every=1)
        found[level] = sampler
        s = summarise(run.draws)
        assert ((s.mean - 1).abs() < 6 * s.mcse).all()
        assert float(run.info.acceptance.mean()) > 0.5
    assert math.isclose(found[0.0].step_size, found[1e8].step_size, rel_tol=0.5)


def test_draws_from_a_mode_and_at_a_level_are_those_of_the_density():
    for potential, start in ((levels(), [1.0, 1.0, 1.0]), (levels(1e8), None)):
        out = stanley.draw(potential, 3, start=start, seed=5, warm_up=100, chains=32)
        assert out.converged
        table = out.summary()
        for i in range(3):
            row = table[f"x[{i}]"]
            assert abs(row["mean"] - 1) < 6 * row["mcse"]

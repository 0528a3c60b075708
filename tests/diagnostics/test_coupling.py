"""Couplings: exact marginals, faithfulness, a bound that holds where the distance is known, and what has none."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from stanley.diagnostics import coupling
from stanley.diagnostics.coupling import couple, coupled_draw, coupled_step
from stanley.errors import StanleyError
from stanley.samplers import HMC, MALA, Adjusted, GradientDescent, Langevin, RandomWalk, Stanley
from stanley.samplers.stanley import Law
from tests.samplers import targets
from tests.samplers.bounds import cdf_distance, dkw, hoeffding
from tests.samplers.invariants import generator, identical

N = 40_000


def law(mean: float, variance: float, n: int = N) -> Law:
    """n copies of N(mean, variance) in two dimensions, the second coordinate standing still for both chains."""
    centre = torch.tensor([mean, 0.0], dtype=torch.float64).expand(n, 2)
    return Law(centre, torch.full((n, 2), variance, dtype=torch.float64), None)


LAWS = {
    "equal, near": (law(0.0, 1.0), law(0.3, 1.0)),
    "equal, far": (law(0.0, 1.0), law(6.0, 1.0)),
    "different, near": (law(0.0, 1.0), law(0.2, 1.5)),
    "different, far": (law(0.0, 1.0), law(5.0, 0.2)),
    "the same mean": (law(1.0, 1.0), law(1.0, 1.3)),
}


def exact_marginals(x: torch.Tensor, y: torch.Tensor, p: Law, q: Law) -> bool:
    """sup |F_n - F| ≤ √(ln(2/1e-7)/2n) in each coordinate of each chain: four bounds, 4e-7."""
    return all(
        cdf_distance(z[:, i].numpy(), norm(float(r.mean[0, i]), float(r.variance[0, i]) ** 0.5).cdf) <= dkw(N)
        for z, r in ((x, p), (y, q))
        for i in (0, 1)
    )


@pytest.mark.parametrize("name", list(LAWS))
def test_each_chain_draws_from_its_own_law(name):
    p, q = LAWS[name]
    assert exact_marginals(*coupled_draw(p, q, generator(1)), p, q)


def test_negative_control_reflection_that_never_meets_its_rest(monkeypatch):
    """Without the draw from the rest of q, a pair that does not meet keeps its reflected noise: q is missed."""
    monkeypatch.setattr(coupling, "rest_of", lambda p, q, generator: p.mean)
    p, q = LAWS["different, near"]
    assert not exact_marginals(*coupled_draw(p, q, generator(1)), p, q)


@pytest.mark.parametrize("name", ["equal, near", "equal, far"])
def test_equal_covariances_meet_as_often_as_two_laws_can(name):
    """P(x = y) = 2Φ(-|Δ|/2) = 1 - TV, within Hoeffding's bound."""
    p, q = LAWS[name]
    x, y = coupled_draw(p, q, generator(2))
    met = (x == y).all(1).double().mean()
    assert abs(float(met) - 2 * norm.cdf(-abs(float(q.mean[0, 0] - p.mean[0, 0])) / 2)) <= hoeffding(N)


KERNELS = {
    "langevin": Langevin(0.05),
    "mala": MALA(0.4),
    "stanley": Stanley(0.4, 1.0),
    "adjusted": Adjusted(Stanley(0.4, 1.0)),
    "adjusted-sample": Adjusted(Stanley(0.4, 1.0, "sample")),
    "adjusted-drift": Adjusted(Stanley(0.4, 1.0, correction="drift")),
    "random-walk": RandomWalk(0.6),
}


@pytest.mark.parametrize("name", [k for k in KERNELS if k not in ("langevin", "stanley")])
def test_both_chains_of_an_adjusted_pair_stay_in_pi(name):
    """From independent exact draws of a skewed π: five coupled steps, then DKW on 2N components a chain, 2e-7."""
    sampler = KERNELS[name]
    rng = np.random.default_rng(3)
    x0, y0 = (torch.from_numpy(targets.SKEW.draw(rng, 2 * N).reshape(N, 2)) for _ in range(2))
    move, g = coupling.coupled_move(sampler), generator(4)
    x, y = sampler.init(targets.skewed, x0), sampler.init(targets.skewed, y0)
    for _ in range(5):
        x, y = coupled_step(sampler, move, targets.skewed, x, y, g)
    assert 0.05 < float((x.x == y.x).all(1).double().mean()) < 1  # it does couple
    for state in (x, y):
        assert cdf_distance(state.x.numpy().ravel(), targets.SKEW.cdf) <= dkw(2 * N)


@pytest.mark.parametrize("name", list(KERNELS))
def test_a_pair_that_has_met_moves_as_one(name):
    sampler, g = KERNELS[name], generator(5)
    move = coupling.coupled_move(sampler)
    x0 = torch.randn(50, 3, generator=generator(6), dtype=torch.float64)
    x, y = sampler.init(targets.coupled, x0), sampler.init(targets.coupled, x0.clone())
    for _ in range(20):
        x, y = coupled_step(sampler, move, targets.coupled, x, y, g)
        assert all(identical(getattr(x, part), getattr(y, part)) for part in ("x", "potential", "grad"))


def test_the_bound_is_above_the_distance_where_that_is_known():
    """Langevin on N(0, 1) from N(6, 1): π_t = N(6ρ^t, v_t), ρ = 1 - h/2, v_t = ρ²v_{t-1} + h, π = N(0, h/(1 - ρ²)).

    TV by quadrature on 20,001 points (error below 1e-4). The bound is an expectation over 2,000 pairs: six of its
    standard errors below it, one-sided, 1e-9 a point.
    """
    h, pairs = 0.3, 2_000
    rho, grid = 1 - h / 2, np.linspace(-12, 18, 20_001)

    def initial(n, g):
        return 6 + torch.randn(n, 1, generator=g, dtype=torch.float64)

    meeting = couple(Langevin(h), targets.gaussian, initial, generator=generator(7), num_pairs=pairs, lag=20)
    assert meeting.valid
    times = torch.arange(0, 40, 4)
    curve = meeting.total_variation(times)
    stationary = norm(0, (h / (1 - rho**2)) ** 0.5).pdf(grid)
    variance = 1.0
    for t in range(int(times.max()) + 1):
        if t % 4 == 0:
            here = norm(6 * rho**t, variance**0.5).pdf(grid)
            distance = np.abs(here - stationary).sum() * (grid[1] - grid[0]) / 2
            value, error = float(curve.value[t // 4]), float(curve.standard_error[t // 4])
            assert value + 6 * error + 1e-4 >= distance, (t, value, distance)
        variance = rho**2 * variance + h
    slope, error = meeting.slope()
    assert slope < 0 < error
    assert "all 2000 pairs met" in meeting.verdict()


def test_on_light_tails_stanley_meets_where_mala_does_not():
    """exp(-Σx⁴) from |x_i| = 5: MALA with h = 0.2 proposes 0.4·125 - 5 = 45 and is refused for ever."""

    def initial(n, g):
        return 5 * (2.0 * torch.randint(0, 2, (n, 2), generator=g) - 1).double() + 0.1 * torch.randn(
            n, 2, generator=g, dtype=torch.float64
        )

    arguments = {"generator": generator(8), "num_pairs": 200, "lag": 50, "max_steps": 1_500}
    mala = couple(MALA(0.2), targets.quartic, initial, **arguments)
    stanley = couple(Adjusted(Stanley(0.2, 1.0)), targets.quartic, initial, **arguments)
    assert mala.unmet == 1
    assert not mala.valid
    assert mala.mixing_time() is None
    assert "had not met" in mala.verdict()
    assert stanley.unmet == 0
    assert stanley.valid
    assert 0 < stanley.mixing_time() < 300


def test_a_diverging_chain_is_said_to_diverge():
    start = torch.full((20, 1), 50.0, dtype=torch.float64)
    meeting = couple(Langevin(0.5), targets.quartic, (start, -start), generator=generator(9), max_steps=50)
    assert meeting.diverged.all()
    assert "diverges" in meeting.verdict()
    assert math.isnan(meeting.slope()[0])


@pytest.mark.parametrize(
    ("sampler", "told"),
    [
        (HMC(0.1), "HMC has no coupling"),
        (GradientDescent(0.1), "GradientDescent has no coupling"),
        (Stanley(0.1, 1.0, correction="midpoint"), "has no coupling"),
        (Stanley(0.1, 1.0, refresh="lagged"), "has no coupling"),
        (Stanley(0.1), "quantile"),
    ],
)
def test_what_has_no_coupling_says_so(sampler, told):
    x = torch.zeros(4, 2)
    with pytest.raises(StanleyError, match=told) as error:
        couple(sampler, targets.gaussian, (x, x), generator=generator())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"lag": 0}, "lag is 0"),
        ({"max_steps": 0}, "max_steps is 0"),
        ({"num_pairs": 5}, "num_pairs is 5"),
        ({"initial": (torch.zeros(4, 2), torch.zeros(4, 3))}, "must be alike"),
        ({"initial": lambda n, g: torch.zeros(n, 2)}, "num_pairs is None"),
    ],
)
def test_bad_input(changed, told):
    arguments = {"initial": (torch.zeros(4, 2), torch.ones(4, 2)), "generator": generator()} | changed
    with pytest.raises(StanleyError, match=told):
        couple(Langevin(0.1), targets.gaussian, **arguments)

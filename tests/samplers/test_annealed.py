"""The ladder of noise levels: its law where that is known in closed form."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from stanley.errors import StanleyError
from stanley.samplers import anneal, ladder

from .bounds import assert_mean, assert_variance, hoeffding
from .invariants import generator

CHAINS = 20_000
SPREAD = 0.7  # s of the data N(0, s²)


def gaussian_at(sigma: float):
    return lambda x: x.flatten(1).square().sum(1) / (2 * (sigma**2 + SPREAD**2))


def point_at(sigma: float):
    return lambda x: (x - 2).flatten(1).square().sum(1) / (2 * sigma**2)


def variance_after(sigmas: tuple[float, ...], variance: float, factor: float = 1.0) -> float:
    """The variance of a coordinate after the ladder, for data N(0, s²); `factor` of the noise."""
    for sigma, lower in pairwise(sigmas):
        v, v_lower = sigma**2 + SPREAD**2, lower**2 + SPREAD**2
        variance = (v_lower / v) ** 2 * variance
        variance += factor * lower**2 * (1 - lower**2 / sigma**2)
    return variance


def test_the_levels_are_even_in_a_root() -> None:
    sigmas = ladder(8.0, 0.03, 12, power=7)
    roots = torch.tensor(sigmas, dtype=torch.float64) ** (1 / 7)
    assert (sigmas[0], sigmas[-1], len(sigmas)) == (8.0, 0.03, 12)
    assert roots.diff().diff().abs().max() < 1e-12


def test_power_1_is_even_steps() -> None:
    assert ladder(5.0, 1.0, 5, power=1) == pytest.approx((5, 4, 3, 2, 1))


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        ((0.1, 0.1), "from 0.1 down to 0.1"),
        ((0.1, 0.2), "from a larger"),
        ((1.0, 0.0), "above 0"),
        ((math.inf, 1.0), "finite"),
        ((2.0, 1.0, 1), "at least 2"),
        ((2.0, 1.0, 5, 0.5), "power is 0.5"),
    ],
)
def test_what_is_no_ladder(asked, what: str) -> None:
    with pytest.raises(StanleyError, match=what):
        ladder(*asked)


def test_levels_that_rise_are_refused() -> None:
    with pytest.raises(StanleyError, match="descending"):
        anneal(gaussian_at, torch.zeros(2, 1), (1.0, 2.0), generator=generator())


@pytest.mark.parametrize("num", [3, 10, 40])
def test_the_law_on_a_gaussian(num: int) -> None:
    sigmas = ladder(5.0, 0.1, num)
    x = torch.randn(CHAINS, 3, generator=generator(), dtype=torch.float64) * math.hypot(5, SPREAD)
    x = anneal(gaussian_at, x, sigmas, generator=generator(1))
    expected = variance_after(sigmas, 25 + SPREAD**2)
    assert_mean(x.numpy(), 0.0)
    assert_variance(x.numpy(), 0.0, expected)  # type: ignore[arg-type]


def test_from_a_noisy_point_it_ends_around_the_posterior_mean() -> None:
    """Data N(0, s²), y = x + N(0, σ²): the mean of a rung is v'/v times that before, v = σ² + s²,
    so from y the ladder ends around E[x_min | y] = y·(σ_min² + s²)/(σ² + s²), for any ladder.
    """
    y = torch.full((CHAINS, 1), 1.3, dtype=torch.float64)
    x = anneal(gaussian_at, y, ladder(0.9, 0.1, 6), generator=generator())
    assert_mean(x.numpy(), 1.3 * (0.1**2 + SPREAD**2) / (0.9**2 + SPREAD**2))


def test_more_levels_leave_less_bias() -> None:
    exact = 0.1**2 + SPREAD**2
    errors = [
        exact - variance_after(ladder(5.0, 0.1, num), 25 + SPREAD**2) for num in (10, 20, 40, 80)
    ]
    assert all(0 < b < 0.7 * a for a, b in pairwise(errors))
    assert 0.09 * exact < errors[2] < 0.1 * exact  # 40 levels, as the docstring says


def test_a_ladder_with_other_noise_has_another_law() -> None:
    """The control: with a tenth more noise than the formula's, the same bound must fail."""
    sigmas = ladder(5.0, 0.1, 10)
    x = torch.randn(CHAINS, 3, generator=generator(), dtype=torch.float64) * math.hypot(5, SPREAD)
    x = anneal(gaussian_at, x, sigmas, generator=generator(1))
    with pytest.raises(AssertionError):
        assert_variance(x.numpy(), 0.0, variance_after(sigmas, 25 + SPREAD**2, 1.1))  # type: ignore[arg-type]


def test_it_is_exact_where_the_data_are_one_point() -> None:
    sigmas = ladder(3.0, 0.2, 5)
    x = 2 + 3 * torch.randn(CHAINS, 2, generator=generator(), dtype=torch.float64)
    x = anneal(point_at, x, sigmas, generator=generator(1))
    assert_mean(x.numpy(), 2.0)
    assert_variance(x.numpy(), 2.0, 0.2**2)  # type: ignore[arg-type]


def test_the_shares_of_far_modes_come_out_right() -> None:
    """Two points 8 apart with shares 0.9 and 0.1, from noise of 40: none crosses at the end."""
    places, shares = torch.tensor([-4.0, 4.0]).double(), torch.tensor([0.9, 0.1]).double()

    def mixture_at(sigma: float):
        def energy(x: Tensor) -> Tensor:
            square = (x - places).square() / (2 * sigma**2)
            return -torch.logsumexp(shares.log() - square, 1)

        return energy

    x = 40 * torch.randn(CHAINS, 1, generator=generator(), dtype=torch.float64)
    x = anneal(mixture_at, x, ladder(40.0, 0.05, 200), generator=generator(1))
    assert (x - places).abs().amin(1).max() < 0.5
    # starts have mean 0 and not -3.2, which moves the log odds by (8 · 3.2)/40² at most
    slack = 0.25 * 8 * 3.2 / 40**2
    assert abs(float((x > 0).double().mean()) - 0.1) < hoeffding(CHAINS) + slack


def test_the_same_generator_draws_the_same_chains_and_x_is_left_alone() -> None:
    x = torch.ones(5, 2)
    first, second = (
        anneal(gaussian_at, x, ladder(2, 0.1, 4), generator=generator(3)) for _ in range(2)
    )
    assert torch.equal(first, second)
    assert torch.equal(x, torch.ones(5, 2))

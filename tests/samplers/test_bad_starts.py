"""Starts, levels and densities that a sampler must survive, or refuse in one line."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from stanley.errors import StanleyError
from stanley.samplers import (
    AMALA,
    HMC,
    MALA,
    Adjusted,
    Barker,
    ChEES,
    ClippedLangevin,
    MatchedLangevin,
    Quantile,
    RandomWalk,
    Stanley,
    adapt,
    run_chains,
)
from stanley.samplers.adapt import check_search
from stanley.samplers.scale import FOLLOWED, follow_threshold

from .bounds import SIGMAS
from .invariants import generator

CHAINS, STEPS = 4000, 200
SAMPLERS = {
    "stanley": Stanley(0.2),
    "sample scope": Stanley(0.2, scope="sample"),
    "adjusted stanley": Adjusted(Stanley(0.2)),
    "clipped": ClippedLangevin(0.2),
    "matched": MatchedLangevin(0.2),
    "amala": AMALA(0.2),
}


def normal(x: Tensor) -> Tensor:
    return x.flatten(1).square().sum(1) / 2


def double_well(x: Tensor) -> Tensor:
    """A saddle at 0: the gradient there is zero, and the modes are at ±1."""
    return 2 * (x.square() - 1).square().flatten(1).sum(1)


def starts(kind: str, d: int = 2) -> Tensor:
    x = torch.zeros(CHAINS, d, dtype=torch.float64)
    if kind == "nearly all at the mode":
        x[: CHAINS // 20] = torch.randn(CHAINS // 20, d, generator=generator(7), dtype=x.dtype)
    if kind == "very close together":
        x = 1e-6 * torch.randn(CHAINS, d, generator=generator(7), dtype=x.dtype)
    return x


KINDS = ("all at the mode", "nearly all at the mode", "very close together")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_quantile_follows_chains_that_leave_a_stationary_start(name: str, kind: str) -> None:
    """The threshold ends where it would have been from draws of the density, but for the factor of
    two below which it does not follow: th ∈ [q/2·(1 - δ), 2q], q the quantile of |∇U| at the end.

    δ = 0.2 covers the quantile of 1,024 of the 8,000 |∇U|, and of 4,000 chains: each has a relative
    standard error below 2.5 % at these densities, and 8 of them are 0.2.
    """
    sampler = SAMPLERS[name]
    out = run_chains(sampler, normal, starts(kind), STEPS, generator=generator())
    scope = getattr(getattr(sampler, "proposal", sampler), "scope", "sample")
    size = out.x.abs().flatten() if scope == "element" else out.x.norm(dim=1)  # ∇U = x
    q = float(size.quantile(0.9))
    assert out.info.threshold is not None
    assert 0.8 * q / 2 <= float(out.info.threshold) <= 2 * q
    again = run_chains(
        with_number(sampler, float(out.info.threshold)),
        normal,
        out.x,
        STEPS,
        generator=generator(1),
    )
    # the law is that of this threshold: the variance of 8,000 numbers, of chains 200 steps apart
    ours, theirs = out.x.var(), again.x.var()
    kurtosis = float((again.x**4).mean() / theirs**2)
    tolerance = SIGMAS * math.sqrt(2 * (kurtosis - 1) / again.x.numel()) * float(theirs)
    assert abs(float(ours - theirs)) < tolerance + 0.02 * float(theirs)


def with_number(sampler, threshold: float):
    inner = getattr(sampler, "proposal", None)
    if inner is not None:
        return replace(sampler, proposal=replace(inner, threshold=threshold))
    return replace(sampler, threshold=threshold)


@pytest.mark.parametrize("name", ["adjusted stanley", "amala"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_adjusted_sampler_reaches_the_density_from_a_stationary_start(
    name: str, kind: str
) -> None:
    """Variance 1 of N(0, I), from 8,000 numbers: √(2/n) is its relative standard error."""
    out = run_chains(SAMPLERS[name], normal, starts(kind), 4 * STEPS, generator=generator())
    assert abs(float(out.x.var()) - 1) < SIGMAS * math.sqrt(2 / out.x.numel())


def test_a_saddle_is_left() -> None:
    """Every chain starts where ∇U = 0 between two modes: most of them end nearer to a mode."""
    x = torch.zeros(CHAINS, 1, dtype=torch.float64)
    out = run_chains(Adjusted(Stanley(0.05)), double_well, x, 2 * STEPS, generator=generator())
    assert float((out.x.abs() > 0.5).double().mean()) > 0.8


def test_a_number_does_not_follow() -> None:
    x = starts("all at the mode")
    out = run_chains(Stanley(0.2, threshold=0.01), normal, x, 20, generator=generator())
    assert float(out.info.threshold) == pytest.approx(0.01)  # type: ignore[arg-type]


def test_a_threshold_grows_by_twice_at_least_and_never_falls() -> None:
    quantile, th = Quantile(0.5), torch.tensor(1.0)
    for size, expected in ((0.1, 1.0), (1.9, 1.0), (2.1, 2.1), (1.0, 2.1), (math.nan, 2.1)):
        grad = torch.full((7, 3), size)
        th = follow_threshold(th, quantile, grad, "element")
        assert float(th) == pytest.approx(expected)


@pytest.mark.parametrize("event", [(1,), (2,), (7,), (48,), (64,), (2, 4, 4)])
def test_every_coordinate_is_looked_at(event: tuple[int, ...]) -> None:
    """One coordinate alone has grown, in all chains, and the quantile is above all the others."""
    d = math.prod(event)
    for coordinate in range(d):
        grad = torch.zeros(8 * FOLLOWED, *event)
        grad.view(len(grad), d)[:, coordinate] = 1.0
        quantile = Quantile(1 - 1 / (2 * d))
        assert float(follow_threshold(torch.tensor(0.1), quantile, grad, "element")) == 1.0


# The level of U.


@pytest.mark.parametrize(
    "sampler", [MALA(0.5), HMC(0.3, 5), ChEES(0.3), Barker(0.5), RandomWalk(0.5)]
)
def test_a_level_that_drowns_the_metropolis_test_is_told(sampler) -> None:
    x = torch.randn(50, 2, generator=generator())
    with pytest.warns(UserWarning, match=r"U is about 1e\+08.*float32.*Subtract a constant"):
        run_chains(sampler, lambda x: normal(x) + 1e8, x, 5, generator=generator())


def test_levels_that_do_no_harm_are_not_told() -> None:
    x = torch.randn(50, 2, generator=generator())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_chains(MALA(0.5), lambda x: normal(x) + 1e5, x, 5, generator=generator())
        run_chains(MALA(0.5), lambda x: normal(x) + 1e8, x.double(), 5, generator=generator())
        run_chains(ChEES(0.3), lambda x: normal(x) + 1e8, x.double(), 5, generator=generator())
        run_chains(Stanley(0.5), lambda x: normal(x) + 1e8, x, 5, generator=generator())


# Gradients whose squares are zero in float32.


@pytest.mark.parametrize("size", [1e-20, 1e-23, 1e-30, 1e-37])
def test_amala_accepts_where_the_gradient_is_next_to_nothing(size: float) -> None:
    """There the move is a random walk on a flat density: everything is accepted."""
    x = torch.randn(200, 2, generator=generator())
    out = run_chains(AMALA(0.1, 1.0), lambda x: size * normal(x), x, 5, generator=generator())
    assert float(out.info.acceptance.min()) > 0.999


# Densities without mass, and searches that find nothing.


@pytest.mark.parametrize("sampler", [MALA(1.0), RandomWalk(1.0), Adjusted(Stanley(1.0))])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_density_without_mass_is_refused(sampler, dtype: torch.dtype) -> None:
    x = torch.randn(20, 2, generator=generator(), dtype=dtype)
    with pytest.raises(StanleyError, match="no finite mass"):
        adapt(sampler, lambda x: 0 * x.sum(1), x, 500, generator=generator())


def test_half_a_line_is_refused() -> None:
    x = torch.rand(20, 1, generator=generator(), dtype=torch.float64)
    with pytest.raises(StanleyError, match="no finite mass"):
        adapt(RandomWalk(1.0), half_line, x, 2000, generator=generator())


def half_line(x: Tensor) -> Tensor:
    return torch.where(x[:, 0] > 0, 0 * x[:, 0], math.inf)


def test_a_wide_density_is_none_without_mass() -> None:
    x = 1e4 * torch.randn(200, 2, generator=generator(), dtype=torch.float64)
    found, _ = adapt(MALA(1.0), lambda x: normal(x / 1e4), x, 500, generator=generator())
    assert 1e7 < float(found.step_size) < 1e9


def test_a_position_that_is_not_finite_is_rejected() -> None:
    """U does not see where the chain is: it stays finite when the position does not."""
    x = torch.full((10, 1), 3e38)
    out = run_chains(RandomWalk(1e76), lambda x: x.new_zeros(len(x)), x, 5, generator=generator())
    assert out.x.isfinite().all()
    assert int(out.info.invalid.sum()) > 0


def test_a_search_in_which_nothing_is_accepted_is_told() -> None:
    def a_point(x: Tensor) -> Tensor:
        return torch.where(x.abs().sum(1) == 0, 0.0, math.inf)

    x = torch.zeros(10, 2, dtype=torch.float64)
    with pytest.raises(StanleyError, match="hardly any move was accepted"):
        adapt(RandomWalk(1.0), a_point, x, 60, generator=generator())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_starts_of_few_digits_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(StanleyError, match=r"must be float32 or float64.*use x0\.float\(\)"):
        run_chains(MALA(0.1), normal, torch.zeros(4, 2, dtype=dtype), 5, generator=generator())


def test_a_step_size_that_is_no_number_is_refused() -> None:
    """An acceptance that is no number must not come back as a step size that is none."""
    state = MALA(1.0).init(normal, starts("all at the mode"))
    with pytest.raises(StanleyError, match="step size went from 1 to nan"):
        check_search(1.0, math.nan, [math.nan] * 10, state)

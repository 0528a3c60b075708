"""Step sizes from the acceptance rate, scales from the chains."""

from __future__ import annotations

import math
import sys
from dataclasses import replace

import pytest
import torch

from stanley.errors import StanleyError
from stanley.samplers import (
    AMALA,
    HMC,
    MALA,
    Adjusted,
    Barker,
    ChEES,
    ClippedLangevin,
    DensePreconditioned,
    GradientDescent,
    Langevin,
    MatchedLangevin,
    Preconditioned,
    Quantile,
    RandomWalk,
    ReplicaExchange,
    RobbinsMonro,
    Stanley,
    adapt,
    evaluate,
    run_chains,
)
from stanley.samplers.adapt import (
    MOST_DENSE,
    PAYS,
    WINDOWS,
    DualAveraging,
    Moments,
    Precondition,
    mean_acceptance,
    roundness,
    split,
    tune,
)
from stanley.samplers.base import ChainState
from stanley.samplers.scale import resolve_threshold
from stanley.samplers.traits import traits_of, with_threshold
from stanley.targets import Gaussian

from . import targets
from .bounds import SIGMAS, hoeffding
from .invariants import generator, identical, starts


@pytest.mark.parametrize("target", [0.4, 0.8])
@pytest.mark.parametrize(
    "sampler",
    [MALA(0.02), Adjusted(Stanley(0.02, 1.0, "sample")), Adjusted(Stanley(5.0, 1.0))],
    ids=["mala", "sample", "element"],
)
def test_reaches_its_target_on_a_gaussian(sampler, target):
    """Mean acceptance at stationarity, 20,000 exact starts and one step, against the target.

    The recursion makes Σ_{k≤n}(a* - a_k) = κ(μ - log h_n)(n + n₀)/√n, so a_n misses a* by
    κ|μ - log h|/(2√n) plus the noise: κ = 0.05, |μ - log h| < 8, effective n ≥ 200 of 400 steps:
    0.015. Noise: a step's error has sd ≤ 0.5/√1000 = 0.016, averaged over the last ~n^{3/4} = 90
    steps under 0.0025, six times that 0.015. The final mean: Hoeffding at 1e-7.
    """
    x0 = torch.randn(1000, 4, generator=generator(), dtype=torch.float64)
    tuned, x = adapt(
        sampler, targets.gaussian, x0, 400, generator=generator(1), target_acceptance=target
    )
    assert x.shape == x0.shape
    fresh = torch.randn(20_000, 4, generator=generator(2), dtype=torch.float64)
    _, info = tuned.step(targets.gaussian, tuned.init(targets.gaussian, fresh), generator(3))
    assert abs(float(info.acceptance.mean()) - target) < 0.015 + 0.015 + hoeffding(20_000)


def test_returns_a_new_sampler_and_leaves_the_old_one():
    sampler = Adjusted(Stanley(0.02, 1.5, "sample", floor=0.1))
    x0 = starts((20, 3))
    before = x0.clone()
    tuned, _ = adapt(sampler, targets.gaussian, x0, 20, generator=generator())
    assert sampler == Adjusted(Stanley(0.02, 1.5, "sample", floor=0.1))
    assert torch.equal(x0, before)
    h = tuned.step_size
    assert h != 0.02
    assert tuned == Adjusted(replace(sampler.proposal, step_size=h))
    again, _ = adapt(sampler, targets.gaussian, x0, 20, generator=generator())
    assert again == tuned


@pytest.mark.parametrize(
    "sampler",
    [Langevin(0.1), Stanley(0.1), ClippedLangevin(0.1), MatchedLangevin(0.1), GradientDescent(0.1)],
)
def test_needs_an_adjusted_sampler(sampler):
    with pytest.raises(StanleyError, match="adapt needs a Metropolis-adjusted sampler") as error:
        adapt(sampler, targets.gaussian, starts((4, 3)), 5, generator=generator())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("target", [0.0, 1.0, float("nan")])
def test_target_lies_between_0_and_1(target):
    with pytest.raises(StanleyError, match="target_acceptance is"):
        adapt(
            MALA(0.1),
            targets.gaussian,
            starts((4, 3)),
            5,
            generator=generator(),
            target_acceptance=target,
        )
    with pytest.raises(StanleyError, match="target_acceptance is"):
        RobbinsMonro(target_acceptance=target)


def test_says_so_when_nothing_is_ever_accepted():
    with pytest.raises(StanleyError, match="hardly any move was accepted"):
        adapt(
            MALA(0.1), lambda x: x.sum(1) * float("nan"), starts((4, 3)), 100, generator=generator()
        )


def test_dual_averaging_balances_its_books():
    """(n + n₀)·H̄_n = Σ(a* - a_k) is an identity, which gives log h_n; log h̄ by its weights."""
    averaging, total, log_mean = DualAveraging(0.6, 0.3), 0.0, 0.0
    rates = torch.rand(50, generator=generator(), dtype=torch.float64).tolist()
    assert averaging.step_size == pytest.approx(0.3)
    for n, rate in enumerate(rates, 1):
        averaging.update(rate)
        total += 0.6 - rate
        log_step = math.log(3.0) - n**0.5 / 0.05 * total / (n + 10)
        log_mean = n**-0.75 * log_step + (1 - n**-0.75) * log_mean
        assert math.log(averaging.step_size) == pytest.approx(log_step, rel=1e-9)
        assert math.log(averaging.mean_step_size) == pytest.approx(log_mean, rel=1e-9)


def test_what_comes_back_is_the_mean_of_the_recursion_and_its_second_half():
    """30 steps of MALA by hand: h̄, not the last h; where the chains ended;
    moments of steps 15-29.
    """
    x0, rng, averaging = starts((50, 3)), generator(), DualAveraging(0.574, 0.3)
    state, moments = MALA(0.3).init(targets.coupled, x0), Moments(x0)
    for n in range(30):
        state, info = MALA(averaging.step_size).step(targets.coupled, state, rng)
        averaging.update(float(info.acceptance.mean()))
        if n >= 15:
            moments.add(state)
    tuned, x, seen = tune(MALA(0.3), targets.coupled, x0, 30, 0.574, generator())
    assert tuned.step_size == pytest.approx(averaging.mean_step_size, rel=1e-9)
    assert tuned.step_size != pytest.approx(averaging.step_size, rel=1e-3)  # negative control
    torch.testing.assert_close(x, state.x, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(seen.scale("draws"), moments.scale("draws"), rtol=1e-9, atol=0)


def test_the_mean_acceptance_is_over_finite_chains():
    lost = torch.tensor([0.0, float("nan"), 1.0, float("inf")])
    assert mean_acceptance(torch.tensor([0.5, 0.0, 1.0, 0.0]), lost) == 0.75
    assert mean_acceptance(torch.zeros(2), lost[1::2]) == 0


def test_robbins_monro_rests_at_its_target_and_moves_the_right_way():
    rule = RobbinsMonro(0.6, 0.1)
    assert rule.update(0.3, 0.6, MALA(1.0)) == 0.3
    assert rule.update(0.3, 1.0, MALA(1.0)) == pytest.approx(0.3 * math.exp(0.04))
    assert rule.update(0.3, 0.0, MALA(1.0)) == pytest.approx(0.3 * math.exp(-0.06))
    assert rule.update(0.3, 1.0, MALA(0.3)) == 0.3  # never above the sampler's own step
    with pytest.raises(StanleyError, match="rate is 0"):
        RobbinsMonro(rate=0)


TARGETS = [
    (MALA(1.0), 0.574),
    (HMC(1.0), 0.8),
    (Barker(1.0), 0.4),
    (RandomWalk(1.0), 0.234),
    (Adjusted(Stanley(1.0)), 0.574),
]


@pytest.mark.parametrize(("sampler", "target"), TARGETS, ids=[type(s).__name__ for s, _ in TARGETS])
def test_each_sampler_aims_at_its_own_acceptance(sampler, target):
    """Both rules stand still at the rate that theory gives for the move, and only there."""
    assert traits_of(sampler).target_acceptance == target
    assert RobbinsMonro().update(0.3, target, sampler) == 0.3
    assert (
        RobbinsMonro().update(0.3, target + 0.01, sampler)
        > 0.3
        > RobbinsMonro().update(0.3, target - 0.01, sampler)
    )


@pytest.mark.parametrize(
    ("sampler", "told"),
    [
        (Langevin(0.1), "use MALA or Adjusted(Langevin(...))"),
        (GradientDescent(0.1), "never rejects; use MALA"),
    ],
)
def test_what_is_suggested_can_be_done(sampler, told):
    with pytest.raises(StanleyError) as error:
        adapt(sampler, targets.gaussian, starts((4, 3)), 5, generator=generator())
    assert str(error.value).endswith(told)


def test_robbins_monro_finds_the_step_that_accepts_at_its_target():
    """Exact starts each time: log h moves by rate·(a(h) - a*), whose only zero is a(h) = a*.

    After 200 updates at rate 0.2 the distance has shrunk by e^{-40·|a'|}, |a'| = |da/dlog h| > 0.2;
    left is noise of sd ≤ √(rate/2|a'|)·0.5/√4000 < 0.006 in log h, less in a. Six times: 0.036.
    Then Hoeffding.
    """
    rule, h, rng = RobbinsMonro(0.6, 0.2), 0.5, generator()

    def acceptance(h, n):
        x0 = torch.randn(n, 3, generator=rng, dtype=torch.float64)
        _, info = MALA(h).step(targets.gaussian, evaluate(targets.gaussian, x0), rng)
        return float(info.acceptance.mean())

    for _ in range(200):
        h = rule.update(h, acceptance(h, 4000), MALA(100.0))
    assert abs(acceptance(h, 20_000) - 0.6) < 0.036 + hoeffding(20_000)


# --- scales

WIDE = torch.tensor([0.03, 0.3, 3.0, 30.0], dtype=torch.float64)


def ill_conditioned(x):
    return ((x / WIDE) ** 2).sum(1) / 2


@pytest.mark.parametrize("kind", ["draws", "gradients", "both"])
@pytest.mark.parametrize("sampler", [MALA(1e-4), HMC(1e-2, 3)], ids=["mala", "hmc"])
def test_finds_the_widths_of_a_gaussian(sampler, kind):
    """Exact starts, B = 1000 chains: s_i within six standard errors of the width, on the log scale.

    The mean of Var x over steps varies no more than at one step, where log s has sd ½√(2/B) = 0.022
    for each of the first two, 6·0.022 = 0.134. With ∂_iU = x_i/σ_i², 'both' gives (Var x/E
    x²)^{1/4}·σ: off by (mean/σ)²/4 alone, mean/σ < 6/√B: 0.009. The step size, which all chains
    share, makes O(1/B) of it.
    """
    x0 = WIDE * torch.randn(1000, 4, generator=generator(), dtype=torch.float64)
    tuned, x = adapt(sampler, ill_conditioned, x0, 200, generator=generator(1), precondition=kind)
    assert isinstance(tuned, Preconditioned)
    assert x.shape == x0.shape
    bound = 0.01 if kind == "both" else SIGMAS * 0.5 * (2 / 1000) ** 0.5
    assert float((tuned.scale / WIDE).log().abs().max()) < bound
    assert type(tuned.sampler) is type(sampler)
    # a natural step in units of the widths; without a scale below 0.03² · 4 or 0.03 · 2
    assert tuned.step_size > 0.1


@pytest.mark.parametrize("kind", ["draws", "gradients", "both"])
def test_the_step_size_belongs_to_the_scale(kind):
    """The acceptance of the returned sampler from exact starts against its target.

    The last window is 300 of 1000 steps; tolerances as in `test_reaches_its_target_on_a_gaussian`.
    """
    x0 = WIDE * torch.randn(1000, 4, generator=generator(), dtype=torch.float64)
    tuned, _ = adapt(
        MALA(1e-3), ill_conditioned, x0, 1000, generator=generator(1), precondition=kind
    )
    fresh = WIDE * torch.randn(20_000, 4, generator=generator(2), dtype=torch.float64)
    _, info = tuned.step(ill_conditioned, tuned.init(ill_conditioned, fresh), generator(3))
    assert abs(float(info.acceptance.mean()) - 0.574) < 0.015 + 0.015 + hoeffding(20_000)


def test_finds_the_widths_from_a_point_off_the_target():
    """All chains start within 0.1 of one width: windows refine the scale until it is the target's;
    same bound.

    The last of the scales is measured over steps 500-700 of 1000, each of O(1) in units of the
    widths.
    """
    x0 = 0.1 * WIDE * torch.randn(1000, 4, generator=generator(), dtype=torch.float64)
    tuned, _ = adapt(
        MALA(1e-3), ill_conditioned, x0, 1000, generator=generator(1), precondition="draws"
    )
    assert float((tuned.scale / WIDE).log().abs().max()) < SIGMAS * 0.5 * (2 / 1000) ** 0.5
    plain, _ = adapt(MALA(1e-3), ill_conditioned, x0, 1000, generator=generator(1))
    assert plain.step_size < 4 * 0.03**2  # negative control: bound to the narrowest width


def test_a_scale_is_what_its_formula_says_over_finite_chains():
    x, grad = (
        torch.randn(50, 2, 3, generator=generator()) + 100,
        torch.randn(50, 2, 3, generator=generator(1)),
    )
    seen = Moments(x)
    dead = grad.clone()
    dead[3] = float("nan")
    u = torch.zeros(50)
    u[3] = float("nan")
    for shift in (0.0, 1.0):
        seen.add(evaluate(targets.gaussian, x)._replace(x=x + shift, potential=u, grad=dead))
    kept = torch.arange(50) != 3
    both = torch.cat([x[kept], x[kept] + 1]).double()
    variance, steepness = both.var(0, correction=0), (grad[kept].double() ** 2).mean(0)
    for kind, expected in {
        "draws": variance**0.5,
        "gradients": steepness**-0.5,
        "both": (variance / steepness) ** 0.25,
    }.items():
        assert seen.scale(kind).dtype == x.dtype
        torch.testing.assert_close(seen.scale(kind).double(), expected, rtol=1e-6, atol=0)


def test_a_preconditioned_sampler_gets_a_new_scale_and_no_second_wrapping():
    x0 = WIDE * torch.randn(200, 4, generator=generator(), dtype=torch.float64)
    once = Preconditioned(MALA(0.1), 3 * WIDE)
    kept, _ = adapt(once, ill_conditioned, x0, 60, generator=generator(1))
    assert identical(kept.scale, once.scale)
    assert kept.step_size != 0.1
    renewed, _ = adapt(once, ill_conditioned, x0, 60, generator=generator(1), precondition="both")
    assert isinstance(renewed.sampler, MALA)
    assert float((renewed.scale / WIDE).log().abs().max()) < 0.1


def test_a_ladder_is_wrapped_as_a_whole():
    x0 = WIDE * torch.randn(100, 4, generator=generator(), dtype=torch.float64)
    ladder = ReplicaExchange(MALA(1e-3), (1.0, 2.0))
    tuned, _ = adapt(ladder, ill_conditioned, x0, 60, generator=generator(1), precondition="both")
    assert tuned.sampler == ReplicaExchange(MALA(tuned.step_size), (1.0, 2.0))


@pytest.mark.parametrize("num_steps", [20, 21, 33, 1000])
def test_windows_add_up(num_steps):
    windows = split(num_steps, WINDOWS)
    assert sum(windows) == num_steps
    assert min(windows) >= 2
    assert split(num_steps, (1.0,)) == [num_steps]
    assert split(1, (0.5, 0.5)) == [1]


@pytest.mark.parametrize(
    ("sampler", "request_", "says"),
    [
        (MALA(0.1), {"precondition": "fisher"}, "precondition is 'fisher'"),
        (
            MALA(0.1),
            {"precondition": "draws", "num_steps": 19},
            "num_steps is 19, must be at least 20",
        ),
        (Langevin(0.1), {"precondition": "draws"}, "adapt needs a Metropolis-adjusted sampler"),
        (
            Preconditioned(Langevin(0.1), torch.ones(3)),
            {},
            "adapt needs a Metropolis-adjusted sampler",
        ),
        (ReplicaExchange(Langevin(0.1)), {}, "adapt needs a Metropolis-adjusted sampler"),
        (RandomWalk(0.1), {"precondition": "both"}, "3 of 3 coordinates have no gradient"),
    ],
)
def test_refuses_in_one_line(sampler, request_, says):
    request = {"num_steps": 20} | request_
    with pytest.raises(StanleyError, match=says) as error:
        adapt(sampler, targets.gaussian, starts((4, 3)), generator=generator(), **request)
    assert "\n" not in str(error.value)


def test_a_coordinate_without_gradient_has_draws_and_no_steepness():
    def flat(x):  # with walls far away, so that its mass is finite
        return ((x[:, :2] ** 2).sum(1) + (x[:, 2].abs() - 1e3).clamp(min=0) ** 2) / 2

    with pytest.raises(StanleyError, match="1 of 3 coordinates have no gradient"):
        adapt(MALA(0.1), flat, starts((4, 3)), 40, generator=generator(), precondition="gradients")
    tuned, _ = adapt(
        MALA(0.1), flat, starts((4, 3)), 40, generator=generator(), precondition="draws"
    )
    assert tuned.scale.isfinite().all()


def test_each_search_starts_from_the_step_it_says(monkeypatch):
    """From the sampler's own h, and from 1 whenever there is a new scale."""
    seen = []

    def watched(sampler, *arguments):
        seen.append(sampler.step_size)
        return tune(sampler, *arguments)

    monkeypatch.setattr(sys.modules[adapt.__module__], "tune", watched)
    adapt(
        MALA(0.03),
        targets.coupled,
        starts((50, 3)),
        40,
        generator=generator(),
        precondition="draws",
    )
    assert seen == [0.03, 1.0, 1.0, 1.0]


# --- thresholds


@pytest.mark.parametrize(
    "sampler",
    [
        Adjusted(Stanley(0.1, Quantile(0.7), "sample")),
        Adjusted(ClippedLangevin(0.1, Quantile(0.7))),
        AMALA(0.1, Quantile(0.7)),
        Preconditioned(Adjusted(Stanley(0.1, Quantile(0.7))), torch.tensor([0.5, 1.0, 2.0])),
        ReplicaExchange(Adjusted(Stanley(0.1, Quantile(0.7))), (1.0, 2.0)),
    ],
    ids=["stanley", "clipped", "amala", "preconditioned", "replicas"],
)
@pytest.mark.parametrize("precondition", [None, "draws"])
def test_a_quantile_becomes_a_number(sampler, precondition):
    """After adaptation, what a run resolves no longer depends on where it starts."""
    tuned, _ = adapt(
        sampler,
        targets.coupled,
        starts((50, 3)),
        40,
        generator=generator(),
        precondition=precondition,
    )
    near, far = (
        tuned.init(targets.coupled, scale * starts((50, 3), 4)).threshold for scale in (0.1, 2.0)
    )
    assert near == far
    loose = [
        sampler.init(targets.coupled, scale * starts((50, 3), 4)).threshold for scale in (0.1, 2.0)
    ]
    assert loose[0] != loose[1]  # negative control


def test_the_number_is_the_quantile_where_the_last_window_begins():
    """Half the steps are one run of dual averaging from a quantile;
    the number is its last state's.
    """
    sampler, x0 = Adjusted(Stanley(0.1, Quantile(0.7))), starts((50, 3))
    tuned, _ = adapt(sampler, targets.coupled, x0, 41, generator=generator())
    state, rng, averaging = (
        sampler.init(targets.coupled, x0),
        generator(),
        DualAveraging(0.574, 0.1),
    )
    for _ in range(20):
        here = Adjusted(replace(sampler.proposal, step_size=averaging.step_size))
        state, info = here.step(targets.coupled, state, rng)
        averaging.update(float(info.acceptance.mean()))
    expected = resolve_threshold(Quantile(0.7), state.grad, "element")
    assert tuned.proposal.threshold == pytest.approx(float(expected), rel=1e-9)
    assert with_threshold(sampler, expected).proposal.threshold == tuned.proposal.threshold


def test_a_given_threshold_is_left_alone():
    tuned, _ = adapt(
        Adjusted(Stanley(0.1, 1.5)), targets.coupled, starts((50, 3)), 20, generator=generator()
    )
    assert tuned.proposal.threshold == 1.5


# A dense scale.


def turned(d: int, condition: float) -> tuple[Gaussian, torch.Tensor]:
    """A Gaussian whose axes lie anywhere, and its covariance, of this condition number."""
    axes, _ = torch.linalg.qr(torch.randn(d, d, generator=generator(3), dtype=torch.float64))
    variances = torch.logspace(0, -math.log10(condition), d, dtype=torch.float64)
    covariance = axes * variances @ axes.T
    return Gaussian(torch.linalg.inv(covariance)), covariance


def seen_by(draws: torch.Tensor) -> Moments:
    """What the search knows of draws (n, B, d), with gradients that are not looked at."""
    moments = Moments(draws[0], dense=True)
    for x in draws:
        moments.add(ChainState(x, x.sum(1), torch.ones_like(x)))
    return moments


def test_the_factor_is_that_of_the_covariance_over_finite_chains():
    factor = torch.tensor([[3.0, 0, 0], [-2.9, 0.4, 0], [5.0, 4.0, 0.1]], dtype=torch.float64)
    draws = starts((40, 30, 3)) @ factor.T + 7
    broken = draws.clone()
    broken[5, 3, 1], broken[6, 4] = math.nan, math.inf
    good = draws.flatten(0, 1)[broken.flatten(0, 1).isfinite().all(1)]
    found = seen_by(broken).factor()
    covariance = torch.cov(good.T, correction=0)
    torch.testing.assert_close(found @ found.T, covariance, rtol=1e-9, atol=1e-9)
    assert torch.equal(found, found.tril())


def test_roundness_is_the_condition_of_what_is_left():
    _, covariance = turned(5, 1e3)
    assert roundness(torch.linalg.cholesky(covariance), covariance) == pytest.approx(1, rel=1e-6)
    one = torch.eye(5, dtype=torch.float64)
    assert roundness(one, covariance) == pytest.approx(1e3, rel=1e-6)
    assert roundness(one, torch.diag(torch.tensor([1.0, 1, 1, 1, 0.0])).double()) == math.inf


@pytest.mark.parametrize("chains", [4, 5, 64])
def test_a_matrix_does_not_pay_where_it_is_noise(chains):
    """Independent coordinates, and chains that never moved, however correlated they are."""
    assert seen_by(starts((40, chains, 6)) * torch.logspace(-2, 2, 6).double()).factor() is None
    still = starts((1, chains, 40)) @ torch.linalg.cholesky(turned(40, 1e4)[1]).T
    assert seen_by(still.expand(30, chains, 40)).factor() is None


def test_a_matrix_pays_from_the_limit_on():
    """Two coordinates of correlation r, κ = (1 + r)/(1 - r): at twice the limit of 4 and at half of
    it, known to a few per cent by 30,000 draws."""
    for condition, pays in ((2 * PAYS, True), (PAYS / 2, False)):
        r = (condition - 1) / (condition + 1)
        factor = torch.tensor([[1.0, 0], [r, (1 - r * r) ** 0.5]], dtype=torch.float64)
        assert (seen_by(starts((300, 100, 2)) @ factor.T).factor() is not None) == pays


def test_there_is_a_largest_matrix():
    small, large = (Moments(starts((4, d)), dense=True) for d in (MOST_DENSE, MOST_DENSE + 1))
    assert small.halves is not None
    assert large.halves is None
    assert Moments(starts((4, 1)), dense=True).halves is None


def test_an_ill_conditioned_gaussian_gets_its_matrix():
    """κ = 10³ in 10 dimensions: what is left of it is below 6, and each independent draw costs a
    quarter of the gradients; the means of both are 0 within 6 standard errors (below 1e-7).
    """
    from stanley.diagnostics import summarise

    target, covariance = turned(10, 1e3)
    cost = {}
    kinds: dict[Precondition, type] = {"draws": Preconditioned, "dense": DensePreconditioned}
    for kind, wrapped in kinds.items():
        x0 = starts((64, 10), seed=2)
        sampler, x = adapt(ChEES(0.1), target, x0, 200, seed=5, precondition=kind)
        assert type(sampler) is wrapped
        run = run_chains(sampler, target, x, 200, seed=6, keep_every=1)
        s = summarise(run.draws)
        assert (s.mean.abs() < 6 * s.mcse).all()
        cost[kind] = run.info.num_gradients * 64 / s.worst_ess_bulk
    assert roundness(sampler.scale, covariance) < 6
    assert cost["dense"] < cost["draws"] / 4


@pytest.mark.parametrize("sampler", [MALA(0.1), RandomWalk(0.1), ChEES(0.1)], ids=lambda s: s.kind)
def test_where_it_does_not_pay_a_dense_scale_is_that_of_the_draws(sampler):
    """Bit for bit, chains too."""
    target = Gaussian.from_std(torch.logspace(-1, 1, 4, dtype=torch.float64))
    found = [
        adapt(sampler, target, starts((32, 4)), 80, seed=1, precondition=kind)
        for kind in ("draws", "dense")
    ]
    (plain, x), (dense, y) = found
    assert type(dense) is Preconditioned
    assert torch.equal(plain.scale, dense.scale)
    assert plain.sampler == dense.sampler
    assert torch.equal(x, y)


@pytest.mark.parametrize(
    "sampler", [MALA(0.1), HMC(0.1, 3), ReplicaExchange(MALA(0.1))], ids=lambda s: s.kind
)
def test_every_sampler_takes_a_dense_scale(sampler):
    target, _ = turned(4, 1e3)
    found, _ = adapt(sampler, target, starts((64, 4)), 200, seed=1, precondition="dense")
    assert type(found) is DensePreconditioned
    assert found.sampler.kind == sampler.kind
    again, _ = adapt(found, target, starts((64, 4)), 200, seed=2, precondition="dense")
    assert type(again.sampler) is type(sampler)

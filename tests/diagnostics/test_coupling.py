"""Couplings: each chain of a pair keeps its law, pairs that met stay together, and the bounds
bound.

No seed: the generators are seeded anew for every run. A distance has the DKW bound, a mean SIGMAS
standard errors or Hoeffding's bound, so that no case of a test fails by accident more often than
once in 10⁶.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import ndtr
from scipy.stats import chi2, ks_2samp

from stanley import diagnostics
from stanley.diagnostics import coupling
from stanley.diagnostics.coupling import CEILING, NEAR, couple
from stanley.diagnostics.meeting import Curve, Meeting
from stanley.errors import StanleyError
from stanley.samplers import (
    AMALA,
    HMC,
    MALA,
    Adjusted,
    Barker,
    ClippedLangevin,
    GradientDescent,
    Langevin,
    MatchedLangevin,
    Preconditioned,
    PreconditionedLangevin,
    Quantile,
    RandomWalk,
    ReplicaExchange,
    Stanley,
    TamedLangevin,
    Underdamped,
    run_chains,
)
from stanley.samplers.base import Law
from stanley.targets import Banana, Quartic
from tests.seeds import RNG, fresh, fresh_seed

from ..samplers import formulas, targets
from ..samplers.bounds import ALPHA, SIGMAS, cdf_distance, dkw, hoeffding

N = 20_000
DOUBLE = torch.float64


def standard(*event: int, std: float = 1.0, dtype=DOUBLE):
    return lambda n, g: std * torch.randn(n, *event, generator=g, dtype=dtype)


# --- the draw: both marginals, and how often the two are equal

MEAN, OTHER = (
    torch.tensor([0.3, -0.2, 0.1], dtype=DOUBLE),
    torch.tensor([0.9, 0.1, -0.2], dtype=DOUBLE),
)
WIDE, NARROW = (
    torch.tensor([1.0, 0.5, 0.2], dtype=DOUBLE),
    torch.tensor([0.8, 0.6, 0.15], dtype=DOUBLE),
)


def mild(x: torch.Tensor) -> torch.Tensor:
    """Neighbours pull on each other and ∇U is Lipschitz: no step here diverges."""
    flat = x.flatten(1)
    return (flat**2).sum(1) / 2 + (flat[:, 1:] + flat[:, :-1]).sin().sum(1) / 2


LAWS = {
    "equal, near": ((MEAN, WIDE), (OTHER, WIDE)),
    "equal, far": ((MEAN, WIDE), (OTHER + 3, WIDE)),
    "equal laws": ((MEAN, WIDE), (MEAN, WIDE)),
    "different, near": ((MEAN, WIDE), (OTHER, NARROW)),
    "different, almost the same": ((MEAN, WIDE), (MEAN, 1.001 * WIDE)),
    "different, far": ((MEAN, WIDE), (OTHER + 3, 0.5 * NARROW)),
    "different, far, one mean": ((MEAN, WIDE), (MEAN, 0.01 * NARROW)),
}


def law(mean: torch.Tensor, variance: torch.Tensor, n: int = N) -> Law:
    return Law(mean.expand(n, *mean.shape), variance.expand(n, *mean.shape), None)


def distance(draws: torch.Tensor, mean: torch.Tensor, variance: torch.Tensor) -> float:
    """Largest DKW distance of z = (draws - mean)/sd: its components,
    their sum and the sum of their squares.
    """
    z = ((draws - mean) / variance.sqrt()).flatten(1).numpy()
    d = z.shape[1]
    found = [cdf_distance(z[:, i], ndtr) for i in range(d)]
    found += [cdf_distance(z.sum(1) / math.sqrt(d), ndtr), cdf_distance((z**2).sum(1), chi2(d).cdf)]
    return float(np.max(found))  # NaN if any is


def has_its_marginals(draw, name: str, n: int = N) -> bool:
    """Ten bounds at 1e-7: five distances for each chain."""
    p, q = LAWS[name]
    x, y = draw(law(*p, n), law(*q, n), fresh())
    return distance(x, *p) <= dkw(n) and distance(y, *q) <= dkw(n)


@pytest.mark.parametrize("name", list(LAWS))
def test_each_of_a_coupled_pair_has_its_own_law(name):
    assert has_its_marginals(coupling.coupled_draw, name)


def common_noise(p, q, generator):
    """The other chain's covariance."""
    x, _ = coupling.coupled_draw(p, q, generator)
    return x, q.mean + (x - p.mean)


def always_together(p, q, generator):
    """Without the test that makes reflection maximal."""
    x, y = coupling.coupled_draw(p, q, generator)
    coin = torch.rand(len(x), 1, generator=generator) < 0.5
    return x, torch.where(coin, x, y)


def all_of_q(p, q, generator):
    """Where the pair does not meet, y drawn from q and not from the rest of q."""
    x, y = coupling.coupled_draw(p, q, generator)
    again = q.mean + q.variance.sqrt() * torch.randn(
        q.mean.shape, generator=generator, dtype=DOUBLE
    )
    return x, torch.where(x == y, x, again)


def near_by_draw(p, q, generator):
    """Reflected or not by what was drawn: x = y where that would be a small move."""
    x, y = coupling.coupled_draw(p, q, generator)
    return x, torch.where(((x - y).norm(dim=1) < 2)[:, None], x, y)


@pytest.mark.parametrize(
    ("draw", "name"),
    [
        (common_noise, "different, near"),
        (common_noise, "different, far"),
        (always_together, "equal, near"),
        (always_together, "different, near"),
        (all_of_q, "equal, near"),
        (all_of_q, "different, near"),
        (near_by_draw, "equal, near"),
    ],
)
def test_negative_control_a_broken_draw_is_refused(draw, name):
    assert not has_its_marginals(draw, name, 4 * N)


@pytest.mark.parametrize("gap", [0.0, 0.5, 1.5, 3.0])
def test_equal_covariances_meet_as_often_as_can_be(gap):
    """P(x = y) = 1 - TV = 2Φ(-|Δ|/2), Hoeffding at 1e-7."""
    shift = gap * torch.tensor([0.48, 0.6, 0.64], dtype=DOUBLE) * WIDE.sqrt()
    x, y = coupling.coupled_draw(law(MEAN, WIDE), law(MEAN + shift, WIDE), fresh())
    met = (x == y).all(1)
    assert abs(float(met.double().mean()) - 2 * ndtr(-gap / 2)) <= hoeffding(N)
    assert torch.equal(met, (x == y).any(1))  # in all components or in none


@pytest.mark.parametrize(("mean", "variance"), [(0.4, 0.7), (0.05, 1.02), (1.1, 1.0001)])
def test_different_covariances_meet_as_often_as_stated(mean, variance):
    """P(x = y) = ∫ min(Cp, q), on a grid in one dimension."""
    z = np.linspace(-12, 12, 200_001)
    p = np.exp(-(z**2) / 2)
    q = np.exp(-((z - mean) ** 2) / 2 / variance) / math.sqrt(variance)
    dz = (z[1] - z[0]) / math.sqrt(2 * math.pi)
    laws = [
        law(torch.tensor([m], dtype=DOUBLE), torch.tensor([v], dtype=DOUBLE))
        for m, v in ((0, 1), (mean, variance))
    ]
    affinity = coupling.overlap(*laws)[0]
    assert float(affinity) == pytest.approx(np.sqrt(p * q).sum() * dz, rel=1e-9)
    assert affinity > NEAR
    x, y = coupling.coupled_draw(*laws, fresh())  # pyright: ignore[reportCallIssue]
    assert abs(
        float((x == y).double().mean()) - np.minimum(CEILING * p, q).sum() * dz
    ) <= hoeffding(N)


def test_far_pairs_with_different_covariances_are_reflected():
    """In standard coordinates the noises agree but along Δ, where they are opposite."""
    p, q = LAWS["different, far"]
    x, y = coupling.coupled_draw(law(*p), law(*q), fresh())
    u, v = (x - p[0]) / p[1].sqrt(), (y - q[0]) / q[1].sqrt()
    e = (p[0] - q[0]) / ((p[1] + q[1]) / 2).sqrt()
    e = e / e.norm()
    torch.testing.assert_close(u @ e, -v @ e, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(
        u - (u @ e)[:, None] * e, v - (v @ e)[:, None] * e, rtol=1e-9, atol=1e-9
    )


def test_the_draw_is_deaf_to_what_is_not_finite():
    """A pair that has overflowed ends the loop, meets nobody and leaves the others alone."""
    p, q = law(MEAN, WIDE, 4), law(OTHER, NARROW, 4)
    bad = torch.tensor([[math.nan], [math.inf], [0.0], [0.0]], dtype=DOUBLE)
    x, y = coupling.coupled_draw(p._replace(mean=p.mean + bad), q, fresh())
    assert not (x == y).all(1)[:2].any()
    assert x[2:].isfinite().all()
    assert y[2:].isfinite().all()


# --- one step: the law of each sampler

MOVES = {
    "langevin": Langevin(0.3),
    "tamed": TamedLangevin(0.3, "element"),
    "clipped-pixel": ClippedLangevin(0.3, 1.0, "pixel"),
    "element": Stanley(0.3, 1.0),
    "pixel": Stanley(0.3, 1.0, "pixel"),
    "sample": Stanley(0.3, 1.0, "sample"),
    "floor": Stanley(0.3, 1.0, floor=0.3),
    "drift-element": Stanley(0.3, 1.0, correction="drift"),
    "drift-pixel": Stanley(0.3, 1.0, "pixel", correction="drift"),
    "drift-sample": Stanley(0.3, 1.0, "sample", correction="drift"),
}
SAMPLERS = MOVES | {f"adjusted-{name}": Adjusted(move) for name, move in MOVES.items()}
SAMPLERS |= {"mala": MALA(0.3), "random-walk": RandomWalk(0.3)}
GAPS = {"near": 0.15, "far": 3.0}
IMAGE = (2, 2, 1)


def both_at(gap: float, n: int, event=IMAGE) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(1, *event, generator=fresh(), dtype=DOUBLE)
    y = x + gap * torch.linspace(-0.5, 1, x.numel(), dtype=DOUBLE).view_as(x)
    return x.expand(n, *event), y.expand(n, *event)


def one_step(sampler, potential, x0, y0):
    x, y = sampler.init(potential, x0), sampler.init(potential, y0)
    return coupling.coupled_step(sampler, coupling.coupled_move(sampler), potential, x, y, fresh())


@pytest.mark.parametrize("gap", GAPS.values(), ids=list(GAPS))
@pytest.mark.parametrize(
    "name", [name for name in MOVES if name not in ("drift-element", "drift-pixel")]
)
def test_one_coupled_step_has_the_exact_gaussian_law(name, gap):
    """Against a second derivation of the law; 12 bounds at 5e-8."""
    x0, y0 = both_at(gap, N)
    after = one_step(MOVES[name], targets.coupled, x0, y0)
    for start, state in zip((x0, y0), after, strict=True):
        mean, variance = formulas.Proposal(MOVES[name]).law(targets.coupled, start[:1])
        assert distance(state.x, mean, variance.expand_as(mean)) <= dkw(N, ALPHA / 2)


@pytest.mark.parametrize("gap", GAPS.values(), ids=list(GAPS))
@pytest.mark.parametrize("name", list(SAMPLERS))
def test_one_coupled_step_has_the_law_of_the_plain_step(name, gap):
    """Two sets of draws, distance ≤ the sum of their DKW bounds;
    mean and sum of squares over the event: 8e-7.
    """
    x0, y0 = both_at(gap, N)
    sampler = SAMPLERS[name]
    after = one_step(sampler, targets.coupled, x0, y0)
    for start, state in zip((x0, y0), after, strict=True):
        plain, _ = sampler.step(targets.coupled, sampler.init(targets.coupled, start), fresh())
        for f in (lambda z: z.flatten(1).mean(1), lambda z: (z**2).flatten(1).sum(1)):
            assert ks_2samp(f(state.x), f(plain.x), method="asymp").statistic <= 2 * dkw(N)


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_the_state_is_the_one_at_its_position(name):
    """U and ∇U of both chains, after steps of which some are refused."""
    sampler = SAMPLERS[name]
    after = one_step(sampler, targets.coupled, *both_at(1.0, 50))
    for state in after:
        again = sampler.init(targets.coupled, state.x)
        torch.testing.assert_close(state.potential, again.potential, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(state.grad, again.grad, rtol=1e-12, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize(
    "name", ["mala", "random-walk", "adjusted-element", "adjusted-sample", "adjusted-drift-element"]
)
def test_chains_that_start_in_their_law_stay_there(name):
    """Both chains of a pair, six steps on exp(-Σx⁴), whose law is known;
    its components are independent.
    """
    sampler, n = SAMPLERS[name], N
    exact = targets.LIGHT
    x, y = (
        sampler.init(exact.potential, torch.from_numpy(exact.draw(RNG, 2 * n).reshape(n, 2)))
        for _ in range(2)
    )
    generator = fresh()
    for _ in range(6):
        x, y = coupling.coupled_step(
            sampler, coupling.coupled_move(sampler), exact.potential, x, y, generator
        )
    assert (x.x == y.x).all(1).any()
    for state in (x, y):
        assert cdf_distance(state.x.numpy().ravel(), exact.cdf) <= dkw(2 * n)


# --- faithfulness


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("name", list(SAMPLERS))
def test_once_met_together_for_ever_bit_for_bit(name, dtype):
    """Half of the pairs start at one point, and with them in one batch pairs that are apart."""
    sampler, generator = SAMPLERS[name], fresh()
    x0 = torch.randn(40, *IMAGE, generator=generator, dtype=DOUBLE).to(dtype)
    y0 = torch.where(torch.arange(40).view(-1, 1, 1, 1) < 20, x0, x0 + 0.3)
    x, y = sampler.init(mild, x0), sampler.init(mild, y0)
    met = torch.arange(40) < 20
    for _ in range(60):
        x, y = coupling.coupled_step(sampler, coupling.coupled_move(sampler), mild, x, y, generator)
        now = (x.x == y.x).flatten(1).all(1)
        assert (now | ~met).all()
        met = now
        for a, b in zip(x[:3], y[:3], strict=True):
            assert torch.equal(a[met].nan_to_num(), b[met].nan_to_num())
    assert not torch.equal(x.x, x0)
    assert met[20:].any()  # these met on their own


@pytest.mark.parametrize("name", ["langevin", "adjusted-drift-pixel"])
def test_they_stay_together_where_a_batch_does_not_treat_its_rows_alike(name):
    """Matrix products round by where a row stands in the batch; here by 1e-9 of U."""

    def uneven(x):
        return mild(x) * (1 + 1e-9 * torch.arange(len(x), dtype=x.dtype))

    sampler, generator = SAMPLERS[name], fresh()
    x0 = torch.randn(20, *IMAGE, generator=generator, dtype=DOUBLE)
    x, y = (sampler.init(mild, x0) for _ in range(2))
    for _ in range(20):
        x, y = coupling.coupled_step(
            sampler, coupling.coupled_move(sampler), uneven, x, y, generator
        )
        assert all(torch.equal(a, b) for a, b in zip(x[:3], y[:3], strict=True))
    assert not torch.equal(x.x, x0)


def test_both_chains_accept_by_one_uniform():
    """U = log 2 everywhere but at the two starts, where it is 0: α = ½ for both,
    and both move or both stay.
    """

    def holes(x):
        return torch.where((x == 0).all(1) | (x == 4).all(1), 0.0, math.log(2))

    x0, y0 = torch.zeros(1000, 2, dtype=DOUBLE), torch.full((1000, 2), 4.0, dtype=DOUBLE)
    x, y = one_step(RandomWalk(0.5), holes, x0, y0)
    moved = (x.x != x0).any(1)
    assert torch.equal(moved, (y.x != y0).any(1))
    assert abs(float(moved.double().mean()) - 0.5) <= hoeffding(1000)


def test_equal_states_use_the_same_noise():
    """Not only by being copied: the draw itself gives equal laws equal points."""
    p = law(MEAN, WIDE)
    x, y = coupling.coupled_draw(p, p, fresh())
    assert torch.equal(x, y)


# --- what follows from the meeting times


def meeting(times, lag: int = 3, cap: int = 50, **fields) -> Meeting:
    tau = torch.tensor(times, dtype=DOUBLE)
    distances = fields.pop("distances", torch.zeros(cap + 1, len(tau), dtype=DOUBLE))
    diverged = torch.zeros(len(tau), dtype=torch.bool)
    return replace(Meeting(tau, distances, diverged, lag, cap, True), **fields)


def test_the_curves_are_their_sums():
    """Σ_{j≥1} over t + jL < τ, counted one by one."""
    lag, taus = 3, [3, 4, 6, 7, 20, 31]
    size = max(taus) - lag + 1
    k = torch.arange(size)[:, None]
    apart = k + lag < torch.tensor(taus)
    distances = torch.where(
        apart, torch.rand(size, len(taus), generator=fresh(), dtype=DOUBLE) + 0.1, 0.0
    )
    found = meeting(taus, lag, distances=distances)
    times = torch.tensor([0, 1, 2, 5, 27, 28, 40])
    tv, w = found.total_variation(times), found.wasserstein(times)
    for i, t in enumerate(times.tolist()):
        steps = range(t, size, lag)  # k = t + (j-1)L
        counts = torch.stack(
            [sum((apart[s].double() for s in steps), torch.zeros(6, dtype=DOUBLE))]
        )
        sums = sum((distances[s] for s in steps), torch.zeros(6, dtype=DOUBLE))
        for curve, rows in ((tv, counts[0]), (w, sums)):
            assert float(curve.value[i]) == pytest.approx(float(rows.mean()), abs=1e-12)
            assert float(curve.standard_error[i]) == pytest.approx(
                float(rows.std()) / 6**0.5, abs=1e-12
            )
    assert tv.valid
    whole = found.total_variation()
    assert whole.times.tolist() == list(range(size))
    assert whole.value[-1] == 0
    assert float(whole.value[0]) == float(tv.value[0])


def test_pairs_that_have_not_met_make_a_curve_that_says_so():
    found = meeting([4.0, 9.0, math.inf], 3, 50)
    assert found.unmet == pytest.approx(1 / 3)
    assert not found.total_variation().valid
    assert not found.wasserstein().valid
    assert found.mixing_time() is None
    assert "1 of 3 pairs had not met after 50 coupled steps" in found.verdict()
    assert "bound nothing" in found.verdict()
    # 54 = L + cap + 1, the earliest it can have been
    truncated = meeting([4.0, 9.0, 54.0], 3, 50).total_variation()
    assert torch.equal(found.total_variation(truncated.times).value, truncated.value)


def test_the_mixing_time_is_where_the_curve_crosses():
    taus = [1 + int(t) for t in torch.randint(1, 400, (300,), generator=fresh())]
    found = meeting(taus, 1, 1000)
    t = found.mixing_time(0.25)
    value, error = (found.total_variation(torch.arange(t + 1))[i] for i in (1, 2))
    assert float(value[t] + 2 * error[t]) < 0.25
    assert (value[:t] + 2 * error[:t] >= 0.25).all()
    assert f"after {t} steps" in found.verdict()
    assert found.exact
    assert "of exp(-U)" in found.verdict()
    assert "not exp(-U)" in replace(found, exact=False).verdict()


@pytest.mark.parametrize("cap", [10_000, 40])
def test_the_slope_of_a_geometric_tail_with_and_without_a_cap(cap):
    """P(τ > t) = (1-p)^t: within SIGMAS of its own standard error,
    also where one pair in eight is cut off.
    """
    p, n = 0.05, 4000
    tau = torch.from_numpy(RNG.geometric(p, n)).double() + 1
    cut = torch.where(tau > cap + 1, math.inf, tau)
    slope, error = meeting(cut.tolist(), 1, cap).slope()
    assert abs(slope - math.log1p(-p)) <= SIGMAS * error
    assert 0 < error < 0.1 * abs(slope)


def test_a_slope_needs_meetings():
    assert math.isnan(meeting([5.0] * 15).slope()[0])
    assert math.isnan(meeting([math.inf] * 100).slope()[0])
    assert math.isnan(meeting([5.0] * 100).slope()[0])  # no tail: all at once


# --- the bounds bound

STEP, START, WIDTH = 0.2, 3.0, 0.5
PAIRS = 4000


def gaussian_tv(mean: float, variance: float, other: float) -> float:
    """TV of N(mean, variance) and N(0, other) on a grid, 1e-6."""
    z = np.linspace(-15, 15, 60_001)
    p, q = (
        np.exp(-((z - m) ** 2) / 2 / v) / math.sqrt(2 * math.pi * v)
        for m, v in ((mean, variance), (0.0, other))
    )
    return float(np.abs(p - q).sum() * (z[1] - z[0]) / 2)


def known_laws(steps: int) -> list[tuple[float, float]]:
    """Langevin on N(0, 1) from N(3, ½²): x' = (1 - h/2)x + √h ξ, mean and variance of π_t."""
    laws, a = [(START, WIDTH**2)], 1 - STEP / 2
    for _ in range(steps):
        mean, variance = laws[-1]
        laws.append((a * mean, a**2 * variance + STEP))
    return laws


def start(n, generator):
    return START + WIDTH * torch.randn(n, 1, generator=generator, dtype=DOUBLE)


@pytest.fixture(scope="module", params=[5, 20])
def known(request) -> Meeting:
    return couple(
        Langevin(STEP),
        targets.gaussian,
        start,
        generator=fresh(),
        num_pairs=PAIRS,
        lag=request.param,
    )


def tv_bounds(found: Meeting) -> bool:
    """Bound + SIGMAS errors + slack ≥ TV for all t.

    The slack is for where few pairs are left: a mean count below 20·w/P, w = 1/(1 - a^L) the mean
    of one that is not 0 (gaps beyond L decay like a = 1 - h/2), goes unseen with probability
    e^{-20}.
    """
    t = torch.arange(60)
    laws, invariant = known_laws(60), 1 / (1 - STEP / 4)
    tv = torch.tensor([gaussian_tv(*laws[int(k)], invariant) for k in t])
    _, value, error, valid = found.total_variation(t)
    slack = 20 / (1 - (1 - STEP / 2) ** found.lag) / PAIRS
    return valid and bool((value + SIGMAS * error + slack >= tv).all())


def test_the_total_variation_is_below_its_bound(known):
    assert tv_bounds(known)


def test_the_bound_is_of_use(known):
    """On a Gaussian, reflection is close to the best there is:
    the bound is at most 2.5 times what it bounds.
    """
    laws = known_laws(60)
    t = 20
    assert float(known.total_variation(torch.tensor([t])).value) <= 2.5 * gaussian_tv(
        *laws[t], 1 / (1 - STEP / 4)
    )


def test_negative_control_half_the_meeting_time_bounds_nothing(known):
    assert not tv_bounds(replace(known, times=known.lag + ((known.times - known.lag) / 2).floor()))


def test_the_wasserstein_distance_is_below_its_bound(known):
    """W₁ ≥ |E_t x - E x| = a^t·3."""
    t = torch.arange(0, 30)
    _, value, error, valid = known.wasserstein(t)
    assert valid
    assert (value + SIGMAS * error >= START * (1 - STEP / 2) ** t.double()).all()
    # and it could fail
    assert not (value / 4 + SIGMAS * error / 4 >= START * (1 - STEP / 2) ** t.double()).all()


def test_the_slope_is_not_faster_than_the_chain(known):
    """The chain forgets like a^t; its coupling cannot beat that in the tail."""
    slope, error = known.slope()
    # the tail starts at the median, not at ∞
    assert slope + SIGMAS * error >= math.log(1 - STEP / 2) - 0.02
    assert slope < 0


# --- the claim of the method: light tails


def ring(n: int, generator: torch.Generator) -> torch.Tensor:
    """Radius 5 to 10 in the plane; there every MALA proposal overshoots and its α is below
    e^{-1000}.
    """
    z = torch.randn(n, 2, generator=generator, dtype=DOUBLE)
    radius = 5 + 5 * torch.rand(n, 1, generator=generator, dtype=DOUBLE)
    return radius * z / z.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("scope", ["element", "sample"])
def test_on_light_tails_adjusted_stanley_meets(scope):
    """Meeting times of some 170 ± 20 and a tail of e^{-t/16}: 2000 steps leave nothing,
    TV < ¼ well before 200.
    """
    sampler = Adjusted(Stanley(0.2, 1.0, scope))
    found = couple(
        sampler, Quartic(2), ring, generator=fresh(), num_pairs=300, lag=100, max_steps=2000
    )
    assert found.unmet == 0
    assert found.mixing_time(0.25) < 200
    assert "all 300 pairs met" in found.verdict()
    assert "of exp(-U)" in found.verdict()
    assert found.slope()[0] < -0.02


def test_on_light_tails_mala_does_not_meet():
    found = couple(
        MALA(0.2), Quartic(2), ring, generator=fresh(), num_pairs=100, lag=20, max_steps=200
    )
    assert found.unmet == 1
    assert "100 of 100 pairs had not met after 200 coupled steps" in found.verdict()
    assert not found.total_variation().valid


def test_on_light_tails_langevin_diverges_and_is_told_so():
    found = couple(Langevin(0.2), Quartic(2), ring, generator=fresh(), num_pairs=20, max_steps=200)
    assert found.unmet == 1
    assert found.diverged.all()
    assert len(found.distances) < 50  # nothing runs on for pairs that are lost
    assert "diverges" in found.verdict()
    assert found.wasserstein().value.isinf().all()


def test_chains_that_never_were_apart_prove_nothing():
    """All at one point where MALA accepts nothing: X_L = Y_0 without anything having converged."""
    there = torch.full((20, 2), 8.0, dtype=DOUBLE)
    found = couple(MALA(0.2), Quartic(2), (there, there), generator=fresh())
    assert found.times.tolist() == [1.0] * 20
    assert not found.total_variation().valid
    assert found.mixing_time() is None
    assert "never apart" in found.verdict()


# --- the run


@pytest.mark.parametrize("lag", [1, 7])
def test_x_leads_by_the_lag(lag):
    """Without noise to speak of the first distance is |X_L - Y_0|:
    X has made L steps and Y none.
    """
    x0 = torch.full((4, 2), 1.0, dtype=DOUBLE)
    h = 1e-18
    found = couple(
        Langevin(h), lambda x: x.sum(1) / h, (x0, x0), generator=fresh(), lag=lag, max_steps=3
    )
    torch.testing.assert_close(
        found.distances[0], torch.full((4,), lag / 2 * 2**0.5, dtype=DOUBLE), rtol=1e-6, atol=0
    )
    assert found.unmet == 1
    assert found.distances.shape == (4, 4)


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_a_run_gives_times_and_distances_that_agree(dtype):
    found = couple(
        Adjusted(Stanley(0.5, 1.0)),
        targets.gaussian,
        standard(2, 2, dtype=dtype),
        generator=fresh(),
        num_pairs=50,
        lag=4,
    )
    assert found.unmet == 0
    k = torch.arange(len(found.distances))[:, None]
    assert torch.equal(found.distances > 0, k + found.lag < found.times)
    assert found.times.dtype == found.distances.dtype == DOUBLE
    assert len(found.distances) == int(found.times.max()) - found.lag + 1


def test_the_same_generator_gives_the_same_run_and_the_starts_are_left_alone():
    seed = fresh_seed()
    x0, y0 = (torch.randn(20, 3, generator=fresh(), dtype=DOUBLE) for _ in range(2))
    before = x0.clone()
    runs = [
        couple(MALA(0.4), targets.gaussian, (x0, y0), generator=torch.Generator().manual_seed(seed))
        for _ in range(2)
    ]
    assert torch.equal(runs[0].distances, runs[1].distances)
    assert torch.equal(x0, before)


def test_the_marginal_chain_is_the_sampler():
    """X after L steps and 5 coupled ones, pairs apart for want of time, against run_chains:
    two DKW bounds.
    """
    sampler, n, seen = Adjusted(Stanley(0.4, 0.5)), N, []

    def watched(x):
        seen.append(x.detach())
        return targets.quartic(x)

    x0, y0 = (torch.randn(n, 1, generator=fresh(), dtype=DOUBLE) for _ in range(2))
    couple(sampler, watched, (x0, y0), generator=fresh(), lag=2, max_steps=1)
    # two starts, L steps of X, one of both in one batch
    assert [len(s) for s in seen] == [n, n, n, n, 2 * n]
    plain = run_chains(sampler, targets.quartic, x0, 2, generator=fresh()).x
    state, generator = sampler.init(targets.quartic, x0), fresh()
    other = sampler.init(targets.quartic, y0)
    for _ in range(2):
        state, other = coupling.coupled_step(
            sampler, sampler.proposal, targets.quartic, state, other, generator
        )
    assert ks_2samp(state.x[:, 0], plain[:, 0], method="asymp").statistic <= 2 * dkw(n)


def test_a_potential_without_a_gradient_is_enough_for_a_random_walk():
    found = couple(
        RandomWalk(1.0),
        lambda x: torch.from_numpy((x.numpy() ** 2).sum(1) / 2),
        standard(2),
        generator=fresh(),
        num_pairs=20,
    )
    assert found.unmet == 0


# --- errors

NO_COUPLING = {
    "hmc": HMC(0.1, 3),
    "descent": GradientDescent(0.1),
    "matched": MatchedLangevin(0.1, 1.0),
    "barker": Barker(0.1),
    "amala": AMALA(0.1, 1.0),
    "adjusted-of-one's-own": Adjusted(replace(Stanley(0.1, 1.0), refresh="start")),
    "lagged": Stanley(0.1, 1.0, refresh="lagged"),
    "midpoint": Stanley(0.1, 1.0, correction="midpoint"),
    "preconditioned": Preconditioned(MALA(0.1), torch.ones(2, dtype=DOUBLE)),
    "preconditioned-langevin": PreconditionedLangevin(0.1),
    "underdamped": Underdamped(0.1),
    "replica": ReplicaExchange(MALA(0.1)),
}


REASON = {
    "matched": "depends on all chains",
    "adjusted-of-one's-own": "refresh='start'",
    "lagged": "refresh='lagged'",
    "midpoint": "midpoint move",
    "preconditioned-langevin": "second moments",
}


@pytest.mark.parametrize("name", list(NO_COUPLING))
def test_a_sampler_without_a_coupling_is_refused(name):
    with pytest.raises(StanleyError, match="has no coupling here: ") as error:
        couple(NO_COUPLING[name], targets.gaussian, standard(2), generator=fresh(), num_pairs=10)
    assert "\n" not in str(error.value)
    assert REASON.get(name, "does not state the law") in str(error.value)


def test_a_subclass_with_a_move_of_its_own_is_refused():
    class Louder(Langevin):
        pass

    with pytest.raises(StanleyError, match="Louder has no coupling"):
        couple(Louder(0.1), targets.gaussian, standard(2), generator=fresh(), num_pairs=10)


def run(sampler=MALA(0.1), initial=None, **options):  # noqa: B008
    options = {"num_pairs": 10, "generator": fresh(), **options}
    return couple(sampler, targets.gaussian, standard(2) if initial is None else initial, **options)


def points(*shape, **kind):
    return torch.zeros(*shape, dtype=kind.get("dtype", DOUBLE))


WRONG = {
    "quantile": (lambda: run(Stanley(0.1)), "threshold of Stanley is a quantile"),
    "quantile inside": (
        lambda: run(Adjusted(ClippedLangevin(0.1, Quantile(0.5)))),
        "ClippedLangevin is a quantile",
    ),
    "lag": (lambda: run(lag=0), "lag is 0, must be at least 1"),
    "max_steps": (lambda: run(max_steps=0), "max_steps is 0"),
    "num_pairs": (lambda: run(num_pairs=1), "num_pairs is 1, must be at least 2"),
    "num_pairs missing": (lambda: run(num_pairs=None), "num_pairs is None"),
    "num_pairs and tensors": (lambda: run(initial=(points(3, 2), points(3, 2))), "leave it out"),
    "initial of another n": (
        lambda: run(initial=lambda n, g: points(n + 1, 2)),
        r"\(11, 2\) for n = 10",
    ),
    "unlike": (lambda: run(initial=(points(3, 2), points(3, 3)), num_pairs=None), "must be alike"),
    "two types": (
        lambda: run(initial=(points(3, 2), points(3, 2, dtype=torch.float32)), num_pairs=None),
        "must be alike",
    ),
    "three starts": (
        lambda: run(initial=(points(3, 2),) * 3, num_pairs=None),
        "3 tensors of starts, must be 2",
    ),
    "one pair": (
        lambda: run(initial=(points(1, 2), points(1, 2)), num_pairs=None),
        "at least 2 pairs",
    ),
    "no event": (lambda: run(initial=lambda n, g: points(n)), "must be"),
    "not finite": (lambda: run(initial=lambda n, g: points(n, 2) / 0), "non-finite"),
    "points of another target": (
        lambda: couple(MALA(0.1), Banana(), standard(3), generator=fresh(), num_pairs=10),
        r"must be \(10, 2\): the points of Banana",
    ),
    "times": (lambda: meeting([4.0, 5.0]).total_variation(torch.tensor([-1])), r"times are \[-1\]"),
    "times in between": (
        lambda: meeting([4.0, 5.0]).wasserstein(torch.tensor([0.5])),
        r"times are \[0.5\]",
    ),
    "level": (lambda: meeting([4.0, 5.0]).mixing_time(1.5), "level is 1.5"),
}


@pytest.mark.parametrize("name", list(WRONG))
def test_a_wrong_request_is_one_line(name):
    call, message = WRONG[name]
    with pytest.raises(StanleyError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_the_names_are_public():
    assert diagnostics.couple is couple
    assert diagnostics.Meeting is Meeting
    assert diagnostics.Curve is Curve

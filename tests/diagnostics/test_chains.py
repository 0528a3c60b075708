"""R̂, ESS and Monte Carlo errors against ArviZ, and against processes whose values are known.

No seed: every run is a new draw. A Gaussian or χ² bound leaves at most 1e-7 each unless it says
otherwise.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from stanley import diagnostics
from stanley.diagnostics import chains
from stanley.errors import StanleyError
from stanley.samplers import MALA, run_chains
from tests.seeds import RNG

from ..samplers.bounds import ALPHA, SIGMAS
from ..samplers.targets import gaussian


def ar1(rho: float, n: int, num_chains: int, *event: int) -> np.ndarray:
    """x_i = ρ x_{i-1} + √(1-ρ²) ξ from its stationary law N(0, 1)."""
    noise = RNG.standard_normal((n, num_chains, *event))
    x = np.empty_like(noise)
    x[0] = noise[0]
    for i in range(1, n):
        x[i] = rho * x[i - 1] + (1 - rho**2) ** 0.5 * noise[i]
    return x


def iid(n: int, num_chains: int, *event: int) -> np.ndarray:
    return RNG.standard_normal((n, num_chains, *event))


CASES = {
    "iid": lambda: iid(200, 4),
    "slow": lambda: ar1(0.9, 300, 4),
    "alternating": lambda: ar1(-0.7, 300, 3),
    "odd": lambda: ar1(0.5, 301, 3),
    "cauchy": lambda: RNG.standard_cauchy((150, 4)),
    "apart": lambda: iid(100, 4) + np.arange(4.0),
    "ties": lambda: RNG.integers(0, 4, (150, 5)).astype(float),
    "two values in turn": lambda: np.tile([[0.0], [1.0]], (50, 3)),
    "four draws": lambda: iid(4, 3),
    "five draws": lambda: iid(5, 2),
    "nine draws": lambda: iid(9, 2),
    "many chains": lambda: ar1(0.5, 40, 300),
    "far from zero": lambda: 1e6 + iid(100, 3),
    "stuck chains": lambda: np.broadcast_to(np.arange(3.0), (20, 3)).copy(),
}

# name -> ours, theirs; ArviZ has (chain, draw)
PAIRS = {
    "rhat": (diagnostics.rhat, lambda az, x: az.rhat(x)),
    "ess_bulk": (diagnostics.ess_bulk, lambda az, x: az.ess(x, method="bulk")),
    "ess_tail": (diagnostics.ess_tail, lambda az, x: az.ess(x, method="tail", prob=(0.05, 0.95))),
    "ess_mean": (diagnostics.ess_mean, lambda az, x: az.ess(x, method="mean")),
    "ess_quantile": (
        lambda x: diagnostics.ess_quantile(x, 0.3),
        lambda az, x: az.ess(x, method="quantile", prob=0.3),
    ),
    "mcse_mean": (diagnostics.mcse_mean, lambda az, x: az.mcse(x, method="mean")),
    "mcse_quantile": (
        lambda x: diagnostics.mcse_quantile(x, 0.3),
        lambda az, x: az.mcse(x, method="quantile", prob=0.3),
    ),
    "mcse_sd": (  # the delta method with the ESS of the squares; ArviZ takes that of x
        diagnostics.mcse_sd,
        lambda az, x: (((x - x.mean()) ** 2).var() / az.ess(x, method="sd")) ** 0.5 / x.std() / 2,
    ),
    "nested_rhat": (
        lambda x: diagnostics.nested_rhat(x, x.shape[1]),
        lambda az, x: az.rhat_nested(x, np.arange(len(x)), method="identity"),
    ),
}


@pytest.mark.skipif(sys.version_info < (3, 11), reason="this ArviZ needs Python 3.11")
@pytest.mark.parametrize("case", list(CASES))
@pytest.mark.parametrize("name", list(PAIRS))
def test_it_is_what_arviz_says(name, case):
    """1e-6 relative, three independent coordinates."""
    from arviz_stats.base import array_stats

    ours, theirs = PAIRS[name]
    x = np.stack([CASES[case]() for _ in range(3)], 2)
    with np.errstate(all="ignore"):
        expected = [theirs(array_stats, x[:, :, j].T) for j in range(3)]
    found = ours(torch.from_numpy(x))
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, np.array(expected, dtype=float), rtol=1e-6)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="this ArviZ needs Python 3.11")
def test_nested_rhat_with_several_chains_to_a_super_chain_is_what_arviz_says():
    from arviz_stats.base import array_stats

    x = iid(7, 12) + np.repeat(np.arange(4.0), 3)
    expected = array_stats.rhat_nested(x.T, np.repeat(np.arange(4), 3), method="identity")
    np.testing.assert_allclose(diagnostics.nested_rhat(torch.from_numpy(x), 4), expected, rtol=1e-6)


# --- shapes, types, blocks

ALL = {
    **{name: ours for name, (ours, _) in PAIRS.items()},
    "autocorrelation": lambda x: diagnostics.autocorrelation(x, 7).movedim(0, -1),
    "mean of summary": lambda x: diagnostics.summarise(x).mean,
    "R̂ of summary": lambda x: diagnostics.summarise(x).rhat,
}


@pytest.mark.parametrize("name", list(ALL))
def test_every_coordinate_is_judged_alone_whatever_the_event_and_the_block(name, monkeypatch):
    x = torch.from_numpy(ar1(0.5, 41, 4, 2, 3))
    whole = ALL[name](x)
    assert whole.shape[:2] == (2, 3)
    alone = torch.stack([ALL[name](x[:, :, i, j]) for i in range(2) for j in range(3)])
    torch.testing.assert_close(whole.flatten(0, 1), alone, rtol=1e-12, atol=1e-12)
    monkeypatch.setattr(chains, "BLOCK", 1)
    torch.testing.assert_close(ALL[name](x), whole, rtol=1e-12, atol=1e-12)


def test_draws_of_any_type_are_judged_in_float64():
    x = torch.from_numpy(RNG.integers(-100, 100, (50, 4, 2)))
    expected = diagnostics.summarise(x.double())
    for other in (x, x.float(), x.float().requires_grad_()):
        found = diagnostics.summarise(other)
        for name in ("mean", "sd", "mcse", "ess_bulk", "ess_tail", "rhat"):
            torch.testing.assert_close(
                getattr(found, name), getattr(expected, name), rtol=0, atol=0
            )


def test_the_draws_of_a_run_are_taken_as_they_come():
    x0 = torch.randn(6, 1, 2, 2, dtype=torch.float64)
    draws = run_chains(MALA(0.5), gaussian, x0, 40, generator=torch.Generator(), keep_every=2).draws
    summary = diagnostics.summarise(draws)
    assert (summary.num_draws, summary.num_chains, summary.rhat.shape) == (20, 6, (1, 2, 2))


# --- invariances


def increasing(x: torch.Tensor) -> torch.Tensor:
    return x.sinh()


def test_ranks_are_all_that_bulk_and_tail_see():
    x = torch.from_numpy(ar1(0.6, 200, 4, 5))
    for f in (diagnostics.ess_bulk, diagnostics.ess_tail):
        torch.testing.assert_close(f(increasing(x)), f(x), rtol=1e-12, atol=0)
    scores = chains.normal_scores(x.permute(2, 1, 0))
    torch.testing.assert_close(
        chains.normal_scores(increasing(x).permute(2, 1, 0)), scores, rtol=0, atol=0
    )
    # moments differ
    assert (
        diagnostics.ess_mean(increasing(3 * x)) / diagnostics.ess_mean(x) - 1
    ).abs().max() > 1e-3


@pytest.mark.parametrize("exponent", [-900, -530, 530, 900])
def test_numbers_follow_the_units_however_small_or_large(exponent):
    """Multiplied by a power of two, which rounds nothing: the same R̂ and ESS bit for bit, errors
    in the new unit.

    Squares of such numbers are 0 or infinite in float64.
    """
    draws = torch.from_numpy(ar1(0.5, 200, 4, 3))
    unit = 2.0**exponent
    for name, degree in (
        ("rhat", 0),
        ("ess_bulk", 0),
        ("ess_tail", 0),
        ("ess_mean", 0),
        ("mcse_mean", 1),
    ):
        function = getattr(diagnostics, name)
        torch.testing.assert_close(
            function(draws * unit), function(draws) * unit**degree, rtol=0, atol=0
        )
    for function in (diagnostics.mcse_sd, lambda x: diagnostics.mcse_quantile(x, 0.3)):
        torch.testing.assert_close(function(draws * unit), function(draws) * unit, rtol=0, atol=0)
    same, scaled = diagnostics.summarise(draws), diagnostics.summarise(draws * unit)
    torch.testing.assert_close(scaled.sd, same.sd * unit, rtol=0, atol=0)
    torch.testing.assert_close(scaled.mcse, same.mcse * unit, rtol=0, atol=0)
    torch.testing.assert_close(scaled.rhat, same.rhat, rtol=0, atol=0)
    torch.testing.assert_close(
        diagnostics.autocorrelation(draws * unit),
        diagnostics.autocorrelation(draws),
        rtol=0,
        atol=0,
    )


def test_rhat_does_not_care_for_units_sign_or_the_order_of_chains():
    """-4x is exact in floating point; means of scores in another order round at 1e-16."""
    x = torch.from_numpy(ar1(0.6, 100, 5, 4))
    for other in (-4 * x, x.flip(1), x[:, [3, 1, 0, 4, 2]], x.flip(0)):
        torch.testing.assert_close(diagnostics.rhat(other), diagnostics.rhat(x), rtol=1e-12, atol=0)
        torch.testing.assert_close(
            diagnostics.ess_mean(other), diagnostics.ess_mean(x), rtol=1e-9, atol=0
        )


# --- autocorrelation and ESS of AR(1): ρ(t) = ρᵗ, ESS/S = (1 - ρ)/(1 + ρ)


def test_autocorrelation_is_the_definition():
    x = iid(13, 3, 2, 2)
    centred = x - x.mean(axis=(0, 1))
    covariance = np.stack([(centred[: 13 - t] * centred[t:]).sum(0) / 13 for t in range(13)])
    expected = covariance / (centred**2).mean(axis=(0, 1))
    by_chain = diagnostics.autocorrelation_by_chain(torch.from_numpy(x), 12)
    np.testing.assert_allclose(by_chain, expected, atol=1e-12)
    np.testing.assert_allclose(
        diagnostics.autocorrelation(torch.from_numpy(x), 12), expected.mean(1), atol=1e-12
    )


def excess(x: np.ndarray, rho: float) -> float:
    """|ρ̂(t) - (1 - t/n)ρᵗ| at t = 1 … 10 over its standard error (Bartlett; Brockwell & Davis
    1991, ex. 7.2.3).

    1/n [(1 - ρ^2t)(1 + ρ²)/(1 - ρ²) - 2t ρ^2t] for one chain. The pooled mean has variance (1 +
    ρ)/(1 - ρ)/S, which biases numerator and denominator by no more than that and is allowed for
    twice.
    """
    n, num_chains = x.shape
    t = np.arange(11)
    found = diagnostics.autocorrelation(torch.from_numpy(x), 10).numpy()
    variance = (
        ((1 - rho ** (2 * t)) * (1 + rho**2) / (1 - rho**2) - 2 * t * rho ** (2 * t))
        / n
        / num_chains
    )
    off = np.abs(found - (1 - t / n) * rho**t) - 2 * (1 + rho) / (1 - rho) / x.size
    return float((off[1:] / variance[1:] ** 0.5).max())


@pytest.mark.parametrize("rho", [0.5, 0.9, -0.6])
def test_autocorrelation_of_ar1(rho):
    """Ten comparisons within 6 standard errors: 2e-8."""
    x = ar1(rho, 3000, 64)
    assert excess(x, rho) <= SIGMAS
    assert excess(x, rho + 0.03) > SIGMAS  # negative control: another ρ is refused


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.9, -0.5])
@pytest.mark.parametrize("n", [400, 401])
def test_geyer_sums_a_known_autocorrelation_exactly(rho, n):
    """τ = -1 + 2 Σ ρᵗ = (1 + ρ)/(1 - ρ): the rest beyond lag 390 is 0.9³⁹⁰·20 < 1e-16."""
    exact = torch.tensor(rho, dtype=torch.float64) ** torch.arange(n)
    np.testing.assert_allclose(chains.geyer(exact[None]), (1 + rho) / (1 - rho), rtol=1e-12)


def test_geyer_stops_at_the_first_negative_pair_and_lets_nothing_rise():
    """Pairs 1.5, 0.5, 0.9 → 0.5, then 0.3 - 0.4 < 0: τ = -1 + 2·(1.5 + 0.5 + 0.5) + 0.3,
    what follows is not seen.
    """
    rho = torch.tensor(
        [[1, 0.5, 0.4, 0.1, 0.6, 0.3, 0.3, -0.4, 0.8, 0.8, 0.8, 0.8]], dtype=torch.float64
    )
    assert float(chains.geyer(rho)) == pytest.approx(4.3, rel=1e-14)


def ess_ratio(rho: float) -> float:
    return float(diagnostics.ess_mean(torch.from_numpy(ar1(rho, 100_000, 8)))) / 800_000


@pytest.mark.parametrize("rho", [0.6, -0.3])
def test_effective_sample_size_of_ar1(rho):
    """ESS/S = (1 - ρ)/(1 + ρ), within 6 standard errors of τ̂ summed to lag T: √(2(2T + 1)/S)
    (Sokal 1997, sec. 3).

    T = 200: the sum goes on past that only if some 80 pairs of pure noise are all positive, 2⁻³⁰
    even if they come in correlated threes. A sum cut off early misses less than one standard error
    of ρ(T).
    """
    tolerance = SIGMAS * (2 * 401 / 800_000) ** 0.5
    assert abs(ess_ratio(rho) * (1 + rho) / (1 - rho) - 1) <= tolerance
    assert abs(ess_ratio(rho + 0.25) * (1 + rho) / (1 - rho) - 1) > tolerance  # negative control


def test_the_error_of_the_mean_is_that_of_independent_draws():
    """1/√S for iid N(0, 1), within 6 standard errors of sd and of τ̂ to lag 200 as above, half of
    each.

    Of the sd: 1/√(2S); Var(x²) has relative variance 14/S. Of the median: the distance of two order
    statistics √S ranks apart has relative variance 1/√S.
    """
    x = torch.from_numpy(iid(100_000, 8))
    tolerance = SIGMAS * ((2 * 401 / 800_000) ** 0.5 + (2 / 800_000) ** 0.5) / 2
    assert abs(float(diagnostics.mcse_mean(x)) * 800_000**0.5 - 1) <= tolerance
    assert (
        abs(float(diagnostics.mcse_sd(x)) * 1_600_000**0.5 - 1)
        <= tolerance + SIGMAS * (24 / 800_000) ** 0.5
    )
    density = 1 / (2 * np.pi) ** 0.5  # √(p(1 - p)/S)/density
    error = float(diagnostics.mcse_quantile(x, 0.5)) * 800_000**0.5 * density / 0.5
    assert abs(error - 1) <= tolerance + SIGMAS * (2 / 800_000**0.5) ** 0.5


# --- R̂: what it must see


def rhat_bound(num_chains: int, n: int) -> float:
    """R̂² - 1 ≤ B/nW with B/W ~ F(m - 1, …) ~ χ²/(m - 1) for iid draws, m half-chains of n/2;
    W is within 10 %.
    """
    m = 2 * num_chains
    return float((1 + 1.1 * chi2.isf(ALPHA, m - 1) / (m - 1) / (n / 2)) ** 0.5)


@pytest.mark.parametrize(
    "draw", [iid, lambda n, b: RNG.standard_cauchy((n, b))], ids=["normal", "cauchy"]
)
def test_rhat_of_independent_draws_is_close_to_one(draw):
    """Of scores and folded scores, each by the bound: 2e-7."""
    assert (
        float(diagnostics.rhat(torch.from_numpy(draw(4000, 4))))
        <= rhat_bound(4, 4000)
        < chains.RHAT_LIMIT
    )


def test_rhat_sees_chains_in_different_modes():
    """Scores of the lower half of all ranks have mean -√(2/π), variance 1 - 2/π: R̂² ≈ 1 +
    (8/7)·(2/π)/(1 - 2/π) = 3.
    """
    x = torch.from_numpy(iid(1000, 4) + 20 * np.array([-1, -1, 1, 1]))
    assert float(diagnostics.rhat(x)) == pytest.approx(3**0.5, rel=0.02)
    assert "R̂" in diagnostics.verdict(diagnostics.summarise(x[..., None]))[0]


def test_rhat_sees_chains_of_different_spread_because_it_folds():
    x = torch.from_numpy(iid(4000, 4) * np.array([1, 1, 3, 3]))
    assert float(diagnostics.rhat(x)) > 1.1
    scores = chains.normal_scores(chains.half_chains(x.T[None]))
    # negative control: unfolded it looks mixed
    assert float(chains.split_rhat(scores)) < chains.RHAT_LIMIT


def test_rhat_sees_a_common_drift_because_it_splits():
    x = torch.from_numpy(iid(4000, 4) + np.linspace(-2, 2, 4000)[:, None])
    assert float(diagnostics.rhat(x)) > 1.1
    # unsplit it looks mixed
    assert float(chains.split_rhat(chains.normal_scores(x.T[None]))) < chains.RHAT_LIMIT


def test_nested_rhat_of_single_draws():
    """1 + Var of super-means / mean within, written out; and near 1 for iid draws:
    B·M/W ~ χ²(15)/15, W within 10 %.
    """
    x = RNG.standard_normal((1, 16 * 500, 3))
    groups = x[0].reshape(16, 500, 3)
    expected = (1 + groups.mean(1).var(0, ddof=1) / groups.var(1, ddof=1).mean(0)) ** 0.5
    found = diagnostics.nested_rhat(torch.from_numpy(x), 16)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    bound = (1 + 1.1 * chi2.isf(ALPHA, 15) / 15 / 500) ** 0.5
    assert float(found.max()) <= bound
    shifted = x + np.repeat(np.arange(16.0), 500)[:, None]
    # negative control
    assert float(diagnostics.nested_rhat(torch.from_numpy(shifted), 16).min()) > 2


# --- summary and verdict


def test_the_summary_is_the_functions():
    x = torch.from_numpy(ar1(0.5, 101, 4, 2, 3))
    s = diagnostics.summarise(x)
    for name, expected in {
        "mean": x.mean((0, 1)),
        "sd": x.std((0, 1)),
        "mcse": diagnostics.mcse_mean(x),
        "ess_bulk": diagnostics.ess_bulk(x),
        "ess_tail": diagnostics.ess_tail(x),
        "rhat": diagnostics.rhat(x),
    }.items():
        torch.testing.assert_close(getattr(s, name), expected, rtol=1e-12, atol=1e-14)
    assert s.worst_rhat == float(s.rhat.max())
    assert s.worst_ess_bulk == float(s.ess_bulk.min())
    assert s.worst_ess_tail == float(s.ess_tail.min())
    assert s.worst_mcse == float((s.mcse / s.sd).max())
    assert not s.constant.any()
    assert not s.nonfinite.any()


def test_nothing_speaks_against_independent_draws():
    """R̂ by its bound, ESS within 6 standard errors of 16,000, far above 400:
    1e-6 for three coordinates.
    """
    assert diagnostics.verdict(diagnostics.summarise(torch.from_numpy(iid(4000, 4, 3)))) == []


def test_short_slow_chains_are_named_with_their_worst_coordinate():
    """AR(1) of τ = 39: ρ̂(1) alone, 0.95 ± 0.02, brings ESS below 300 of 800;
    τ̂ > 2.9 for the rest is 27 errors off.
    """
    x = iid(200, 4, 2, 2)
    x[:, :, 1, 0] = ar1(0.95, 200, 4)
    sentences = diagnostics.verdict(diagnostics.summarise(torch.from_numpy(x)))
    assert any(s.startswith("bulk ESS is ") and "x[1, 0], below 400 at" in s for s in sentences)
    assert any(s.startswith("tail ESS is ") for s in sentences)


def test_a_coordinate_that_never_moves_has_no_numbers_and_is_said_so():
    x = torch.from_numpy(iid(4000, 4, 3))
    x[..., 1] = 0.1
    s = diagnostics.summarise(x)
    assert s.constant.tolist() == [False, True, False]
    for values in (s.rhat, s.ess_bulk, s.ess_tail, s.mcse):
        assert values.isnan().tolist() == [False, True, False]
    assert float(s.mean[1]) == pytest.approx(0.1)
    assert diagnostics.verdict(s) == [
        "1 of 3 coordinates never moved: nothing was accepted, or the coordinate is fixed"
    ]
    assert diagnostics.autocorrelation(x)[:, 1].isnan().all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_draws_are_counted_and_not_judged(value):
    x = torch.from_numpy(iid(4000, 4, 3))
    x[70:, 2, 1] = value
    x[:, 3, 1] = value
    s = diagnostics.summarise(x)
    assert s.nonfinite.tolist() == [False, False, True, True]
    assert not s.constant.any()
    for values in (s.mean, s.sd, s.rhat, s.ess_bulk, s.ess_tail, s.mcse):
        assert values.isnan().tolist() == [False, True, False]
    (sentence,) = diagnostics.verdict(s)
    assert sentence.startswith(
        "2 of 4 chains hold non-finite draws and 1 of 3 coordinates could not be judged"
    )


# --- bad input: one line each

GOOD = torch.zeros(10, 4, 2)
BAD = {
    "no draws kept": (lambda: diagnostics.rhat(None), "keep_every"),
    "an array": (lambda: diagnostics.rhat(GOOD.numpy()), "torch.as_tensor"),
    "one dimension": (lambda: diagnostics.ess_bulk(GOOD[:, 0, 0]), r"shape \(10,\)"),
    "empty": (lambda: diagnostics.ess_bulk(GOOD[:, :, :0]), "not empty"),
    "three draws": (lambda: diagnostics.ess_tail(GOOD[:3]), "3 draws"),
    "one chain": (lambda: diagnostics.rhat(GOOD[:, :1]), "1 chain"),
    "a summary of one chain": (lambda: diagnostics.summarise(GOOD[:, :1]), "1 chain"),
    "not a number": (lambda: diagnostics.mcse_mean(GOOD / 0), "80 of 80 draws are not finite"),
    "a quantile of 1": (lambda: diagnostics.ess_quantile(GOOD, 1.0), "prob is 1.0"),
    "a quantile of 0": (lambda: diagnostics.mcse_quantile(GOOD, 0.0), "prob is 0.0"),
    "three of four chains": (lambda: diagnostics.nested_rhat(GOOD, 3), "num_super is 3"),
    "one super-chain": (lambda: diagnostics.nested_rhat(GOOD, 1), "num_super is 1"),
    "nothing within": (lambda: diagnostics.nested_rhat(GOOD[:1], 4), "nothing to compare"),
    "too long a lag": (lambda: diagnostics.autocorrelation(GOOD, 10), "max_lag is 10"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_bad_input_is_one_clear_line(name):
    call, words = BAD[name]
    with pytest.raises(StanleyError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)

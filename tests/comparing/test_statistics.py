"""What few seeds can say, held to closed forms and to the laws of the tests."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats

from stanley.comparing.statistics import (
    RESAMPLES,
    holm,
    interval,
    seeds_needed,
    sign_test,
    verdicts,
    welch,
)
from tests.seeds import fresh


def scores(*values: float | None) -> dict[int, float | None]:
    return dict(enumerate(values))


def normal(n: int, mean: float = 0.0, sd: float = 1.0) -> dict[int, float | None]:
    draws = mean + sd * torch.randn(n, generator=fresh(), dtype=torch.float64)
    return dict(enumerate(draws.tolist()))


def test_holm_multiplies_the_smallest_by_all_and_never_decreases():
    p = {"a": 0.01, "b": 0.04, "c": 0.03, "d": None}
    assert holm(p) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06, "d": None})
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}
    drawn = {str(k): float(torch.rand((), generator=fresh())) for k in range(6)}
    corrected = holm(drawn)
    in_order = [corrected[name] or 0.0 for name in sorted(drawn, key=lambda n: drawn[n])]
    assert all(one <= other for one, other in pairwise(in_order))
    assert all((corrected[name] or 0) >= drawn[name] for name in drawn)


def test_the_sign_test_is_that_of_fair_coins():
    own, base = scores(1, 1, 1, 1, 1), scores(2, 2, 2, 2, 2)
    assert sign_test(own, base, more_is_better=False) == pytest.approx(2 / 2**5)
    assert sign_test(own, scores(2, 2, 2, 2, 0), more_is_better=False) == pytest.approx(12 / 2**5)


def test_a_failed_seed_is_one_that_was_lost():
    """None would be left out by a mean; in the sign test it loses to any number."""
    own, base = scores(1, 1, 1, None, None), scores(2, 2, 2, 2, 2)
    assert sign_test(own, base, more_is_better=False) == pytest.approx(1.0)  # 3 of 5 won
    found = verdicts({"own": own, "base": base}, "base", more_is_better=False)
    assert found["own"]["failed"] == 2
    assert "loses 2 of 5 seeds" in found["own"]["verdict"]


def test_welch_is_that_of_scipy_without_the_failures():
    own, base = normal(6), normal(7)
    expected = stats.ttest_ind(list(own.values()), list(base.values()), equal_var=False).pvalue
    assert welch(own | {9: None}, base) == pytest.approx(expected)
    assert welch(scores(1, 2), base) is None


def test_the_interval_holds_the_mean_about_as_often_as_it_says():
    """Of n normal values the bootstrap resamples N(x̄, s²(n-1)/n²) up to its fourth cumulant, so
    that its interval holds the mean with probability P(|t_{n-1}| <= 1.96·√((n-1)/n)): 0.929 for 20.
    Of 400 samples as many as a binomial law with that probability allows, at 1e-9 on each side;
    measured it is 0.932 ± 0.005 (3,000 samples), which moves these bounds by one.
    """
    n, samples = 20, 400
    holds = 1 - 2 * stats.t.sf(stats.norm.ppf(0.975) * math.sqrt((n - 1) / n), n - 1)
    inside = 0
    for _ in range(samples):
        low, high = interval(list(normal(n, mean=3.0).values())) or (0.0, 0.0)  # type: ignore[arg-type]  # no None among them
        inside += low <= 3.0 <= high
    law = stats.binom(samples, holds)
    assert law.ppf(1e-9) <= inside <= law.isf(1e-9)
    assert interval([1.0, 2.0]) is None
    assert interval([2.0, 2.0, 2.0]) == (2.0, 2.0)


def test_of_many_values_the_interval_is_the_normal_one():
    """x̄ ± 1.96·s/√n. The bounds are quantiles of R = 9,999 resampled means, whose standard error is
    √(0.025·0.975/R)/φ(1.96) = 0.027 of their deviation: six of them hold at 1e-9, and an interval
    of 90 %, 1.645, is twelve away.
    """
    half = np.abs(np.asarray(list(normal(500).values()), dtype=float))
    values = np.concatenate([half, -half])  # symmetric, so that BCa corrects nothing
    low, high = interval(values.tolist()) or (0.0, 0.0)
    error = values.std() / math.sqrt(len(values))
    off = 6 * math.sqrt(0.025 * 0.975 / RESAMPLES) / stats.norm.pdf(1.96)
    assert abs(low / error + 1.96) < off
    assert abs(high / error - 1.96) < off


def test_the_interval_is_the_same_when_it_is_shown_again():
    values = [float(v) for v in np.asarray([1.0, 4.0, 2.5, 3.0])]
    assert interval(values) == interval(values)


def test_the_seeds_that_are_needed_are_those_of_the_normal_power_formula():
    own, base = {"mean": 1.0, "sd": 2.0}, {"mean": 0.0, "sd": 1.0}
    z = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    assert seeds_needed(own, base) == math.ceil(z**2 * 5)
    assert seeds_needed(own, own) is None
    strict = stats.norm.ppf(1 - 0.05 / 6) + stats.norm.ppf(0.8)
    assert seeds_needed(own, base, tests=3) == math.ceil(strict**2 * 5)


@pytest.mark.parametrize("more_is_better", [False, True])
def test_a_clear_difference_is_said_with_its_sign(more_is_better: bool):
    own, base = normal(8, mean=0.0), normal(8, mean=30.0)
    found = verdicts({"base": base, "own": own}, "base", more_is_better)
    assert found["own"]["verdict"].startswith("worse" if more_is_better else "better")
    assert found["own"]["difference"] == pytest.approx(
        found["own"]["mean"] - found["base"]["mean"], abs=1e-9
    )
    low, high = found["own"]["difference_interval"]
    assert low <= found["own"]["difference"] <= high < 0
    assert found["base"]["verdict"] == "the baseline"


def test_no_difference_is_said_to_be_none_with_the_number_of_seeds():
    values = normal(5)
    moved = {seed: (value or 0.0) + 1e-3 for seed, value in values.items()}
    verdict = verdicts({"base": values, "own": moved}, "base", False)["own"]["verdict"]
    assert verdict.startswith("not distinguishable from base with n = 5")
    assert "takes" in verdict or "over" in verdict


def test_one_seed_has_no_interval_and_no_test_and_says_why():
    found = verdicts({"base": scores(1.0), "own": scores(2.0)}, "base", False)
    assert found["own"]["interval"] is None
    assert found["own"]["welch"] is None
    assert "no test with n = 1" in found["own"]["verdict"]


def test_an_arm_that_failed_everywhere_is_still_there():
    found = verdicts({"base": scores(1, 2, 3), "own": scores(None, None, None)}, "base", False)
    assert found["own"]["verdict"] == "failed on all 3 seeds"
    assert found["own"]["mean"] is None


def test_differences_are_taken_on_the_seeds_that_both_have():
    found = verdicts({"base": {0: 1.0, 1: 5.0}, "own": {1: 6.0, 2: 100.0}}, "base", False)
    assert found["own"]["difference"] == 1.0


def test_false_alarms_are_as_rare_as_the_level_says():
    """Two arms of one law beside a baseline of the same: a verdict of better or worse has
    probability at most 0.05, by Holm's correction; Welch's test of five normal values is no more
    liberal. Of 300 pairs as many as a binomial law allows at 1e-9.
    """
    alarms = 0
    for _ in range(300):
        arms = {name: normal(5) for name in ("base", "a", "b")}
        p = holm({name: welch(arms[name], arms["base"]) for name in ("a", "b")})
        alarms += any(value is not None and value < 0.05 for value in p.values())
    assert alarms <= stats.binom(300, 0.05).isf(1e-9)

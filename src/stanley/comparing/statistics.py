"""What few seeds can say: means with intervals, paired differences, and a verdict in words."""

from __future__ import annotations

import math
import statistics
from typing import Any

import numpy as np

Scores = dict[int, float | None]  # of one arm, seed -> value; None where the run failed

LEVEL = 0.05  # of the tests together
POWER = 0.8  # with which the seeds that are needed would show the difference
RESAMPLES = 9_999
LEAST = 3  # seeds from which on an interval is computed
MOST_SEEDS = 10_000


def verdicts(scores: dict[str, Scores], baseline: str, more_is_better: bool) -> dict[str, Any]:
    """For each arm what its seeds say, and how it stands to the baseline; seeds are paired.

    mean, sd, median   over the seeds that did not fail, of which `n` are left and `failed` are not
    interval           95 %, of the mean, by the bootstrap (`scipy.stats.bootstrap`, BCa)
    difference         mean of arm - baseline over the seeds where neither failed, with its interval
    welch              p of Welch's t test of the two, `welch_holm` with Holm's correction for
                       the number of arms
    sign               p of the exact two-sided sign test; a seed that failed is one that was lost
    verdict            in words; it needs `welch_holm` < 0.05, and as many seeds as the baseline

    Below three seeds there are no intervals and no tests, with the reason in the verdict. Not true:
    that an interval of five seeds covers 95 % of the time; it is narrower than it should be.
    """
    found = {arm: of_one(values) for arm, values in scores.items()}
    others = [arm for arm in scores if arm != baseline]
    for arm in others:
        found[arm] |= compared(scores[arm], scores[baseline], more_is_better)
    corrected = holm({arm: found[arm]["welch"] for arm in others})
    for arm in others:
        found[arm]["welch_holm"] = corrected[arm]
        found[arm]["verdict"] = verdict(
            found[arm], found[baseline], baseline, more_is_better, tests=len(others)
        )
    found[baseline]["verdict"] = "the baseline" if others else ""
    return found


def of_one(values: Scores) -> dict[str, Any]:
    known = [value for value in values.values() if value is not None]
    return {
        "values": {str(seed): value for seed, value in values.items()},
        "n": len(known),
        "failed": len(values) - len(known),
        "mean": statistics.fmean(known) if known else None,
        "sd": statistics.stdev(known) if len(known) > 1 else None,
        "median": statistics.median(known) if known else None,
        "interval": interval(known),
    }


def interval(values: list[float]) -> tuple[float, float] | None:
    """95 % of the mean by the bootstrap; None below three values.

    The resamples are the same for the same values: what is shown does not change when it is shown
    again.
    """
    if len(values) < LEAST:
        return None
    if min(values) == max(values):
        return values[0], values[0]
    from scipy.stats import bootstrap

    for method in ("BCa", "percentile"):  # of few values BCa may have none
        with np.errstate(all="ignore"):
            found = bootstrap(
                (np.asarray(values),),
                np.mean,
                n_resamples=RESAMPLES,
                method=method,
                rng=np.random.default_rng(0),
            ).confidence_interval
        if math.isfinite(found.low) and math.isfinite(found.high):
            break
    return float(found.low), float(found.high)


def compared(own: Scores, base: Scores, more_is_better: bool) -> dict[str, Any]:
    """An arm beside the baseline, seed by seed."""
    both = [(own[seed], base[seed]) for seed in own if seed in base]
    differences = [a - b for a, b in both if a is not None and b is not None]
    return {
        "difference": statistics.fmean(differences) if differences else None,
        "difference_interval": interval(differences),
        "welch": welch(own, base),
        "sign": sign_test(own, base, more_is_better),
    }


def welch(own: Scores, base: Scores) -> float | None:
    a, b = ([v for v in values.values() if v is not None] for values in (own, base))
    if min(len(a), len(b)) < LEAST:
        return None
    if min(a) == max(a) and min(b) == max(b):
        return 1.0 if a[0] == b[0] else 0.0
    from scipy.stats import ttest_ind

    found: Any = ttest_ind(a, b, equal_var=False)
    return float(found.pvalue)


def sign_test(own: Scores, base: Scores, more_is_better: bool) -> float | None:
    """Exact, of the seeds on which one of the two is better; a failure loses to a number."""
    from scipy.stats import binomtest

    sign = -1 if more_is_better else 1
    won = lost = 0
    for a, b in ((own[seed], base[seed]) for seed in own if seed in base):
        x = math.inf if a is None else sign * a
        y = math.inf if b is None else sign * b
        won, lost = won + (x < y), lost + (x > y)
    return None if won + lost < LEAST else float(binomtest(won, won + lost).pvalue)


def holm(p: dict[str, float | None]) -> dict[str, float | None]:
    """Holm's step-down correction: k-th smallest of m times (m - k + 1), not decreasing."""
    known = sorted((value, arm) for arm, value in p.items() if value is not None)
    corrected: dict[str, float | None] = dict.fromkeys(p)
    least = 0.0
    for k, (value, arm) in enumerate(known):
        least = max(least, min(1.0, value * (len(known) - k)))
        corrected[arm] = least
    return corrected


def verdict(
    own: dict[str, Any], base: dict[str, Any], baseline: str, more_is_better: bool, tests: int
) -> str:
    """How an arm stands to the baseline, in words; `tests` arms are compared with it."""
    lost = own["failed"] - base["failed"]
    of = own["n"] + own["failed"]
    if own["n"] == 0:
        return f"failed on all {of} seeds"
    if base["n"] == 0:
        return f"{baseline} failed on all {of} seeds"
    p = own["welch_holm"]
    if p is None:
        n = min(own["n"], base["n"])
        return f"no test with n = {n}: it takes at least {LEAST} seeds of each that did not fail"
    words = f"loses {own['failed']} of {of} seeds; " if lost > 0 else ""
    words += f"{baseline} loses {base['failed']} of {of}; " if lost < 0 else ""
    better = (own["mean"] < base["mean"]) != more_is_better
    if p < LEVEL:
        return words + f"{'better' if better else 'worse'} than {baseline} (p = {p:.2g})"
    n = min(own["n"], base["n"])
    words += f"not distinguishable from {baseline} with n = {n} (p = {p:.2g})"
    needed = seeds_needed(own, base, tests)
    if needed is None:
        return words
    if needed >= MOST_SEEDS:
        return f"{words}; it would take over {MOST_SEEDS:,} seeds"
    return f"{words}; a difference of this size takes about {max(n + 1, needed):,} seeds"


def seeds_needed(own: dict[str, Any], base: dict[str, Any], tests: int = 1) -> int | None:
    """Seeds of each arm with which the strictest of m tests, at α = 0.05/m, shows the difference
    that was found with probability 0.8: n = (z_{1-α/2} + z_0.8)²·(s₁² + s₂²)/d². None where there
    is no difference. Not true: that it holds for few seeds, whose t has heavier tails.
    """
    difference = own["mean"] - base["mean"]
    if difference == 0 or own["sd"] is None or base["sd"] is None:
        return None
    normal = statistics.NormalDist()
    z = normal.inv_cdf(1 - LEVEL / tests / 2) + normal.inv_cdf(POWER)
    needed = z**2 * (own["sd"] ** 2 + base["sd"] ** 2) / difference**2
    return max(LEAST, min(MOST_SEEDS, math.ceil(needed)))

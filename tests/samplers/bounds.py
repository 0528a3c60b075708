"""Tolerances with a stated false-positive rate: 1e-7 per bound,
so that ten bounds stay under 1e-6.
"""

from __future__ import annotations

import math

import numpy as np

ALPHA = 1e-7
#: Two-sided normal quantile of ALPHA is 5.33; means of ≥ 10⁴ draws are normal enough for 6.
SIGMAS = 6.0


def dkw(n: int, alpha: float = ALPHA) -> float:
    """P(sup |F_n - F| > ε) ≤ 2·exp(-2nε²) (Dvoretzky-Kiefer-Wolfowitz, Massart's constant)."""
    return math.sqrt(math.log(2 / alpha) / (2 * n))


def hoeffding(n: int, alpha: float = ALPHA) -> float:
    """The same bound for the mean of n independent variables in [0, 1]."""
    return dkw(n, alpha)


def cdf_distance(draws: np.ndarray, cdf) -> float:
    """sup |F_n - F| with F continuous."""
    values, n = cdf(np.sort(draws)), len(draws)
    return float(max((np.arange(1, n + 1) / n - values).max(), (values - np.arange(n) / n).max()))


def assert_mean(draws: np.ndarray, expected: np.ndarray | float, slack: float = 0.0) -> None:
    """Mean over the first axis within SIGMAS standard errors
    (of the draws) plus a numerical slack.
    """
    error = np.abs(draws.mean(0) - expected)
    bound = SIGMAS * draws.std(0) / math.sqrt(len(draws)) + slack
    assert (error <= bound).all(), f"error {error.max():.3g} against {np.max(bound):.3g}"


def assert_variance(draws: np.ndarray, mean: np.ndarray, expected: np.ndarray) -> None:
    """Mean squared deviation from the KNOWN mean within SIGMAS standard errors."""
    assert_mean((draws - mean) ** 2, expected)

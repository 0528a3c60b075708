"""Autocorrelation of processes whose autocorrelation is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stanley.plots import autocorrelation, autocorrelation_by_chain, chain_traces
from tests.seeds import RNG

#: Standard errors; a Gaussian leaves ±6.5 with probability 8e-11, 200 comparisons with less than
#: 2e-8.
Z = 6.5
LAGS = 10


def ar1(rho: float, n: int, chains: int) -> np.ndarray:
    """x_i = ρ x_{i-1} + √(1-ρ²) ξ from its stationary law N(0, 1)."""
    x = np.empty((n, chains))
    x[0] = RNG.standard_normal(chains)
    noise = (1 - rho**2) ** 0.5 * RNG.standard_normal((n, chains))
    for i in range(1, n):
        x[i] = rho * x[i - 1] + noise[i]
    return x


def bartlett(rho: float, n: int) -> np.ndarray:
    """Variance of one chain's ρ̂(t), t = 0 … LAGS, for AR(1) with n draws (Brockwell & Davis 1991,
    ex. 7.2.3).

    1/n [(1 - ρ^2t)(1 + ρ²)/(1 - ρ²) - 2t ρ^2t]
    """
    t = np.arange(LAGS + 1)
    return ((1 - rho ** (2 * t)) * (1 + rho**2) / (1 - rho**2) - 2 * t * rho ** (2 * t)) / n


def excess(x: np.ndarray, rho: float) -> np.ndarray:
    """|mean over chains of ρ̂ - its expectation| in standard errors, at lags 1 … LAGS.

    E ρ̂(t) = (1 - t/n) ρ^t - O(1/(n·chains)): the pooled mean has variance (1+ρ)/(1-ρ)/(n·chains),
    which is added to the tolerance twice, for numerator and denominator.
    """
    n, chains = x.shape
    mean = autocorrelation_by_chain(x, LAGS)[:, :, 0].mean(axis=1)
    t = np.arange(LAGS + 1)
    bias = 2 * (1 + rho) / (1 - rho) / (n * chains)
    off = np.maximum(0, np.abs(mean - (1 - t / n) * rho**t) - bias)
    return off[1:] / np.sqrt(bartlett(rho, n) / chains)[1:]


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, -0.6])
def test_autocorrelation_of_ar1(rho):
    assert excess(ar1(rho, 4000, 64), rho).max() <= Z


def test_negative_control_a_slightly_other_rho_is_refused():
    assert excess(ar1(0.9, 4000, 64), 0.88).max() > Z


def test_it_is_the_definition():
    x = RNG.normal(size=(13, 3, 2, 2))
    rho = autocorrelation_by_chain(x, 12)
    flat = x.reshape(13, 3, 4)
    centred = flat - flat.mean(axis=(0, 1))
    expected = np.stack([(centred[: 13 - t] * centred[t:]).sum(0) / 13 for t in range(13)])
    np.testing.assert_allclose(rho, expected / (centred**2).mean(axis=(0, 1)), atol=1e-12)


@pytest.mark.parametrize("shape", [(2, 1), (50, 7, 3), (33, 4, 1, 5, 5)])
def test_lag_zero_is_one_and_nothing_exceeds_it(shape):
    x = torch.randn(*shape) * 1e3 + 1e5
    mean = autocorrelation_by_chain(x).mean(axis=1)
    np.testing.assert_allclose(mean[0], 1, rtol=1e-12)
    assert (np.abs(mean) <= 1 + 1e-9).all()


def apart(n: int) -> np.ndarray:
    """White noise in two modes, two chains stuck in each: 25/26 of the spread lies between the
    modes.
    """
    return RNG.standard_normal((n, 4)) + np.array([-5.0, -5.0, 5.0, 5.0])


def test_chains_that_stay_apart_stay_correlated():
    """ρ(t) -> 25/26 (1 - t/n). Mean of n·4 products of sd < 12 over a variance near 26:
    Z standard errors.
    """
    n = 4000
    mean = autocorrelation_by_chain(apart(n), 5)[1:, :, 0].mean(axis=1)
    np.testing.assert_allclose(mean, 25 / 26, atol=5 / n + Z * 12 / 26 / (4 * n) ** 0.5)


def test_negative_control_with_a_mean_per_chain_they_look_mixed():
    x = apart(4000)
    assert (
        np.abs(autocorrelation_by_chain(x - x.mean(axis=0), 5)[1:, :, 0].mean(axis=1)).max() < 0.1
    )


def test_a_constant_coordinate_has_none():
    x = RNG.normal(size=(20, 3, 2))
    x[..., 1] = 0.1
    rho = autocorrelation_by_chain(x)
    assert np.isfinite(rho[..., 0]).all()
    assert np.isnan(rho[..., 1]).all()


def test_the_figure_draws_the_mean_over_chains():
    x = ar1(0.8, 300, 5)[:, :, None]
    ax = autocorrelation(x, max_lag=20).axes[0]
    np.testing.assert_allclose(  # pyright: ignore[reportCallIssue]
        ax.lines[0].get_ydata(), autocorrelation_by_chain(x, 20)[:, :, 0].mean(axis=1), rtol=1e-12
    )


def test_traces_draw_the_chains_and_coordinates_asked_for():
    x = RNG.normal(size=(40, 9, 2, 3))
    figure = chain_traces(x, max_chains=3, coordinates=[5, 0])
    traces = figure.axes[::2]
    assert [ax.get_ylabel() for ax in traces] == ["x[1, 2]", "x[0, 0]"]
    for ax, (i, j) in zip(traces, [(1, 2), (0, 0)], strict=True):
        assert len(ax.lines) == 3
        for line, chain in zip(ax.lines, [0, 4, 8], strict=True):
            np.testing.assert_array_equal(line.get_ydata(), x[:, chain, i, j])


def test_a_long_trace_keeps_its_extremes():
    x = RNG.normal(size=(50_000, 1, 1))
    line = chain_traces(x).axes[0].lines[0]
    assert len(line.get_ydata()) < 2_000
    assert line.get_ydata().min() == x.min()
    assert line.get_ydata().max() == x.max()

"""Decimation loses no extreme and no end; a hole stays a hole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stanley.plots.decimate import Band, decimate, extreme_indices, running_median

values = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300)


def keeps_the_picture(band: Band, step: np.ndarray, value: np.ndarray) -> bool:
    """What a reader must still see: the least and greatest value, and both ends of the run."""
    return (
        np.nanmin(band.low) == value.min()
        and np.nanmax(band.high) == value.max()
        and band.step[0] == step[0]
        and band.step[-1] == step[-1]
    )


@settings(max_examples=60, deadline=None)
@given(values, st.integers(2, 40))
def test_extremes_and_ends_survive(values, bins):
    value = np.array(values)
    step = np.arange(1.0, len(value) + 1)
    band = decimate(step, value, bins)
    assert keeps_the_picture(band, step, value)
    assert len(band.step) <= max(bins + 1, 2)
    assert (band.low <= band.middle).all()
    assert (band.middle <= band.high).all()
    assert (np.diff(band.step) > 0).all()


def test_negative_control_every_kth_point_loses_the_spike_or_the_end():
    step = np.arange(1.0, 100_001)
    value = np.zeros(100_000)
    value[70_003] = 9.0
    k = slice(None, None, 250)
    thinned = Band(step[k], value[k], value[k], value[k], False)
    assert keeps_the_picture(decimate(step, value), step, value)
    assert not keeps_the_picture(thinned, step, value)


def test_a_spike_stands_near_its_step():
    step = np.arange(1.0, 100_001)
    value = np.zeros(100_000)
    value[70_003] = 9.0
    band = decimate(step, value, bins=400)
    assert abs(band.step[np.nanargmax(band.high)] - 70_004) <= 250


def test_few_points_are_kept_as_they_are():
    step, value = np.array([1.0, 2.0, 5.0]), np.array([3.0, -1.0, 2.0])
    band = decimate(step, value)
    assert band.exact
    np.testing.assert_array_equal(band.step, step)
    for edge in (band.low, band.middle, band.high):
        np.testing.assert_array_equal(edge, value)


@pytest.mark.parametrize("n", [100, 20_000])
def test_a_hole_breaks_the_line_and_its_edges_stay(n):
    step = np.arange(1.0, n + 1)
    value = np.ones(n)
    value[n // 4 : n // 2] = np.nan
    band = decimate(step, value)
    assert np.isnan(band.step).sum() == 1
    assert {n // 4, n // 2 + 1} <= set(band.step[np.isfinite(band.step)])


def test_a_value_recorded_now_and_then_makes_no_holes():
    step = np.arange(1.0, 10_001)
    value = np.where(step % 50 == 0, 1.0, np.nan)
    assert np.isfinite(decimate(step, value).step).all()


def test_nothing_finite_is_an_empty_band():
    assert decimate(np.arange(3.0), np.full(3, np.nan)).step.shape == (0,)


def test_running_median_ignores_a_spike_and_stops_at_a_hole():
    step = np.concatenate([np.arange(1.0, 201), np.arange(301.0, 501)])
    value = np.concatenate([np.zeros(200), np.ones(200)])
    value[100] = 1e9
    at, median, window = running_median(step, value)
    assert window % 2 == 1
    assert set(median[np.isfinite(median)]) == {0.0, 1.0}
    hole = np.flatnonzero(np.isnan(at))
    assert len(hole) == 1
    assert at[hole[0] - 1] == 200
    assert at[hole[0] + 1] == 301
    assert (median[: hole[0]] == 0).all()
    assert (median[hole[0] + 1 :] == 1).all()


@settings(max_examples=40, deadline=None)
@given(values, st.integers(1, 20))
def test_extreme_indices_keep_the_extremes_and_both_ends(values, bins):
    value = np.array(values)
    index = extreme_indices(value, bins)
    assert (np.diff(index) > 0).all()
    assert {0, len(value) - 1} <= set(index.tolist())
    assert value[index].min() == value.min()
    assert value[index].max() == value.max()
    assert len(index) <= 2 * bins + 2

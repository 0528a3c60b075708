"""Columns of vectors as histograms, and in pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.patches import StepPatch

from stanley.plots import marginals, pairs
from stanley.plots.coordinates import coordinate_name
from tests.seeds import RNG


def panels(figure: Any, d: int) -> np.ndarray:
    return np.array(figure.axes[: d * d], dtype=object).reshape(d, d)


@pytest.mark.parametrize("d", [2, 3, 6])
def test_every_pair_is_drawn_once_with_its_own_columns(d: int):
    x = RNG.normal(size=(50, d)) + 10 * np.arange(d)
    axes = panels(pairs({"samples": x}), d)
    for i in range(d):
        for j in range(d):
            points = [c for c in axes[i, j].collections if isinstance(c, PathCollection)]
            assert axes[i, j].get_visible() == (j <= i)
            assert len(points) == (j < i)
            if points:
                assert np.allclose(np.asarray(points[0].get_offsets()), x[:, [j, i]])
        shares = [p for p in axes[i, i].patches if isinstance(p, StepPatch)]
        assert shares[0].get_data().values.sum() == pytest.approx(1.0)


def test_axes_are_named_once_below_and_beside():
    axes = panels(pairs({"samples": RNG.normal(size=(5, 3))}, ["a", "$b$", "c"]), 3)
    assert [ax.get_xlabel() for ax in axes[2]] == ["a", r"\$b\$", "c"]
    assert [ax.get_ylabel() for ax in axes[:, 0]] == ["", r"\$b\$", "c"]


def test_of_many_points_some_are_drawn_and_that_is_said():
    figure = pairs({"few": RNG.normal(size=(30, 2)), "many": RNG.normal(size=(5_000, 2))})
    drawn = panels(figure, 2)[1, 0].collections
    assert [len(np.asarray(c.get_offsets())) for c in drawn] == [30, 2_000]
    assert "2,000 of each group" in figure.get_supxlabel()


def test_one_point_far_off_does_not_stretch_a_panel():
    x = RNG.normal(size=(500, 3))
    x[0] = 1e6
    for ax in panels(pairs({"samples": x}), 3)[np.tril_indices(3)]:
        assert ax.get_xlim()[1] < 10


@pytest.mark.parametrize(("n", "bins"), [(1, 8), (64, 16), (100_000, 40)])
def test_few_points_have_few_bins(n: int, bins: int):
    """2√n of them, but 8 to 40."""
    (shares,) = marginals({"samples": RNG.normal(size=(n, 1))}).axes[0].patches
    assert isinstance(shares, StepPatch)
    assert len(shares.get_data().values) == bins


def test_names_of_coordinates():
    assert coordinate_name(1, (3,)) == "x[1]"
    assert coordinate_name(5, (2, 3)) == "x[1, 2]"
    assert coordinate_name(0, ()) == "x"
    assert coordinate_name(1, (2,), ["a", "$b"]) == r"\$b"

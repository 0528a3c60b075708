"""The figures of a diagnosis show the numbers they were given, and say what they leave out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stanley.errors import StanleyError
from stanley.plots import bias_dots, drift_curve, mixing, ray_growth, save


def named(ax) -> dict:
    return {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}


def test_mixing_draws_every_coordinate_once(tmp_path):
    r, bulk, tail = (
        torch.tensor([[1.0, 1.02], [1.3, 1.001]]),
        torch.full((2, 2), 500.0),
        torch.full((2, 2), 300.0),
    )
    figure = mixing(r, bulk, tail, (1.05, 80.0, 60.0))
    left, right = figure.axes
    np.testing.assert_allclose(named(left)["R̂"].get_ydata(), r.flatten())
    np.testing.assert_allclose(named(right)["bulk"].get_ydata(), bulk.flatten())
    np.testing.assert_allclose(named(right)["tail"].get_ydata(), tail.flatten())
    assert named(left)["U"].get_ydata()[0] == 1.05
    assert left.get_ylim()[1] > 1.3
    assert save(figure, tmp_path / "m.png").stat().st_size > 1000


def test_mixing_sorts_many_coordinates_worst_first_and_counts_those_without_a_number():
    r = 1 + torch.rand(500, generator=torch.Generator().manual_seed(0))
    r[3] = torch.nan
    figure = mixing(r, 100 * r, 200 * r)
    left, right = figure.axes
    shown = named(left)["R̂"].get_ydata()
    assert len(shown) == 499
    assert (np.diff(shown) <= 0).all()
    assert (np.diff(named(right)["bulk"].get_ydata()) >= 0).all()
    assert "1 not judged" in left.get_title(loc="left")


def test_growth_has_the_median_and_counts_what_points_inward(tmp_path):
    radii = torch.tensor([1.0, 10.0, 100.0])
    radial = torch.stack([radii, 2 * radii, 3 * radii], 1)
    radial[0, 0] = -1
    figure = ray_growth(radii, radial, torch.ones_like(radial))
    (line,) = named(figure.axes[0]).values()
    np.testing.assert_allclose(line.get_ydata(), [2.5, 20, 200])
    assert any("11%" in text.get_text() for text in figure.axes[0].texts)
    assert save(figure, tmp_path / "g.png").stat().st_size > 1000


def test_growth_of_a_potential_that_points_inward_everywhere_is_drawn():
    radii = torch.tensor([1.0, 10.0])
    ray_growth(radii, -torch.ones(2, 3), -torch.ones(2, 3))


@pytest.mark.parametrize(("largest", "scale"), [(0.5, "linear"), (-300.0, "symlog")])
def test_drift_turns_logarithmic_where_it_must(largest, scale):
    figure = drift_curve(
        torch.tensor([1.0, 10.0]), torch.tensor([0.1, largest]), torch.tensor([0.01, 0.0])
    )
    assert figure.axes[0].get_yscale() == scale


def test_drift_keeps_infinite_ratios_at_the_edge(tmp_path):
    value, error = torch.tensor([0.1, torch.inf, -900.0]), torch.tensor([0.01, torch.nan, 0.0])
    figure = drift_curve(torch.tensor([1.0, 10.0, 100.0]), value, error)
    assert len(figure.axes[0].containers) == 3
    assert save(figure, tmp_path / "d.png").stat().st_size > 1000


def test_bias_is_red_where_the_bar_misses_zero(tmp_path):
    figure = bias_dots({"mean": (torch.tensor([0.1, 1.0]), torch.tensor([0.1, 0.1]), 3.0)})
    shown = dict(zip(*reversed(figure.axes[0].get_legend_handles_labels()), strict=True))
    assert list(shown["biased"].lines[0].get_xdata()) == [1]
    assert list(shown["no bias seen"].lines[0].get_xdata()) == [0]
    assert save(figure, tmp_path / "b.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("draw", "told"),
    [
        (lambda: mixing(torch.ones(2), torch.ones(3), torch.ones(2)), "must have one shape"),
        (lambda: mixing(torch.ones(0), torch.ones(0), torch.ones(0)), "not be empty"),
        (lambda: ray_growth(torch.ones(3), torch.ones(2, 2), torch.ones(2, 2)), r"\(R, rays\)"),
        (lambda: drift_curve(torch.ones(2), torch.ones(3), torch.ones(2)), r"one \(P,\)"),
        (lambda: bias_dots({}), "no functions"),
        (lambda: bias_dots({"a": (torch.ones(2), torch.ones(3), 3.0)}), "one shape"),
    ],
)
def test_bad_input(draw, told):
    with pytest.raises(StanleyError, match=told):
        draw()

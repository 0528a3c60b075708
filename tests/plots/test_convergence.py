"""The figure of total-variation bounds shows the numbers it was given,
and says which bound nothing.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stanley.errors import StanleyError
from stanley.plots import save, tv_curve

TIMES = torch.arange(50)
FALLING = (TIMES, 2 * 0.9 ** TIMES.double(), 0.01 * torch.ones(50), True)


def lines(figure) -> dict:
    return {
        line.get_label(): line
        for line in figure.axes[0].lines
        if not line.get_label().startswith("_")
    }


def test_a_line_holds_its_values(tmp_path):
    figure = tv_curve({"MALA": FALLING, "STANLEY": (TIMES, FALLING[1] ** 2, FALLING[2], True)})
    drawn = lines(figure)
    assert set(drawn) == {"MALA", "STANLEY"}
    np.testing.assert_array_equal(drawn["MALA"].get_ydata(), FALLING[1].numpy())
    assert figure.axes[0].get_yscale() == "log"
    assert save(figure, tmp_path / "tv.png").stat().st_size > 1000


def test_what_bounds_nothing_is_said_and_dashed():
    drawn = lines(tv_curve({"MALA": (*FALLING[:3], False)}))
    (label,) = drawn
    assert "no bound" in label
    assert drawn[label].get_linestyle() == "--"


def test_zeros_leave_a_log_axis():
    value = torch.where(TIMES < 20, FALLING[1], 0.0)
    shown = lines(tv_curve({"a": (TIMES, value, FALLING[2], True)}))["a"].get_ydata()
    assert np.isfinite(shown).sum() == 20


@pytest.mark.parametrize(
    ("curves", "told"),
    [
        ({}, "no curves"),
        ({"a": FALLING[:3]}, "3 parts"),
        ({"a": (TIMES, FALLING[1][1:], FALLING[2], True)}, r"must be one \(T,\)"),
        ({"a": (TIMES, torch.full((50,), torch.nan), FALLING[2], True)}, "not finite"),
        ({"a": (TIMES, torch.zeros(50), FALLING[2], True)}, "no curve has a positive value"),
    ],
)
def test_bad_input(curves, told):
    with pytest.raises(StanleyError, match=told):
        tv_curve(curves)

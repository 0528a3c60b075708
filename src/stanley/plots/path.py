"""The potential along a path."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stanley.plots.figures import BLUE, MUTED, Array, dress, key_above, new_figure, to_numpy

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def energy_path(relaxed: Array, straight: Array, title: str = "U along the path") -> Figure:
    """U along a relaxed path and along the straight line from which it started, (P + 1,) each."""
    relaxed, straight = to_numpy(relaxed), to_numpy(straight)
    share = np.linspace(0, 1, len(relaxed))
    figure = new_figure(5.4, 2.9)
    ax = figure.add_subplot()
    ax.plot(share, straight, color=MUTED, lw=1.2, ls="--", marker="o", ms=3, label="straight line")
    ax.plot(share, relaxed, color=BLUE, lw=1.8, marker="o", ms=4, label="relaxed")
    dress(ax, title, "fraction of the path's length", "U")
    key_above(ax, 2)
    return figure

"""Vectors of several groups over each other: histograms of every column, and columns in pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from stanley.errors import require
from stanley.plots.coordinates import (
    bare,
    bins_of,
    colour_of,
    coordinate_name,
    evenly,
    groups_of_vectors,
    histograms,
)
from stanley.plots.figures import INK, LABEL, MUTED, SMALL, Array, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 16  # columns whose histograms are drawn, the first ones
MOST_PAIRED = 6  # columns that are drawn in pairs
MOST_POINTS = 2_000  # of a group, in one panel


def marginals(groups: Mapping[str, Array], names: Sequence[str] | None = None) -> Figure:
    """A histogram of each column of vectors (N, d), a panel for each; the first group is filled,
    the others are lines.

    names   of the columns; by default x[0], x[1], …

    Heights are shares of the whole group. The axis of a column covers the values of every group
    between q1 - 3·IQR and q3 + 3·IQR. Of more than 16 columns the first 16 are drawn, and that is
    said. Not true: that equal histograms mean equal densities: they see one column at a time.
    """
    columns = groups_of_vectors(groups, names)
    d = next(iter(columns.values())).shape[1]
    shown = min(d, MOST)
    across = min(4, shown)
    rows = math.ceil(shown / across)
    figure = new_figure(max(4.6, 2.6 * across), 0.8 + 1.9 * rows)
    axes = figure.subplots(rows, across, squeeze=False).ravel().tolist()
    for ax in axes[shown:]:
        ax.set_visible(False)
    for j, ax in enumerate(axes[:shown]):
        bare(ax)
        ax.set_title(coordinate_name(j, (d,), names), loc="left", fontsize=LABEL, color=INK)
        edges = bins_of(columns, j)
        if edges is None:
            ax.text(0.5, 0.5, "nothing finite", transform=ax.transAxes, ha="center", color=MUTED)
        else:
            histograms(ax, columns, j, edges)
    _key(figure, axes[0])
    if shown < d:
        figure.supxlabel(f"the first {shown} of {d:,} columns", fontsize=SMALL, color=MUTED)
    return figure


def pairs(groups: Mapping[str, Array], names: Sequence[str] | None = None) -> Figure:
    """Columns of vectors (N, d), 2 ≤ d ≤ 6, each against each as points, and the histogram of each
    on the diagonal; the first group is grey.

    names   of the columns; by default x[0], x[1], …

    Axes are those of `marginals`. Of more than 2,000 points of a group as many are drawn, evenly
    spread, and that is said. Raises StanleyError for another number of columns. Not true: that
    equal panels mean equal densities: they see two columns at a time.
    """
    columns = groups_of_vectors(groups, names)
    d = next(iter(columns.values())).shape[1]
    require(
        2 <= d <= MOST_PAIRED,
        f"there are {d} columns, but pairs are drawn of 2 to {MOST_PAIRED}; choose some, or draw "
        "their marginals",
    )
    edges = [bins_of(columns, j) for j in range(d)]
    figure = new_figure(1.0 + 1.7 * d, 0.9 + 1.7 * d)
    axes = figure.subplots(d, d, squeeze=False, sharex="col").tolist()
    for i, j in np.ndindex(d, d):
        ax = axes[i][j]
        bare(ax)
        across, up = edges[j], edges[i]
        if j > i:
            ax.set_visible(False)
        elif across is None or up is None:
            ax.text(0.5, 0.5, "nothing finite", transform=ax.transAxes, ha="center", color=MUTED)
        elif i == j:
            histograms(ax, columns, j, across)
            ax.set_xlim(across[0], across[-1])
        else:
            _points(ax, columns, j, i)
            ax.set_xlim(across[0], across[-1])
            ax.set_ylim(up[0], up[-1])
        if i == d - 1:
            ax.set_xlabel(coordinate_name(j, (d,), names), fontsize=LABEL, color=INK)
        else:
            ax.tick_params(labelbottom=False)
        if j == 0 and i > 0:
            ax.set_ylabel(coordinate_name(i, (d,), names), fontsize=LABEL, color=INK)
        else:
            ax.tick_params(labelleft=False)
    _key(figure, axes[0][0])
    if max(map(len, columns.values())) > MOST_POINTS:
        figure.supxlabel(f"points: {MOST_POINTS:,} of each group", fontsize=SMALL, color=MUTED)
    return figure


def _points(ax: Axes, columns: Mapping[str, np.ndarray], j: int, i: int) -> None:
    """Column i against column j of each group."""
    for k, x in enumerate(columns.values()):
        drawn = x[evenly(len(x), MOST_POINTS)]
        size, alpha = (6.0, 0.6) if len(drawn) <= 400 else (2.5, 0.4)
        ax.scatter(
            drawn[:, j],
            drawn[:, i],
            s=size,
            color=colour_of(k, len(columns)),
            alpha=alpha,
            linewidths=0,
            rasterized=True,
        )


def _key(figure: Figure, ax: Axes) -> None:
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=3, frameon=False, fontsize=SMALL)

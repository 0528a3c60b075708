"""Histograms of every column of vectors, of several groups over each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from stanley.errors import require
from stanley.plots.energies import shared_bins
from stanley.plots.figures import (
    CYCLE,
    INK,
    LABEL,
    MUTED,
    SMALL,
    Array,
    dress,
    label,
    new_figure,
    to_numpy,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 16  # columns that are drawn, the first ones


def marginals(groups: Mapping[str, Array], names: Sequence[str] | None = None) -> Figure:
    """A histogram of each column of vectors (N, d), a panel for each; the first group is filled,
    the others are lines.

    names   of the columns; by default x[0], x[1], …

    Heights are shares of the whole group. The axis of a column covers the values of every group
    between q1 - 3·IQR and q3 + 3·IQR. Of more than 16 columns the first 16 are drawn, and that is
    said. Not true: that equal histograms mean equal densities: they see one column at a time.
    """
    require(len(groups) > 0, 'groups is empty; give at least one, {"data": vectors}')
    columns = {name: _vectors(value, name) for name, value in groups.items()}
    d = next(iter(columns.values())).shape[1]
    require(
        all(x.shape[1] == d for x in columns.values()) and len(names or range(d)) == d,
        f"groups have {', '.join(str(x.shape[1]) for x in columns.values())} columns and there are "
        f"{len(names or range(d))} names, but all must be the same number",
    )
    shown = min(d, MOST)
    across = min(4, shown)
    rows = math.ceil(shown / across)
    figure = new_figure(max(4.6, 2.6 * across), 0.8 + 1.9 * rows)
    axes = figure.subplots(rows, across, squeeze=False).ravel().tolist()
    for ax in axes[shown:]:
        ax.set_visible(False)
    for j, ax in enumerate(axes[:shown]):
        dress(ax)
        ax.grid(False)
        ax.set_title(
            label(names[j]) if names is not None else f"x[{j}]",
            loc="left",
            fontsize=LABEL,
            color=INK,
        )
        finite = {name: x[np.isfinite(x[:, j]), j] for name, x in columns.items()}
        if not any(len(value) for value in finite.values()):
            ax.text(0.5, 0.5, "nothing finite", transform=ax.transAxes, ha="center", color=MUTED)
            continue
        edges = shared_bins([value for value in finite.values() if len(value)], 40)
        for k, (name, value) in enumerate(finite.items()):
            share = np.histogram(value, edges)[0] / len(columns[name])
            style = {"fill": True, "alpha": 0.35} if k == 0 else {"linewidth": 1.2}
            text = f"{name}, n = {len(columns[name]):,}"
            ax.stairs(share, edges, color=MUTED if k == 0 else CYCLE[k - 1], label=text, **style)
        ax.set_ylim(bottom=0)
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=3, frameon=False, fontsize=SMALL)
    if shown < d:
        figure.supxlabel(f"the first {shown} of {d:,} columns", fontsize=SMALL, color=MUTED)
    return figure


def _vectors(value: Array, name: str) -> np.ndarray:
    array = to_numpy(value).astype(np.float64)
    require(
        array.ndim == 2 and min(array.shape) > 0,
        f"{name!r} has shape {array.shape}, but must be (N, d) with N, d >= 1",
    )
    return array

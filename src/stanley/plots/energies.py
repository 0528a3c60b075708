"""Histograms of the energies of data, held-out data and samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from stanley.errors import require
from stanley.plots.figures import (
    BLUE,
    CYCLE,
    INK,
    LABEL,
    MUTED,
    SMALL,
    TITLE,
    VERMILION,
    Array,
    dress,
    joined,
    new_figure,
    number,
    to_numpy,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def energy_histograms(energies: Mapping[str, Array], label: str = "energy E") -> Figure:
    """Histograms of energies with the same bins, one row per group.

    energies   name -> energies (N,)

    The outline of the first group is repeated in every row for comparison. Heights are shares of
    the whole group. The axis covers the energies of every group between q1 - 3·IQR and q3 + 3·IQR,
    so that a few chains that diverged cannot flatten the rest; each row gives the number outside.
    """
    require(len(energies) > 0, 'energies is empty; give at least one group, {"data": energies}')
    groups = {name: _energies(value, name) for name, value in energies.items()}
    require(
        any(np.isfinite(v).any() for v in groups.values()),
        "no energy is finite; check whether the network's weights are NaN",
    )
    edges = shared_bins([v[np.isfinite(v)] for v in groups.values()])

    figure = new_figure(7.6, 0.75 + 1.3 * len(groups))
    axes = np.atleast_1d(figure.subplots(len(groups), 1, sharex=True, sharey=True)).tolist()
    shares = {
        name: np.histogram(v[np.isfinite(v)], edges)[0] / len(v) for name, v in groups.items()
    }
    first = next(iter(groups))
    for k, (ax, (name, value)) in enumerate(zip(axes, groups.items(), strict=True)):
        colour = CYCLE[k % len(CYCLE)]
        dress(ax)
        ax.stairs(shares[name], edges, fill=True, color=colour, alpha=0.45)
        ax.stairs(shares[name], edges, color=colour, linewidth=1.2)
        if k:
            ax.stairs(shares[first], edges, color=BLUE, linewidth=1.0, linestyle=(0, (3, 2)))
        finite = value[np.isfinite(value)]
        outside = int(((finite < edges[0]) | (finite > edges[-1])).sum())
        middle = f"median {number(float(f'{np.median(finite):.4g}'))}" if len(finite) else ""
        if len(finite):
            ax.axvline(float(np.median(finite)), color=colour, linewidth=1.2)
        ax.set_title(name, loc="left", fontsize=TITLE, color=INK, fontweight="bold", pad=4)
        ax.set_title(
            joined(
                [
                    f"n = {len(value):,}",
                    middle,
                    f"{outside:,} outside the axis" if outside else "",
                    f"{len(value) - len(finite):,} not finite" if len(finite) < len(value) else "",
                ]
            ),
            loc="right",
            fontsize=SMALL,
            color=VERMILION if outside or len(finite) < len(value) else MUTED,
            pad=4,
        )
    axes[0].set_ylim(0, 1.08 * max(float(s.max()) for s in shares.values()) or 1.0)
    axes[0].set_xlim(edges[0], edges[-1])
    dashed = f" (dashed: {first}, for comparison)" if len(groups) > 1 else ""
    axes[-1].set_xlabel(f"{label}{dashed}", fontsize=LABEL, color=INK)
    figure.supylabel("share per bin", fontsize=LABEL, color=INK)
    return figure


def shared_bins(groups: Sequence[np.ndarray], bins: int = 60) -> np.ndarray:
    """Edges (bins + 1,) of bins of equal width.

    They cover the values of every group between q1 - 3·IQR and q3 + 3·IQR.
    """
    spans = []
    for value in groups:
        if len(value):
            q1, q3 = np.quantile(value, [0.25, 0.75])
            fence = 3 * (q3 - q1)
            kept = value[(value >= q1 - fence) & (value <= q3 + fence)]
            spans.append((kept.min(), kept.max()))
    low, high = min(s[0] for s in spans), max(s[1] for s in spans)
    if not high > low:
        low, high = low - max(0.5, 1e-3 * abs(low)), high + max(0.5, 1e-3 * abs(high))
    return np.linspace(low, high, bins + 1)


def _energies(value: Array, name: str) -> np.ndarray:
    array = to_numpy(value).astype(np.float64)
    require(
        array.ndim == 1 and len(array) > 0,
        f"energies of {name!r} have shape {array.shape}, but must be (N,) with N >= 1",
    )
    return array

"""Figures of chains over time: traces and autocorrelation."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch

from stanley.diagnostics import chains as diagnostics
from stanley.errors import require
from stanley.plots.coordinates import coordinate_name, evenly
from stanley.plots.decimate import extreme_indices
from stanley.plots.figures import (
    BLUE,
    CYCLE,
    INK,
    LABEL,
    MUTED,
    TITLE,
    Array,
    dress,
    new_figure,
    to_numpy,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEFAULT_COORDINATES = 4


def chain_traces(
    draws: Array,
    max_chains: int = 8,
    coordinates: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
) -> Figure:
    """Traces of chains, one row per coordinate, with a histogram of all draws beside each.

    draws        (num_kept, B, *event)
    max_chains   at most so many of the B chains are drawn as lines, evenly spread; the histogram
                 shows all
    coordinates  indices into the flattened event; by default up to four, evenly spread
    names        of the coordinates of a vector; by default x[0], x[1], …

    Raises StanleyError for draws that are not finite.
    """
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    x = _draws(draws, 1)  # (n, B, d)
    require(max_chains >= 1, f"max_chains is {max_chains}, but must be at least 1")
    n, chains, _ = x.shape
    event = tuple(to_numpy(draws).shape[2:])
    chosen = _coordinates(x, coordinates)
    lines = evenly(chains, max_chains)

    figure = new_figure(9.6, 0.95 + 1.55 * len(chosen))
    axes = figure.subplots(len(chosen), 2, sharey="row", width_ratios=[5.2, 1.0], squeeze=False)
    for (trace, side), j in zip(axes, chosen, strict=True):
        dress(trace, ylabel=coordinate_name(j, event, names))
        for k, chain in enumerate(lines):
            value = x[:, chain, j]
            index = extreme_indices(value)
            trace.plot(
                index + 1,
                value[index],
                color=CYCLE[k % len(CYCLE)],
                linewidth=0.7 if n > 100 else 1.1,
                alpha=0.8,
                marker="o" if n == 1 else None,
                markersize=4,
            )
        trace.set_xlim(*((1, n) if n > 1 else (0.5, 1.5)))
        trace.xaxis.set_major_locator(MaxNLocator(7, integer=True, min_n_ticks=1))
        trace.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        dress(side)
        pooled = x[:, :, j].ravel()
        share, edges = np.histogram(pooled, bins=40)
        side.stairs(
            share / len(pooled), edges, orientation="horizontal", fill=True, color=MUTED, alpha=0.45
        )
        side.set_xlim(left=0)
        side.set_xticks([])
        side.tick_params(labelleft=False)
        side.grid(False)
    shown = (
        f"{len(lines)} of {chains:,} chains" if len(lines) < chains else _plural(chains, "chain")
    )
    axes[0][0].set_title(
        f"Traces of {shown}", loc="left", fontsize=TITLE, color=INK, fontweight="bold"
    )
    axes[0][1].set_title("all chains", loc="left", fontsize=LABEL, color=MUTED)
    axes[-1][0].set_xlabel("kept draw", fontsize=LABEL, color=INK)
    axes[-1][1].set_xlabel("share", fontsize=LABEL, color=INK)
    return figure


def autocorrelation(
    draws: Array,
    max_lag: int | None = None,
    coordinates: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
) -> Figure:
    """Autocorrelation ρ(t) of draws (num_kept, B, *event), one panel per coordinate.

    The line is the mean over chains, the band the middle half of the chains. Mean and variance are
    pooled over chains (see `autocorrelation_by_chain`), so the line falls to 0 only if the chains
    have mixed; the band at lag 0 shows the chains' shares of the variance.

    max_lag      as in `stanley.diagnostics.autocorrelation`
    coordinates  indices into the flattened event; by default up to four, evenly spread
    """
    x = _draws(draws, 2)
    n, chains, _ = x.shape
    event = tuple(to_numpy(draws).shape[2:])
    chosen = _coordinates(x, coordinates)
    rho = autocorrelation_by_chain(x[:, :, chosen], max_lag)  # (lags, B, len(chosen))
    lag = np.arange(len(rho))

    figure = new_figure(9.6 if len(chosen) > 1 else 6.4, 0.7 + 2.2 * ((len(chosen) + 1) // 2))
    columns = min(2, len(chosen))
    axes = (
        figure.subplots((len(chosen) + 1) // 2, columns, sharex=True, sharey=True, squeeze=False)
        .ravel()
        .tolist()
    )
    drawn = rho[np.isfinite(rho)]
    for k, ax in enumerate(axes):
        if k >= len(chosen):
            ax.set_visible(False)
            continue
        name = coordinate_name(chosen[k], event, names)
        dress(ax, name, ylabel="autocorrelation" if k % columns == 0 else "")
        if not np.isfinite(rho[:, :, k]).all():
            ax.grid(False)
            ax.text(
                0.5,
                0.5,
                "constant: has no autocorrelation",
                transform=ax.transAxes,
                ha="center",
                color=MUTED,
                fontsize=LABEL,
            )
            continue
        if chains > 1:
            low, high = np.quantile(rho[:, :, k], [0.25, 0.75], axis=1)
            ax.fill_between(lag, low, high, color=BLUE, alpha=0.18, linewidth=0)
        ax.plot(lag, rho[:, :, k].mean(1), color=BLUE, linewidth=1.7)
        ax.axhline(0, color=MUTED, linewidth=0.8)
        ax.set_xlim(0, max(1, len(rho) - 1))
    if len(drawn):
        axes[0].set_ylim(min(-0.1, float(np.nanmin(rho.mean(1))) - 0.05), 1.05)
    for ax in axes[-columns:] if len(chosen) % 2 == 0 or columns == 1 else axes[-3:-1]:
        ax.tick_params(labelbottom=True)
    band = (
        f"line: mean of {chains:,} chains of {n:,} draws; band: middle half of the chains"
        if chains > 1
        else f"1 chain of {n:,} draws"
    )
    figure.supxlabel(f"lag in kept draws ({band})", fontsize=LABEL, color=INK)
    return figure


def autocorrelation_by_chain(draws: Array, max_lag: int | None = None) -> np.ndarray:
    """Autocorrelation of each chain, as an array: draws (n, B, *event) -> (max_lag + 1, B, d).

    See `stanley.diagnostics.autocorrelation_by_chain`; d is the size of the event.
    """
    return diagnostics.autocorrelation_by_chain(torch.from_numpy(_draws(draws, 2)), max_lag).numpy()


def _draws(draws: Array, least: int) -> np.ndarray:
    x = to_numpy(draws).astype(np.float64)
    require(
        x.ndim >= 2 and x.shape[0] >= least and min(x.shape) > 0,
        f"draws have shape {x.shape}, but must be (num_kept, B, *event) with num_kept >= {least}",
    )
    lost = int((~np.isfinite(x)).sum())
    require(
        not lost,
        f"draws hold {lost:,} values that are not finite; leave out the chains that diverged",
    )
    return x.reshape(x.shape[0], x.shape[1], prod(x.shape[2:]))


def _coordinates(x: np.ndarray, coordinates: Sequence[int] | None) -> list[int]:
    d = x.shape[2]
    if coordinates is None:
        return evenly(d, DEFAULT_COORDINATES)
    chosen = list(coordinates)
    require(
        0 < len(chosen) <= 12 and all(0 <= j < d for j in chosen),
        f"coordinates are {chosen}, but must be 1 to 12 indices from 0 to {d - 1}",
    )
    return chosen


def _plural(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"

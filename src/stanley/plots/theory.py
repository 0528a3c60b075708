"""Figures of what the theorems are about: growth along rays, the drift condition, and bias."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stanley.errors import require
from stanley.plots.figures import (
    BLUE,
    CYCLE,
    GREEN,
    MUTED,
    SMALL,
    VERMILION,
    Array,
    dress,
    key_above,
    new_figure,
    number,
    to_numpy,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LINEAR = 5.0  # largest |log ΠV/V| for which the axis is linear
TOP = 700.0  # |log ΠV/V| beyond which ΠV/V overflows float64


def ray_growth(
    radii: Array, radial: Array, cosine: Array, title: str = "Growth along rays"
) -> Figure:
    """The radial derivative ⟨u, ∇U(ru)⟩ (left) and the cosine of u and ∇U (right), by radius.

    radii           r, (R,)
    radial, cosine  (R, num_rays), as `h1_on_rays` returns them

    The lines are medians over the rays, the bands go from the smallest to the largest value. Both
    axes of the left panel are logarithmic: values that are not positive are not drawn, and a note
    gives their share. The dotted lines are the radial derivatives of a linear and of a Gaussian
    potential that start at the first median.
    """
    r, slope, angle = (to_numpy(v).astype(np.float64) for v in (radii, radial, cosine))
    require(
        r.ndim == 1 and slope.ndim == 2 and slope.shape == angle.shape and len(slope) == len(r),
        f"radii are {r.shape}, radial {slope.shape} and cosine {angle.shape}, but they must be"
        " (R,), (R, num_rays) and (R, num_rays)",
    )
    figure = new_figure(9.6, 3.4)
    left, right = figure.subplots(1, 2)
    for ax in (left, right):
        ax.set_xscale("log")
    left.set_yscale("log")
    dress(left, title, "radius |x|", "⟨u, ∇U⟩")
    dress(right, "Cosine of x and ∇U", "radius |x|")
    shown = np.where(slope > 0, slope, np.nan)
    outward = np.isfinite(shown).any(1)
    if outward.any():
        at, kept = r[outward], shown[outward]
        middle = np.nanmedian(kept, 1)
        left.fill_between(
            at, np.nanmin(kept, 1), np.nanmax(kept, 1), color=BLUE, alpha=0.18, linewidth=0
        )
        left.plot(
            at,
            middle,
            color=BLUE,
            linewidth=1.7,
            label=f"median of {slope.shape[1]} rays (band: all)",
        )
        for power, name in ((0, "linear"), (1, "Gaussian")):
            left.plot(
                at,
                middle[0] * (at / at[0]) ** power,
                color=MUTED,
                linewidth=0.9,
                linestyle=(0, (1, 1.5)),
            )
            left.annotate(
                name,
                (at[-1], middle[0] * (at[-1] / at[0]) ** power),
                (-2, 3),
                textcoords="offset points",
                **_small(),
            )
        left.legend(frameon=False, fontsize=SMALL, loc="upper left")
    inward = float((slope <= 0).mean())
    if inward:
        left.annotate(
            f"{inward:.0%} of the values are not positive",
            (0.02, 0.04),
            xycoords="axes fraction",
            fontsize=SMALL,
            color=VERMILION,
        )
    right.fill_between(r, angle.min(1), angle.max(1), color=GREEN, alpha=0.18, linewidth=0)
    right.plot(r, np.median(angle, 1), color=GREEN, linewidth=1.7)
    right.axhline(0, color=MUTED, linewidth=0.9)
    right.set_ylim(min(-0.05, 1.1 * float(angle.min())), 1.05)
    return figure


def drift_curve(
    radius: Array, log_ratio: Array, relative_error: Array, title: str = "Drift condition"
) -> Figure:
    """The drift log ΠV(x)/V(x) by |x|, with bars of two standard errors.

    radius, log_ratio, relative_error   (P,) each, as `drift_ratio` returns them

    Where the values are below 0, a step moves the chain inwards on average. If some exceed 5, the
    vertical axis is logarithmic beyond ±1. Infinite values are triangles at the edge.
    """
    from matplotlib.ticker import FuncFormatter

    r, value, error = (to_numpy(v).astype(np.float64) for v in (radius, log_ratio, relative_error))
    require(
        r.ndim == 1 and r.shape == value.shape == error.shape and len(r) > 0,
        f"radius is {r.shape}, log_ratio {value.shape} and relative_error {error.shape}, but all"
        " must be (P,) with P >= 1",
    )
    figure = new_figure(6.4, 3.6)
    ax = figure.subplots()
    ax.set_xscale("log")
    finite = np.isfinite(value) & (np.abs(value) < TOP)
    if np.abs(value[finite]).max(initial=0.0) > LINEAR:
        ax.set_yscale("symlog", linthresh=1.0)
    dress(ax, title, "|x|", "log ΠV/V")
    ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: number(v)))
    spread = 2 * np.where(np.isfinite(error), error, 0.0)
    ax.errorbar(r[finite], value[finite], spread[finite], color=BLUE, **_dots("o"))
    for beyond, edge, marker in (
        (~finite & ~(value < 0), 1, "^"),
        (~finite & (value < 0), -1, "v"),
    ):
        if beyond.any():
            at_edge = np.full(
                beyond.sum(), edge * max(2.0, 2 * np.abs(value[finite]).max(initial=1.0))
            )
            ax.errorbar(
                r[beyond], at_edge, color=VERMILION, label="beyond the axis", **_dots(marker)
            )
    ax.axhline(0, color=MUTED, linewidth=0.9)
    ax.annotate(
        "below 0: moves inwards",
        (1, 0),
        (-3, -11),
        ("axes fraction", "data"),
        "offset points",
        **_small(),
    )
    if not finite.all():
        ax.legend(frameon=False, fontsize=SMALL)
    return figure


def bias_dots(
    functions: Mapping[str, Sequence[Any]],
    title: str = "Difference from the exact sampler (bars: limit of what may be chance)",
) -> Figure:
    """The bias of a sampler in every coordinate, one row per function.

    functions  name -> (difference (*shape), standard error (*shape), limit in standard errors), as
               in `Comparison`

    The bars extend by the limit to each side. A bar that does not reach 0 is a bias, and is red.
    """
    from matplotlib.ticker import MaxNLocator

    require(len(functions) > 0, "functions is empty; give at least one")
    figure = new_figure(7.6, 0.6 + 2.0 * len(functions))
    axes = np.atleast_1d(figure.subplots(len(functions), 1)).tolist()
    for k, (ax, (name, (difference, error, limit))) in enumerate(
        zip(axes, functions.items(), strict=True)
    ):
        d, half = (to_numpy(v).astype(np.float64).ravel() for v in (difference, error))
        require(
            d.shape == half.shape,
            f"{name}: there are {d.shape} differences and {half.shape} standard errors, but both"
            " must have the same shape",
        )
        half = float(limit) * half
        dress(ax, title if k == 0 else "", "coordinate" if k == len(functions) - 1 else "", name)
        off = np.abs(d) > half
        for chosen, colour, label in (
            (~off, CYCLE[-1], "no bias seen"),
            (off, VERMILION, "biased"),
        ):
            if chosen.any():
                ax.errorbar(
                    np.flatnonzero(chosen),
                    d[chosen],
                    half[chosen],
                    color=colour,
                    label=label,
                    **_dots("o"),
                )
        ax.axhline(0, color=MUTED, linewidth=0.8)
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
        key_above(ax)
    return figure


def _dots(marker: str) -> dict[str, Any]:
    return {"linestyle": "none", "marker": marker, "markersize": 4, "elinewidth": 1.0}


def _small() -> dict[str, Any]:
    return {"ha": "right", "fontsize": SMALL, "color": MUTED}

"""What the theorems ask for, as it was measured: growth on rays, the drift condition, bias."""

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

LINEAR = 5.0  # of |log ΠV/V|, up to which the axis is linear
TOP = 700.0  # of |log ΠV/V|: beyond it e^x is no double


def ray_growth(
    radii: Array, radial: Array, cosine: Array, title: str = "Growth along rays"
) -> Figure:
    """⟨u, ∇U(ru)⟩ and the cosine of u and ∇U against the radius: median of the rays, and from least
    to largest.

    radii (R,); radial and cosine (R, num_rays), as `h1_on_rays` gives them. Both axes of the left
    panel are logarithmic; what is not positive leaves it, and the share that is not is written
    there. The dotted lines are the slopes of a linear and of a Gaussian potential through the
    median at the first radius.
    """
    r, slope, angle = (to_numpy(v).astype(np.float64) for v in (radii, radial, cosine))
    require(
        r.ndim == 1 and slope.ndim == 2 and slope.shape == angle.shape and len(slope) == len(r),
        f"radii {r.shape}, radial {slope.shape} and cosine {angle.shape} must be (R,), (R, rays)"
        " and (R, rays)",
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
            label=f"median of {slope.shape[1]} rays; band: all",
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
    """log ΠV(x)/V(x) against |x|, (P,) each, with two standard errors; below 0 the chain is drawn
    inwards.

    The vertical axis turns logarithmic beyond ±1 where values exceed 5. Infinite values stand at
    its edge as triangles.
    """
    from matplotlib.ticker import FuncFormatter

    r, value, error = (to_numpy(v).astype(np.float64) for v in (radius, log_ratio, relative_error))
    require(
        r.ndim == 1 and r.shape == value.shape == error.shape and len(r) > 0,
        f"radius {r.shape}, log_ratio {value.shape} and relative_error {error.shape} must be one"
        " (P,), not empty",
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
            place = np.full(
                beyond.sum(), edge * max(2.0, 2 * np.abs(value[finite]).max(initial=1.0))
            )
            ax.errorbar(r[beyond], place, color=VERMILION, label="beyond the axis", **_dots(marker))
    ax.axhline(0, color=MUTED, linewidth=0.9)
    ax.annotate(
        "below 0: drawn inwards",
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
    title: str = "Bias against the adjusted twin; bars: what could be chance",
) -> Figure:
    """One row per function: its difference from the exact sampler's, coordinate by coordinate.

    functions  name -> (difference (*shape), standard error (*shape), limit in standard errors)

    The bars are the limit to each side: a bar that misses 0 is a bias, and red.
    """
    from matplotlib.ticker import MaxNLocator

    require(len(functions) > 0, "no functions to draw: give at least one")
    figure = new_figure(7.6, 0.6 + 2.0 * len(functions))
    axes = np.atleast_1d(figure.subplots(len(functions), 1)).tolist()
    for k, (ax, (name, (difference, error, limit))) in enumerate(
        zip(axes, functions.items(), strict=True)
    ):
        d, half = (to_numpy(v).astype(np.float64).ravel() for v in (difference, error))
        require(
            d.shape == half.shape,
            f"{name}: differences {d.shape} and errors {half.shape} must have one shape",
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

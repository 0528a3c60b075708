"""How fast chains approach their invariant law: bounds from coupled pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stanley.errors import require
from stanley.plots.figures import CYCLE, MUTED, SMALL, VERMILION, dress, new_figure, to_numpy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEVEL = 0.25  # the total variation that usually defines a mixing time
LOWEST = 1e-3  # the axis ends here, or at the smallest positive value if that is larger


def tv_curve(
    curves: Mapping[str, Sequence[Any]],
    title: str = "Upper bound on the total variation to equilibrium",
) -> Figure:
    """Bounds on the total variation to equilibrium against the step, one line per sampler.

    curves  name -> (times (T,), value (T,), standard error (T,), valid), as
            `Meeting.total_variation()` returns it

    The vertical axis is logarithmic; values of 0 are not drawn. The band is two standard errors to
    each side. Above 1, where a bound gives no information, the background is grey; the dotted line
    is at 0.25, and a curve crosses it at the mixing time. A curve that is not valid is no bound: it
    is dashed, without a band, and the legend says so.
    """
    from matplotlib.ticker import FuncFormatter, StrMethodFormatter

    require(
        len(curves) > 0,
        'curves is empty; give at least one, such as {"MALA": meeting.total_variation()}',
    )
    drawn = {name: _curve(curve, name) for name, curve in curves.items()}
    positive = np.concatenate([value[value > 0] for _, value, _, _ in drawn.values()])
    require(len(positive) > 0, "no curve has a positive value; use earlier times")
    top, bottom = max(1.5, 1.3 * positive.max()), min(0.1, max(LOWEST, 0.8 * positive.min()))

    figure = new_figure(7.6, 4.3)
    ax = figure.subplots()
    ax.set_yscale("log")
    dress(ax, title, "step t", "bound on |πₜ − π| (log scale)")
    ax.axhspan(1, top, color="#F2F2F2", zorder=0.5, linewidth=0)
    for k, (name, (times, value, error, valid)) in enumerate(drawn.items()):
        colour, shown = CYCLE[k % len(CYCLE)], np.where(value > 0, value, np.nan)
        if valid:
            low = np.maximum(value - 2 * error, bottom / 10)
            ax.fill_between(
                times, low, value + 2 * error, where=value > 0, color=colour, alpha=0.2, linewidth=0
            )
        label = name if valid else f"{name}: no bound, since not all pairs met"
        style = "-" if valid else (0, (3, 2))
        ax.plot(
            times,
            shown,
            color=colour,
            linewidth=1.7,
            linestyle=style,
            label=label,
            marker=_marker(shown),
        )
    ax.axhline(1, color=MUTED, linewidth=0.8)
    ax.axhline(LEVEL, color=MUTED, linewidth=0.9, linestyle=(0, (1, 1.5)))
    last = max(float(times.max()) for times, _, _, _ in drawn.values())
    ax.set_xlim(0, last or 1)
    ax.set_ylim(bottom, top)
    ax.annotate(
        "above 1: no information",
        (1, 1),
        (-4, 4),
        ("axes fraction", "data"),
        "offset points",
        **_small("right"),
    )
    ax.annotate(
        "0.25", (1, LEVEL), (-4, 3), ("axes fraction", "data"), "offset points", **_small("right")
    )
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    ax.legend(
        frameon=False,
        fontsize=SMALL,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.16),
        ncols=min(3, len(drawn)),
    )
    if not all(valid for *_, valid in drawn.values()):
        for text, (*_, valid) in zip(ax.get_legend().get_texts(), drawn.values(), strict=True):  # type: ignore[union-attr]
            text.set_color(MUTED if valid else VERMILION)
    return figure


def _curve(curve: Sequence[Any], name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    require(
        len(curve) == 4,
        f"curve {name!r} has {len(curve)} parts, but must have 4: (times, value, standard error,"
        " valid)",
    )
    times, value, error = (to_numpy(part).astype(np.float64) for part in curve[:3])
    require(
        times.ndim == 1 and times.shape == value.shape == error.shape and len(times) > 0,
        f"curve {name!r} has times {times.shape}, values {value.shape} and errors {error.shape},"
        " but all must be (T,)",
    )
    lost = int((~np.isfinite(np.stack([times, value, error]))).sum())
    require(not lost, f"curve {name!r} holds {lost:,} values that are not finite; leave them out")
    return times, value, error, bool(curve[3])


def _marker(shown: np.ndarray) -> str | None:
    """A dot for a curve with a single positive value, of which a line would show nothing."""
    return "o" if np.isfinite(shown).sum() == 1 else None


def _small(side: str) -> dict[str, Any]:
    return {"ha": side, "va": "bottom", "fontsize": SMALL, "color": MUTED}

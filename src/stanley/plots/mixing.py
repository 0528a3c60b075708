"""R̂ and effective sample sizes, coordinate by coordinate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from stanley.diagnostics.chains import ESS_LIMIT, RHAT_LIMIT
from stanley.errors import require
from stanley.plots.figures import (
    BLUE,
    CYCLE,
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
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DOTS = 60  # coordinates that are drawn one by one; more are sorted into a curve


def mixing(
    rhat: Array,
    ess_bulk: Array,
    ess_tail: Array,
    potential: tuple[float, float, float] | None = None,
) -> Figure:
    """R̂ on the left, bulk and tail ESS on the right, (*event) each; limits 1.01 and 400 as dotted
    lines.

    potential  the same three numbers of U(x), drawn as a line of its own

    Up to 60 coordinates are dots in their order; of more the values are sorted, worst first. NaN (a
    coordinate that never moved or is not finite) is left out and counted in the title.
    """
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

    r, bulk, tail = (to_numpy(v).astype(np.float64).ravel() for v in (rhat, ess_bulk, ess_tail))
    require(
        r.shape == bulk.shape == tail.shape and len(r) > 0,
        f"rhat {r.shape}, ess_bulk {bulk.shape} and ess_tail {tail.shape} must have one shape and"
        " not be empty",
    )
    known = np.isfinite(r) & np.isfinite(bulk) & np.isfinite(tail)
    figure = new_figure(9.6, 3.3)
    left, right = figure.subplots(1, 2)
    lost = f", {int((~known).sum()):,} not judged" if not known.all() else ""
    dress(left, f"R̂ of {len(r):,} coordinate{'' if len(r) == 1 else 's'}{lost}", _axis(len(r)), "")
    right.set_yscale("log")
    dress(right, "Effective sample size", _axis(len(r)), "draws, log scale")
    _values(left, r[known], "R̂", BLUE, worst=True)
    _values(right, bulk[known], "bulk", BLUE, worst=False)
    _values(right, tail[known], "tail", CYCLE[2], worst=False)
    if potential is not None and np.isfinite(potential).all():
        left.axhline(potential[0], color=VERMILION, linewidth=1.1, label="U")
        right.axhline(potential[1], color=VERMILION, linewidth=1.1, label="U, bulk")
    _limit(left, RHAT_LIMIT, f"{RHAT_LIMIT}")
    _limit(right, ESS_LIMIT, f"{ESS_LIMIT}")
    of_u = [potential[0]] if potential is not None and np.isfinite(potential[0]) else []
    top = float(np.max([RHAT_LIMIT, *r[known], *of_u]))
    left.set_ylim(0.999, 1 + 1.15 * (top - 1))
    right.yaxis.set_major_formatter(FuncFormatter(lambda v, _: number(v)))
    right.yaxis.set_minor_formatter(NullFormatter())
    low, high = right.get_ylim()
    right.set_ylim(
        min(low, 10 ** np.floor(np.log10(low))), max(high, 10 ** np.ceil(np.log10(high)))
    )
    for ax in (left, right):
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
        key_above(ax)
    return figure


def _axis(d: int) -> str:
    return "coordinate" if d <= DOTS else "coordinates, worst first"


def _values(ax: Axes, values: np.ndarray, label: str, colour: str, *, worst: bool) -> None:
    style: dict[str, Any] = {"color": colour, "label": label}
    if len(values) <= DOTS:
        ax.plot(np.arange(len(values)), values, linestyle="none", marker="o", markersize=4, **style)
        return
    ordered = np.sort(values)[::-1] if worst else np.sort(values)
    ax.plot(np.arange(len(values)), ordered, linewidth=1.6, **style)


def _limit(ax: Axes, value: float, text: str) -> None:
    ax.axhline(value, color=MUTED, linewidth=0.9, linestyle=(0, (1, 1.5)))
    ax.annotate(
        text,
        (1, value),
        (-2, 2),
        ("axes fraction", "data"),
        "offset points",
        ha="right",
        fontsize=SMALL,
        color=MUTED,
    )

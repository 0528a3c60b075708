"""What figures of vectors share: names of coordinates, which are shown, and their histograms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stanley.errors import require
from stanley.plots.energies import shared_bins
from stanley.plots.figures import CYCLE, MUTED, Array, dress, label, to_numpy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEWEST_BINS, MOST_BINS = 8, 40


def coordinate_name(j: int, event: tuple[int, ...], names: Sequence[str] | None = None) -> str:
    """The name of entry j of a flattened point; x[j] where it has none."""
    if names is not None and len(event) == 1:
        return label(names[j])
    return f"x[{', '.join(str(int(i)) for i in np.unravel_index(j, event))}]" if event else "x"


def evenly(n: int, most: int) -> list[int]:
    """Up to `most` of 0 … n - 1, evenly spread, the first and the last among them."""
    return sorted({int(i) for i in np.linspace(0, n - 1, min(n, most))})


def groups_of_vectors(
    groups: Mapping[str, Array], names: Sequence[str] | None
) -> dict[str, np.ndarray]:
    """The groups as arrays (N, d) in float64; raises StanleyError where d, or the number of names,
    is not the same for all.
    """
    require(len(groups) > 0, 'groups is empty; give at least one, {"data": vectors}')
    columns = {name: _vectors(value, name) for name, value in groups.items()}
    d = next(iter(columns.values())).shape[1]
    require(
        all(x.shape[1] == d for x in columns.values()) and len(names or range(d)) == d,
        f"groups have {', '.join(str(x.shape[1]) for x in columns.values())} columns and there are "
        f"{len(names or range(d))} names, but all must be the same number",
    )
    return columns


def finite_columns(columns: Mapping[str, np.ndarray], j: int) -> dict[str, np.ndarray]:
    """The finite values of column j in each group."""
    return {name: x[np.isfinite(x[:, j]), j] for name, x in columns.items()}


def bins_of(columns: Mapping[str, np.ndarray], j: int) -> np.ndarray | None:
    """The edges of the bins of column j, 2√n of them for the n points of the smallest group but 8
    to 40; None where no group has a finite value there.
    """
    finite = [value for value in finite_columns(columns, j).values() if len(value)]
    if not finite:
        return None
    fewest = min(map(len, columns.values()))
    return shared_bins(finite, int(np.clip(2 * fewest**0.5, FEWEST_BINS, MOST_BINS)))


def histograms(ax: Axes, columns: Mapping[str, np.ndarray], j: int, edges: np.ndarray) -> None:
    """Shares of each group in the bins of column j; the first group is filled."""
    for k, (name, value) in enumerate(finite_columns(columns, j).items()):
        share = np.histogram(value, edges)[0] / len(columns[name])
        style: dict[str, Any] = {"fill": True, "alpha": 0.35} if k == 0 else {"linewidth": 1.2}
        text = f"{name}, n = {len(columns[name]):,}"
        ax.stairs(share, edges, color=colour_of(k, len(columns)), label=text, **style)
    ax.set_ylim(bottom=0)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)


def colour_of(group: int, groups: int) -> str:
    """Grey for the first of several groups, which the others are held against."""
    return CYCLE[0] if groups == 1 else MUTED if group == 0 else CYCLE[group - 1]


def bare(ax: Axes) -> None:
    """A panel without a grid."""
    dress(ax)
    ax.grid(False)


def _vectors(value: Array, name: str) -> np.ndarray:
    array = to_numpy(value).astype(np.float64)
    require(
        array.ndim == 2 and min(array.shape) > 0,
        f"{name!r} has shape {array.shape}, but must be (N, d) with N, d >= 1",
    )
    return array

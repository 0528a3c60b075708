"""Densities, energies and samples in the plane.

A grid is (n, n) over [-box, box]², rows are y ascending and columns x ascending, as
`metrics.density_on_grid` makes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stanley.errors import require
from stanley.plots.figures import (
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
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

#: More points than this hide each other; the panel says how many it shows.
MAX_POINTS = 4000
COLOURS = "viridis"


@dataclass(frozen=True)
class Panel:
    """One column: a density (n, n), samples (N, 2), or both, over [-box, box]²;
    `note` is under the title.
    """

    title: str
    density: Array | None = None
    samples: Array | None = None
    box: float = 4.0
    note: str = ""


def densities(panels: Sequence[Panel]) -> Figure:
    """Columns side by side: the truth first, then one per sampler; densities on top, samples below.

    All densities share one linear colour scale from 0 to the peak of the first, so that equal
    colours are equal densities; a higher peak elsewhere saturates, and the colour bar then ends in
    an arrow. Samples are points over thin contours of the first density.
    """
    require(len(panels) > 0, "no panels to draw: give at least one Panel")
    box = _box(panels[0].box)
    for p in panels:
        require(
            p.box == box,
            f"panel {p.title!r} has box {p.box}, the first has {box}; use one box for all",
        )
        require(
            p.density is not None or p.samples is not None,
            f"panel {p.title!r} has neither a density nor samples; give one",
        )
    grids = [
        None if p.density is None else _grid(p.density, f"density of {p.title!r}") for p in panels
    ]
    points = [
        None if p.samples is None else _points(p.samples, f"samples of {p.title!r}") for p in panels
    ]
    noted = any(p.note for p in panels)
    shown = [g for g in grids if g is not None]
    top = float(np.max(shown[0])) if shown else 0.0
    columns = [grids, points]
    rows = [row for row in (0, 1) if any(one is not None for one in columns[row])]

    # Inches, from the left and from the top: squares of one size, with room for titles, notes and
    # ticks.
    side, gap, left, head = 2.35, 0.27, 0.62, 0.34 + 0.18 * noted + 0.16 * (rows[0] == 1)
    width = left + len(panels) * (side + gap) + (0.75 if shown else 0.0)
    height = head + len(rows) * side + (len(rows) - 1) * 0.62 + 0.55
    figure = new_figure(width, height, layout=None)
    image: ScalarMappable | None = None
    for j, panel in enumerate(panels):
        mine = [row for row in rows if columns[row][j] is not None]
        for row in mine:
            down = head + rows.index(row) * (side + 0.62) + side
            place = (left + j * (side + gap), height - down, side, side)
            ax = figure.add_axes(_fractions(place, width, height))
            leftmost = all(one is None for one in columns[row][:j])
            _frame(ax, box, bottom=row == mine[-1], left=leftmost)
            if row == 0:
                image = _paint(ax, grids[j], box, top)  # type: ignore[arg-type]
            else:
                _scatter(ax, points[j], box, shown[0] if shown else None)  # type: ignore[arg-type]
            if row == mine[0]:
                _head(ax, panel, noted)
    if image is not None:
        place = (left + len(panels) * (side + gap) - 0.08, height - head - side, 0.11, side)
        cell = figure.add_axes(_fractions(place, width, height))
        _colour_bar(image, cell, "density", max(float(g.max()) for g in shown) > top * (1 + 1e-9))
    return figure


def _fractions(
    place: tuple[float, ...], width: float, height: float
) -> tuple[float, float, float, float]:
    x, y, w, h = place
    return x / width, y / height, w / width, h / height


def samples_over_density(
    samples: Array, density_grid: Array, box: float, title: str = ""
) -> Figure:
    """Samples (N, 2) as points over a density (n, n) in grey."""
    box, grid, points = _box(box), _grid(density_grid, "density_grid"), _points(samples, "samples")
    figure = new_figure(5.2, 5.0)
    ax = figure.add_subplot()
    _frame(ax, box)
    _head(ax, Panel(title, samples=points), False)
    extent = (-box, box, -box, box)
    ax.imshow(
        grid,
        origin="lower",
        extent=extent,
        cmap="Greys",
        vmin=0,
        vmax=2.2 * grid.max() or 1.0,
        zorder=0,
    )
    _scatter(ax, points, box, None)
    return figure


def energy_landscape(grid_energy: Array, box: float, title: str = "") -> Figure:
    """E - min E over the box, bright where low (likely), with contour lines at the ticks of the
    colour bar.

    The colours follow the square root, to show the wells of an energy that climbs without bound
    around them, and end at the 90th percentile; the colour bar then ends in an arrow. Cells that
    are not finite stay white and are counted.
    """
    from matplotlib.colors import PowerNorm

    box = _box(box)
    energy = _square(grid_energy, "grid_energy")
    finite = np.isfinite(energy)
    require(finite.any(), "grid_energy has no finite value; check the network's weights for NaN")
    energy = np.where(finite, energy - energy[finite].min(), np.nan)
    highest = float(energy[finite].max())
    top = float(np.quantile(energy[finite], 0.9)) or highest or 1.0

    figure = new_figure(5.8, 5.0)
    mesh = figure.add_gridspec(1, 2, width_ratios=[1.0, 0.04])
    ax = figure.add_subplot(mesh[0, 0])
    _frame(ax, box)
    lost = int((~finite).sum())
    note = f"{lost:,} of {energy.size:,} cells not finite (white)" if lost else ""
    _head(ax, Panel(title, grid_energy, note=note), bool(note))
    norm = PowerNorm(0.5, vmin=0, vmax=top)
    extent = (-box, box, -box, box)
    image = ax.imshow(energy, origin="lower", extent=extent, cmap=f"{COLOURS}_r", norm=norm)
    levels = np.unique([float(f"{top * (k / 7) ** 2:.2g}") for k in range(1, 7)])
    if highest > levels[0]:
        ax.contour(
            *_centres(box, energy), energy, levels=levels, colors="white", linewidths=0.5, alpha=0.7
        )
    _colour_bar(
        image, figure.add_subplot(mesh[0, 1]), "energy E − min E", highest > top, [0.0, *levels]
    )
    return figure


def _paint(ax: Axes, grid: np.ndarray, box: float, top: float) -> ScalarMappable:
    return ax.imshow(
        grid,
        origin="lower",
        extent=(-box, box, -box, box),
        cmap=COLOURS,
        vmin=0,
        vmax=top or 1.0,
        interpolation="bilinear",
    )


def _scatter(ax: Axes, points: np.ndarray, box: float, density: np.ndarray | None) -> None:
    if density is not None and density.max() > density.min():
        levels = np.array([0.1, 0.4, 0.8]) * density.max()
        ax.contour(
            *_centres(box, density), density, levels=levels, colors="#BDBDBD", linewidths=0.6
        )
    inside = (np.abs(points) <= box).all(axis=1)  # NaN compares false: it counts as outside
    drawn = points[inside]
    if len(drawn) > MAX_POINTS:
        drawn = drawn[np.linspace(0, len(drawn) - 1, MAX_POINTS).astype(int)]
    size, alpha = (
        (8.0, 0.8) if len(drawn) <= 400 else (4.0, 0.7) if len(drawn) <= 1500 else (3.0, 0.55)
    )
    ax.scatter(
        drawn[:, 0], drawn[:, 1], s=size, color=VERMILION, alpha=alpha, linewidths=0, zorder=3
    )
    count = (
        f"{len(drawn):,} of {len(points):,} samples"
        if len(drawn) < inside.sum()
        else f"{len(points):,} samples"
    )
    outside = int((~inside).sum())
    text = joined([count, f"{outside:,} outside the box" if outside else ""])
    _above(ax, text, 3, SMALL, VERMILION if outside else MUTED)


def _head(ax: Axes, panel: Panel, noted: bool) -> None:
    """Title, the line of notes where any panel has one, and room for the line that counts
    samples.
    """
    base = 15 if panel.samples is not None and panel.density is None else 4
    _above(ax, panel.note, base, LABEL, MUTED)
    ax.set_title(panel.title, fontsize=TITLE, color=INK, fontweight="bold", pad=base + 13 * noted)


def _above(ax: Axes, text: str, points: float, size: float, colour: str) -> None:
    ax.annotate(
        text,
        (0.5, 1.0),
        xycoords="axes fraction",
        xytext=(0, points),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=size,
        color=colour,
        annotation_clip=False,
    )


def _frame(ax: Axes, box: float, bottom: bool = True, left: bool = True) -> None:
    from matplotlib.ticker import MaxNLocator

    dress(ax)
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(True)
    ax.set(xlim=(-box, box), ylim=(-box, box), aspect="equal")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(4, integer=box >= 2))
    ax.tick_params(labelbottom=bottom, labelleft=left)
    if bottom:
        ax.set_xlabel("$x_1$", fontsize=LABEL, color=INK)
    if left:
        ax.set_ylabel("$x_2$", fontsize=LABEL, color=INK)


def _colour_bar(
    image: ScalarMappable,
    cell: Axes,
    label: str,
    beyond: bool,
    ticks: Sequence[float] | None = None,
) -> None:
    bar = cell.get_figure().colorbar(image, cax=cell, extend="max" if beyond else "neither")  # type: ignore[union-attr]
    if ticks is not None:
        bar.set_ticks(list(ticks), labels=[number(t) for t in ticks])
        bar.ax.minorticks_off()
    bar.set_label(label, fontsize=LABEL, color=INK)
    bar.ax.tick_params(labelsize=SMALL, colors=MUTED, length=3, width=0.7)
    bar.outline.set_visible(False)  # type: ignore[operator]


def _centres(box: float, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    n = len(grid)
    axis = (np.arange(n) + 0.5) / n * 2 * box - box
    return axis, axis


def _box(box: float) -> float:
    require(
        np.isfinite(box) and box > 0, f"box is {box}, must be > 0: the figure shows [-box, box]²"
    )
    return float(box)


def _square(grid: Array, name: str) -> np.ndarray:
    array = to_numpy(grid).astype(np.float64)
    require(
        array.ndim == 2 and array.shape[0] == array.shape[1] and array.shape[0] >= 2,
        f"{name} has shape {array.shape}, must be (n, n) with n >= 2",
    )
    return array


def _grid(grid: Array, name: str) -> np.ndarray:
    array = _square(grid, name)
    require(
        np.isfinite(array).all(),
        f"{name} has values that are not finite; check the network's weights for NaN",
    )
    require(
        array.min() >= 0,
        f"{name} has a value {array.min():g} < 0; give the density, not its logarithm",
    )
    return array


def _points(samples: Array, name: str) -> np.ndarray:
    array = to_numpy(samples).astype(np.float64)
    require(
        array.ndim == 2 and array.shape[1] == 2 and len(array) > 0,
        f"{name} has shape {array.shape}, must be (N, 2) with N >= 1",
    )
    return array

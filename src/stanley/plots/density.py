"""Figures of densities, energies and samples in the plane.

A grid is (n, n) over [-box, box]², as `metrics.density_on_grid` returns it: the first index is that
of y, the second that of x, and both increase. Where coordinates have units of their own, `box` is a
`Window` (left, right, bottom, top), which is drawn as a square.
"""

from __future__ import annotations

import math
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
    laid_out,
    new_figure,
    number,
    put,
    to_numpy,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

#: At most so many points are drawn, since more hide each other; a note gives the number drawn.
MAX_POINTS = 4000
COLOURS = "viridis"
NAMES = ("$x_1$", "$x_2$")

#: left, right, bottom, top
Window = tuple[float, float, float, float]


@dataclass(frozen=True)
class Panel:
    """One column of `densities`: a density (n, n), samples (N, 2), or both, over [-box, box]² or
    over a window.

    `note` stands under the title, `names` are those of the coordinates; the density is `binned`
    where it is a `histogram`, which is drawn as blocks.
    """

    title: str
    density: Array | None = None
    samples: Array | None = None
    box: float | Window = 4.0
    note: str = ""
    names: tuple[str, str] = NAMES
    binned: bool = False


def histogram(points: Array, box: float | Window) -> np.ndarray:
    """The density (n, n) of points (N, 2) by counting those in each of n × n cells of the box.

    n is 3·N^(1/3), from 10 to 60: more points fill more cells, and also more of them each. The
    integral is the share of the points inside; those that are not finite are outside.
    """
    left, right, bottom, top = _window(box)
    x = _points(points, "points")
    n = int(np.clip(round(3 * len(x) ** (1 / 3)), 10, 60))
    inside = x[np.isfinite(x).all(1)]
    counts, _, _ = np.histogram2d(
        inside[:, 1], inside[:, 0], bins=n, range=((bottom, top), (left, right))
    )
    return counts / (len(x) * (right - left) * (top - bottom) / n**2)


def densities(panels: Sequence[Panel]) -> Figure:
    """Densities above and samples below, one column per panel; the first is the reference. Where no
    panel has both, all stand in one row.

    All densities share one linear colour scale, from 0 to the peak of the first. Where another
    density has a higher peak, its colour is that of the largest value, and the colour bar ends in
    an arrow. Samples are points over thin contours of the first density, unless that is a
    histogram. Raises StanleyError for panels with different boxes, or with neither a density nor
    samples.
    """
    require(len(panels) > 0, "panels is empty; give at least one Panel")
    box = _window(panels[0].box)
    for p in panels:
        require(
            _window(p.box) == box,
            f"panel {p.title!r} has box {p.box}, but must have {panels[0].box} as the first panel "
            "has",
        )
        require(
            p.density is not None or p.samples is not None,
            f"panel {p.title!r} has neither a density nor samples; give at least one of them",
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
    first_binned = next((p.binned for p in panels if p.density is not None), False)
    columns = [grids, points]
    rows = [row for row in (0, 1) if any(one is not None for one in columns[row])]
    in_one_row = not any(p.density is not None and p.samples is not None for p in panels)

    # In inches: squares of one size, with room for titles, notes and ticks.
    side, gap, between, below = 2.35, 0.27, 0.62, 0.55
    left = 0.62 if box[0] == -box[1] else 0.9
    head = 0.34 + 0.18 * noted + 0.16 * (rows[0] == 1 or (in_one_row and 1 in rows))
    right = 0.75 if shown else 0.0
    down_to = 1 if in_one_row else len(rows)
    own_width = left + len(panels) * (side + gap) + right
    own_height = head + down_to * side + (down_to - 1) * between + below
    figure = new_figure(own_width, own_height, layout=None)
    contours = shown[0] if shown and not first_binned else None
    placed: list[tuple[Axes, int, int]] = []  # with the column and the row
    image: ScalarMappable | None = None
    for j, panel in enumerate(panels):
        mine = [row for row in rows if columns[row][j] is not None]
        for row in mine:
            ax = figure.add_axes((0, 0, 1, 1))
            placed.append((ax, j, 0 if in_one_row else rows.index(row)))
            leftmost = not j if in_one_row else all(one is None for one in columns[row][:j])
            _frame(ax, box, panel.names, bottom=row == mine[-1], left=leftmost)
            if row == 0:
                image = _paint(ax, grids[j], box, top, panel.binned)  # type: ignore[arg-type]
            else:
                _scatter(ax, points[j], box, contours)  # type: ignore[arg-type]
            if row == mine[0]:
                _head(ax, panel, noted, counted=row == 1 or (in_one_row and 1 in rows))
    cell: Axes | None = None
    if image is not None:
        cell = figure.add_axes((0, 0, 1, 1))
        _colour_bar(image, cell, "density", max(float(g.max()) for g in shown) > top * (1 + 1e-9))

    def place(width: float, height: float) -> None:
        """The largest squares that leave the same room for titles and ticks."""
        least = min(1.0, width / own_width, height / own_height)  # as small as text becomes
        across = width - least * (left + right + len(panels) * gap)
        down = height - least * (head + below + (down_to - 1) * between)
        length = min(across / len(panels), down / down_to)
        used = length * len(panels) + least * (left + right + len(panels) * gap)
        high = length * down_to + least * (head + below + (down_to - 1) * between)
        top = height - (height - high) / 2 - least * head
        first = (width - used) / 2 + least * left
        for ax, j, row in placed:
            bottom = top - least * row * between - (row + 1) * length
            put(ax, first + j * (length + least * gap), bottom, length, length)
        if cell is not None:
            after = first + len(panels) * (length + least * gap)
            put(cell, after - 0.08, top - length, 0.11, length)

    return laid_out(figure, place)


def samples_over_density(
    samples: Array,
    density_grid: Array,
    box: float | Window,
    title: str = "",
    names: tuple[str, str] = NAMES,
) -> Figure:
    """Samples (N, 2) as points over a density (n, n) in shades of grey, in [-box, box]²."""
    box, grid, points = (
        _window(box),
        _grid(density_grid, "density_grid"),
        _points(samples, "samples"),
    )
    figure = new_figure(5.2, 5.0)
    ax = figure.add_subplot()
    _frame(ax, box, names)
    _head(ax, Panel(title, samples=points), False, counted=True)
    ax.imshow(
        grid,
        origin="lower",
        extent=box,
        aspect="auto",
        cmap="Greys",
        vmin=0,
        vmax=2.2 * grid.max() or 1.0,
        zorder=0,
    )
    _square_frame(ax, box)
    _scatter(ax, points, box, None)
    return figure


def energy_landscape(
    grid_energy: Array, box: float | Window, title: str = "", names: tuple[str, str] = NAMES
) -> Figure:
    """The energy E - min E over [-box, box]², bright where it is low.

    Contour lines are at the ticks of the colour bar. Colours follow the square root of the energy,
    so that wells show although the energy grows without bound around them, and end at its 90th
    percentile; the colour bar then ends in an arrow. Cells that are not finite are white, and a
    note counts them.
    """
    from matplotlib.colors import PowerNorm

    box = _window(box)
    energy = _square(grid_energy, "grid_energy")
    finite = np.isfinite(energy)
    require(
        finite.any(), "grid_energy has no finite value; check whether the network's weights are NaN"
    )
    energy = np.where(finite, energy - energy[finite].min(), np.nan)
    highest = float(energy[finite].max())
    top = float(np.quantile(energy[finite], 0.9)) or highest or 1.0

    figure = new_figure(5.8, 5.0)
    mesh = figure.add_gridspec(1, 2, width_ratios=[1.0, 0.04])
    ax = figure.add_subplot(mesh[0, 0])
    _frame(ax, box, names)
    lost = int((~finite).sum())
    note = f"{lost:,} of {energy.size:,} cells not finite (white)" if lost else ""
    _head(ax, Panel(title, grid_energy, note=note), bool(note))
    norm = PowerNorm(0.5, vmin=0, vmax=top)
    image = ax.imshow(
        energy, origin="lower", extent=box, aspect="auto", cmap=f"{COLOURS}_r", norm=norm
    )
    _square_frame(ax, box)
    levels = np.unique([float(f"{top * (k / 7) ** 2:.2g}") for k in range(1, 7)])
    if highest > levels[0]:
        ax.contour(
            *_centres(box, energy), energy, levels=levels, colors="white", linewidths=0.5, alpha=0.7
        )
    _colour_bar(
        image, figure.add_subplot(mesh[0, 1]), "energy E − min E", highest > top, [0.0, *levels]
    )
    return figure


def _paint(ax: Axes, grid: np.ndarray, box: Window, top: float, binned: bool) -> ScalarMappable:
    image = ax.imshow(
        grid,
        origin="lower",
        extent=box,
        aspect="auto",
        cmap=COLOURS,
        vmin=0,
        vmax=top or 1.0,
        interpolation="nearest" if binned else "bilinear",
    )
    _square_frame(ax, box)
    return image


def _scatter(ax: Axes, points: np.ndarray, box: Window, density: np.ndarray | None) -> None:
    if density is not None and density.max() > density.min():
        levels = np.array([0.1, 0.4, 0.8]) * density.max()
        ax.contour(
            *_centres(box, density), density, levels=levels, colors="#BDBDBD", linewidths=0.6
        )
    low, high = np.array([box[0], box[2]]), np.array([box[1], box[3]])
    # NaN compares false: it counts as outside
    inside = ((points >= low) & (points <= high)).all(axis=1)
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


def _head(ax: Axes, panel: Panel, noted: bool, counted: bool = False) -> None:
    """The title, a line for notes if any panel has one, and room for the number of samples, if
    that stands above any panel of the row.
    """
    base = 15 if counted else 4
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


def _frame(
    ax: Axes, box: Window, names: tuple[str, str], bottom: bool = True, left: bool = True
) -> None:
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    dress(ax)
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(True)
    _square_frame(ax, box)
    for axis, width in ((ax.xaxis, box[1] - box[0]), (ax.yaxis, box[3] - box[2])):
        axis.set_major_locator(MaxNLocator(4, integer=width >= 4))
        if box[0] != -box[1]:  # units of its own: few digits may differ from tick to tick
            axis.set_major_formatter(ScalarFormatter())
            axis.get_offset_text().set_fontsize(SMALL)
    ax.tick_params(labelbottom=bottom, labelleft=left)
    if bottom:
        ax.set_xlabel(names[0], fontsize=LABEL, color=INK)
    if left:
        ax.set_ylabel(names[1], fontsize=LABEL, color=INK)


def _square_frame(ax: Axes, box: Window) -> None:
    """A window with equal sides on the page, whatever it is in the units of its coordinates."""
    left, right, bottom, top = box
    ax.set(xlim=(left, right), ylim=(bottom, top), aspect=(right - left) / (top - bottom))


def _colour_bar(
    image: ScalarMappable,
    cell: Axes,
    label: str,
    beyond: bool,
    ticks: Sequence[float] | None = None,
) -> None:
    from matplotlib.ticker import FuncFormatter

    bar = cell.get_figure().colorbar(image, cax=cell, extend="max" if beyond else "neither")  # type: ignore[union-attr]
    if ticks is not None:
        bar.set_ticks(list(ticks), labels=[number(t) for t in ticks])
        bar.ax.minorticks_off()
    elif (power := _power(image.get_clim()[1])) != 0:  # of coordinates with large or small units
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: number(v / 10.0**power)))
        label = f"{label}, in units of $10^{{{power}}}$"
    bar.set_label(label, fontsize=LABEL, color=INK)
    bar.ax.tick_params(labelsize=SMALL, colors=MUTED, length=3, width=0.7)
    bar.outline.set_visible(False)  # type: ignore[operator]


def _power(top: float) -> int:
    """Of ten, in units of which numbers up to `top` are short; 0 where they are so anyway."""
    power = math.floor(math.log10(top)) if top > 0 else 0
    return 0 if -2 <= power <= 2 else power


def _centres(box: Window, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    share = (np.arange(len(grid)) + 0.5) / len(grid)
    left, right, bottom, top = box
    return left + (right - left) * share, bottom + (top - bottom) * share


def _window(box: float | Window) -> Window:
    if isinstance(box, tuple):
        left, right, bottom, top = map(float, box)
        require(
            np.isfinite(box).all() and left < right and bottom < top,
            f"box is {box}, but must be (left, right, bottom, top) with left < right, bottom < top",
        )
        return left, right, bottom, top
    require(
        np.isfinite(box) and box > 0,
        f"box is {box}, but must be > 0: the figure shows [-box, box]²",
    )
    return -float(box), float(box), -float(box), float(box)


def _square(grid: Array, name: str) -> np.ndarray:
    array = to_numpy(grid).astype(np.float64)
    require(
        array.ndim == 2 and array.shape[0] == array.shape[1] and array.shape[0] >= 2,
        f"{name} has shape {array.shape}, but must be (n, n) with n >= 2",
    )
    return array


def _grid(grid: Array, name: str) -> np.ndarray:
    array = _square(grid, name)
    require(
        np.isfinite(array).all(),
        f"{name} has values that are not finite; check whether the network's weights are NaN",
    )
    require(
        array.min() >= 0,
        f"{name} has a value {array.min():g}, but all must be >= 0; give the density, not its"
        " logarithm",
    )
    return array


def _points(samples: Array, name: str) -> np.ndarray:
    array = to_numpy(samples).astype(np.float64)
    require(
        array.ndim == 2 and array.shape[1] == 2 and len(array) > 0,
        f"{name} has shape {array.shape}, but must be (N, 2) with N >= 1",
    )
    return array

"""Grids of images, drawn pixel by pixel."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stanley.errors import require
from stanley.files import make_folder, write_atomic
from stanley.plots.figures import (
    DPI,
    INK,
    MUTED,
    SMALL,
    TITLE,
    Array,
    laid_out,
    new_figure,
    put,
    to_numpy,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Space between images, in pixels of the figure or file.
SPACE = 2
MARGIN, HEAD = 14, 34
DOT = 72 / DPI  # points
OF_TITLES = {"fontsize": TITLE, "color": INK, "fontweight": "bold", "va": "center"}


def image_grid(images: Array, columns: int | None = None, title: str | None = None) -> Figure:
    """A grid of uint8 images (N, C, H, W), C = 1 or 3, filled row by row.

    Every pixel of an image is a whole number of pixels of the figure. The default of `columns` is
    the smallest integer >= √N.
    """
    return _grids([(title or "", images)], columns, [""])


def labelled_grids(
    groups: Sequence[tuple[str, Array]], columns: int | None = None, most: int | None = None
) -> Figure:
    """Grids of images side by side, each under its label and number of images.

    groups   (label, uint8 images (N, C, H, W)) for each grid, for instance fresh chains, bank and
             data
    most     so many of each are shown, the first ones; where there are more, it is said
    """
    require(len(groups) > 0, "groups is empty; give at least one (label, images)")
    shown = [(label, x if most is None else x[:most]) for label, x in groups]
    counts = [
        f"{f'{len(x):,} of ' if len(x) < len(every) else ''}"
        f"{len(every):,} image{'' if len(every) == 1 else 's'}"
        for (_, x), (_, every) in zip(shown, groups, strict=True)
    ]
    return _grids(shown, columns, counts)


def chain_film(
    states: Array, steps: Sequence[int], title: str | None = None, names: Sequence[str] = ()
) -> Figure:
    """States of image chains over time: one row per chain, one column per step.

    states   uint8 (T, B, C, H, W)
    steps    the T numbers of steps, which stand above the columns
    names    labels of the B rows, if given

    It shows whether long chains still end in images, not only those as short as in training.
    """
    x = to_numpy(states)
    require(
        x.ndim == 5 and len(steps) == len(x) and x.shape[1] >= 1,
        f"states have shape {x.shape} and there are {len(steps)} steps, but they must be"
        " (T, B, C, H, W) and T steps",
    )
    require(
        len(names) in (0, x.shape[1]),
        f"there are {len(names)} names for {x.shape[1]} chains; give one for each chain, or none",
    )
    return picture_table(
        x.swapaxes(0, 1), [f"{step:,}" for step in steps], names, title or "Number of steps"
    )


def picture_table(
    images: Array, columns: Sequence[str], rows: Sequence[str] = (), title: str = ""
) -> Figure:
    """A table of uint8 images (R, K, C, H, W): R rows of K images, with labels of the columns.

    `rows` are labels of the rows, if given.
    """
    x = to_numpy(images)
    require(
        x.ndim == 5 and x.shape[1] == len(columns) and len(rows) in (0, len(x)),
        f"images have shape {x.shape}, {len(columns)} column labels and {len(rows)} row labels,"
        " but must be (rows, columns, C, H, W) with one label for each column, and one or none for"
        " each row",
    )
    r, k, _, h, w = x.shape
    scale = max(1, round(58 / max(h, w)))
    picture = tile(_checked(x.reshape(r * k, *x.shape[2:]), "images"), k, scale)
    side = max([0, *(7 * len(name) + 10 for name in rows)])  # pixels, by the widest letters
    top = (HEAD if title else 6) + 16
    width = max(picture.shape[1] + side, 9 * len(title)) + 2 * MARGIN
    figure = new_figure(inches(width), inches(picture.shape[0] + top + MARGIN), layout=None)
    ax = show(figure, picture)
    if title:
        beside(ax, title, (0, 1), (-side, top - HEAD / 2), **OF_TITLES)
    small = {"fontsize": SMALL, "color": MUTED, "va": "center"}
    for j, label in enumerate(columns):
        at = (j * (w * scale + SPACE) + w * scale / 2) / picture.shape[1]
        beside(ax, label, (at, 1), (0, 8), ha="center", **small)
    for i, label in enumerate(rows):
        at = 1 - (i * (h * scale + SPACE) + h * scale / 2) / picture.shape[0]
        beside(ax, label, (0, at), (-side, 0), **small)

    def place(width: float, height: float) -> None:
        fit_below([(ax, picture, inches(side), 0.0)], inches(top), width, height)

    return laid_out(figure, place)


def write_grid_png(
    images: Array, path: str | os.PathLike[str], columns: int | None = None, scale: int = 1
) -> Path:
    """Write a grid of images as a PNG, without axes and without loss, and return its path.

    See `tile` for the arguments. The file is written atomically.
    """
    from PIL import Image

    path = Path(path)
    require(
        path.suffix.lower() == ".png",
        f"cannot write {path}: a grid without loss is a PNG file; end the name in .png",
    )
    make_folder(path.parent)
    grid = tile(images, columns, scale)
    buffer = io.BytesIO()
    Image.fromarray(grid[..., 0] if grid.shape[2] == 1 else grid).save(
        buffer, format="PNG", optimize=True
    )
    write_atomic(path, buffer.getvalue())
    return path


def tile(images: Array, columns: int | None = None, scale: int = 1) -> np.ndarray:
    """One uint8 picture (height, width, C) of images (N, C, H, W) in a grid, with white gaps.

    Images are enlarged by the whole number `scale`. The top left corner of image k is at row
    (k // columns)·(scale·H + 2) and column (k % columns)·(scale·W + 2). The default of `columns` is
    the smallest integer >= √N.
    """
    x = _checked(images, "images")
    n, c, h, w = x.shape
    columns = _columns(n, columns)
    require(scale >= 1, f"scale is {scale}, but must be a whole number >= 1")
    x = x.repeat(scale, axis=2).repeat(scale, axis=3)
    h, w = h * scale + SPACE, w * scale + SPACE
    picture = np.full((math.ceil(n / columns) * h - SPACE, columns * w - SPACE, c), 255, np.uint8)
    for k in range(n):
        top, left = (k // columns) * h, (k % columns) * w
        picture[top : top + h - SPACE, left : left + w - SPACE] = x[k].transpose(1, 2, 0)
    return picture


def _grids(
    groups: Sequence[tuple[str, Array]], columns: int | None, counts: Sequence[str]
) -> Figure:
    checked = [
        (label, _checked(x, f"images of {label!r}" if label else "images")) for label, x in groups
    ]
    side = max(max(x.shape[2:]) for _, x in checked)
    scale = max(1, round(52 / side))
    pictures = [tile(x, columns, scale) for _, x in checked]
    gutter = 26
    head = HEAD if any(label for label, _ in checked) else 0
    widths = [
        max(p.shape[1], 12.5 * len(label) + 8.5 * len(count))  # pixels, by the widest letters
        for p, (label, _), count in zip(pictures, checked, counts, strict=True)
    ]
    width = sum(widths) + gutter * (len(pictures) - 1) + 2 * MARGIN
    height = max(p.shape[0] for p in pictures) + head + 2 * MARGIN
    figure = new_figure(inches(width), inches(height), layout=None)
    shown: list[tuple[Axes, np.ndarray, float, float]] = []
    for (label, _), picture, taken, count in zip(checked, pictures, widths, counts, strict=True):
        ax = show(figure, picture)
        text = beside(ax, label, (0, 1), (0, head / 2), **OF_TITLES)
        if count:
            style = {"fontsize": SMALL, "color": MUTED, "va": "center"}
            beside(ax, count, (1, 0.5), (8 / DOT, 0), text, **style)
        after = taken - picture.shape[1] + (gutter if len(shown) + 1 < len(pictures) else 0)
        shown.append((ax, picture, 0.0, inches(after)))
    laid_out(figure, lambda w, h: fit_below(shown, inches(head + MARGIN), w, h))
    return figure


def inches(dots: float) -> float:
    """Of so many dots of a figure of its own size; a little more, since Agg rounds down."""
    return (dots + 1e-3) / DPI


def show(figure: Figure, picture: np.ndarray) -> Axes:
    """Axes that are the picture."""
    ax = figure.add_axes((0, 0, 1, 1), frame_on=False)
    ax.imshow(
        picture.repeat(3, axis=2) if picture.shape[2] == 1 else picture, interpolation="nearest"
    )
    ax.set_axis_off()
    ax.set_aspect("auto")
    return ax


def beside(
    ax: Axes,
    text: str,
    at: tuple[float, float],
    dots: tuple[float, float],
    of: Any = "axes fraction",
    **style: Any,
) -> Any:
    """Words at a place of the axes, or of other words, and so many dots from it."""
    return ax.annotate(
        text,
        at,
        xycoords=of,
        xytext=(dots[0] * DOT, dots[1] * DOT),
        textcoords="offset points",
        annotation_clip=False,
        **style,
    )


def fit_below(
    pictures: Sequence[tuple[Axes, np.ndarray, float, float]],
    top: float,
    width: float,
    height: float,
) -> None:
    """Pictures side by side below `top` inches, all enlarged alike, as far as the page has room.

    pictures   axes, picture, and the inches that stay free before it and after it
    """
    free = sum(before + after for _, _, before, after in pictures)
    across = (width - 2 * inches(MARGIN) - free) / sum(p.shape[1] for _, p, _, _ in pictures)
    down = (height - top - inches(MARGIN)) / max(p.shape[0] for _, p, _, _ in pictures)
    dot = min(across, down)
    require(
        dot > 0,
        f"the figure does not fit into {width:.3g}x{height:.3g} inches: its words alone take more; "
        "give a larger size, or none",
    )
    wide = free + dot * sum(p.shape[1] for _, p, _, _ in pictures)
    high = top + dot * max(p.shape[0] for _, p, _, _ in pictures)
    left, top = (width - wide) / 2, top + (height - inches(MARGIN) - high) / 2
    for ax, picture, before, after in pictures:
        h, w = dot * picture.shape[0], dot * picture.shape[1]
        left += before
        put(ax, left, height - top - h, w, h)
        left += w + after


def _columns(n: int, columns: int | None) -> int:
    columns = math.isqrt(n - 1) + 1 if columns is None else columns
    require(columns >= 1, f"columns is {columns}, but must be at least 1")
    return min(columns, n)


def _checked(images: Array, name: str) -> np.ndarray:
    x = to_numpy(images)
    require(
        x.dtype == np.uint8,
        f"{name} are {x.dtype}, but must be uint8 from 0 to 255; convert values in [-1, 1] by"
        " ((x + 1) * 127.5).round()",
    )
    require(
        x.ndim == 4 and x.shape[1] in (1, 3) and min(x.shape) > 0,
        f"{name} have shape {x.shape}, but must be (N, C, H, W) with C of 1 or 3 and N >= 1",
    )
    return x

"""Grids of images, pixel for pixel."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stanley.errors import require
from stanley.files import write_atomic
from stanley.plots.figures import (
    DPI,
    INK,
    MUTED,
    SMALL,
    TITLE,
    Array,
    new_figure,
    png_path,
    to_numpy,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Space between images, in pixels of the figure or file.
SPACE = 2
MARGIN, HEAD = 14, 34


def image_grid(images: Array, columns: int | None = None, title: str | None = None) -> Figure:
    """uint8 images (N, C, H, W), C of 1 or 3, row by row; each pixel a whole number of figure
    pixels.
    """
    return _grids([(title or "", images)], columns)


def labelled_grids(groups: Sequence[tuple[str, Array]], columns: int | None = None) -> Figure:
    """Grids side by side, each under its label and count: fresh chains, bank, data."""
    require(len(groups) > 0, "no groups of images to draw: give at least one (label, images)")
    return _grids(groups, columns, counted=True)


def chain_film(
    states: Array, steps: Sequence[int], title: str | None = None, names: Sequence[str] = ()
) -> Figure:
    """Chains along time: uint8 states (T, B, C, H, W), one row a chain, one column a step, each
    under its number.

    `names` are put in front of the rows where given. Short-run chains and long ones in one picture:
    whether the steady state is still an image.
    """
    x = to_numpy(states)
    require(
        x.ndim == 5 and len(steps) == len(x) and x.shape[1] >= 1,
        f"states have shape {x.shape} and there are {len(steps)} steps, must be (T, B, C, H, W)"
        " with one step each",
    )
    require(
        len(names) in (0, x.shape[1]),
        f"{len(names)} names for {x.shape[1]} chains; give one a chain, or none",
    )
    return picture_table(
        x.swapaxes(0, 1), [f"{step:,}" for step in steps], names, title or "after … steps"
    )


def picture_table(
    images: Array, columns: Sequence[str], rows: Sequence[str] = (), title: str = ""
) -> Figure:
    """uint8 images (R, K, C, H, W) as R rows of K pictures, each column under its label."""
    x = to_numpy(images)
    require(
        x.ndim == 5 and x.shape[1] == len(columns) and len(rows) in (0, len(x)),
        f"images have shape {x.shape}, {len(columns)} column labels and {len(rows)} row labels,"
        " must be (rows, columns, C, H, W) with one label each",
    )
    r, k, _, h, w = x.shape
    scale = max(1, round(58 / max(h, w)))
    picture = tile(_checked(x.reshape(r * k, *x.shape[2:]), "images"), k, scale)
    side = max([0, *(7 * len(name) + 10 for name in rows)])  # pixels, by the widest letters
    top = (HEAD if title else 6) + 16
    width = max(picture.shape[1] + side, 9 * len(title)) + 2 * MARGIN
    height = picture.shape[0] + top + MARGIN
    figure = new_figure((width + 1e-3) / DPI, (height + 1e-3) / DPI, layout=None)
    figure.text(
        MARGIN / width,
        1 - HEAD / 2 / height,
        title,
        fontsize=TITLE,
        color=INK,
        fontweight="bold",
        va="center",
    )
    left = MARGIN + side
    ax = figure.add_axes(
        (left / width, MARGIN / height, picture.shape[1] / width, picture.shape[0] / height),
        frame_on=False,
    )
    ax.imshow(
        picture.repeat(3, axis=2) if picture.shape[2] == 1 else picture, interpolation="nearest"
    )
    ax.set_axis_off()
    ax.set_aspect("auto")
    for j, label in enumerate(columns):
        at = left + j * (w * scale + SPACE) + w * scale / 2
        figure.text(
            at / width,
            1 - (top - 8) / height,
            label,
            fontsize=SMALL,
            color=MUTED,
            ha="center",
            va="center",
        )
    for i, label in enumerate(rows):
        at = MARGIN + picture.shape[0] - i * (h * scale + SPACE) - h * scale / 2
        figure.text(MARGIN / width, at / height, label, fontsize=SMALL, color=MUTED, va="center")
    return figure


def write_grid_png(
    images: Array, path: str | os.PathLike[str], columns: int | None = None, scale: int = 1
) -> Path:
    """The grid alone as a PNG, without axes or loss; written atomically."""
    from PIL import Image

    path = png_path(path)
    grid = tile(images, columns, scale)
    buffer = io.BytesIO()
    Image.fromarray(grid[..., 0] if grid.shape[2] == 1 else grid).save(
        buffer, format="PNG", optimize=True
    )
    write_atomic(path, buffer.getvalue())
    return path


def tile(images: Array, columns: int | None = None, scale: int = 1) -> np.ndarray:
    """uint8 (N, C, H, W) -> one white-spaced picture (rows, width, C), uint8, `scale` times
    enlarged.

    Image k has its top left corner at row (k // columns)·(scale·H + 2), column (k %
    columns)·(scale·W + 2). `columns` is the least integer >= √N when left out.
    """
    x = _checked(images, "images")
    n, c, h, w = x.shape
    columns = _columns(n, columns)
    require(scale >= 1, f"scale is {scale}, must be a whole number >= 1")
    x = x.repeat(scale, axis=2).repeat(scale, axis=3)
    h, w = h * scale + SPACE, w * scale + SPACE
    picture = np.full((math.ceil(n / columns) * h - SPACE, columns * w - SPACE, c), 255, np.uint8)
    for k in range(n):
        top, left = (k // columns) * h, (k % columns) * w
        picture[top : top + h - SPACE, left : left + w - SPACE] = x[k].transpose(1, 2, 0)
    return picture


def _grids(
    groups: Sequence[tuple[str, Array]], columns: int | None, counted: bool = False
) -> Figure:
    checked = [
        (label, _checked(x, f"images of {label!r}" if label else "images")) for label, x in groups
    ]
    side = max(max(x.shape[2:]) for _, x in checked)
    scale = max(1, round(52 / side))
    pictures = [tile(x, columns, scale) for _, x in checked]
    gutter = 26
    head = HEAD if any(label for label, _ in checked) else 0
    counts = [f"{len(x):,} image{'s' if len(x) > 1 else ''}" if counted else "" for _, x in checked]
    widths = [
        max(p.shape[1], 14 * len(label) + 10 * len(count))  # pixels, by the widest letters
        for p, (label, _), count in zip(pictures, checked, counts, strict=True)
    ]
    width = sum(widths) + gutter * (len(pictures) - 1) + 2 * MARGIN
    height = max(p.shape[0] for p in pictures) + head + 2 * MARGIN
    figure = new_figure((width + 1e-3) / DPI, (height + 1e-3) / DPI, layout=None)  # Agg rounds down
    left = MARGIN
    for (label, _), picture, taken, count in zip(checked, pictures, widths, counts, strict=True):
        h, w = picture.shape[:2]
        ax = figure.add_axes(
            (left / width, (height - MARGIN - head - h) / height, w / width, h / height),
            frame_on=False,
        )
        ax.imshow(
            picture.repeat(3, axis=2) if picture.shape[2] == 1 else picture, interpolation="nearest"
        )
        ax.set_axis_off()
        ax.set_aspect("auto")
        at = 1 - (MARGIN + head / 2) / height
        text = figure.text(
            left / width, at, label, fontsize=TITLE, color=INK, fontweight="bold", va="center"
        )
        if counted:
            ax.annotate(
                count,
                (1.0, 0.5),
                xycoords=text,
                xytext=(8, 0),
                textcoords="offset points",
                va="center",
                fontsize=SMALL,
                color=MUTED,
                annotation_clip=False,
            )
        left += taken + gutter
    return figure


def _columns(n: int, columns: int | None) -> int:
    columns = math.isqrt(n - 1) + 1 if columns is None else columns
    require(columns >= 1, f"columns is {columns}, must be at least 1")
    return min(columns, n)


def _checked(images: Array, name: str) -> np.ndarray:
    x = to_numpy(images)
    require(
        x.dtype == np.uint8,
        f"{name} are {x.dtype}, must be uint8 in 0..255; convert [-1, 1] with ((x + 1) *"
        " 127.5).round()",
    )
    require(
        x.ndim == 4 and x.shape[1] in (1, 3) and min(x.shape) > 0,
        f"{name} have shape {x.shape}, must be (N, C, H, W) with C of 1 or 3 and N >= 1",
    )
    return x

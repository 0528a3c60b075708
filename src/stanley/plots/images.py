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
    """uint8 images (N, C, H, W), C of 1 or 3, row by row; each pixel a whole number of figure pixels."""
    return _grids([(title or "", images)], columns)


def labelled_grids(groups: Sequence[tuple[str, Array]], columns: int | None = None) -> Figure:
    """Grids side by side, each under its label and count: fresh chains, bank, data."""
    require(len(groups) > 0, "no groups of images to draw: give at least one (label, images)")
    return _grids(groups, columns, counted=True)


def write_grid_png(images: Array, path: str | os.PathLike[str], columns: int | None = None, scale: int = 1) -> Path:
    """The grid alone as a PNG, without axes or loss; written atomically."""
    from PIL import Image

    path = png_path(path)
    grid = tile(images, columns, scale)
    buffer = io.BytesIO()
    Image.fromarray(grid[..., 0] if grid.shape[2] == 1 else grid).save(buffer, format="PNG", optimize=True)
    write_atomic(path, buffer.getvalue())
    return path


def tile(images: Array, columns: int | None = None, scale: int = 1) -> np.ndarray:
    """uint8 (N, C, H, W) -> one white-spaced picture (rows, width, C), uint8, `scale` times enlarged.

    Image k has its top left corner at row (k // columns)·(scale·H + 2), column (k % columns)·(scale·W + 2).
    `columns` is the least integer >= √N when left out.
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


def _grids(groups: Sequence[tuple[str, Array]], columns: int | None, counted: bool = False) -> Figure:
    checked = [(label, _checked(x, f"images of {label!r}" if label else "images")) for label, x in groups]
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
            (left / width, (height - MARGIN - head - h) / height, w / width, h / height), frame_on=False
        )
        ax.imshow(picture.repeat(3, axis=2) if picture.shape[2] == 1 else picture, interpolation="nearest")
        ax.set_axis_off()
        ax.set_aspect("auto")
        at = 1 - (MARGIN + head / 2) / height
        text = figure.text(left / width, at, label, fontsize=TITLE, color=INK, fontweight="bold", va="center")
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
        f"{name} are {x.dtype}, must be uint8 in 0..255; convert [-1, 1] with ((x + 1) * 127.5).round()",
    )
    require(
        x.ndim == 4 and x.shape[1] in (1, 3) and min(x.shape) > 0,
        f"{name} have shape {x.shape}, must be (N, C, H, W) with C of 1 or 3 and N >= 1",
    )
    return x

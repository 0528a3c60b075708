"""What every figure shares: colours, light axes, arrays from tensors, and one way to a file.

Figures are plain `matplotlib.figure.Figure` objects on the Agg canvas: no pyplot, no global state,
no display. Matplotlib is imported inside the functions, so that importing `stanley.plots` costs
nothing.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from stanley.errors import StanleyError, require
from stanley.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL.Image import Image

Array = np.ndarray | torch.Tensor

DPI = 130
MAX_BYTES = 500_000

#: Okabe & Ito (2008), told apart by readers with any common colour vision.
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
)
CYCLE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, "#000000", "#8C8C8C")
INK, MUTED, GRID = "#222222", "#6B6B6B", "#E4E4E4"

TITLE, LABEL, SMALL = 10.5, 9.0, 8.0  # points


def save(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a PNG of at most 500 kB, atomically; the folder is made when it is missing.

    A figure that does not fit (a large grid of noisy images) loses the finest shades first, down to
    16 levels a channel, then size. For exact pixels use `write_grid_png`.
    """
    path = png_path(path)
    content = _encode(image := rendered(figure))
    for levels in (64, 32, 16):
        if len(content) > MAX_BYTES:
            content = _encode(_shades(image, levels))
    shrink = 1.0
    while len(content) > MAX_BYTES:
        shrink *= min(0.9, math.sqrt(MAX_BYTES / len(content)))
        size = (max(1, round(image.width * shrink)), max(1, round(image.height * shrink)))
        content = _encode(_shades(image.resize(size), 16))
    write_atomic(path, content)
    return path


def png_path(path: str | os.PathLike[str]) -> Path:
    """The path, its folder made; an error in one line when it does not name a PNG that can be
    written.
    """
    path = Path(path)
    require(
        path.suffix.lower() == ".png",
        f"cannot write {path}: figures are PNG files; end the name in .png",
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StanleyError(
            f"cannot create {path.parent}: {error.strerror or error}; choose another folder"
        ) from error
    return path


def rendered(figure: Figure) -> Image:
    """The figure as a Pillow RGB image at 130 dots per inch."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def _shades(image: Image, levels: int) -> Image:
    """Each channel rounded to `levels` values; black and white stay what they are."""
    table = np.rint(np.rint(np.arange(256) / 255 * (levels - 1)) / (levels - 1) * 255).astype(int)
    return image.point(table.tolist() * 3)


def _encode(image: Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def new_figure(width: float, height: float, layout: str | None = "constrained") -> Figure:
    """An empty white figure of width x height inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout=layout, facecolor="white")  # type: ignore[arg-type]
    if layout == "constrained":
        figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)  # type: ignore[union-attr]
    return figure


def dress(ax: Axes, title: str = "", xlabel: str = "", ylabel: str = "") -> None:
    """Labels, a light grid behind the data, and only the left and bottom edges of the frame."""
    from matplotlib.ticker import FuncFormatter

    ax.set_facecolor("white")
    ax.set_title(title, loc="left", fontsize=TITLE, color=INK, fontweight="bold", pad=7)
    ax.set_xlabel(xlabel, fontsize=LABEL, color=INK)
    ax.set_ylabel(ylabel, fontsize=LABEL, color=INK)
    ax.tick_params(which="both", labelsize=SMALL, colors=MUTED, length=3, width=0.7)
    ax.grid(True, which="major", color=GRID, linewidth=0.7)
    ax.set_axisbelow(True)
    for side, spine in ax.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color("#B5B5B5")
        spine.set_linewidth(0.8)
    if ax.get_yscale() == "linear":
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))


def number(value: float) -> str:
    """Six significant digits at most, with a true minus sign."""
    value = 0.0 if abs(value) < 1e-12 else value
    return (
        f"{value:,.6g}".replace("-", "−")
        .replace("e+0", "e")
        .replace("e+", "e")
        .replace("e−0", "e−")
    )


def key_above(ax: Axes, columns: int = 4) -> None:
    """The legend on the line of the title, right of it, where it can cover no data."""
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        ax.legend(
            handles,
            labels,
            loc="lower right",
            bbox_to_anchor=(1.01, 0.995),
            ncols=columns,
            frameon=False,
            fontsize=SMALL,
            handlelength=1.2,
            handletextpad=0.4,
            columnspacing=1.0,
            borderaxespad=0.1,
            labelcolor=INK,
        )


def to_numpy(value: Any) -> np.ndarray:
    """An array on the host, in float64 or as the integers it was;
    tensors of any device and dtype.
    """
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        value = (value.double() if value.is_floating_point() else value).numpy()
    array = np.asarray(value)
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def joined(parts: Sequence[str]) -> str:
    return " · ".join(part for part in parts if part)

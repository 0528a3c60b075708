"""What all figures share: colours, the style of axes, conversion of tensors, and writing of files.

Figures are plain `matplotlib.figure.Figure` objects, drawn by Agg: without pyplot, global state or
a display. Matplotlib is imported inside the functions, so that importing `stanley.plots` is fast.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from functools import cache
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

#: The colours of Okabe & Ito (2008), which colour-blind readers can distinguish.
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
    """Write a figure as a PNG of at most 500 kB, and return its path.

    The file is written atomically, and a missing folder is created. A figure that is too large (a
    large grid of noisy images) is first reduced to fewer colours, at least 16 levels per channel,
    and then in size; for exact pixels use `write_grid_png`. Raises StanleyError for a path that
    does not end in .png or cannot be written.
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
    """Create the folder of a path to a PNG.

    Raises StanleyError if the path does not end in .png or the folder cannot be created.
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
    """The image with each channel rounded to `levels` values; black and white do not change."""
    table = np.rint(np.rint(np.arange(256) / 255 * (levels - 1)) / (levels - 1) * 255).astype(int)
    return image.point(table.tolist() * 3)


def _encode(image: Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


@cache
def figure_class() -> type[Figure]:
    """Matplotlib's, made on first use; without pyplot a notebook does not know how to show it."""
    from matplotlib.figure import Figure

    class Shown(Figure):
        def _repr_png_(self) -> bytes:
            return _encode(rendered(self))

    return Shown


def new_figure(width: float, height: float, layout: str | None = "constrained") -> Figure:
    """An empty white figure of width × height inches, which a notebook shows."""
    figure = figure_class()(figsize=(width, height), dpi=DPI, layout=layout, facecolor="white")  # type: ignore[arg-type]
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
    """A legend to the right of the title, where it covers no data."""
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
    """A NumPy array of a tensor on any device, or of anything else; floats become float64."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        value = (value.double() if value.is_floating_point() else value).numpy()
    array = np.asarray(value)
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def label(name: str, longest: int = 30) -> str:
    """A name that somebody else chose: short, in one line, and without mathematics."""
    shown = "".join(c if c.isprintable() else "·" for c in name)
    shown = shown if len(shown) <= longest else f"{shown[: longest - 1]}…"
    return shown.replace("\\", "\\\\").replace("$", r"\$")


def joined(parts: Sequence[str]) -> str:
    """The parts that are not empty, separated by dots."""
    return " · ".join(part for part in parts if part)

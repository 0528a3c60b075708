"""What all figures share: colours, the style of axes, conversion of tensors, and writing of files.

Figures are plain `matplotlib.figure.Figure` objects, drawn by Agg: without pyplot, global state or
a display. Matplotlib is imported inside the functions, so that importing `stanley.plots` is fast.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from stanley.errors import StanleyError, require
from stanley.files import make_folder, write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import LayoutEngine

Array = np.ndarray | torch.Tensor

DPI = 130
FORMATS = ("png", "pdf", "svg")
SIDES = (1.0, 60.0)  # inches, of a figure whose size is asked for
SMALLEST = 0.25  # share of its own size down to which a figure is drawn: text of 2 points
MOST_DOTS = 100_000_000  # of a PNG: 400 MB while it is drawn
#: Inches in a unit of length.
UNITS = {"in": 1.0, "cm": 1 / 2.54, "mm": 1 / 25.4}

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


@dataclass(frozen=True)
class Drawing:
    """How figures are written.

    formats   png, pdf and svg: a file of each
    dpi       dots per inch of a PNG, and of the pictures inside a PDF or SVG
    size      width and height of every figure in inches; None is the size that each has

    A figure is laid out anew for another size; text shrinks with a figure that is smaller than its
    own size, and does not grow with a larger one. Raises StanleyError for a format that is none of
    these, and for a number that is out of range.
    """

    formats: tuple[str, ...] = ("png",)
    dpi: int = DPI
    size: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for name in self.formats:
            require(
                name in FORMATS,
                f"format is {name!r}, but must be png, pdf or svg, or several with a comma",
            )
        require(
            0 < len(set(self.formats)) == len(self.formats),
            f"formats are {', '.join(self.formats) or 'none'}; give one, or several different ones",
        )
        require(
            20 <= self.dpi <= 1200,
            f"dpi is {self.dpi}, but must lie in [20, 1200]; 200 suits a paper",
        )
        if self.size is not None:
            width, height = self.size
            least, most = SIDES
            require(
                least <= width <= most and least <= height <= most,
                f"the size is {width:.3g}x{height:.3g} inches, but each side must lie in "
                f"[{least:g}, {most:g}] inches; 6x4 suits a page",
            )
            require_dots(width, height, self.dpi)

    def write(self, figures: Mapping[str, Figure], folder: Path) -> list[Path]:
        """FOLDER/NAME.EXT of every figure in every format, all or none; returns their paths."""
        drawn = {
            folder / f"{name}.{suffix}": self.encoded(figure, suffix)
            for name, figure in figures.items()
            for suffix in self.formats
        }
        make_folder(folder)
        for path, content in drawn.items():
            write_atomic(path, content)
        return list(drawn)

    def encoded(self, figure: Figure, suffix: str) -> bytes:
        """The figure as a file of this format. A PDF or SVG has no date, so that the same figure is
        the same file.
        """
        import matplotlib

        if self.size is not None:
            resize(figure, *self.size)
        width, height = figure.get_size_inches()
        if suffix == "png":
            require_dots(width, height, self.dpi)
        metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(suffix)
        content = io.BytesIO()
        with warnings.catch_warnings(), matplotlib.rc_context({"svg.hashsalt": "stanley"}):
            warnings.filterwarnings("error", "constrained_layout not applied")
            try:
                figure.savefig(
                    content, format=suffix, dpi=self.dpi, metadata=metadata, facecolor="white"
                )
            except UserWarning as error:
                raise StanleyError(
                    f"the figure does not fit into {width:.3g}x{height:.3g} inches: nothing is left"
                    " for what it shows; give a larger size, or none"
                ) from error
        return content.getvalue()


#: What is written where nobody said otherwise.
USUAL = Drawing()


def require_dots(width: float, height: float, dpi: int) -> None:
    dots = width * height * dpi**2
    require(
        dots <= MOST_DOTS,
        f"{width:.3g}x{height:.3g} inches at {dpi} dots per inch are {dots / 1e6:,.0f} million "
        f"dots, but at most {MOST_DOTS / 1e6:,.0f} million are drawn; use fewer dots per inch, a "
        "smaller size, or a PDF",
    )


def save(
    figure: Figure,
    path: str | os.PathLike[str],
    dpi: int = DPI,
    size: tuple[float, float] | None = None,
) -> Path:
    """Write a figure as a PNG, PDF or SVG, by the name's ending, and return its path.

    The file is written atomically, and a missing folder is created; `dpi` and `size`, in inches,
    are those of `Drawing`. Raises StanleyError for a path of another ending or that cannot be
    written.
    """
    path = Path(path)
    suffix = path.suffix.lower().removeprefix(".")
    require(
        suffix in FORMATS,
        f"cannot write {path}: figures are PNG, PDF or SVG files; end the name in .png",
    )
    content = Drawing((suffix,), dpi, size).encoded(figure, suffix)
    make_folder(path.parent)
    write_atomic(path, content)
    return path


def resize(figure: Figure, width: float, height: float) -> None:
    """Give a figure this size in inches, and shrink its text where it becomes smaller.

    Raises StanleyError where nobody could read it any more.
    """
    from matplotlib.text import Text

    w, h = figure.get_size_inches()
    shrink = min(1.0, width / w, height / h)
    require(
        shrink >= SMALLEST,
        f"a figure does not fit into {width:.3g}x{height:.3g} inches: its own size is "
        f"{w:.3g}x{h:.3g}, and its text would be too small to read; give at least "
        f"{SMALLEST * w:.2g}x{SMALLEST * h:.2g}, or no size",
    )
    if shrink < 1:
        figure.draw_without_rendering()  # ticks have their labels from here on
        for text in figure.findobj(Text):
            text.set_fontsize(float(text.get_fontsize()) * shrink)
        for axis in (axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)):
            if ticks := axis.get_ticklabels():  # also of those that other limits bring
                axis.set_tick_params(labelsize=float(ticks[0].get_fontsize()))
    figure.set_size_inches(width, height)


@cache
def figure_class() -> type[Figure]:
    """Matplotlib's, made on first use; without pyplot a notebook does not know how to show it."""
    from matplotlib.figure import Figure

    class Shown(Figure):
        def _repr_png_(self) -> bytes:
            return USUAL.encoded(self, "png")

    return Shown


def new_figure(width: float, height: float, layout: str | None = "constrained") -> Figure:
    """An empty white figure of width × height inches, which a notebook shows."""
    figure = figure_class()(figsize=(width, height), dpi=DPI, layout=layout, facecolor="white")  # type: ignore[arg-type]
    if layout == "constrained":
        figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)  # type: ignore[union-attr]
    return figure


@cache
def placed_layout() -> type[LayoutEngine]:
    """Matplotlib's, made on first use."""
    from matplotlib.layout_engine import LayoutEngine

    class Placed(LayoutEngine):
        _adjust_compatible = False
        _colorbar_gridspec = False

        def __init__(self, place: Callable[[float, float], None]) -> None:
            super().__init__()
            self.place = place

        def execute(self, fig: Figure) -> None:
            self.place(*fig.get_size_inches())

    return Placed


def laid_out(figure: Figure, place: Callable[[float, float], None]) -> Figure:
    """The figure, whose axes get their places by a function of its width and height in inches,
    whenever it is drawn.
    """
    figure.set_layout_engine(placed_layout()(place))  # type: ignore[call-arg]
    place(*figure.get_size_inches())
    return figure


def put(ax: Axes, left: float, bottom: float, width: float, height: float) -> None:
    """Give axes their place on the page, in inches."""
    w, h = ax.figure.get_size_inches()  # type: ignore[union-attr]
    ax.set_position((left / w, bottom / h, width / w, height / h))


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


def in_numbers(axis: Axis, ratio: float) -> None:
    """A logarithmic axis with plain numbers, of greatest to least `ratio`."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if ratio < 100 else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda v, _: number(v)))
    axis.set_minor_formatter(NullFormatter())


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

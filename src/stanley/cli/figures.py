"""Flags of figures, which all commands that draw some share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from stanley.cli.flags import Whole
from stanley.errors import require

if TYPE_CHECKING:
    from stanley.plots.figures import Drawing

Format = Annotated[
    str | None,
    Parameter(
        name="--format",
        help="Formats of the figures: png, pdf or svg, or several with a comma. [default: png]",
    ),
]
Dpi = Annotated[Whole | None, Parameter(help="Dots per inch of the figures. [default: 130]")]
Size = Annotated[
    str | None,
    Parameter(
        help="Width and height of each figure: 6x4 is in inches, or 15x10cm, 150x100mm. "
        "[default: each has its own]"
    ),
]


def drawing_of(
    formats: str | None, dpi: int | None, size: str | None, out: Path | None = None
) -> Drawing:
    """How figures are written. To be called before the work of a command, which would be lost with
    a flag that is wrong.

    out   a name that the user gave to the figure, whose ending is its format
    """
    from stanley.plots.figures import DPI, FORMATS, Drawing

    ending = "" if out is None else out.suffix.lower().removeprefix(".")
    names = tuple(("png" if formats is None else formats).split(","))
    if ending in FORMATS:
        require(
            formats is None or names == (ending,),
            f"--out {out} is a {ending}, and --format is {formats}; leave out one of them",
        )
        names = (ending,)
    inches = None if size is None else inches_of(size)
    return Drawing(names, DPI if dpi is None else dpi, inches)


def inches_of(text: str) -> tuple[float, float]:
    """Width and height in inches of 6x4, 15x10cm or 150x100mm."""
    from stanley.cli.values import number
    from stanley.plots.figures import UNITS

    unit = next((u for u in UNITS if text.endswith(u)), "")
    sides = [number(part.strip()) for part in text.removesuffix(unit).lower().split("x")]
    require(
        len(sides) == 2 and None not in sides,
        f"--size is {text!r}, must be the width and the height with an x, such as 6x4 (inches), "
        "15x10cm or 150x100mm",
    )
    width, height = (float(side or 0) * UNITS.get(unit, 1.0) for side in sides)
    return width, height

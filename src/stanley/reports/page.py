"""One HTML file that needs no other: its style, its figures and its text in it, and no script."""

from __future__ import annotations

import base64
import functools
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stanley import __version__
from stanley.errors import StanleyError, in_one_line, require
from stanley.files import write_atomic
from stanley.overwriting import keep_former

if TYPE_CHECKING:
    from jinja2 import Environment
    from matplotlib.figure import Figure

#: Bytes of a whole page. Figures are drawn with fewer dots where they do not fit.
LARGEST = 3_000_000
#: Dots per inch of the figures, from the first that fits.
DPI = (140, 110, 80, 55)


#: What a page says of itself in its first characters.
MARK = '<meta name="generator" content="stanley">'
HEAD = 1000


@dataclass(frozen=True)
class Shown:
    """A figure of a page, and what a reader sees in it."""

    title: str
    words: str
    figure: Figure


def write_page(path: Path, template: str, figures: list[Shown], **facts: Any) -> Path:
    """Fill a template of this folder with facts and figures, escaped as HTML wants it; the file is
    written at once or not at all. A page with fewer dots than usual says so. A file of this name
    that is no such page is kept under another one.

    Raises StanleyError where the page is too large even so, or cannot be written.
    """
    page, text = templates("stanley.reports").get_template(template), ""
    for dpi in DPI:
        pictures = [(s.title, s.words, as_data(png(s.figure, dpi), "image/png")) for s in figures]
        coarse = "" if dpi == DPI[0] else f"Figures are drawn at {dpi} dots per inch to fit."
        text = page.render(pictures=pictures, coarse=coarse, version=__version__, **facts)
        if len(text.encode()) <= LARGEST:
            break
    require(
        len(text.encode()) <= LARGEST,
        f"the page would have {len(text.encode()):,} bytes, but at most {LARGEST:,} are written; "
        "the files in the folder have all of it",
    )
    if not is_page(path):
        keep_former((path,), "a file that is not a page of stanley")
    write_atomic(path, text.encode())
    return path


@functools.cache
def templates(package: str) -> Environment:
    """The `templates/` of a package, in which every fact is escaped as HTML wants it."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader(package, "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def is_page(path: Path) -> bool:
    """Whether a page was written there, whose generator says so."""
    return MARK in head_of(path)


def head_of(path: Path) -> str:
    """The beginning of a file, in which a page says what it is; empty where there is none."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(HEAD)
    except OSError:
        return ""


@contextmanager
def whole(file: Path, cure: str) -> Iterator[None]:
    """Raise StanleyError for a file whose JSON lacks what is looked for, or has it in another
    shape.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise StanleyError(f"{file} is damaged ({in_one_line(error)}); {cure}") from error


def png(figure: Figure, dpi: int) -> bytes:
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=dpi, facecolor="white")
    return drawn.getvalue()


def as_data(content: bytes, kind: str) -> str:
    """An address that is the content itself."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def in_yaml(values: dict[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)

"""Progress bars on stderr, and small pictures above them; rich is imported only when one is shown.

What is drawn takes a small share of the time of the work: the next drawing waits until `REST` times
as long as the last one took has gone by.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.progress import Progress

OFTEN = 0.2  # seconds between two drawings, at least
REST = 500  # times the time that a drawing takes are left to the work before the next one
COLOURS = ("256", "truecolor")  # of terminals in which a picture can be recognised
LEAST = (60, 22)  # columns and lines of a terminal that has room for a picture
UPPER = "▀"  # a character in two colours is two pixels


class Picture(Protocol):
    """What is shown above a bar: `pixels()` uint8 (height, width, 3), None where there is nothing
    to see, under the line `title`.
    """

    title: str

    def pixels(self) -> np.ndarray | None: ...


def terminal() -> Console:
    """stderr for rich; where its reader goes away, what is drawn goes nowhere and the work goes
    on.
    """
    from rich.console import Console

    class Terminal(Console):
        def on_broken_pipe(self) -> None:  # rich's own closes stdout and ends the process
            self.quiet = True

    return Terminal(stderr=True)


def room_for_pictures(console: Console) -> tuple[int, int] | None:
    """Columns and lines of a terminal that shows pictures; None for a pipe, a dumb terminal, one
    without colours (NO_COLOR) or without half blocks, and one that is too small.
    """
    able = (
        console.is_terminal
        and not console.is_dumb_terminal
        and not console.no_color
        and console.color_system in COLOURS
        and not console.legacy_windows
        and console.encoding.lower().startswith("utf")
    )
    columns, lines = console.size
    return (columns, lines) if able and columns >= LEAST[0] and lines >= LEAST[1] else None


class Rest:
    """How long to leave the machine to the work after something that is done now and then.

    By the shorter of the last two times that it took: another process may have been in between, and
    the first time takes longer than those that follow, so that it counts for nothing.
    """

    def __init__(self) -> None:
        self.seconds, self.before = 0.0, 0.0

    def took(self, seconds: float) -> None:
        self.seconds, self.before = REST * min(self.before, seconds), seconds


class HalfBlocks:
    """An image, uint8 (height, width, 3), as characters whose upper half has one pixel's colour and
    whose lower half the next one's; a last row without a partner stands over the background.

    A row goes to the terminal as it is, which is several times as fast as a style for each colour.
    """

    def __init__(self, pixels: np.ndarray) -> None:
        self.image, self.rows = pixels, dict[str, list[str]]()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.segment import ControlType, Segment

        kind = console.color_system or "256"
        if kind not in self.rows:
            pairs = range(0, len(self.image), 2)
            self.rows[kind] = [row_of_blocks(self.image[k : k + 2], kind) for k in pairs]
        for row in self.rows[kind]:
            # as control characters, whose width and graphemes rich does not look for
            yield Segment(row, None, [(ControlType.CARRIAGE_RETURN,)])
            yield Segment.line()


def row_of_blocks(pair: np.ndarray, kind: str) -> str:
    """One or two rows of pixels (1 or 2, width, 3) as a line of a terminal, in its colours."""
    other = (pair[:, 1:] != pair[:, :-1]).any((0, 2))
    starts = [0, *(np.flatnonzero(other) + 1).tolist(), pair.shape[1]]
    rows = [[tuple(rgb) for rgb in row] for row in pair[:, starts[:-1]].tolist()]
    below = rows[1] if len(rows) == 2 else [None] * len(rows[0])
    parts = [
        f"\x1b[{'' if low is None else code(48, low, kind) + ';'}{code(38, top, kind)}m"
        f"{UPPER * (last - first)}"
        for top, low, (first, last) in zip(rows[0], below, pairwise(starts), strict=True)
    ]
    return f"{''.join(parts)}\x1b[0m"


@lru_cache(maxsize=1 << 14)
def code(ground: int, rgb: tuple[int, int, int], kind: str) -> str:
    """The escape code of a colour, 38 above and 48 below, or of the nearest that there is."""
    if kind == "truecolor":
        return f"{ground};2;{rgb[0]};{rgb[1]};{rgb[2]}"
    from rich.color import Color, ColorSystem

    return f"{ground};5;{Color.from_rgb(*rgb).downgrade(ColorSystem.EIGHT_BIT).number}"


class Bar:
    """`name ━━━━ n/total time note`, redrawn five times a second at most; nothing if disabled.

    With a `picture`, and a terminal that can show one, it stands above the bar.
    """

    def __init__(
        self,
        name: str,
        total: int,
        done: int = 0,
        *,
        enabled: bool = True,
        picture: Picture | None = None,
    ) -> None:
        self.name, self.total, self.done, self.enabled = name, total, done, enabled
        self.picture = picture
        self.progress: Progress | None = None
        self.drawn, self.writing = 0.0, Rest()
        self.painted, self.painting = 0.0, Rest()
        self.shown: list[Any] = []  # the picture as rich shows it

    def __enter__(self) -> Bar:
        if self.enabled:
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeRemainingColumn,
            )

            above = self.shown

            class BelowPicture(Progress):
                def get_renderables(self) -> Iterator[Any]:
                    yield from above
                    yield self.make_tasks_table(self.tasks)

            self.progress = BelowPicture(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=terminal(),
                auto_refresh=False,
            )
            self.task = self.progress.add_task(
                self.name, total=self.total, completed=self.done, note=""
            )
            if room_for_pictures(self.progress.console) is None:
                self.picture = None
            with suppress(OSError):
                self.progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.progress is not None:
            with suppress(OSError):
                self.progress.stop()

    def due(self, done: int) -> bool:
        """Whether it is time to draw. Ask first: a note may have to wait for the device."""
        if self.progress is None:
            return False
        wait = max(OFTEN, self.writing.seconds) if self.shown else OFTEN
        return time.monotonic() - self.drawn > wait or done == self.total

    def draw(self, done: int, note: str) -> None:
        assert self.progress is not None
        began = time.monotonic()
        if self.picture is not None and (
            began - self.painted > self.painting.seconds or done == self.total
        ):
            self.paint(self.picture)
            self.painted = time.monotonic()
            self.painting.took(self.painted - began)
            began = self.painted
        with suppress(OSError):  # nobody sees it any more, and the work goes on
            self.progress.update(self.task, completed=done, note=note, refresh=True)
        self.drawn = time.monotonic()
        self.writing.took(self.drawn - began)

    def paint(self, picture: Picture) -> None:
        """Make the picture anew; the former one stays where there is nothing to see."""
        from rich.text import Text

        pixels = picture.pixels()
        if pixels is not None:
            title = Text(picture.title, style="dim", no_wrap=True, overflow="ellipsis")
            self.shown[:] = [title, HalfBlocks(pixels)]


def training_note(record: dict[str, Any]) -> str:
    """The gap, acceptance and step size of one record, or its loss, for a progress bar."""
    if "gap" not in record:
        return f"loss {record['loss']:.4f}" if record["loss"] is not None else "loss not finite"
    gap, acceptance = record["gap"], record["acceptance"]
    parts = [f"gap {gap:+.3f}" if gap is not None else "gap not finite"]
    if acceptance is not None:
        parts.append(f"acceptance {acceptance:.2f}")
    return "  ".join([*parts, f"h {record['step_size']:.3g}"])

"""Progress bars on stderr; rich is imported only when one is shown."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


def terminal() -> Console:
    """stderr for rich; where its reader goes away, what is drawn goes nowhere and the work goes
    on.
    """
    from rich.console import Console

    class Terminal(Console):
        def on_broken_pipe(self) -> None:  # rich's own closes stdout and ends the process
            self.quiet = True

    return Terminal(stderr=True)


class Bar:
    """`name ━━━━ n/total time note`, redrawn five times a second at most; nothing if disabled."""

    def __init__(self, name: str, total: int, done: int = 0, *, enabled: bool = True) -> None:
        self.name, self.total, self.done, self.enabled = name, total, done, enabled
        self.progress: Progress | None = None
        self.drawn = 0.0

    def __enter__(self) -> Bar:
        if self.enabled:
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeRemainingColumn,
            )

            self.progress = Progress(
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
        return time.monotonic() - self.drawn > 0.2 or done == self.total

    def draw(self, done: int, note: str) -> None:
        assert self.progress is not None
        self.drawn = time.monotonic()
        with suppress(OSError):  # nobody sees it any more, and the work goes on
            self.progress.update(self.task, completed=done, note=note, refresh=True)


def training_note(record: dict[str, Any]) -> str:
    """The gap, acceptance and step size of one record, or its loss, for a progress bar."""
    if "gap" not in record:
        return f"loss {record['loss']:.4f}" if record["loss"] is not None else "loss not finite"
    gap, acceptance = record["gap"], record["acceptance"]
    parts = [f"gap {gap:+.3f}" if gap is not None else "gap not finite"]
    if acceptance is not None:
        parts.append(f"acceptance {acceptance:.2f}")
    return "  ".join([*parts, f"h {record['step_size']:.3g}"])

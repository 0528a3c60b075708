"""Ctrl-C, SIGTERM and SIGHUP as a request that the training loop answers between two steps."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

#: Ctrl-C, an orderly end, and a terminal that is closed; the last is not known everywhere.
SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class Interrupts:
    """The first of SIGNALS inside the block sets `seen`; a second one interrupts at once."""

    def __init__(self) -> None:
        self.seen = False
        self.before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self.before = {
                number: signal.signal(number, self.note)
                for number in SIGNALS
                if signal.getsignal(number) is not signal.SIG_IGN  # as nohup asks for
            }
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def note(self, number: int, frame: FrameType | None) -> None:
        if self.seen:
            raise KeyboardInterrupt
        self.seen = True

"""The stanley command, and python -m stanley: nothing is imported before Ctrl-C is looked after."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130
LOST_OUTPUT = 120  # as Python ends where what was printed cannot be written


def main() -> None:
    """Run one command; see `stanley.cli`."""
    signal.signal(signal.SIGINT, interrupt)
    several = False
    try:
        from stanley.cli import main as run
        from stanley.torchrun import this_process

        several = this_process().size > 1
        run()
    except KeyboardInterrupt:
        leave(INTERRUPTED, "stanley: interrupted\n")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
        # Python may take the code of an interrupt for one that nobody caught
        if code == INTERRUPTED or several:
            leave(code)
        raise
    if several:
        leave(0)


def interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, but in the middle of an import end at once.

    An exception in there stops packages half loaded, and in their C code ends the process with a
    message of its own. Nothing is being written then.
    """
    while frame is not None:
        if frame.f_globals.get("__name__") == "importlib._bootstrap":
            leave(INTERRUPTED, "stanley: interrupted\n")
        frame = frame.f_back
    raise KeyboardInterrupt


def leave(code: int, message: str = "") -> NoReturn:
    """End this process, whatever its threads are at.

    Each of torchrun's processes ends so. A thread of gloo frees the tensors of the last collective
    and asks for Python's global lock to do so; where Python is already being finalised the thread
    is ended in the middle of C++, and the process aborts although all its work is done.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, RuntimeError):  # closed, or in the middle of a write
            code = code or LOST_OUTPUT
    try:
        os.write(2, message.encode())
    except OSError:
        code = code or LOST_OUTPUT
    os._exit(code)


if __name__ == "__main__":
    main()

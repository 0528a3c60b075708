"""The stanley command, and python -m stanley: nothing is imported before Ctrl-C is looked after."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

INTERRUPTED = 130


def main() -> None:
    """Run one command; see `stanley.cli`."""
    signal.signal(signal.SIGINT, interrupt)
    try:
        from stanley.cli import main as run

        run()
    except KeyboardInterrupt:
        leave()
    except SystemExit as end:
        if end.code == INTERRUPTED:  # Python may take it for an interrupt that nobody caught
            leave("")
        raise


def interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, but in the middle of an import end at once.

    An exception in there stops packages half loaded, and in their C code ends the process with a
    message of its own. Nothing is being written then.
    """
    while frame is not None:
        if frame.f_globals.get("__name__") == "importlib._bootstrap":
            leave()
        frame = frame.f_back
    raise KeyboardInterrupt


def leave(message: str = "stanley: interrupted\n") -> None:
    """End this process as interrupted, whatever its threads are at."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, RuntimeError):  # closed, or in the middle of a write
            continue
    try:
        os.write(2, message.encode())
    except OSError:
        message = ""
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()

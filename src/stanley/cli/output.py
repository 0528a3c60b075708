"""How a command ends and what it says: lines for a person, one JSON object for a program, errors
for both.
"""

from __future__ import annotations

import os
import sys
from typing import Any, TextIO

from stanley.cli.printable import LONGEST, as_json, one_line
from stanley.errors import StanleyError


def show(value: dict[str, Any], json_: bool, lines: list[str]) -> None:
    """Print the result, the last thing that a command does.

    Where the reader went away, as `head` does, it has seen what it wanted. Raises StanleyError
    where the result cannot be written for another reason, such as a full disk.
    """
    try:
        print(as_json(value) if json_ else "\n".join(one_line(line) for line in lines), flush=True)
    except BrokenPipeError:
        silence(sys.stdout)
    except OSError as error:
        silence(sys.stdout)
        why = error.strerror
        raise StanleyError(
            f"the result cannot be written to stdout: {why}; its files are complete"
        ) from error


def say(message: str) -> None:
    """One line on stderr; nobody is there to read it where that fails."""
    try:
        print(f"stanley: {one_line(message, LONGEST)}", file=sys.stderr, flush=True)
    except OSError:
        silence(sys.stderr)


def silence(stream: TextIO) -> None:
    """Let what is still in the stream's buffer, and all that follows, go nowhere."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    except (OSError, ValueError):  # no stream of the operating system
        return


def open_streams() -> None:
    """Where a shell closed one of the three streams (`2>&-`), the next file would get its number:
    put nothing there.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        continue
    os.close(descriptor)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8")  # noqa: SIM115

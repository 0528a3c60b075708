"""The two errors that a user can cause: a wrong request, and a training run that diverges.

Each message is one line with the file, field or value, the limit, and what to try. The command line
prints it as it is.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class StanleyError(ValueError):
    """A request that cannot be carried out: bad configuration, data, checkpoint or device."""


class DivergenceError(StanleyError):
    """Training diverged: its numbers mean nothing any more. The last good checkpoint is kept."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?` if a known name is close, else the list of all known names."""
    options = sorted(known)
    close = difflib.get_close_matches(name, options, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(options)}"


def in_one_line(error: BaseException, longest: int = 200) -> str:
    """The kind of the error and what it says, without its newlines."""
    words = " ".join(str(error).split())[:longest]
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def require(condition: object, message: str) -> None:
    """Raise StanleyError(message) unless the condition holds."""
    if not condition:
        raise StanleyError(message)

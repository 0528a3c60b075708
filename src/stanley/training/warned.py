"""What a training warns of before it goes on: told to whoever started it, and an event of the run,
so that who looks at the run later knows it too.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from stanley.runs.directory import RunDirectory


@contextmanager
def overheard() -> Iterator[list[str]]:
    """The warnings of the block, which are there after it. They are then given as they would have
    been in it, also where it ended with an error.
    """
    heard: list[str] = []
    caught: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            yield heard
    finally:
        for one in caught:
            if one.category is UserWarning:  # and not what other packages tell their developers
                heard.append(str(one.message))
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)


def keep_warnings(run: RunDirectory, step: int, heard: Sequence[str]) -> None:
    """Write down what is not yet: a resumed run warns of the same again."""
    known = {event.get("reason") for event in run.events()}
    for reason in dict.fromkeys(heard):
        if reason not in known:
            run.event(kind="warned", step=step, reason=reason)

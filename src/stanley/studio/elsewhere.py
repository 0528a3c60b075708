"""Trainings that were started elsewhere, in a terminal: which process holds a run, and Ctrl-C for
it.

A run is held by the lock of its folder, and the holder writes its number into that file. A number
alone proves nothing: it may be of another machine, or be another process by now. So a signal is
sent only to a process that this system shows to hold that very lock, through a handle that was
opened before it was looked at.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stanley.comparing.task import RECORD
from stanley.errors import StanleyError

PROCESSES = Path("/proc")
DEEPEST = 4  # folders that a run of a comparison lies below it
LONGEST = 32  # bytes that are read of a lock file
THERE = "stop it where it was started, by Ctrl-C, which saves a checkpoint"


def why_not_stoppable(run: Path) -> str:
    """Why the training of a run cannot be stopped from here; nothing where it can."""
    try:
        with holding(run):
            return ""
    except StanleyError as error:
        return str(error)


def interrupt(run: Path) -> int:
    """Ask the process that trains in a run to save and to end, as Ctrl-C does; returns its number.

    Raises StanleyError where it is not certain which process that is.
    """
    with holding(run) as (pid, handle), suppress(ProcessLookupError):
        signal.pidfd_send_signal(handle, signal.SIGINT)
    return pid


@contextmanager
def holding(run: Path) -> Iterator[tuple[int, int]]:
    """The process that trains in a run, its number and a handle of it; raises StanleyError where
    that is not certain, or it does not answer Ctrl-C.
    """
    if any((folder / RECORD).is_file() for folder in [*run.parents][:DEEPEST]):
        raise StanleyError("it is part of a comparison; stop that where it was started, by Ctrl-C")
    pid = written(run / ".lock")
    if pid is None or not hasattr(os, "pidfd_open"):
        raise StanleyError(f"it is not known which process trains it; {THERE}")
    try:
        handle = os.pidfd_open(pid)  # this process from here on, whoever has its number later
    except OSError as error:
        raise StanleyError(f"its process is not one of this machine; {THERE}") from error
    try:
        about = PROCESSES / str(pid)
        try:
            owner, holds, answers = about.stat().st_uid, has_lock(about, run), catches(about)
        except (OSError, ValueError, LookupError) as error:
            raise StanleyError(f"its process cannot be looked at; {THERE}") from error
        if owner != os.getuid() or not holds or pid == os.getpid():
            raise StanleyError(f"it is not certain which process trains it; {THERE}")
        if not answers:
            raise StanleyError(
                "its process does not answer Ctrl-C, as one that runs in the background; end it by "
                f"`kill {pid}`, which saves a checkpoint"
            )
        yield pid, handle
    finally:
        os.close(handle)


def written(lock: Path) -> int | None:
    """The number in a lock file; None where there is none."""
    try:
        with lock.open("rb") as file:
            text = file.read(LONGEST).decode("ascii", "replace").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() and 1 < int(text) < 2**31 else None


def has_lock(process: Path, run: Path) -> bool:
    """Whether one of the files that a process has open is the lock of a run, locked."""
    lock = (run / ".lock").stat()
    for place in (process / "fd").iterdir():
        with suppress(OSError):  # it was closed since
            if os.path.samestat(place.stat(), lock):
                told = (process / "fdinfo" / place.name).read_text()
                if any(line.startswith("lock:") and " WRITE " in line for line in told.split("\n")):
                    return True
    return False


def catches(process: Path) -> bool:
    """Whether a process has a handler of its own for Ctrl-C."""
    lines = (process / "status").read_text(errors="replace").splitlines()
    caught = next(line for line in lines if line.startswith("SigCgt:")).split()[1]
    return bool(int(caught, 16) >> (signal.SIGINT - 1) & 1)

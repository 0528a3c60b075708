"""Which of torchrun's processes this one is. No torch is imported, so the command line can ask."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Process:
    """One of `size` processes: number `rank` of all, number `local_rank` on its machine, from 0."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0


def this_process() -> Process:
    """This process as torchrun's environment variables describe it.

    It is the only one where any of RANK, WORLD_SIZE and LOCAL_RANK is missing: some clusters set
    the first two for every job.
    """
    values = [os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")]
    return Process(*map(int, values)) if all(value.isdecimal() for value in values) else Process()

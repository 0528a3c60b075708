"""Which of the processes that torchrun started this one is. Imports no torch, so that the command line may ask."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Process:
    """Process `rank` of `size`, the `local_rank`-th on its machine, all from 0."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0


def this_process() -> Process:
    """What torchrun wrote into the environment; one process alone where these three numbers are not all there."""
    values = [os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")]
    return Process(*map(int, values)) if all(value.isdecimal() for value in values) else Process()

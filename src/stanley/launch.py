"""Which of the processes that torchrun started this one is. Imports no torch, so that the command line may ask."""

from __future__ import annotations

import os
from dataclasses import dataclass

from stanley.errors import StanleyError


@dataclass(frozen=True)
class Place:
    """Process `rank` of `size`, the `local_rank`-th on its machine, all from 0."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0


def place() -> Place:
    """What torchrun wrote into the environment; one process alone where it did not start this one."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    values = [os.environ.get(name) for name in names]
    if None in values:
        return Place()
    try:
        return Place(*(int(value or "") for value in values))
    except ValueError:
        told = ", ".join(f"{name}={value!r}" for name, value in zip(names, values, strict=True))
        raise StanleyError(f"{told} in the environment, must be whole numbers; torchrun sets them") from None

"""Potentials that know something about each chain: which rows of it belong to which chains."""

from __future__ import annotations

from torch import Tensor

from stanley.errors import require
from stanley.types import Energy


def rows_for(own: Tensor, x: Tensor, what: str) -> Tensor:
    """`own` (1 or B, *event) as one row for each of the B chains in x."""
    require(
        len(own) in (1, len(x)),
        f"{what} has {len(own)} rows and {len(x)} chains were given; give one row for all, or one a chain",
    )
    return own.to(x).expand(len(x), *own.shape[1:])


def chunk_size_of(energy: Energy, own: Tensor, what: str) -> int | None:
    """That of the energy: refused where chains differ in what is known of them, since chunks would part the rows."""
    size = getattr(energy, "chunk_size", None)
    require(
        size is None or len(own) == 1,
        f"chunk_size is {size} and {what} has {len(own)} rows: a chunk would not know which are its own; "
        "use one row, or no chunks",
    )
    return size


def row_per_chain(own: Tensor, chains_each: int) -> Tensor:
    """Each row as often as it has chains; one row stays one, which serves any number."""
    return own if len(own) == 1 else own.repeat_interleave(chains_each, 0)

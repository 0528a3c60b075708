"""Potentials that know something about each chain: which rows of it belong to which chains."""

from __future__ import annotations

from torch import Tensor

from stanley.errors import require


def rows_for(own: Tensor, x: Tensor, what: str) -> Tensor:
    """`own` (1 or B, *event) as one row for each of the B chains in x."""
    require(
        len(own) in (1, len(x)),
        f"{what} has {len(own)} rows and {len(x)} chains were given; give one row for all, or one a"
        " chain",
    )
    return own.to(x).expand(len(x), *own.shape[1:])


def row_per_chain(own: Tensor, chains_each: int) -> Tensor:
    """Each row as often as it has chains; one row stays one, which serves any number."""
    return own if len(own) == 1 else own.repeat_interleave(chains_each, 0)

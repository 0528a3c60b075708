"""The rows of data of potentials that have a different observation for each chain."""

from __future__ import annotations

from torch import Tensor

from stanley.errors import require


def rows_for(own: Tensor, x: Tensor, what: str) -> Tensor:
    """Return `own` (1 or B, *event) with one row for each of the B chains in x."""
    require(
        len(own) in (1, len(x)),
        f"{what} has {len(own)} rows for {len(x)} chains; give one row for all chains, or one for"
        " each",
    )
    return own.to(x).expand(len(x), *own.shape[1:])


def row_per_chain(own: Tensor, chains_each: int) -> Tensor:
    """Repeat each row `chains_each` times, but not a single row, which serves all chains."""
    return own if len(own) == 1 else own.repeat_interleave(chains_each, 0)

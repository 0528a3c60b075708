"""The check of two sets of features that all metrics which compare rows share."""

from __future__ import annotations

from torch import Tensor

from stanley.batches import finite_chains
from stanley.errors import require


def feature_rows(x: Tensor, y: Tensor, at_least: int) -> tuple[Tensor, Tensor]:
    """x (n, d) and y (m, d) in float64.

    Raises StanleyError unless both are finite, of one width and of `at_least` rows.
    """
    fits = x.ndim == y.ndim == 2 and x.shape[1] == y.shape[1]
    require(
        fits,
        f"features have shapes {tuple(x.shape)} and {tuple(y.shape)}, but must be (n, d) and (m, d)"
        " with the same d",
    )
    fewest = min(len(x), len(y))
    require(
        fewest >= at_least,
        f"one set of features has {fewest} rows, but must have at least {at_least}; draw more"
        " samples",
    )
    x, y = x.detach().double(), y.detach().double()
    bad = int((~finite_chains(x)).sum() + (~finite_chains(y)).sum())
    require(
        bad == 0,
        f"{bad} rows of features are not finite; leave them out, and report how many diverged",
    )
    return x, y

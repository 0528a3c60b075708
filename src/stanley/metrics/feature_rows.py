"""Two sets of features, checked once for every metric that compares rows."""

from __future__ import annotations

from torch import Tensor

from stanley.batches import finite_chains
from stanley.errors import require


def feature_rows(x: Tensor, y: Tensor, at_least: int) -> tuple[Tensor, Tensor]:
    """Both as float64 (n, d) and (m, d): finite, of one width, `at_least` rows each."""
    fits = x.ndim == y.ndim == 2 and x.shape[1] == y.shape[1]
    require(
        fits,
        f"features have shapes {tuple(x.shape)} and {tuple(y.shape)}, must be (n, d) and (m, d)"
        " with one d",
    )
    fewest = min(len(x), len(y))
    require(
        fewest >= at_least,
        f"a side has {fewest} rows, needs at least {at_least}; draw more samples",
    )
    x, y = x.detach().double(), y.detach().double()
    bad = int((~finite_chains(x)).sum() + (~finite_chains(y)).sum())
    require(
        bad == 0, f"{bad} rows are not finite; report them as diverged chains, do not score them"
    )
    return x, y

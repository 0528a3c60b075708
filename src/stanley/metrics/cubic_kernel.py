"""Kernel distance between features: MMD² with the cubic kernel of KID.

It may be called KID only with the standard Inception features, just as the Fréchet distance may be
called FID only with those. Bińkowski et al. (2018), sections 3 and 4.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from stanley.batches import in_chunks
from stanley.errors import require
from stanley.metrics.feature_rows import feature_rows
from stanley.streams import as_generator

CHUNK = 1024  # rows of the kernel matrix at a time


@dataclass(frozen=True)
class KernelDistance:
    """The result of `kernel_distance`.

    value             MMD² of all rows
    standard_error    of `value`, by the jackknife over the rows of both sets
    subset_mean       mean MMD² of `num_subsets` pairs of random subsets of `subset_size` rows, as
                      is usually published
    subset_error      standard deviation over the subsets / √num_subsets. Not true: that it is the
                      error of the distance: it is only the error from taking so few subsets of the
                      same rows.

    The estimate is unbiased for every n, so values at different n can be compared. Its mean is 0
    when both laws agree, so it is then often negative.
    """

    value: float
    standard_error: float
    subset_mean: float
    subset_error: float
    subset_size: int
    num_subsets: int
    num_features: int
    n1: int
    n2: int


def kernel_distance(
    x: Tensor,
    y: Tensor,
    *,
    generator: Generator | None = None,
    seed: int | None = None,
    subset_size: int = 1000,
    num_subsets: int = 100,
) -> KernelDistance:
    """Unbiased MMD² between two sets of features, with a cubic kernel.

        MMD² = Σ_{i≠j} k(x_i,x_j)/n(n-1) + Σ_{i≠j} k(y_i,y_j)/m(m-1) - 2 Σ_ij k(x_i,y_j)/nm,
        k(a, b) = (a·b/d + 1)³

    x, y          features (n, d) and (m, d) on one device, n, m >= 3
    subset_size   rows in a subset, at most n and m; drawn without replacement by `generator`

    Sums are in float64; memory is O(1024·(n + m)). Raises StanleyError for too few or non-finite
    rows. Bińkowski et al. (2018), sections 3 and 4.
    """
    x, y = feature_rows(x, y, at_least=3)
    rng = as_generator(generator, seed, "kernel_distance", device=x.device)
    n, m = len(x), len(y)
    require(num_subsets >= 2, f"num_subsets is {num_subsets}, but must be at least 2; 100 is usual")
    size = min(subset_size, n, m)
    require(size >= 2, f"subset_size is {subset_size}, but must be at least 2; 1000 is usual")
    xx, yy = _row_sums(x, x, same=True), _row_sums(y, y, same=True)
    xy, yx = _row_sums(x, y), _row_sums(y, x)
    value = float(xx.sum() / (n * (n - 1)) + yy.sum() / (m * (m - 1)) - 2 * xy.sum() / (n * m))
    variance = _jackknife(xx, xy, m) + _jackknife(yy, yx, n)

    def subset(rows: Tensor) -> Tensor:
        order = torch.randperm(len(rows), generator=rng, device=rng.device)
        return rows[order[:size].to(rows.device)]

    subsets = torch.stack([_mmd2(subset(x), subset(y)) for _ in range(num_subsets)])
    return KernelDistance(
        value=value,
        standard_error=variance**0.5,
        subset_mean=float(subsets.mean()),
        subset_error=float(subsets.std()) / num_subsets**0.5,
        subset_size=size,
        num_subsets=num_subsets,
        num_features=x.shape[1],
        n1=n,
        n2=m,
    )


def cubic(a: Tensor, b: Tensor) -> Tensor:
    """k(a_i, b_j) = (a_i·b_j/d + 1)³: (n, d), (m, d) -> (n, m)."""
    return (a @ b.T / a.shape[1] + 1) ** 3


def _mmd2(x: Tensor, y: Tensor) -> Tensor:
    n = len(x)  # both
    same = _row_sums(x, x, same=True).sum() + _row_sums(y, y, same=True).sum()
    return same / (n * (n - 1)) - 2 * _row_sums(x, y).sum() / n**2


def _row_sums(a: Tensor, b: Tensor, same: bool = False) -> Tensor:
    """Σ_j k(a_i, b_j) for each i: (n,); over j ≠ i if a and b are the `same` set."""
    sums = in_chunks(lambda part: cubic(part, b).sum(1), a, CHUNK)
    return sums - (a.square().mean(1) + 1) ** 3 if same else sums


def _jackknife(own: Tensor, other: Tensor, m: int) -> float:
    """Jackknife variance (n-1)/n Σ_i (θ_i - θ̄)², where θ_i is the MMD² without row i.

    The term that depends on the other set alone is the same in all θ_i, and is left out. With
    own_i = Σ_{j≠i} k(x_i, x_j) and other_i = Σ_j k(x_i, y_j), (n,) each, removing x_i takes twice
    own_i from the first double sum and other_i from the second.
    """
    n = len(own)
    without = (own.sum() - 2 * own) / ((n - 1) * (n - 2)) - 2 * (other.sum() - other) / (
        (n - 1) * m
    )
    return float((n - 1) / n * (without - without.mean()).square().sum())

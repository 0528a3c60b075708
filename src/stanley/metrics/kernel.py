"""Maximum mean discrepancy with a Gaussian kernel, and its permutation test. Gretton et al.
(2012).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from stanley.batches import finite_chains
from stanley.errors import require

CHUNK = 1024  # rows of the kernel matrix at a time
MEDIAN_POINTS = 2000


@dataclass(frozen=True)
class MMD2:
    """Unbiased MMD²; negative values are possible and kept, since its mean is 0 when both laws
    agree.
    """

    value: float
    bandwidth: float
    num_x: int
    num_y: int


@dataclass(frozen=True)
class MMDTest:
    """p = (1 + #{permutations with MMD² >= the observed one}) / (1 + num_permutations),
    exact at any size.
    """

    mmd2: MMD2
    p_value: float
    num_permutations: int


def mmd2(x: Tensor, y: Tensor, bandwidth: float | None = None) -> MMD2:
    """MMD² = Σ_{i≠j} k(x_i,x_j)/n(n-1) + Σ_{i≠j} k(y_i,y_j)/m(m-1) - 2 Σ_ij k(x_i,y_j)/nm.

    k(a, b) = exp(-|a - b|²/(2σ²)), x (n, *event), y (m, *event), sums in float64, memory O(1024·(n
    + m)). σ is the median distance between the pooled points (at most 2000 of them, evenly spaced
    in the order given) unless `bandwidth` states it. Compare two values only at the same bandwidth.
    """
    x, y = _rows(x, y)
    pool = torch.cat([x, y])
    if bandwidth is None:
        spaced = torch.linspace(0, len(pool) - 1, min(len(pool), MEDIAN_POINTS), device=pool.device)
        bandwidth = _median_distance(pool[spaced.round().long()])
    of_x = torch.zeros(len(pool), 1, dtype=pool.dtype, device=pool.device)
    of_x[: len(x)] = 1
    value = float(_statistic(pool, of_x, bandwidth)[0])
    return MMD2(value, bandwidth, len(x), len(y))


def mmd_test(
    x: Tensor,
    y: Tensor,
    num_permutations: int,
    generator: Generator,
    bandwidth: float | None = None,
) -> MMDTest:
    """Permutation test of "x and y have one law", for independent rows.

    The kernel matrix is summed once for all permutations, a chunk of rows at a time. The bandwidth,
    unless given, is the median distance of 2000 pooled points drawn without regard to which sample
    they are from, so that P(p <= α) <= α holds exactly. Rows of one Markov chain are not
    independent: thin first.
    """
    require(
        num_permutations >= 1,
        f"num_permutations is {num_permutations}, must be >= 1; 999 gives p >= 0.001",
    )
    x, y = _rows(x, y)
    pool, N = torch.cat([x, y]), len(x) + len(y)

    def shuffled() -> Tensor:
        return torch.randperm(N, generator=generator, device=generator.device).to(pool.device)

    if bandwidth is None:
        bandwidth = _median_distance(pool[shuffled()[:MEDIAN_POINTS]])
    of_x = torch.zeros(N, 1 + num_permutations, dtype=pool.dtype, device=pool.device)
    of_x[: len(x), 0] = 1
    for column in range(1, 1 + num_permutations):
        of_x[shuffled()[: len(x)], column] = 1
    values = _statistic(pool, of_x, bandwidth)
    # equal up to rounding counts as equal: a split that the data cannot tell from the observed one
    as_large = int((values[1:] >= values[0] - 1e-12).sum())
    p_value = (1 + as_large) / (1 + num_permutations)
    return MMDTest(MMD2(float(values[0]), bandwidth, len(x), len(y)), p_value, num_permutations)


def _statistic(pool: Tensor, of_x: Tensor, bandwidth: float) -> Tensor:
    """MMD² of each split of the pool: of_x (N, P) holds 1 for the rows of x, 0 for those of y. ->
    (P,)
    """
    require(
        bandwidth > 0,
        f"bandwidth is {bandwidth:g}, must be > 0; most points coincide, so state one",
    )
    of_y = 1 - of_x
    xx, xy, yy = (of_x.new_zeros(of_x.shape[1]) for _ in range(3))
    for rows, K in _kernel_rows(pool, bandwidth):
        from_x, from_y = K @ of_x, K @ of_y  # (chunk, P)
        xx += (of_x[rows] * from_x).sum(0)
        xy += (of_x[rows] * from_y).sum(0)
        yy += (of_y[rows] * from_y).sum(0)
    n, m = of_x.sum(0), of_y.sum(0)
    return (xx - n) / (n * (n - 1)) + (yy - m) / (m * (m - 1)) - 2 * xy / (n * m)  # k(a, a) = 1


def _kernel_rows(pool: Tensor, bandwidth: float) -> Iterator[tuple[slice, Tensor]]:
    for start in range(0, len(pool), CHUNK):
        rows = slice(start, min(start + CHUNK, len(pool)))
        K = torch.exp(-torch.cdist(pool[rows], pool).square() / (2 * bandwidth**2))
        # exactly, whatever cdist rounds to
        K[torch.arange(len(K)), torch.arange(rows.start, rows.stop)] = 1.0
        yield rows, K


def _median_distance(points: Tensor) -> float:
    return float(torch.pdist(points).median())


def _rows(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    require(
        x.shape[1:] == y.shape[1:],
        f"x has points of shape {tuple(x.shape[1:])}, y of {tuple(y.shape[1:])}; compare points of"
        " one shape",
    )
    fewest = min(len(x), len(y))
    require(
        fewest >= 2, f"a sample has {fewest} points, the unbiased MMD² needs at least 2 in each"
    )
    x, y = x.detach().flatten(1).double(), y.detach().flatten(1).double()
    bad = int((~finite_chains(x)).sum() + (~finite_chains(y)).sum())
    require(
        bad == 0, f"{bad} points are not finite; report them as diverged chains, do not score them"
    )
    # distances stay; far from the origin `cdist` would round them away
    centre = torch.cat([x, y]).mean(0)
    return x - centre, y - centre

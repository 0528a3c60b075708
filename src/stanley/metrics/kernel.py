"""Maximum mean discrepancy (MMD) with a Gaussian kernel, and its permutation test.

Gretton et al. (2012).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from stanley.batches import finite_chains
from stanley.errors import require
from stanley.streams import as_generator

CHUNK = 1024  # rows of the kernel matrix at a time
MEDIAN_POINTS = 2000


@dataclass(frozen=True)
class MMD2:
    """The result of `mmd2`: an unbiased estimate of MMD², from num_x and num_y points.

    bandwidth   σ of the kernel

    The value can be negative, since its mean is 0 when both laws agree.
    """

    value: float
    bandwidth: float
    num_x: int
    num_y: int


@dataclass(frozen=True)
class MMDTest:
    """The result of `mmd_test`.

        p_value = (1 + #{permutations with MMD² >= the observed one}) / (1 + num_permutations)

    The test is exact for samples of any size.
    """

    mmd2: MMD2
    p_value: float
    num_permutations: int


def mmd2(x: Tensor, y: Tensor, bandwidth: float | None = None) -> MMD2:
    """Unbiased MMD² between two sets of points, with a Gaussian kernel.

        MMD² = Σ_{i≠j} k(x_i,x_j)/n(n-1) + Σ_{i≠j} k(y_i,y_j)/m(m-1) - 2 Σ_ij k(x_i,y_j)/nm,
        k(a, b) = exp(-|a - b|²/(2σ²))

    x, y        (n, *event) and (m, *event), n, m >= 2
    bandwidth   σ; by default the median distance between the pooled points, of which at most 2000
                are used, evenly spaced in the order given

    Compare values at the same bandwidth only. Sums are in float64; memory is O(1024·(n + m)).
    Raises StanleyError for too few or non-finite points, and for a bandwidth that is not positive.
    Gretton et al. (2012), lemma 6.
    """
    x, y = _checked_points(x, y)
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
    num_permutations: int = 999,
    generator: Generator | None = None,
    bandwidth: float | None = None,
    *,
    seed: int | None = None,
) -> MMDTest:
    """Permutation test of the hypothesis that x and y have the same law.

    x, y        (n, *event) and (m, *event), independent points
    bandwidth   σ of the kernel, see `mmd2`; by default the median distance of at most 2000 pooled
                points, drawn at random from both samples, so that P(p <= α) <= α holds exactly

    The kernel matrix is computed once for all permutations, a chunk of rows at a time. Raises
    StanleyError as `mmd2` does. Not true: that it holds for successive states of one Markov chain,
    which are not independent: thin them first.
    """
    rng = as_generator(generator, seed, "mmd_test", device=x.device)
    require(
        num_permutations >= 1,
        f"num_permutations is {num_permutations}, but must be >= 1; 999 gives p >= 0.001",
    )
    x, y = _checked_points(x, y)
    pool, N = torch.cat([x, y]), len(x) + len(y)

    def shuffled() -> Tensor:
        return torch.randperm(N, generator=rng, device=rng.device).to(pool.device)

    if bandwidth is None:
        bandwidth = _median_distance(pool[shuffled()[:MEDIAN_POINTS]])
    of_x = torch.zeros(N, 1 + num_permutations, dtype=pool.dtype, device=pool.device)
    of_x[: len(x), 0] = 1
    for column in range(1, 1 + num_permutations):
        of_x[shuffled()[: len(x)], column] = 1
    values = _statistic(pool, of_x, bandwidth)
    # values that are equal up to rounding count as equal
    as_large = int((values[1:] >= values[0] - 1e-12).sum())
    p_value = (1 + as_large) / (1 + num_permutations)
    return MMDTest(MMD2(float(values[0]), bandwidth, len(x), len(y)), p_value, num_permutations)


def _statistic(pool: Tensor, of_x: Tensor, bandwidth: float) -> Tensor:
    """MMD² of P splits of the pool (N, d) into two samples: (P,).

    of_x (N, P) is 1 for the points of the first sample of a split and 0 for those of the second.
    """
    require(
        bandwidth > 0,
        f"bandwidth is {bandwidth:g}, but must be > 0; if most points coincide, give one",
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
        # k(a, a) = 1 exactly, however cdist rounds
        K[torch.arange(len(K)), torch.arange(rows.start, rows.stop)] = 1.0
        yield rows, K


def _median_distance(points: Tensor) -> float:
    return float(torch.pdist(points).median())


def _checked_points(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    require(
        x.shape[1:] == y.shape[1:],
        f"x has points of shape {tuple(x.shape[1:])} and y of shape {tuple(y.shape[1:])}, but the"
        " two must be the same",
    )
    fewest = min(len(x), len(y))
    require(
        fewest >= 2, f"a sample has {fewest} points, but the unbiased MMD² needs at least 2 in each"
    )
    x, y = x.detach().flatten(1).double(), y.detach().flatten(1).double()
    bad = int((~finite_chains(x)).sum() + (~finite_chains(y)).sum())
    require(bad == 0, f"{bad} points are not finite; leave them out, and report how many diverged")
    # this changes no distance, but `cdist` loses small distances to rounding far from 0
    centre = torch.cat([x, y]).mean(0)
    return x - centre, y - centre

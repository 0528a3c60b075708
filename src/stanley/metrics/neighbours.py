"""Precision, recall, density and coverage, from the nearest neighbours of features.

Precision and recall: Kynkäänniemi et al. (2019), eq. (1)-(3). Density and coverage: Naeem et al.
(2020), eq. (4)-(5).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stanley.errors import require
from stanley.metrics.feature_rows import feature_rows

DISTANCES = 1 << 24  # distances in memory at a time, 128 MiB


@dataclass(frozen=True)
class PRDC:
    """The result of `prdc`, for n features x_i of data and m features y_j of samples.

    B_k(x_i) is the closed ball around x_i whose radius is the distance to its k-th nearest
    neighbour among the other x; B_k(y_j) is the same for the y.

    precision   share of the y_j that lie in some B_k(x_i): samples that look like data. A single
                outlier among the x, with its large ball, can raise it.
    recall      share of the x_i that lie in some B_k(y_j): data that the samples reach. Widely
                scattered samples raise it.
    density     Σ_ij 1[y_j ∈ B_k(x_i)] / km, which can exceed 1; if both laws agree its mean is 1
                for all n and m
    coverage    share of the B_k(x_i) that contain a y_j; if both laws agree and n = m, its mean is
                about 1 - 2⁻ᵏ

    All depend on n, m and k, so compare at equal ones only.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    k: int
    num_features: int
    num_real: int
    num_samples: int


def prdc(real: Tensor, samples: Tensor, k: int = 5) -> PRDC:
    """Precision, recall, density and coverage of samples, see `PRDC`.

    real, samples   features (n, d) and (m, d), n, m > k

    O(nm + n² + m²) distances in float64, a chunk of rows at a time. A row that coincides with
    another is its neighbour at distance 0. Points within rounding (1e-8 of the largest feature) of
    the surface of a ball may be counted as inside or outside. Raises StanleyError for too few or
    non-finite rows.
    """
    require(k >= 1, f"k is {k}, but must be at least 1; 5 is usual")
    real, samples = feature_rows(real, samples, at_least=k + 1)
    centre = real.mean(0)  # changes no distance, but reduces rounding
    real, samples = real - centre, samples - centre
    radius, radius_of_samples = _kth_distance(real, k), _kth_distance(samples, k)
    hits = torch.zeros(len(samples), dtype=torch.long, device=real.device)
    reached, covered = [], []
    for rows, r in zip(_chunks(real, len(samples)), _chunks(radius, len(samples)), strict=True):
        distance = torch.cdist(rows, samples)  # (c, m)
        hits += (distance <= r[:, None]).sum(0)
        reached.append((distance <= radius_of_samples).any(1))
        covered.append(distance.amin(1) <= r)
    return PRDC(
        precision=float((hits > 0).double().mean()),
        recall=float(torch.cat(reached).double().mean()),
        density=float(hits.sum()) / (k * len(samples)),
        coverage=float(torch.cat(covered).double().mean()),
        k=k,
        num_features=real.shape[1],
        num_real=len(real),
        num_samples=len(samples),
    )


def _kth_distance(x: Tensor, k: int) -> Tensor:
    """The distance from each row to the k-th nearest of the others: (n,)."""
    radii, start = [], 0
    for rows in _chunks(x, len(x)):
        distance = torch.cdist(rows, x)
        here = torch.arange(len(rows), device=x.device)
        distance[here, start + here] = torch.inf  # no row is its own neighbour
        radii.append(distance.kthvalue(k, dim=1).values)
        start += len(rows)
    return torch.cat(radii)


def _chunks(x: Tensor, width: int) -> tuple[Tensor, ...]:
    """x in blocks of rows, each with at most DISTANCES distances to `width` points."""
    return x.split(max(1, DISTANCES // width))

"""Precision, recall, density, coverage: how far two sets of features reach into each other's
nearest-neighbour balls.

Precision and recall: Kynkäänniemi et al. (2019), eq. (1)-(3). Density and coverage: Naeem et al.
(2020), eq. (4)-(5).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stanley.errors import require
from stanley.metrics.feature_rows import feature_rows

CELLS = 1 << 24  # distances in memory at a time: 128 MiB


@dataclass(frozen=True)
class PRDC:
    """n real rows x_i, m rows y_j of samples, B_k(x_i) the closed ball up to the k-th nearest other
    real row.

    precision   share of the y_j in some B_k(x_i): samples that look like data. One outlier among
                the x_i, with its huge ball, raises it
    recall      share of the x_i in some B_k(y_j): data that the samples reach. Scattered samples
                raise it
    density     Σ_ij 1[y_j ∈ B_k(x_i)] / km. Mean 1 when both laws agree, at every n and m; may
                exceed 1
    coverage    share of the B_k(x_i) that hold a y_j. When both laws agree and n = m its mean is
                about 1 - 2⁻ᵏ

    All depend on n, m and k: compare at equal ones only.
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
    """All four from features (n, d) and (m, d): O(nm + n² + m²) distances in float64, a chunk of
    rows at a time.

    A row that coincides with another is its neighbour at distance 0. Distances as close as rounding
    (1e-8 of the largest feature) may fall on either side of a ball's edge.
    """
    require(k >= 1, f"k is {k}, must be at least 1; 5 is usual")
    real, samples = feature_rows(real, samples, at_least=k + 1)
    centre = real.mean(0)  # distances stay, rounding shrinks
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
    """From each row to the k-th nearest of the others: (n,)."""
    found, start = [], 0
    for rows in _chunks(x, len(x)):
        distance = torch.cdist(rows, x)
        here = torch.arange(len(rows), device=x.device)
        distance[here, start + here] = torch.inf  # no row is its own neighbour
        found.append(distance.kthvalue(k, dim=1).values)
        start += len(rows)
    return torch.cat(found)


def _chunks(x: Tensor, width: int) -> tuple[Tensor, ...]:
    return x.split(max(1, CELLS // width))

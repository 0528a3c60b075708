"""Fréchet distance for infinitely many samples, by a line through its values at several n.
Chong & Forsyth (2020).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from stanley.errors import require
from stanley.metrics.frechet import FeatureStatistics, frechet


@dataclass(frozen=True)
class FrechetLimit:
    """value + slope/n is the least-squares line through `distances` at `sizes`, random subsets of
    the n1 samples.

    Takes away the bias that the finite number of samples causes, of order 1/n; what is left is of
    order 1/n², and the bias of the n2 reference points stays. Noisier than the distance of all
    samples: its error is several times that.

    extrapolates   the smallest size is above the number of features, without which the line is none
    """

    value: float
    slope: float
    sizes: tuple[int, ...]
    distances: tuple[float, ...]
    feature: str
    num_features: int
    n1: int
    n2: int
    extrapolates: bool

    @property
    def caution(self) -> str | None:
        if self.extrapolates:
            return None
        return (
            f"extrapolated Fréchet distance in {self.feature}: subsets of {self.sizes[0]} to"
            f" {self.sizes[-1]} points against {self.num_features} features, where d² is not linear"
            " in 1/n; draw several times more samples than features, or use the kernel distance,"
            " which is unbiased"
        )


def frechet_limit(
    samples: Tensor,
    reference: FeatureStatistics,
    *,
    generator: Generator,
    num_sizes: int = 15,
    smallest: int | None = None,
) -> FrechetLimit:
    """d²_n = d²_∞ + c/n + O(1/n²), fitted on `num_sizes` sizes evenly spaced from `smallest` to all
    of the samples.

    samples    features (n, k) in the feature map of `reference`
    smallest   a tenth of the samples, or twice the number of features where that is more, at most
               half of the samples

    Cost: num_sizes decompositions of k × k matrices, seconds each at k = 2048.
    """
    require(
        samples.ndim == 2, f"samples have shape {tuple(samples.shape)}, must be features (n, k)"
    )
    n, k = samples.shape
    require(num_sizes >= 2, f"num_sizes is {num_sizes}, must be at least 2; 15 is usual")
    if smallest is None:
        smallest = min(max(n // 10, 2 * k), n // 2)
    require(
        2 <= smallest < n,
        f"smallest is {smallest}, must be 2 to {n - 1}, fewer than the {n} samples",
    )
    sizes = sorted({int(size) for size in np.linspace(smallest, n, num_sizes)})
    require(
        len(sizes) >= 2,
        f"{n} samples leave {len(sizes)} sizes to extrapolate from, needs 2; draw more",
    )
    distances = []
    for size in sizes:
        rows = torch.randperm(n, generator=generator, device=generator.device)[:size]
        empty = FeatureStatistics.empty(reference.feature, k, reference.mean.device)
        distances.append(frechet(empty.update(samples[rows.to(samples.device)]), reference).value)
    slope, value = np.polyfit(1 / np.array(sizes), np.array(distances), 1)
    return FrechetLimit(
        value=float(value),
        slope=float(slope),
        sizes=tuple(sizes),
        distances=tuple(distances),
        feature=reference.feature,
        num_features=k,
        n1=n,
        n2=reference.n,
        extrapolates=smallest > k,
    )

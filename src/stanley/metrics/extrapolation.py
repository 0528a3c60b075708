"""The Fréchet distance for infinitely many samples, extrapolated from its values at several n.

Chong & Forsyth (2020).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from stanley.errors import require
from stanley.metrics.frechet import FeatureStatistics, frechet
from stanley.streams import as_generator


@dataclass(frozen=True)
class FrechetLimit:
    """The least-squares line value + slope/n through Fréchet distances at several sample sizes n.

    sizes          sizes of the random subsets of the n1 samples
    distances      Fréchet distance of each subset
    extrapolates   whether the smallest size is above the number of features; if it is not, the
                   distances do not lie on a line

    `value` removes the bias of order 1/n that comes from the finite number of samples; a bias of
    order 1/n² and that of the n2 reference points remain. Its error is several times that of the
    Fréchet distance of all samples.
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
        """A warning if `extrapolates` is false, else None."""
        if self.extrapolates:
            return None
        return (
            f"the Fréchet distance in {self.feature} was extrapolated from subsets of"
            f" {self.sizes[0]} to {self.sizes[-1]} points with {self.num_features} features, where"
            " it is not linear in 1/n; draw several times as many samples as there are features,"
            " or use the kernel distance, which is unbiased"
        )


def frechet_limit(
    samples: Tensor,
    reference: FeatureStatistics,
    *,
    generator: Generator | None = None,
    seed: int | None = None,
    num_sizes: int = 15,
    smallest: int | None = None,
) -> FrechetLimit:
    """Extrapolate the Fréchet distance to infinitely many samples.

        d²_n = d²_∞ + c/n + O(1/n²)

    samples     features (n, k), from the same feature map as `reference`
    num_sizes   number of sample sizes in the fit, evenly spaced from `smallest` to n
    smallest    smallest sample size; by default n/10 or 2k, whichever is larger, but at most n/2

    Cost: num_sizes decompositions of k × k matrices, each of which takes seconds at k = 2048.
    Raises StanleyError if there are too few samples. Chong & Forsyth (2020).
    """
    generator = as_generator(generator, seed, "frechet_limit", device=samples.device)
    require(
        samples.ndim == 2, f"samples have shape {tuple(samples.shape)}, but must be features (n, k)"
    )
    n, k = samples.shape
    require(num_sizes >= 2, f"num_sizes is {num_sizes}, but must be at least 2; 15 is usual")
    if smallest is None:
        smallest = min(max(n // 10, 2 * k), n // 2)
    require(
        2 <= smallest < n,
        f"smallest is {smallest}, but must be from 2 to {n - 1}: fewer than the {n} samples",
    )
    sizes = sorted({int(size) for size in np.linspace(smallest, n, num_sizes)})
    require(
        len(sizes) >= 2,
        f"{n} samples give {len(sizes)} different sizes, but at least 2 are needed; draw more",
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

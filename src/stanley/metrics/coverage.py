"""Which modes of a known density the samples reach, and how many samples lie at none."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stanley.batches import in_chunks
from stanley.errors import require

#: (B, *event) -> (B,) int64: the mode of each sample, 0..K-1, or -1 for none.
Assign = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Coverage:
    """K modes, n samples, counts c_k.

    counts          c_k, over the samples that are at a mode.
    hit_share       share of modes with c_k >= hit_fraction·n/K, hit_fraction of a uniform mode's
                    due.
    high_quality    Σ c_k / n: share of samples at any mode. Non-finite samples are at none.
    entropy         -Σ p_k log p_k with p_k = c_k / Σ c_k, in nats; log K when uniform, None when
                    all c_k = 0.
    kl_uniform      Σ p_k log(K p_k) = log K - entropy. Its mean is about (K-1)/(2 Σ c_k), not 0,
                    for a perfect sampler. None when all c_k = 0.
    """

    num_samples: int
    counts: tuple[int, ...]
    hit_fraction: float
    hit_share: float
    high_quality: float
    entropy: float | None
    kl_uniform: float | None


def mode_coverage(
    samples: Tensor, modes: Tensor, radius: float, hit_fraction: float = 0.1
) -> Coverage:
    """Coverage of point modes (K, *event): a sample belongs to its nearest mode if it is within
    `radius`.
    """
    require(
        samples.shape[1:] == modes.shape[1:],
        f"samples have shape {tuple(samples.shape[1:])}, modes {tuple(modes.shape[1:])}; they must"
        " agree",
    )
    return coverage(samples, nearest_mode(modes, radius), len(modes), hit_fraction)


def coverage(
    samples: Tensor, assign: Assign, num_modes: int, hit_fraction: float = 0.1
) -> Coverage:
    """Coverage of any partition: `assign` names the mode of each sample, or -1."""
    require(len(samples) >= 1, "there are 0 samples; coverage needs at least 1")
    require(num_modes >= 1, f"num_modes is {num_modes}, must be >= 1")
    require(
        0 < hit_fraction <= 1, f"hit_fraction is {hit_fraction}, must be in (0, 1]; 0.1 is usual"
    )
    labels = assign(samples)
    low, high = int(labels.min()), int(labels.max())
    require(
        low >= -1 and high < num_modes,
        f"assign gave labels {low}..{high}, must be -1..{num_modes - 1}",
    )
    n, counts = len(samples), torch.bincount(labels[labels >= 0], minlength=num_modes).cpu()
    assigned = int(counts.sum())
    p = counts[counts > 0].double() / max(assigned, 1)
    entropy = -float((p * p.log()).sum()) if assigned else None
    return Coverage(
        num_samples=n,
        counts=tuple(counts.tolist()),
        hit_fraction=hit_fraction,
        hit_share=float((counts >= hit_fraction * n / num_modes).double().mean()),
        high_quality=assigned / n,
        entropy=entropy,
        kl_uniform=None if entropy is None else math.log(num_modes) - entropy,
    )


def nearest_mode(modes: Tensor, radius: float) -> Assign:
    """The nearest of the modes (K, *event) in Euclidean distance, -1 beyond `radius`."""
    require(
        radius > 0, f"radius is {radius}, must be > 0; 3 standard deviations of a mode is usual"
    )

    def assign(samples: Tensor) -> Tensor:
        centres = modes.to(samples.device, torch.float64).flatten(1)

        def nearest(x: Tensor) -> Tensor:
            # by differences: |x|² - 2x·c + |c|² would round distances away far from the origin
            distance = torch.cdist(x, centres, compute_mode="donot_use_mm_for_euclid_dist")
            return _nearest(distance, radius)

        return in_chunks(nearest, samples.flatten(1).double(), 1 << 16)

    return assign


def nearest_ring(radii: Sequence[float], width: float) -> Assign:
    """The ring r_k nearest to |x| for densities without point modes,
    -1 when | |x| - r_k | > width.
    """
    require(width > 0, f"width is {width}, must be > 0; 3 standard deviations of a ring is usual")

    def assign(samples: Tensor) -> Tensor:
        r = torch.linalg.vector_norm(samples.double(), dim=1, keepdim=True)
        return _nearest((r - r.new_tensor(list(radii))).abs(), width)

    return assign


def _nearest(distance: Tensor, limit: float) -> Tensor:  # (B, K) -> (B,)
    shortest, k = distance.min(dim=1)
    return torch.where(shortest <= limit, k, -1)  # a NaN distance is not <= anything

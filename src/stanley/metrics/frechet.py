"""Fréchet distance between two sets of points seen through a feature map.

    d² = |μ₁ - μ₂|² + tr C₁ + tr C₂ - 2 tr (C₁^½ C₂ C₁^½)^½

It may be called FID only with the standard 2048-d Inception features. With any other features, the
built-in pixels included, its numbers compare with each other alone; the result carries the name of
the features. Dowson & Landau (1982).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from stanley.batches import finite_chains
from stanley.errors import require


class Features(Protocol):
    """(B, *event) -> (B, k), with a name that fixes what is computed."""

    @property
    def name(self) -> str: ...

    def __call__(self, x: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class PixelFeatures:
    """The values of the point itself, flattened; images averaged to `size` × `size` first if it is
    given.
    """

    size: int | None = None

    @property
    def name(self) -> str:
        return "pixels" if self.size is None else f"pixels-{self.size}x{self.size}"

    def __call__(self, x: Tensor) -> Tensor:
        if self.size is not None:
            fits = x.ndim == 4 and min(x.shape[2:]) >= self.size
            require(
                fits,
                f"size is {self.size}, points have shape {tuple(x.shape[1:])}; needs (C, H, W) >="
                " size",
            )
            x = adaptive_avg_pool2d(x, self.size)
        return x.flatten(1)


@dataclass(frozen=True, eq=False)
class FeatureStatistics:
    """n, mean and covariance of features, one batch at a time, on their device: `s =
    s.update(batch)`.

    scatter = Σ (f - mean)(f - mean)ᵀ in float64. Two parts merge exactly (Chan, Golub & LeVeque
    1983):
    δ = mean_b - mean_a,  mean = mean_a + δ n_b/n,  scatter = scatter_a + scatter_b + δδᵀ n_a n_b/n.
    """

    feature: str
    n: int
    mean: Tensor  # (k,)
    scatter: Tensor  # (k, k)

    @classmethod
    def empty(cls, feature: str, k: int, device: torch.device | str = "cpu") -> FeatureStatistics:
        zeros = torch.zeros(k, k, dtype=torch.float64, device=device)
        return cls(feature, 0, zeros.sum(0), zeros)

    @classmethod
    def of(cls, batches: Iterable[Tensor], features: Features) -> FeatureStatistics:
        """The statistics of features(x) over batches x (B, *event)."""
        statistics = None
        for x in batches:
            with torch.no_grad():
                f = features(x)
            place = "cpu" if f.device.type == "mps" else f.device  # which has no float64
            statistics = (statistics or cls.empty(features.name, f.shape[1], place)).update(f)
        require(
            statistics is not None, "there are 0 batches; feature statistics need at least 2 points"
        )
        assert statistics is not None
        return statistics

    def update(self, f: Tensor) -> FeatureStatistics:
        """These statistics and a batch of features (B, k)."""
        k = self.mean.numel()
        require(
            f.ndim == 2 and f.shape[1] == k,
            f"features have shape {tuple(f.shape)}, must be (B, {k})",
        )
        f = f.detach().to(self.mean.device, torch.float64)
        bad = int((~finite_chains(f)).sum())
        require(
            bad == 0,
            f"{bad} of {len(f)} points have features that are not finite; drop diverged chains"
            " first",
        )
        if len(f) == 0:
            return self
        centred = f - f.mean(0)
        return self.merge(FeatureStatistics(self.feature, len(f), f.mean(0), centred.T @ centred))

    def merge(self, other: FeatureStatistics) -> FeatureStatistics:
        """The statistics of both sets together."""
        _same_features(self, other)
        n = self.n + other.n
        if n == 0:
            return self
        delta = other.mean.to(self.mean) - self.mean
        mean = self.mean + delta * (other.n / n)
        scatter = (
            self.scatter
            + other.scatter.to(self.mean)
            + torch.outer(delta, delta) * (self.n * other.n / n)
        )
        return FeatureStatistics(self.feature, n, mean, scatter)

    @property
    def covariance(self) -> Tensor:  # (k, k)
        """scatter / (n - 1)."""
        require(self.n >= 2, f"n is {self.n}, a covariance needs at least 2 points")
        return self.scatter / (self.n - 1)


@dataclass(frozen=True)
class Frechet:
    """value is d², as FID is. It is biased upwards by about O(k/n): compare at equal n.

    rank_deficient   a side has n <= k, so its covariance is singular and the bias is large.
    """

    value: float
    feature: str
    num_features: int
    n1: int
    n2: int
    rank_deficient: bool

    @property
    def caution(self) -> str | None:
        """What follows where a side has no more points than features; None where that is not so."""
        if not self.rank_deficient:
            return None
        n = min(self.n1, self.n2)
        return (
            f"Fréchet distance in {self.feature}: n = {n} points against {self.num_features}"
            " features, so a covariance is singular and most of the value is bias; use more"
            " samples, fewer features, or the kernel distance, which is unbiased"
        )


def frechet(first: FeatureStatistics, second: FeatureStatistics) -> Frechet:
    """Fréchet distance of two sets from their statistics; both must come from one feature map."""
    _same_features(first, second)
    k = first.mean.numel()
    value = frechet_distance(first.mean, first.covariance, second.mean, second.covariance)
    return Frechet(value, first.feature, k, first.n, second.n, min(first.n, second.n) <= k)


def frechet_distance(mu1: Tensor, cov1: Tensor, mu2: Tensor, cov2: Tensor) -> float:
    """d² between N(mu1, cov1) and N(mu2, cov2), in float64; singular covariances are allowed.

    tr (C₁^½ C₂ C₁^½)^½ is the sum of the singular values of C₁^½ C₂^½: the eigenvalues of C₁^½ C₂
    C₁^½ are their squares, and the root of a zero eigenvalue that rounding made 1e-16 would be
    1e-8.
    """
    mu1, cov1, mu2, cov2 = (
        torch.as_tensor(a).to(mu1.device, torch.float64) for a in (mu1, cov1, mu2, cov2)
    )
    k = mu1.numel()
    shapes = [tuple(a.shape) for a in (mu1, cov1, mu2, cov2)]
    require(
        shapes == [(k,), (k, k)] * 2,
        f"shapes {shapes}, must be (k,), (k, k), (k,), (k, k) with one k",
    )
    cross = torch.linalg.svdvals(_root(cov1, "cov1") @ _root(cov2, "cov2")).sum()
    return float((mu1 - mu2).square().sum() + cov1.trace() + cov2.trace() - 2 * cross)


def _root(cov: Tensor, name: str) -> Tensor:
    """C^½ of a symmetric positive semi-definite matrix; eigenvalues negative by rounding count as
    0.
    """
    gap, scale = float((cov - cov.T).abs().max()), float(cov.abs().max())
    require(
        gap <= 1e-6 * scale,
        f"{name} differs from its transpose by {gap:.3g}, limit {1e-6 * scale:.3g}",
    )
    eigenvalues, vectors = torch.linalg.eigh(cov)
    low, limit = float(eigenvalues.min()), -1e-6 * float(eigenvalues.abs().max())
    require(
        low >= limit,
        f"{name} has eigenvalue {low:.3g}, limit {limit:.3g}; a covariance has none below 0",
    )
    return (vectors * eigenvalues.clamp_min(0).sqrt()) @ vectors.T


def _same_features(a: FeatureStatistics, b: FeatureStatistics) -> None:
    same = a.feature == b.feature and a.mean.shape == b.mean.shape
    told = f"{a.feature!r} ({a.mean.numel()}) and {b.feature!r} ({b.mean.numel()})"
    require(same, f"features {told} cannot be compared; use one feature map for both sides")

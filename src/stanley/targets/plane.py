"""Densities in the plane, curved so that no linear map makes them Gaussian."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from stanley.errors import require
from stanley.targets.base import LOG_2PI, Target, normal


@dataclass(frozen=True)
class Rings(Target):
    """p(x) = Σ_k w_k [N(r; r_k, σ²) + N(-r; r_k, σ²)] / (2πr),   r = |x|, d = 2, log Z = 0.

    The law of |R|·(cos φ, sin φ) with R ~ N(r_k, σ²) and φ uniform. The second term is the folded
    negative R. weights are relative, uniform when left out. U → -∞ at the origin alone, where no
    gradient exists. Exists: everything. E x_i² = Σ_k w_k (r_k² + σ²)/2.
    """

    radii: tuple[float, ...] = (1.0, 2.0, 3.0, 4.0)
    std: float = 0.15
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        require(len(self.radii) >= 1, "radii is empty; give at least one radius")
        require(min(self.radii) >= 0, f"radii has an entry {min(self.radii)}, must be >= 0")
        require(
            self.std > 0, f"std is {self.std}, must be > 0; a ring without width has no density"
        )
        K, weights = len(self.radii), self.weights or (1.0,) * len(self.radii)
        require(
            len(weights) == K,
            f"weights has {len(weights)} entries, radii has {K}; give one weight a ring",
        )
        require(
            min(weights) > 0, f"weights has an entry {min(weights)}, must be > 0; drop that ring"
        )

    @property
    def shares(self) -> tuple[float, ...]:
        """w_k, summing to 1."""
        weights = self.weights or (1.0,) * len(self.radii)
        return tuple(w / sum(weights) for w in weights)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (2,)

    def __call__(self, x: Tensor) -> Tensor:
        r = torch.linalg.vector_norm(x, dim=-1)
        terms = [
            math.log(w)
            + torch.logaddexp(
                -0.5 * ((r - r_k) / self.std) ** 2, -0.5 * ((r + r_k) / self.std) ** 2
            )
            for w, r_k in zip(self.shares, self.radii, strict=True)
        ]
        log_radial = torch.logsumexp(torch.stack(terms), dim=0) - math.log(self.std) - LOG_2PI / 2
        return r.log() + LOG_2PI - log_radial

    @property
    def log_z(self) -> float:
        return 0.0

    @property
    def mean(self) -> Tensor:
        return torch.zeros(2, dtype=torch.float64)

    @property
    def variance(self) -> Tensor:
        half = sum(
            w * (r_k**2 + self.std**2) / 2 for w, r_k in zip(self.shares, self.radii, strict=True)
        )
        return torch.full((2,), half, dtype=torch.float64)

    def _draw(self, n: int, generator: Generator) -> Tensor:
        z = normal(n, 1, generator)[:, 0]
        k = torch.multinomial(z.new_tensor(self.shares), n, replacement=True, generator=generator)
        r = (z.new_tensor(self.radii)[k] + self.std * z).abs()
        angle = 2 * math.pi * torch.rand(n, generator=generator, dtype=z.dtype, device=z.device)
        return torch.stack([r * angle.cos(), r * angle.sin()], dim=1)


@dataclass(frozen=True)
class Banana(Target):
    """U = x₁²/(2s²) + ½ (x₂ - b (x₁² - s²))²,   log Z = log 2πs, d = 2.

    The image of N(0, diag(s², 1)) under x₂ += b (x₁² - s²), a twist that keeps areas.
    Exists: everything. Var = (s², 1 + 2b²s⁴). Haario, Saksman & Tamminen (1999).
    """

    curvature: float = 0.25  # b
    std: float = 2.0  # s

    def __post_init__(self) -> None:
        require(self.std > 0, f"std is {self.std}, must be > 0")

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (2,)

    def __call__(self, x: Tensor) -> Tensor:
        b, s = self.curvature, self.std
        x1, x2 = x[:, 0], x[:, 1]
        return x1**2 / (2 * s**2) + 0.5 * (x2 - b * (x1**2 - s**2)) ** 2

    @property
    def log_z(self) -> float:
        return LOG_2PI + math.log(self.std)

    @property
    def mean(self) -> Tensor:
        return torch.zeros(2, dtype=torch.float64)

    @property
    def variance(self) -> Tensor:
        b, s = self.curvature, self.std
        return torch.tensor([s**2, 1 + 2 * b**2 * s**4], dtype=torch.float64)

    def _draw(self, n: int, generator: Generator) -> Tensor:
        b, s = self.curvature, self.std
        z = normal(n, 2, generator)
        x1 = s * z[:, 0]
        return torch.stack([x1, z[:, 1] + b * (x1**2 - s**2)], dim=1)

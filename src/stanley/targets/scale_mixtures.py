"""Gaussians of a random scale: heavy tails and necks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from stanley.errors import require
from stanley.targets.base import LOG_2PI, Target, gamma, normal


@dataclass(frozen=True)
class Funnel(Target):
    """U = v²/(2s²) + ½ e⁻ᵛ Σ_i x_i² + (d-1) v/2,   v the first coordinate, log Z = (d/2) log 2π +
    log s.

    v ~ N(0, s²) and x_i | v ~ N(0, eᵛ). Exists: everything, but Var x_i = e^{s²/2} (90 at s = 3) is
    carried by rare draws: judge a sampler by v and by x_i e^{-v/2}, not by it. Neal (2003), sec. 8.
    """

    d: int = 10
    std: float = 3.0  # s

    def __post_init__(self) -> None:
        require(self.d >= 2, f"d is {self.d}, must be >= 2: v and at least one x")
        require(self.std > 0, f"std is {self.std}, must be > 0")

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self.d,)

    def __call__(self, x: Tensor) -> Tensor:
        v, rest = x[:, 0], x[:, 1:]
        return (
            v**2 / (2 * self.std**2)
            + 0.5 * (-v).exp() * rest.square().sum(-1)
            + (self.d - 1) / 2 * v
        )

    @property
    def log_z(self) -> float:
        return self.d / 2 * LOG_2PI + math.log(self.std)

    @property
    def mean(self) -> Tensor:
        return torch.zeros(self.d, dtype=torch.float64)

    @property
    def variance(self) -> Tensor:
        s = self.std
        return torch.tensor([s**2] + [math.exp(s**2 / 2)] * (self.d - 1), dtype=torch.float64)

    def _draw(self, n: int, generator: Generator) -> Tensor:
        z = normal(n, self.d, generator)
        v = self.std * z[:, :1]
        return torch.cat([v, (v / 2).exp() * z[:, 1:]], dim=1)


@dataclass(frozen=True)
class StudentT(Target):
    """U = (ν+d)/2 · log(1 + |x|²/(νs²)),   log Z = log[Γ(ν/2) (νπ)^{d/2} s^d / Γ((ν+d)/2)].

    The d-dimensional Student t, coordinates dependent: x = s z / √(χ²_ν / ν).
    Exists: samples and log Z always; the mean 0 for ν > 1, Var x_i = s² ν/(ν-2) for ν > 2, else
    None.
    """

    dof: float  # ν
    d: int = 1
    scale: float = 1.0  # s

    def __post_init__(self) -> None:
        require(self.dof > 0, f"dof is {self.dof}, must be > 0; 1 is the Cauchy law")
        require(self.d >= 1, f"d is {self.d}, must be >= 1")
        require(self.scale > 0, f"scale is {self.scale}, must be > 0")

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self.d,)

    def __call__(self, x: Tensor) -> Tensor:
        return (
            (self.dof + self.d) / 2 * torch.log1p(x.square().sum(-1) / (self.dof * self.scale**2))
        )

    @property
    def log_z(self) -> float:
        nu, d, s = self.dof, self.d, self.scale
        return (
            math.lgamma(nu / 2)
            - math.lgamma((nu + d) / 2)
            + d / 2 * math.log(nu * math.pi)
            + d * math.log(s)
        )

    @property
    def mean(self) -> Tensor | None:
        return torch.zeros(self.d, dtype=torch.float64) if self.dof > 1 else None

    @property
    def variance(self) -> Tensor | None:
        if self.dof <= 2:
            return None
        return torch.full((self.d,), self.scale**2 * self.dof / (self.dof - 2), dtype=torch.float64)

    def _draw(self, n: int, generator: Generator) -> Tensor:
        chi2 = 2 * gamma(self.dof / 2, (n, 1), generator)
        return self.scale * normal(n, self.d, generator) * (self.dof / chi2).sqrt()

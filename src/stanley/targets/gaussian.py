"""The Gaussian and mixtures of isotropic Gaussians."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Generator, Tensor

from stanley.errors import require
from stanley.targets.base import LOG_2PI, Target, normal


@dataclass(frozen=True, eq=False)
class Gaussian(Target):
    """U = ½ (x - μ)ᵀ P (x - μ),   log Z = (d/2) log 2π - ½ log det P.

    precision   (d,) for a diagonal P, or (d, d) symmetric positive definite; kept in float64 as (P
                + Pᵀ)/2.
    location    μ (d,); zero when left out.
    Exists: everything. `from_covariance` and `from_std` state the same law by its spread.
    """

    precision: Tensor
    location: Tensor | None = None

    def __post_init__(self) -> None:
        precision = torch.as_tensor(self.precision, dtype=torch.float64)
        if precision.ndim == 1:
            low = float(precision.min())
            require(
                low > 0,
                f"precision has an entry {low}, must be > 0; give 1/variance of each coordinate",
            )
        else:
            precision = symmetric(precision, "precision")
            cholesky(precision, "precision")
        d = precision.shape[0]
        location = location_of(self.location, d, precision)
        object.__setattr__(self, "precision", precision)
        object.__setattr__(self, "location", location)

    @classmethod
    def from_covariance(cls, covariance: Tensor, location: Tensor | None = None) -> Gaussian:
        """Σ (d, d) symmetric positive definite; P = Σ⁻¹."""
        covariance = symmetric(torch.as_tensor(covariance, dtype=torch.float64), "covariance")
        return cls(torch.cholesky_inverse(cholesky(covariance, "covariance")), location)

    @classmethod
    def from_std(cls, std: Tensor, location: Tensor | None = None) -> Gaussian:
        """σ (d,): independent coordinates, P = diag(1/σ²)."""
        std = torch.as_tensor(std, dtype=torch.float64)
        require(
            std.ndim == 1,
            f"std has shape {tuple(std.shape)}, must be (d,); use torch.full((d,), σ)",
        )
        require(
            (std > 0).all(),
            f"std has an entry {float(std.min())}, must be > 0; drop constant coordinates",
        )
        return cls(std**-2, location)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self.precision.shape[0],)

    def __call__(self, x: Tensor) -> Tensor:
        y = x - self.mean.to(x)
        P = self.precision.to(x)
        return 0.5 * (y * (P * y if P.ndim == 1 else y @ P)).sum(-1)

    @cached_property
    def log_z(self) -> float:  # type: ignore[override]
        P = self.precision
        log_det = (
            P.log().sum() if P.ndim == 1 else 2 * torch.linalg.cholesky(P).diagonal().log().sum()
        )
        return 0.5 * (P.shape[0] * LOG_2PI - float(log_det))

    @property
    def mean(self) -> Tensor:
        assert self.location is not None  # set in __post_init__
        return self.location

    @property
    def variance(self) -> Tensor:
        return self.covariance.diagonal() if self.precision.ndim == 2 else 1 / self.precision

    @property
    def covariance(self) -> Tensor:  # (d, d)
        P = self.precision
        return (
            torch.diag(1 / P) if P.ndim == 1 else torch.cholesky_inverse(torch.linalg.cholesky(P))
        )

    def _draw(self, n: int, generator: Generator) -> Tensor:
        z = normal(n, self.event_shape[0], generator)
        P = self.precision.to(z)
        if P.ndim == 1:
            return self.mean.to(z) + z * P.rsqrt()
        L = torch.linalg.cholesky(P)  # P = L Lᵀ, so x = μ + L⁻ᵀ z has covariance P⁻¹
        return self.mean.to(z) + torch.linalg.solve_triangular(L.T, z.T, upper=True).T


@dataclass(frozen=True, eq=False)
class Mixture(Target):
    """U = -log Σ_k w_k N(x; m_k, s_k² I),   log Z = 0.

    means (K, d); std a number or (K,); weights (K,) relative, uniform when left out.
    Exists: everything.
    """

    means: Tensor
    std: Tensor | float = 1.0
    weights: Tensor | None = None

    def __post_init__(self) -> None:
        means = torch.as_tensor(self.means, dtype=torch.float64)
        require(
            means.ndim == 2,
            f"means has shape {tuple(means.shape)}, must be (K, d); add the missing axis",
        )
        K = means.shape[0]
        std = torch.as_tensor(self.std, dtype=torch.float64, device=means.device)
        require(
            std.shape in ((), (K,)), f"std has shape {tuple(std.shape)}, must be a number or ({K},)"
        )
        require(
            (std > 0).all(),
            f"std has an entry {float(std.min())}, must be > 0; a point mass has no density",
        )
        weights = torch.ones(K) if self.weights is None else self.weights
        weights = torch.as_tensor(weights, dtype=torch.float64, device=means.device)
        require(
            weights.shape == (K,),
            f"weights has shape {tuple(weights.shape)}, must be ({K},), one a mean",
        )
        require(
            (weights > 0).all(),
            f"weights has an entry {float(weights.min())}, must be > 0; drop that mean",
        )
        object.__setattr__(self, "means", means)
        object.__setattr__(self, "std", std.expand(K).clone())
        object.__setattr__(self, "weights", weights / weights.sum())

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self.means.shape[1],)

    @property
    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        assert isinstance(self.std, Tensor)  # set in __post_init__
        assert self.weights is not None
        return self.weights, self.means, self.std

    def __call__(self, x: Tensor) -> Tensor:
        w, m, s = (part.to(x) for part in self._parts)
        d = x.shape[-1]
        square = (x[:, None] - m).square().sum(-1)  # (B, K)
        return -torch.logsumexp(
            w.log() - square / (2 * s**2) - d * s.log() - d / 2 * LOG_2PI, dim=1
        )

    @property
    def log_z(self) -> float:
        return 0.0

    @property
    def mean(self) -> Tensor:
        w, m, _ = self._parts
        return w @ m

    @property
    def variance(self) -> Tensor:
        w, m, s = self._parts
        return w @ ((m - self.mean) ** 2 + s[:, None] ** 2)

    def _draw(self, n: int, generator: Generator) -> Tensor:
        z = normal(n, self.event_shape[0], generator)
        w, m, s = (part.to(z) for part in self._parts)
        k = torch.multinomial(w, n, replacement=True, generator=generator)
        return m[k] + s[k, None] * z


def location_of(location: Tensor | None, d: int, like: Tensor) -> Tensor:
    if location is None:
        return like.new_zeros(d)
    location = torch.as_tensor(location, dtype=like.dtype, device=like.device)
    require(
        location.shape == (d,),
        f"location has shape {tuple(location.shape)}, must be ({d},) as the precision",
    )
    return location


def symmetric(matrix: Tensor, name: str) -> Tensor:
    """(A + Aᵀ)/2 of a matrix that is symmetric up to single-precision rounding."""
    square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1]
    require(square, f"{name} has shape {tuple(matrix.shape)}, must be (d, d)")
    gap, limit = float((matrix - matrix.T).abs().max()), 1e-6 * float(matrix.abs().max())
    require(
        gap <= limit,
        f"{name} differs from its transpose by {gap:.3g}, limit {limit:.3g}; pass (A + A.T) / 2",
    )
    return (matrix + matrix.T) / 2


def cholesky(matrix: Tensor, name: str) -> Tensor:
    L, info = torch.linalg.cholesky_ex(matrix)
    low = float(torch.linalg.eigvalsh(matrix).min()) if int(info) else 1.0
    require(
        not int(info),
        f"{name} has smallest eigenvalue {low:.3g}, must be > 0; add a small multiple of I",
    )
    return L

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
    """The Gaussian N(μ, P⁻¹), given by its precision matrix.

        U = ½ (x - μ)ᵀ P (x - μ),   log Z = (d/2) log 2π - ½ log det P

    precision   P: (d,) if it is diagonal, else (d, d), symmetric and positive definite; stored in
                float64 as (P + Pᵀ)/2
    location    μ (d,), zero by default

    Known: log Z, samples, mean, variance and covariance. `from_covariance` and `from_std` make the
    same law from its covariance or its standard deviations.
    """

    precision: Tensor
    location: Tensor | None = None

    def __post_init__(self) -> None:
        precision = torch.as_tensor(self.precision, dtype=torch.float64)
        if precision.ndim == 1:
            low = float(precision.min())
            require(
                low > 0,
                f"precision has an entry {low}, but all must be > 0; use 1/variance of each"
                " coordinate",
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
        """N(μ, Σ) from a symmetric positive definite covariance Σ (d, d): P = Σ⁻¹."""
        covariance = symmetric(torch.as_tensor(covariance, dtype=torch.float64), "covariance")
        return cls(torch.cholesky_inverse(cholesky(covariance, "covariance")), location)

    @classmethod
    def from_std(cls, std: Tensor, location: Tensor | None = None) -> Gaussian:
        """Independent coordinates with standard deviations σ (d,): P = diag(1/σ²)."""
        std = torch.as_tensor(std, dtype=torch.float64)
        require(
            std.ndim == 1,
            f"std has shape {tuple(std.shape)}, but must be (d,); use torch.full((d,), σ)",
        )
        require(
            (std > 0).all(),
            f"std has an entry {float(std.min())}, but all must be > 0; leave out constant"
            " coordinates",
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
    """A mixture of K isotropic Gaussians.

        U = -log Σ_k w_k N(x; m_k, s_k² I),   log Z = 0

    means     m_k (K, d)
    std       s_k: one number for all components, or (K,)
    weights   w_k up to a common factor (K,); equal by default

    Known: log Z, samples, mean and variance.
    """

    means: Tensor
    std: Tensor | float = 1.0
    weights: Tensor | None = None

    def __post_init__(self) -> None:
        means = torch.as_tensor(self.means, dtype=torch.float64)
        require(
            means.ndim == 2,
            f"means has shape {tuple(means.shape)}, but must be (K, d); add the missing axis",
        )
        K = means.shape[0]
        std = torch.as_tensor(self.std, dtype=torch.float64, device=means.device)
        require(
            std.shape in ((), (K,)),
            f"std has shape {tuple(std.shape)}, but must be a number or ({K},)",
        )
        require(
            (std > 0).all(),
            f"std has an entry {float(std.min())}, but all must be > 0; a point mass has no"
            " density",
        )
        weights = torch.ones(K) if self.weights is None else self.weights
        weights = torch.as_tensor(weights, dtype=torch.float64, device=means.device)
        require(
            weights.shape == (K,),
            f"weights has shape {tuple(weights.shape)}, but must be ({K},), one for each mean",
        )
        require(
            (weights > 0).all(),
            f"weights has an entry {float(weights.min())}, but all must be > 0; leave out that"
            " mean",
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
        f"location has shape {tuple(location.shape)}, but must be ({d},) to match the precision",
    )
    return location


def symmetric(matrix: Tensor, name: str) -> Tensor:
    """(A + Aᵀ)/2, for a matrix A that is symmetric up to rounding in single precision."""
    square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1]
    require(square, f"{name} has shape {tuple(matrix.shape)}, but must be (d, d)")
    gap, limit = float((matrix - matrix.T).abs().max()), 1e-6 * float(matrix.abs().max())
    require(
        gap <= limit,
        f"{name} differs from its transpose by {gap:.3g}, but must not by more than {limit:.3g};"
        " use (A + A.T) / 2",
    )
    return (matrix + matrix.T) / 2


def cholesky(matrix: Tensor, name: str) -> Tensor:
    """L with L Lᵀ = A, for a positive definite matrix A."""
    L, info = torch.linalg.cholesky_ex(matrix)
    low = float(torch.linalg.eigvalsh(matrix).min()) if int(info) else 1.0
    require(
        not int(info),
        f"{name} has the eigenvalue {low:.3g}, but all must be > 0; add a small multiple of the"
        " identity",
    )
    return L

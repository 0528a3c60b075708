"""Closed-form densities p(x) = exp(-U(x)) / Z: the oracles of the tests and the pictures of the demo.

Each target is a frozen object that is called as a potential, U: (B, d) -> (B,), in the dtype and on the
device of x, differentiable by autograd. Beside it stands what is known exactly: log Z, independent samples,
and the moments of each coordinate. A moment that does not exist is None; nothing is estimated from samples.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
import torch
from torch import Generator, Tensor

from stanley.errors import require

LOG_2PI = math.log(2 * math.pi)
EULER_GAMMA = float(np.euler_gamma)

TargetT = TypeVar("TargetT", bound="Target")


class Target(ABC):
    """U(x) with p = exp(-U - log Z), and the exact facts about p. Shapes: x (B, d), moments (d,) float64."""

    @property
    @abstractmethod
    def event_shape(self) -> tuple[int, ...]: ...

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor: ...  # (B, d) -> (B,)

    @property
    @abstractmethod
    def log_z(self) -> float | None:
        """log ∫ exp(-U), or None where it is not known."""

    @property
    @abstractmethod
    def mean(self) -> Tensor | None: ...

    @property
    @abstractmethod
    def variance(self) -> Tensor | None:
        """Var x_i of each coordinate."""

    @property
    def second_moment(self) -> Tensor | None:
        """E x_i² = Var x_i + (E x_i)²."""
        if self.mean is None or self.variance is None:
            return None
        return self.variance + self.mean.square()

    @abstractmethod
    def _draw(self, n: int, generator: Generator) -> Tensor:  # (n, d) float64 on the generator's device
        ...

    def sample(self, n: int, generator: Generator, dtype: torch.dtype = torch.float64) -> Tensor:
        """n exact independent draws (n, d), made in float64 on its device, returned as `dtype`."""
        require(n >= 1, f"cannot draw {n} samples; ask for at least 1")
        return self._draw(n, generator).to(dtype)

    def log_density(self, x: Tensor) -> Tensor:  # (B, d) -> (B,)
        """log p(x) = -U(x) - log Z."""
        require(self.log_z is not None, f"log Z of {type(self).__name__} is not known; use the potential U itself")
        return -self(x) - self.log_z  # type: ignore[operator]

    def to(self: TargetT, device: torch.device | str) -> TargetT:
        """The same target with its tensors on a device, so that a call copies nothing from the host."""
        held = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        moved = {name: value.to(device) for name, value in held.items() if isinstance(value, Tensor)}
        return replace(self, **moved)  # type: ignore[type-var]


@dataclass(frozen=True, eq=False)
class Gaussian(Target):
    """U = ½ (x - μ)ᵀ P (x - μ),   log Z = (d/2) log 2π - ½ log det P.

    precision   (d,) for a diagonal P, or (d, d) symmetric positive definite; kept in float64 as (P + Pᵀ)/2.
    location    μ (d,); zero when left out.
    Exists: everything. `from_covariance` and `from_std` state the same law by its spread.
    """

    precision: Tensor
    location: Tensor | None = None

    def __post_init__(self) -> None:
        precision = torch.as_tensor(self.precision, dtype=torch.float64)
        if precision.ndim == 1:
            low = float(precision.min())
            require(low > 0, f"precision has an entry {low}, must be > 0; give 1/variance of each coordinate")
        else:
            precision = _symmetric(precision, "precision")
            _cholesky(precision, "precision")
        d = precision.shape[0]
        location = _location(self.location, d, precision)
        object.__setattr__(self, "precision", precision)
        object.__setattr__(self, "location", location)

    @classmethod
    def from_covariance(cls, covariance: Tensor, location: Tensor | None = None) -> Gaussian:
        """Σ (d, d) symmetric positive definite; P = Σ⁻¹."""
        covariance = _symmetric(torch.as_tensor(covariance, dtype=torch.float64), "covariance")
        return cls(torch.cholesky_inverse(_cholesky(covariance, "covariance")), location)

    @classmethod
    def from_std(cls, std: Tensor, location: Tensor | None = None) -> Gaussian:
        """σ (d,): independent coordinates, P = diag(1/σ²)."""
        std = torch.as_tensor(std, dtype=torch.float64)
        require(std.ndim == 1, f"std has shape {tuple(std.shape)}, must be (d,); use torch.full((d,), σ)")
        require((std > 0).all(), f"std has an entry {float(std.min())}, must be > 0; drop constant coordinates")
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
        log_det = P.log().sum() if P.ndim == 1 else 2 * torch.linalg.cholesky(P).diagonal().log().sum()
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
        return torch.diag(1 / P) if P.ndim == 1 else torch.cholesky_inverse(torch.linalg.cholesky(P))

    def _draw(self, n: int, generator: Generator) -> Tensor:
        z = _normal(n, self.event_shape[0], generator)
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
        require(means.ndim == 2, f"means has shape {tuple(means.shape)}, must be (K, d); add the missing axis")
        K = means.shape[0]
        std = torch.as_tensor(self.std, dtype=torch.float64, device=means.device)
        require(std.shape in ((), (K,)), f"std has shape {tuple(std.shape)}, must be a number or ({K},)")
        require((std > 0).all(), f"std has an entry {float(std.min())}, must be > 0; a point mass has no density")
        weights = torch.ones(K) if self.weights is None else self.weights
        weights = torch.as_tensor(weights, dtype=torch.float64, device=means.device)
        require(weights.shape == (K,), f"weights has shape {tuple(weights.shape)}, must be ({K},), one a mean")
        require((weights > 0).all(), f"weights has an entry {float(weights.min())}, must be > 0; drop that mean")
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
        return -torch.logsumexp(w.log() - square / (2 * s**2) - d * s.log() - d / 2 * LOG_2PI, dim=1)

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
        z = _normal(n, self.event_shape[0], generator)
        w, m, s = (part.to(z) for part in self._parts)
        k = torch.multinomial(w, n, replacement=True, generator=generator)
        return m[k] + s[k, None] * z


@dataclass(frozen=True)
class Rings(Target):
    """p(x) = Σ_k w_k [N(r; r_k, σ²) + N(-r; r_k, σ²)] / (2πr),   r = |x|, d = 2, log Z = 0.

    The law of |R|·(cos φ, sin φ) with R ~ N(r_k, σ²) and φ uniform. The second term is the folded negative R.
    weights are relative, uniform when left out. U → -∞ at the origin alone, where no gradient exists.
    Exists: everything. E x_i² = Σ_k w_k (r_k² + σ²)/2.
    """

    radii: tuple[float, ...] = (1.0, 2.0, 3.0, 4.0)
    std: float = 0.15
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        require(len(self.radii) >= 1, "radii is empty; give at least one radius")
        require(min(self.radii) >= 0, f"radii has an entry {min(self.radii)}, must be >= 0")
        require(self.std > 0, f"std is {self.std}, must be > 0; a ring without width has no density")
        K, weights = len(self.radii), self.weights or (1.0,) * len(self.radii)
        require(len(weights) == K, f"weights has {len(weights)} entries, radii has {K}; give one weight a ring")
        require(min(weights) > 0, f"weights has an entry {min(weights)}, must be > 0; drop that ring")

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
            math.log(w) + torch.logaddexp(-0.5 * ((r - r_k) / self.std) ** 2, -0.5 * ((r + r_k) / self.std) ** 2)
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
        half = sum(w * (r_k**2 + self.std**2) / 2 for w, r_k in zip(self.shares, self.radii, strict=True))
        return torch.full((2,), half, dtype=torch.float64)

    def _draw(self, n: int, generator: Generator) -> Tensor:
        z = _normal(n, 1, generator)[:, 0]
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
        z = _normal(n, 2, generator)
        x1 = s * z[:, 0]
        return torch.stack([x1, z[:, 1] + b * (x1**2 - s**2)], dim=1)


@dataclass(frozen=True)
class Funnel(Target):
    """U = v²/(2s²) + ½ e⁻ᵛ Σ_i x_i² + (d-1) v/2,   v the first coordinate, log Z = (d/2) log 2π + log s.

    v ~ N(0, s²) and x_i | v ~ N(0, eᵛ). Exists: everything, but Var x_i = e^{s²/2} (90 at s = 3) is carried
    by rare draws: judge a sampler by v and by x_i e^{-v/2}, not by it. Neal (2003), sec. 8.
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
        return v**2 / (2 * self.std**2) + 0.5 * (-v).exp() * rest.square().sum(-1) + (self.d - 1) / 2 * v

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
        z = _normal(n, self.d, generator)
        v = self.std * z[:, :1]
        return torch.cat([v, (v / 2).exp() * z[:, 1:]], dim=1)


@dataclass(frozen=True)
class DoubleWell(Target):
    """U = b Σ_i (x_i² - 1)²: 2ᵈ wells at (±1, ..., ±1), b the height of the barrier between two of them.

    log Z and Var x_i = E x_i² by the trapezoid rule on a line, spectrally accurate here (relative 1e-12).
    Exact samples by rejection: y = |x| from N(1, 1/2b) on y > 0, kept with probability
    exp(-b (y-1)² [(y+1)² - 1]) <= 1, and a fair sign.
    """

    d: int = 1
    barrier: float = 1.0  # b

    def __post_init__(self) -> None:
        require(self.d >= 1, f"d is {self.d}, must be >= 1")
        require(self.barrier > 0, f"barrier is {self.barrier}, must be > 0; at 0 the density has no finite mass")

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self.d,)

    def __call__(self, x: Tensor) -> Tensor:
        return self.barrier * (x**2 - 1).square().sum(-1)

    @cached_property
    def _line(self) -> tuple[float, float]:
        """∫ exp(-b(x²-1)²) dx and E x² of one coordinate."""
        b = self.barrier
        edge = math.sqrt(1 + math.sqrt(745 / b))  # there exp(-U) is the smallest double
        well = 1 / math.sqrt(8 * b)  # standard deviation inside a well
        x, h = np.linspace(-edge, edge, 2001 + 16 * math.ceil(edge / well), retstep=True)
        p = np.exp(-b * (x**2 - 1) ** 2)
        return float(h * p.sum()), float((p * x**2).sum() / p.sum())

    @property
    def log_z(self) -> float:
        return self.d * math.log(self._line[0])

    @property
    def mean(self) -> Tensor:
        return torch.zeros(self.d, dtype=torch.float64)

    @property
    def variance(self) -> Tensor:
        return torch.full((self.d,), self._line[1], dtype=torch.float64)

    def _draw(self, n: int, generator: Generator) -> Tensor:
        b, total = self.barrier, n * self.d
        kept, count = [], 0
        while count < total:
            z = _normal(total, 1, generator)[:, 0]
            y = 1 + z / math.sqrt(2 * b)
            u = torch.rand(z.shape, generator=generator, dtype=z.dtype, device=z.device)
            keep = (y > 0) & (u < torch.exp(-b * (y - 1) ** 2 * ((y + 1) ** 2 - 1)))
            kept.append(y[keep])
            count += int(keep.sum())
        y = torch.cat(kept)[:total]
        return (y * _signs(y, generator)).reshape(n, self.d)


@dataclass(frozen=True)
class Quartic(Target):
    """U = Σ_i x_i⁴,   log Z = d log 2Γ(5/4).

    Light tails: no Langevin kernel with a fixed step is stable on it.
    Exists: everything. E x² = Γ(3/4)/Γ(1/4), E x⁴ = 1/4; |x_i|⁴ ~ Gamma(1/4, 1), which is how it is sampled.
    """

    d: int = 1

    def __post_init__(self) -> None:
        require(self.d >= 1, f"d is {self.d}, must be >= 1")

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self.d,)

    def __call__(self, x: Tensor) -> Tensor:
        return (x**4).sum(-1)

    @property
    def log_z(self) -> float:
        return self.d * math.log(2 * math.gamma(5 / 4))

    @property
    def mean(self) -> Tensor:
        return torch.zeros(self.d, dtype=torch.float64)

    @property
    def variance(self) -> Tensor:
        return torch.full((self.d,), math.gamma(3 / 4) / math.gamma(1 / 4), dtype=torch.float64)

    def _draw(self, n: int, generator: Generator) -> Tensor:
        y = _gamma(1 / 4, (n, self.d), generator) ** 0.25
        return y * _signs(y, generator)


@dataclass(frozen=True)
class StudentT(Target):
    """U = (ν+d)/2 · log(1 + |x|²/(νs²)),   log Z = log[Γ(ν/2) (νπ)^{d/2} s^d / Γ((ν+d)/2)].

    The d-dimensional Student t, coordinates dependent: x = s z / √(χ²_ν / ν).
    Exists: samples and log Z always; the mean 0 for ν > 1, Var x_i = s² ν/(ν-2) for ν > 2, else None.
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
        return (self.dof + self.d) / 2 * torch.log1p(x.square().sum(-1) / (self.dof * self.scale**2))

    @property
    def log_z(self) -> float:
        nu, d, s = self.dof, self.d, self.scale
        return math.lgamma(nu / 2) - math.lgamma((nu + d) / 2) + d / 2 * math.log(nu * math.pi) + d * math.log(s)

    @property
    def mean(self) -> Tensor | None:
        return torch.zeros(self.d, dtype=torch.float64) if self.dof > 1 else None

    @property
    def variance(self) -> Tensor | None:
        if self.dof <= 2:
            return None
        return torch.full((self.d,), self.scale**2 * self.dof / (self.dof - 2), dtype=torch.float64)

    def _draw(self, n: int, generator: Generator) -> Tensor:
        chi2 = 2 * _gamma(self.dof / 2, (n, 1), generator)
        return self.scale * _normal(n, self.d, generator) * (self.dof / chi2).sqrt()


@dataclass(frozen=True)
class ExpSkew(Target):
    """U = Σ_i (e^{x_i} - x_i),   log Z = 0: each x_i is the logarithm of an Exp(1) variable.

    One tail is exponential, the other is double exponential (U overflows float32 beyond x = 88).
    Exists: everything. E x = -γ (Euler's constant), Var x = π²/6.
    """

    d: int = 1

    def __post_init__(self) -> None:
        require(self.d >= 1, f"d is {self.d}, must be >= 1")

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self.d,)

    def __call__(self, x: Tensor) -> Tensor:
        return (x.exp() - x).sum(-1)

    @property
    def log_z(self) -> float:
        return 0.0

    @property
    def mean(self) -> Tensor:
        return torch.full((self.d,), -EULER_GAMMA, dtype=torch.float64)

    @property
    def variance(self) -> Tensor:
        return torch.full((self.d,), math.pi**2 / 6, dtype=torch.float64)

    def _draw(self, n: int, generator: Generator) -> Tensor:
        y = torch.empty(n, self.d, dtype=torch.float64, device=generator.device)
        return y.exponential_(generator=generator).log()


def _normal(n: int, d: int, generator: Generator) -> Tensor:
    return torch.randn(n, d, generator=generator, dtype=torch.float64, device=generator.device)


def _gamma(shape: float, size: tuple[int, ...], generator: Generator) -> Tensor:
    alpha = torch.full(size, shape, dtype=torch.float64, device=generator.device)
    return torch._standard_gamma(alpha, generator=generator)  # type: ignore[attr-defined]


def _signs(y: Tensor, generator: Generator) -> Tensor:
    return 2 * torch.randint(2, y.shape, generator=generator, device=y.device) - 1


def _location(location: Tensor | None, d: int, like: Tensor) -> Tensor:
    if location is None:
        return like.new_zeros(d)
    location = torch.as_tensor(location, dtype=like.dtype, device=like.device)
    require(location.shape == (d,), f"location has shape {tuple(location.shape)}, must be ({d},) as the precision")
    return location


def _symmetric(matrix: Tensor, name: str) -> Tensor:
    """(A + Aᵀ)/2 of a matrix that is symmetric up to single-precision rounding."""
    square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1]
    require(square, f"{name} has shape {tuple(matrix.shape)}, must be (d, d)")
    gap, limit = float((matrix - matrix.T).abs().max()), 1e-6 * float(matrix.abs().max())
    require(gap <= limit, f"{name} differs from its transpose by {gap:.3g}, limit {limit:.3g}; pass (A + A.T) / 2")
    return (matrix + matrix.T) / 2


def _cholesky(matrix: Tensor, name: str) -> Tensor:
    L, info = torch.linalg.cholesky_ex(matrix)
    low = float(torch.linalg.eigvalsh(matrix).min()) if int(info) else 1.0
    require(not int(info), f"{name} has smallest eigenvalue {low:.3g}, must be > 0; add a small multiple of I")
    return L

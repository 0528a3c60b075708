"""A 1-D oracle that shares no code with the library: a chain's transition matrix on a grid, numpy
float64.

Rectangle rule. A Gaussian of standard deviation s summed at spacing dx is exact to exp(-2π²s²/dx²);
the kinks of γ cost O(dx²), which `extrapolated` removes; the window holds all but 1e-12 of the
stationary mass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse.linalg import eigs

Function = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Target1D:
    """U, U' and U'' of p ∝ exp(-U), a window that holds its mass,
    and where |U'| = th on the right.
    """

    u: Function
    du: Function
    d2u: Function
    low: float
    high: float
    kink: Callable[[float], float]


GAUSSIAN = Target1D(lambda x: x**2 / 2, lambda x: x, np.ones_like, -9.0, 9.0, lambda th: th)
QUARTIC = Target1D(
    lambda x: x**4,
    lambda x: 4 * x**3,
    lambda x: 12 * x**2,
    -3.6,
    3.6,
    lambda th: (th / 4) ** (1 / 3),
)
SKEWED = Target1D(lambda x: np.exp(x) - x, lambda x: np.exp(x) - 1, np.exp, -30.0, 4.0, np.log1p)


def grid(target: Target1D, n: int = 1201, threshold: float = 1.0) -> np.ndarray:
    """About n points, the kink of γ half-way between two of them,
    so that a jump there costs O(dx²) too.
    """
    kink = target.kink(threshold)
    spacing = kink / (round(kink * n / (target.high - target.low) - 0.5) + 0.5)
    return spacing * np.arange(int(target.low / spacing), int(target.high / spacing) + 1)


def extrapolated(
    value: Callable[[np.ndarray], np.ndarray], target: Target1D, threshold: float
) -> np.ndarray:
    """The dx → 0 limit of an O(dx²) value from two grids (Richardson)."""
    coarse, fine = grid(target, 701, threshold), grid(target, 1101, threshold)
    ratio = ((coarse[1] - coarse[0]) / (fine[1] - fine[0])) ** 2
    there = value(fine)
    return there + (there - value(coarse)) / (ratio - 1)


def gamma(target: Target1D, x: np.ndarray, threshold: float) -> np.ndarray:
    return np.minimum(1.0, threshold / np.maximum(np.abs(target.du(x)), 1e-300))


# Each law is (mean, variance) of the Gaussian that one step from x draws.


def langevin(target: Target1D, x: np.ndarray, h: float) -> tuple[np.ndarray, np.ndarray]:
    return x - h / 2 * target.du(x), np.full_like(x, h)


def stanley(
    target: Target1D, x: np.ndarray, h: float, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    g = gamma(target, x, threshold)
    return x - h / 2 * g * target.du(x), h * g


def stanley_drift(
    target: Target1D, x: np.ndarray, h: float, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Adds h·½γ', with γ' = -th·U''·sign(U')/U'² where |U'| > th."""
    mean, variance = stanley(target, x, h, threshold)
    du = target.du(x)
    steep = np.abs(du) > threshold
    slope = -threshold * target.d2u(x) * np.sign(du) / np.where(steep, du, 1.0) ** 2
    return mean + h / 2 * np.where(steep, slope, 0.0), variance


def clipped(
    target: Target1D, x: np.ndarray, h: float, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    return x - h / 2 * np.clip(target.du(x), -threshold, threshold), np.full_like(x, h)


@dataclass(frozen=True)
class Chain:
    """A stochastic matrix on a grid with its stationary law and what is read from it."""

    x: np.ndarray
    matrix: np.ndarray  # (n, n), rows sum to 1
    law: np.ndarray  # (n,), sums to 1
    acceptance: float

    def moment(self, power: int) -> float:
        return float(self.law @ self.x**power)

    def second_eigenvalue(self) -> float:
        values = eigs(self.matrix, k=4, v0=np.cos(self.x) + self.x, return_eigenvectors=False)
        return float(np.sort(np.abs(values))[-2])

    def cdf(self, points: np.ndarray) -> np.ndarray:
        """Of the density that is constant on each cell."""
        edges = np.append(self.x, 2 * self.x[-1] - self.x[-2]) - (self.x[1] - self.x[0]) / 2
        return np.interp(points, edges, np.append(0.0, np.cumsum(self.law)))

    def quantile(self, levels: np.ndarray) -> np.ndarray:
        edges = np.append(self.x, 2 * self.x[-1] - self.x[-2]) - (self.x[1] - self.x[0]) / 2
        return np.interp(levels, np.append(0.0, np.cumsum(self.law)), edges)


def densities(x: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """log q(x_i → x_j) for all pairs."""
    return (
        -((x[None] - mean[:, None]) ** 2) / (2 * variance[:, None])
        - np.log(2 * np.pi * variance[:, None]) / 2
    )


def unadjusted(x: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> Chain:
    matrix = np.exp(densities(x, mean, variance))
    matrix /= matrix.sum(1, keepdims=True)
    return Chain(x, matrix, stationary(matrix), 1.0)


def adjusted(target: Target1D, x: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> Chain:
    """Metropolis-Hastings: π(x)q(x→y)α symmetric; what is rejected stays on the diagonal."""
    log_q, u = densities(x, mean, variance), target.u(x)
    log_alpha = (u[:, None] - u[None]) + log_q.T - log_q
    moves = np.exp(log_q + np.minimum(log_alpha, 0)) * (x[1] - x[0])
    accepted = moves.sum(1)
    matrix = moves + np.diag(1 - accepted)
    law = np.exp(-u + u.min())
    law /= law.sum()
    return Chain(x, matrix, law, float(law @ accepted))


def stationary(matrix: np.ndarray) -> np.ndarray:
    """The left eigenvector of eigenvalue 1, from (Pᵀ - I)ρ = 0 and Σρ = 1."""
    n = len(matrix)
    system = matrix.T - np.eye(n)
    system[-1] = 1.0
    law = np.linalg.solve(system, np.append(np.zeros(n - 1), 1.0))
    return law / law.sum()

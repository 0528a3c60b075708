"""Posterior laws of small statistical models."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn.functional import logsigmoid

from stanley.errors import StanleyError, require
from stanley.streams import data_stream
from stanley.targets.base import LOG_2PI, Target, normal


@dataclass(frozen=True, eq=False)
class LogisticRegression(Target):
    """U(w) = Σ_n log(1 + exp(-s_n ⟨a_n, w⟩)) + |w|²/(2σ²),   s_n = ±1 the label of the row a_n.

    design (N, d); labels (N,) of 0 and 1; prior_std σ. U is convex, and between |w|²/(2σ²) and that
    plus a line. Not known in closed form: log Z, independent samples and moments; a long run of an
    exact sampler gives them.
    """

    design: Tensor
    labels: Tensor
    prior_std: float = 1.0

    def __post_init__(self) -> None:
        design = torch.as_tensor(self.design, dtype=torch.float64)
        labels = torch.as_tensor(self.labels, device=design.device)
        require(
            design.ndim == 2,
            f"design has shape {tuple(design.shape)}, must be (N, d), a row an observation",
        )
        require(
            labels.shape == design.shape[:1],
            f"labels has shape {tuple(labels.shape)}, must be ({len(design)},), one a row of the"
            " design",
        )
        require(
            ((labels == 0) | (labels == 1)).all(),
            "labels has entries that are neither 0 nor 1; recode the classes",
        )
        require(self.prior_std > 0, f"prior_std is {self.prior_std}, must be > 0")
        object.__setattr__(self, "design", design)
        object.__setattr__(self, "labels", labels.to(design.dtype))

    @classmethod
    def synthetic(
        cls,
        num: int = 1000,
        d: int = 25,
        *,
        correlation: float = 0.5,
        seed: int = 0,
        prior_std: float = 1.0,
    ) -> LogisticRegression:
        """Made data with the shape of German credit, 1000 × (24 + intercept): d - 1 Gaussian
        columns with correlation ρ^|i-j|, an intercept, and labels drawn from the model at a w drawn
        from the prior."""
        require(d >= 2, f"d is {d}, must be >= 2: an intercept and a column")
        require(abs(correlation) < 1, f"correlation is {correlation}, must lie between -1 and 1")
        g = data_stream(seed)
        lag = torch.arange(d - 1, dtype=torch.float64)
        L = torch.linalg.cholesky(correlation ** (lag[:, None] - lag).abs())
        design = torch.cat(
            [normal(num, d - 1, g) @ L.T, torch.ones(num, 1, dtype=torch.float64)], dim=1
        )
        w = prior_std * normal(d, 1, g)[:, 0]
        labels = torch.rand(num, generator=g, dtype=torch.float64) < torch.sigmoid(design @ w)
        return cls(design, labels, prior_std)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self.design.shape[1],)

    def __call__(self, x: Tensor) -> Tensor:
        A, s = self.design.to(x), 2 * self.labels.to(x) - 1
        return -logsigmoid(s * (x @ A.T)).sum(-1) + x.square().sum(-1) / (2 * self.prior_std**2)

    @property
    def log_z(self) -> None:
        return None

    @property
    def mean(self) -> None:
        return None

    @property
    def variance(self) -> None:
        return None

    def _draw(self, n: int, generator: Generator) -> Tensor:
        raise StanleyError(
            "LogisticRegression has no independent samples; run an adjusted sampler, such as HMC"
        )


@dataclass(frozen=True)
class EightSchools(Target):
    """Eight schools (Rubin 1981), non-centred: x = (μ, log τ, θ̃_1 … θ̃_8), d = 10,

        U = μ²/50 + Σ_j θ̃_j²/2 + Σ_j (y_j - μ - τθ̃_j)²/(2σ_j²) + log(1 + τ²/25) - log τ.

    Priors: μ ~ N(0, 5²), τ ~ half-Cauchy(5), θ_j = μ + τθ̃_j ~ N(μ, τ²); the last term is the
    Jacobian of log τ. Exact: given τ all the rest is Gaussian, so log Z and the moments are
    integrals over log τ alone, by the trapezoid rule (relative 1e-10); samples draw log τ by its
    inverse distribution function on the same line. Gelman et al., Bayesian Data Analysis, section
    5.5; these priors: the posteriordb entry of that name.
    """

    effects: ClassVar[tuple[float, ...]] = (28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0)  # y
    errors: ClassVar[tuple[float, ...]] = (15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0)  # σ

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (10,)

    def __call__(self, x: Tensor) -> Tensor:
        y, sigma = x.new_tensor(self.effects), x.new_tensor(self.errors)
        mu, log_tau, theta = x[:, :1], x[:, 1], x[:, 2:]
        misfit = (y - mu - log_tau.exp()[:, None] * theta) / sigma
        squares = mu[:, 0] ** 2 / 25 + theta.square().sum(1) + misfit.square().sum(1)
        return squares / 2 - logsigmoid(math.log(25) - 2 * log_tau) - log_tau

    @cached_property
    def _line(self) -> tuple[np.ndarray, np.ndarray, float]:
        """log τ on a fine line, its posterior weights (sum 1), and log Z.

        Given τ: y ~ N(0, S + 25·11ᵀ), S = diag(σ² + τ²), by the matrix determinant lemma.
        """
        log_tau, step = np.linspace(-40.0, 12.0, 40_001, retstep=True)
        s = self._spread(log_tau)
        y = np.array(self.effects)
        a, b = (1 / s).sum(1), (y / s).sum(1)
        fit = -0.5 * (
            np.log(s).sum(1) + np.log1p(25 * a) + (y**2 / s).sum(1) - 25 * b**2 / (1 + 25 * a)
        )
        log_p = fit + log_tau - np.logaddexp(0, 2 * log_tau - math.log(25))
        top = log_p.max()
        p = np.exp(log_p - top)
        # ∫ over μ and θ̃ of exp(-½ squares)
        gaussians = 4.5 * LOG_2PI + np.log(self.errors).sum() + math.log(5)
        return log_tau, p / p.sum(), float(top + math.log(step * p.sum()) + gaussians)

    def _spread(self, log_tau: np.ndarray) -> np.ndarray:
        """σ_j² + τ²: (n, 8)."""
        return np.array(self.errors) ** 2 + np.exp(2 * log_tau)[:, None]

    def _given(
        self, log_tau: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """μ | τ ~ N(m, v);   θ̃_j | μ, τ ~ N(k_j (y_j - μ), u_j),   k = τ/(σ² + τ²),
        u = σ²/(σ² + τ²).
        """
        s, y = self._spread(log_tau), np.array(self.effects)
        v = 1 / (1 / 25 + (1 / s).sum(1))
        m = v * (y / s).sum(1)
        return m, v, y, np.exp(log_tau)[:, None] / s, np.array(self.errors) ** 2 / s

    @cached_property
    def _moments(self) -> tuple[Tensor, Tensor]:
        log_tau, p, _ = self._line
        m, v, y, k, u = self._given(log_tau)
        gap = y - m[:, None]
        first = np.column_stack([m, log_tau, k * gap])
        second = np.column_stack([m**2 + v, log_tau**2, k**2 * (gap**2 + v[:, None]) + u])
        mean = p @ first
        return torch.from_numpy(mean), torch.from_numpy(p @ second - mean**2)

    @property
    def log_z(self) -> float:
        return self._line[2]

    @property
    def mean(self) -> Tensor:
        return self._moments[0]

    @property
    def variance(self) -> Tensor:
        return self._moments[1]

    def _draw(self, n: int, generator: Generator) -> Tensor:
        line, p, _ = self._line
        uniform = (
            torch.rand(n, generator=generator, dtype=torch.float64, device=generator.device)
            .cpu()
            .numpy()
        )
        log_tau = np.interp(uniform, np.cumsum(p) - p / 2, line)
        m, v, y, k, u = self._given(log_tau)
        z = normal(n, 9, generator).cpu().numpy()
        mu = m + np.sqrt(v) * z[:, 0]
        theta = k * (y - mu[:, None]) + np.sqrt(u) * z[:, 1:]
        return torch.from_numpy(np.column_stack([mu, log_tau, theta])).to(generator.device)

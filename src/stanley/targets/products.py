"""Independent coordinates that are not Gaussian: two wells, light tails,
one light and one heavy tail.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Generator, Tensor

from stanley.errors import require
from stanley.targets.base import Target, gamma, normal, signs

EULER_GAMMA = float(np.euler_gamma)


@dataclass(frozen=True)
class DoubleWell(Target):
    """U = b Σ_i (x_i² - 1)²: 2ᵈ wells at (±1, ..., ±1), b the height of the barrier between two of
    them.

    log Z and Var x_i = E x_i² by the trapezoid rule on a line, spectrally accurate here (relative
    1e-12). Exact samples by rejection: y = |x| from N(1, 1/2b) on y > 0, kept with probability
    exp(-b (y-1)² [(y+1)² - 1]) <= 1, and a fair sign.
    """

    d: int = 1
    barrier: float = 1.0  # b

    def __post_init__(self) -> None:
        require(self.d >= 1, f"d is {self.d}, must be >= 1")
        require(
            self.barrier > 0,
            f"barrier is {self.barrier}, must be > 0; at 0 the density has no finite mass",
        )

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
            z = normal(total, 1, generator)[:, 0]
            y = 1 + z / math.sqrt(2 * b)
            u = torch.rand(z.shape, generator=generator, dtype=z.dtype, device=z.device)
            keep = (y > 0) & (u < torch.exp(-b * (y - 1) ** 2 * ((y + 1) ** 2 - 1)))
            kept.append(y[keep])
            count += int(keep.sum())
        y = torch.cat(kept)[:total]
        return (y * signs(y, generator)).reshape(n, self.d)


@dataclass(frozen=True)
class Quartic(Target):
    """U = Σ_i x_i⁴,   log Z = d log 2Γ(5/4).

    Light tails: no Langevin kernel with a fixed step is stable on it.
    Exists: everything. E x² = Γ(3/4)/Γ(1/4), E x⁴ = 1/4; |x_i|⁴ ~ Gamma(1/4, 1), which is how it is
    sampled.
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
        y = gamma(1 / 4, (n, self.d), generator) ** 0.25
        return y * signs(y, generator)


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

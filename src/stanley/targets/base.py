"""What every closed-form density p(x) = exp(-U(x)) / Z offers: log Z, independent samples,
moments.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import fields, replace
from typing import TypeVar

import torch
from torch import Generator, Tensor

from stanley.errors import require

LOG_2PI = math.log(2 * math.pi)

TargetT = TypeVar("TargetT", bound="Target")


class Target(ABC):
    """U(x) with p = exp(-U - log Z), and the exact facts about p. Shapes: x (B, d), moments
    (d,) float64.
    """

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
    # (n, d) float64 on the generator's device
    def _draw(self, n: int, generator: Generator) -> Tensor: ...

    def sample(self, n: int, generator: Generator, dtype: torch.dtype = torch.float64) -> Tensor:
        """n exact independent draws (n, d), made in float64 on its device, returned as `dtype`."""
        require(n >= 1, f"cannot draw {n} samples; ask for at least 1")
        return self._draw(n, generator).to(dtype)

    def log_density(self, x: Tensor) -> Tensor:  # (B, d) -> (B,)
        """log p(x) = -U(x) - log Z."""
        require(
            self.log_z is not None,
            f"log Z of {type(self).__name__} is not known; use the potential U itself",
        )
        return -self(x) - self.log_z  # type: ignore[operator]

    def to(self: TargetT, device: torch.device | str) -> TargetT:
        """The same target with its tensors on a device, so that a call copies nothing from the
        host.
        """
        held = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        moved = {
            name: value.to(device) for name, value in held.items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)  # type: ignore[type-var]


def normal(n: int, d: int, generator: Generator) -> Tensor:
    return torch.randn(n, d, generator=generator, dtype=torch.float64, device=generator.device)


def gamma(shape: float, size: tuple[int, ...], generator: Generator) -> Tensor:
    alpha = torch.full(size, shape, dtype=torch.float64, device=generator.device)
    return torch._standard_gamma(alpha, generator=generator)  # type: ignore[attr-defined]


def signs(y: Tensor, generator: Generator) -> Tensor:
    return 2 * torch.randint(2, y.shape, generator=generator, device=y.device) - 1

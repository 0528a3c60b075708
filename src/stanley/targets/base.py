"""The interface of a closed-form density p(x) = exp(-U(x)) / Z: U, log Z, samples and moments."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import fields, replace
from typing import TypeVar

import torch
from torch import Generator, Tensor

from stanley.errors import require
from stanley.streams import as_generator

LOG_2PI = math.log(2 * math.pi)

TargetT = TypeVar("TargetT", bound="Target")


class Target(ABC):
    """A potential U(x) with p = exp(-U - log Z), and what is known exactly about p.

    Shapes: x is (B, d); the moments are (d,) in float64, or None where they do not exist or are not
    known.
    """

    @property
    @abstractmethod
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one point, (d,)."""

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor: ...  # (B, d) -> (B,)

    @property
    @abstractmethod
    def log_z(self) -> float | None:
        """log ∫ exp(-U(x)) dx, or None where it is not known."""

    @property
    @abstractmethod
    def mean(self) -> Tensor | None:
        """E x_i of each coordinate."""

    @property
    @abstractmethod
    def variance(self) -> Tensor | None:
        """Var x_i of each coordinate."""

    @property
    def second_moment(self) -> Tensor | None:
        """E x_i² = Var x_i + (E x_i)² of each coordinate."""
        if self.mean is None or self.variance is None:
            return None
        return self.variance + self.mean.square()

    @abstractmethod
    # (n, d) float64 on the generator's device
    def _draw(self, n: int, generator: Generator) -> Tensor: ...

    def sample(
        self,
        n: int,
        generator: Generator | None = None,
        dtype: torch.dtype = torch.float64,
        *,
        seed: int | None = None,
    ) -> Tensor:
        """Return n exact independent draws (n, d) on the generator's device, or of a seed on
        the CPU.

        They are drawn in float64 and converted to `dtype`. Raises StanleyError if n < 1, or if the
        target has no independent samples.
        """
        require(n >= 1, f"n is {n}, but must be at least 1: the number of samples to draw")
        rng = as_generator(generator, seed, "sample")
        return self._draw(n, rng).to(dtype)

    def log_density(self, x: Tensor) -> Tensor:  # (B, d) -> (B,)
        """log p(x) = -U(x) - log Z. Raises StanleyError where log Z is not known."""
        require(
            self.log_z is not None,
            f"log Z of {type(self).__name__} is not known; use the potential U instead",
        )
        return -self(x) - self.log_z  # type: ignore[operator]

    def to(self: TargetT, device: torch.device | str) -> TargetT:
        """The same target with its tensors on a device, so that no call has to copy them there."""
        held = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        moved = {
            name: value.to(device) for name, value in held.items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)  # type: ignore[type-var]


def normal(n: int, d: int, generator: Generator) -> Tensor:
    """(n, d) draws of N(0, 1), in float64."""
    return torch.randn(n, d, generator=generator, dtype=torch.float64, device=generator.device)


def gamma(shape: float, size: tuple[int, ...], generator: Generator) -> Tensor:
    """Draws of Gamma(shape, 1), in float64."""
    alpha = torch.full(size, shape, dtype=torch.float64, device=generator.device)
    return torch._standard_gamma(alpha, generator=generator)  # type: ignore[attr-defined]


def signs(y: Tensor, generator: Generator) -> Tensor:
    """Random signs ±1 of the shape of y."""
    return 2 * torch.randint(2, y.shape, generator=generator, device=y.device) - 1

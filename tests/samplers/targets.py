"""Potentials with known answers, with exact samples and CDFs where they exist."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import gammainc, ndtr
from torch import Tensor

from stanley.types import Energy


def gaussian(x: Tensor) -> Tensor:
    return (x**2).flatten(1).sum(1) / 2


def quartic(x: Tensor) -> Tensor:
    return (x**4).flatten(1).sum(1)


def skewed(x: Tensor) -> Tensor:
    """U = -Σ(x - eˣ): x = log of an exponential variable."""
    return -(x - x.exp()).flatten(1).sum(1)


def coupled(x: Tensor) -> Tensor:
    """Correlated, skewed and not Gaussian, for any event: neighbours pull on each other."""
    flat = x.flatten(1)
    weights = torch.linspace(0.5, 3.0, flat.shape[1], dtype=x.dtype, device=x.device)
    pull = (flat[:, 1:] - 0.7 * flat[:, :-1] ** 2) ** 2
    return (weights * flat**2).sum(1) / 2 + pull.sum(1) + 0.2 * (flat.sum(1) + flat.exp().sum(1))


def anisotropic(x: Tensor) -> Tensor:
    """A correlated Gaussian in two dimensions, precision [[2, 1.2], [1.2, 1.5]]."""
    return x[:, 0] ** 2 + 1.2 * x[:, 0] * x[:, 1] + 0.75 * x[:, 1] ** 2


@dataclass(frozen=True)
class Exact:
    """A target on the line that can be sampled without a chain."""

    potential: Energy
    draw: Callable[[np.random.Generator, int], np.ndarray]
    cdf: Callable[[np.ndarray], np.ndarray]


NORMAL = Exact(gaussian, lambda r, n: r.standard_normal(n), ndtr)
LIGHT = Exact(  # |x|⁴ ~ Gamma(1/4)
    quartic,
    lambda r, n: r.gamma(0.25, size=n) ** 0.25 * r.choice([-1.0, 1.0], n),
    lambda x: 0.5 + np.sign(x) * gammainc(0.25, x**4) / 2,
)
SKEW = Exact(skewed, lambda r, n: np.log(r.exponential(size=n)), lambda x: -np.expm1(-np.exp(x)))


class Counting:
    """A potential that counts its backward passes; differentiating a gradient passes through once
    more.
    """

    def __init__(self, potential: Energy) -> None:
        self.potential, self.gradients = potential, 0

    def __call__(self, x: Tensor) -> Tensor:
        return self.potential(_Watch.apply(x, self))


class _Watch(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, counter):
        ctx.counter = counter
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        ctx.counter.gradients += 1
        return grad, None


def walled(potential: Energy, outside: float, limit: float = 50.0) -> Energy:
    """`outside` (NaN, inf) wherever the first component passes the limit;
    the gradient there is NaN.
    """

    def energy(x: Tensor) -> Tensor:
        beyond = x.flatten(1)[:, 0] > limit
        return potential(x) * torch.where(beyond, outside, 1.0)

    return energy

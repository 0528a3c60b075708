"""Data whose density under noise is known exactly, as energies that know the noise level."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from stanley.networks.levels import Levels


class Mixture:
    """E(x, σ) = -log Σ_k w_k N(x; c_k, (s_k² + σ²)·I), of data Σ_k w_k N(c_k, s_k²·I)."""

    levels = Levels(0.05, 20.0)

    def __init__(self, weights, centres, stds) -> None:
        self.weights = torch.tensor(weights, dtype=torch.float64)
        self.centres = torch.tensor(centres, dtype=torch.float64)  # (K, d)
        self.stds = torch.tensor(stds, dtype=torch.float64)
        mean = self.weights @ self.centres
        spread = (self.centres - mean).square().mean(1) + self.stds.square()
        self.std = (self.weights @ spread).sqrt()

    def sample(self, num: int, generator: torch.Generator) -> Tensor:
        rows = torch.multinomial(self.weights, num, replacement=True, generator=generator)
        xi = torch.randn(num, self.centres.shape[1], generator=generator, dtype=torch.float64)
        return self.centres[rows] + self.stds[rows, None] * xi

    def log_parts(self, x: Tensor, log_ratio: Tensor) -> Tensor:  # (B, d), (B,) -> (B, K)
        d = x.shape[1]
        variance = (self.std * log_ratio.exp()).square()[:, None] + self.stds.square()
        square = (x[:, None] - self.centres).square().sum(2)
        log_norm = d / 2 * (2 * math.pi * variance).log()
        return self.weights.log() - square / (2 * variance) - log_norm

    def __call__(self, x: Tensor, log_ratio: Tensor) -> Tensor:
        return -torch.logsumexp(self.log_parts(x, log_ratio), 1)


class Bent:
    """E(x, σ) + ε·f(x, ln σ): an energy that is wrong by ε."""

    def __init__(self, energy, bend, epsilon: Tensor) -> None:
        self.energy, self.bend, self.epsilon = energy, bend, epsilon
        self.levels, self.std = energy.levels, energy.std

    def __call__(self, x: Tensor, log_ratio: Tensor) -> Tensor:
        return self.energy(x, log_ratio) + self.epsilon * self.bend(x, log_ratio)

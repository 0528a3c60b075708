"""Denoising: E(x, σ) learns the gradient and the level of the data's log-density under noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from stanley.errors import require
from stanley.networks.levels import LevelEnergy


@dataclass(frozen=True)
class Denoising:
    """Dual score matching at many noise levels. With y = x⁺ + σ·ξ, ξ ~ N(0, I), the loss is

        L = mean of (1 + σ²/s²)·|σ·∇_y E(y, σ) - ξ|²/d  +  λ·(∂E(y, σ)/∂ln σ - (d - |ξ|²))²/d

    over data x⁺ and levels, ln(σ/s) ~ N(m, w²) between the levels that the network knows.

    At the minimum E(·, σ) = -log p_σ, the density of y, with its constant: the first term is the
    denoising score matching of Vincent (2011), in the weights of Karras et al. (2022), and fixes
    ∇E; the second fixes how E changes with σ, and so the shares of modes that lie far apart and
    log Z, from σ ≫ s on, where E is a normalised Gaussian (Guth, Kadkhodaie & Simoncelli 2025). No
    chains are run, and nothing can run away. Not true: that E(·, σ_min) is the density of the data:
    it is that of data with noise σ_min.
    """

    level_mean: float = -1.0  # m, the mean of ln(σ/s)
    level_std: float = 1.3  # w, its standard deviation
    level_weight: float = 0.1  # λ, weight of the derivative in ln σ; 0 for none
    kind: Literal["denoising"] = "denoising"

    def __post_init__(self) -> None:
        require(
            math.isfinite(self.level_mean),
            f"objective.level_mean is {self.level_mean}, but must be a finite number; -1 is usual",
        )
        require(
            0 < self.level_std < math.inf,
            f"objective.level_std is {self.level_std}, but must be > 0; 1.3 is usual",
        )
        require(
            0 <= self.level_weight < math.inf,
            f"objective.level_weight is {self.level_weight}, but must not be negative; 0 is off",
        )

    def draw_log_ratio(self, energy: LevelEnergy, num: int, generator: torch.Generator) -> Tensor:
        """ln(σ/s) of `num` levels, (num,): a normal law cut off at σ_min and σ_max."""
        ends = torch.tensor(
            [energy.levels.smallest, energy.levels.largest], device=generator.device
        ).log()
        low, high = torch.special.ndtr((ends - self.level_mean) / self.level_std)
        u = torch.rand(num, generator=generator, device=generator.device)
        z = torch.special.ndtri(low + (high - low) * u)
        return (self.level_mean + self.level_std * z).clamp(ends[0], ends[1])


class DenoisingLoss(NamedTuple):
    """The two terms of the loss before their weights, means over the batch."""

    score: Tensor  # 0-d  (1 + σ²/s²)·|σ·∇E - ξ|²/d
    level: Tensor  # 0-d  (∂E/∂ln σ - (d - |ξ|²))²/d


def denoising_loss(energy: LevelEnergy, x: Tensor, log_ratio: Tensor, xi: Tensor) -> DenoisingLoss:
    """Both terms for data x (B, *event), levels ln(σ/s) (B,) and noise ξ (B, *event)."""
    d, rows = x[0].numel(), (-1, *[1] * (x.dim() - 1))
    ratio = log_ratio.exp()
    sigma = (energy.std * ratio).view(rows)
    y, log_ratio = (x + sigma * xi).requires_grad_(), log_ratio.clone().requires_grad_()
    total = energy.at_ratio(y, log_ratio).sum()
    grad, slope = torch.autograd.grad(total, [y, log_ratio], create_graph=True)
    error = (sigma * grad - xi).flatten(1).square().sum(1)
    score = ((1 + ratio**2) * error / d).mean()
    level = ((slope - (d - xi.flatten(1).square().sum(1))).square() / d).mean()
    return DenoisingLoss(score, level)

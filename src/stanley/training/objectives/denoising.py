"""Denoising: E(x, σ) learns the gradient and the level of the data's log-density under noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor

from stanley.errors import require
from stanley.networks.levels import level_energy
from stanley.samplers.noise import normal_like
from stanley.training.objectives.without_chains import (
    WithoutChains,
    draw_log_ratio,
    require_law_of_levels,
    require_levels,
)

if TYPE_CHECKING:
    from stanley.training.config import TrainConfig
    from stanley.training.objectives import Ratios
    from stanley.training.state import TrainState


@dataclass(frozen=True)
class Denoising(WithoutChains):
    """Dual score matching at many noise levels. With y = x⁺ + σ·ξ, ξ ~ N(0, I), the loss is

        L = mean of (1 + σ²/s²)·|σ·∇_y E(y, σ) - ξ|²/d  +  λ·(∂E(y, σ)/∂ln σ - (d - |ξ|²))²/d

    over data x⁺ and levels, ln(σ/s) ~ N(m, w²) between the levels that the network knows.

    At the minimum E(·, σ) = -log p_σ, the density of y, but for one constant for all σ: the first
    term is the denoising score matching of Vincent (2011), in the weights of Karras et al. (2022),
    and fixes ∇E; the second fixes how E changes with σ, and so the shares of modes that lie far
    apart (Guth, Kadkhodaie & Simoncelli 2025). No chains are run. Not true: that log Z is fixed: it
    is 0 as far as G is 0 at σ_max, where it begins there, and nothing holds it there. Nor that
    E(·, σ_min) is the density of the data: it is that of data with noise σ_min.
    """

    level_mean: float = -1.0  # m, the mean of ln(σ/s)
    level_std: float = 1.3  # w, its standard deviation
    level_weight: float = 0.1  # λ, weight of the derivative in ln σ; 0 for none
    kind: Literal["denoising"] = "denoising"

    def __post_init__(self) -> None:
        require_law_of_levels(self.level_mean, self.level_std)
        require(
            0 <= self.level_weight < math.inf,
            f"objective.level_weight is {self.level_weight}, but must not be negative; 0 is off",
        )

    def check(self, config: TrainConfig) -> None:
        """Raise StanleyError for what cannot work together with the rest of the configuration."""
        require_levels(config, self.kind)
        require(
            config.temperature == 1,
            f"temperature is {config.temperature}, but denoising makes exp(-E) the density of the "
            "data; use temperature 1",
        )

    @property
    def denoising(self) -> Denoising:
        return self

    @property
    def differentiates_twice(self) -> bool:
        return True

    def descend(self, config: TrainConfig, state: TrainState, x_pos: Tensor) -> Ratios:
        """Leave ∇_θ L of one batch x⁺ (B, *event) in the parameters; what its record says of it."""
        state.energy.train()
        state.optimizer.zero_grad(set_to_none=True)
        return self.add_gradient(config, state, x_pos)

    def add_gradient(
        self, config: TrainConfig, state: TrainState, x_pos: Tensor, weight: float = 1.0
    ) -> Ratios:
        """Add weight·∇_θ L of one batch to the gradients that the parameters have."""
        energy, generator = level_energy(state.energy), state.chain_generator
        assert energy is not None
        log_ratio = draw_log_ratio(
            energy.levels, self.level_mean, self.level_std, len(x_pos), generator
        )
        xi = normal_like(x_pos, generator)
        bf16 = config.in_bf16(x_pos.device)
        with torch.autocast(x_pos.device.type, torch.bfloat16, enabled=bf16):
            parts = denoising_loss(state.model, energy.std, x_pos, log_ratio, xi)
        loss = parts.score + self.level_weight * parts.level
        (weight * loss).backward()
        numbers = {"loss": loss, "score_loss": parts.score, "level_loss": parts.level}
        return {name: (value.detach(), torch.ones_like(loss)) for name, value in numbers.items()}


class DenoisingLoss(NamedTuple):
    """The two terms of the loss before their weights, means over the batch."""

    score: Tensor  # 0-d  (1 + σ²/s²)·|σ·∇E - ξ|²/d
    level: Tensor  # 0-d  (∂E/∂ln σ - (d - |ξ|²))²/d


def denoising_loss(
    energy: Callable[[Tensor, Tensor], Tensor],
    std: Tensor,
    x: Tensor,
    log_ratio: Tensor,
    xi: Tensor,
) -> DenoisingLoss:
    """Both terms of an energy E(x, ln(σ/s)) for data x (B, *event) of standard deviation s, levels
    ln(σ/s) (B,) and noise ξ (B, *event).
    """
    d, ratio = x[0].numel(), log_ratio.exp()
    sigma = (std * ratio).view(-1, *[1] * (x.dim() - 1))
    y, log_ratio = (x + sigma * xi).requires_grad_(), log_ratio.clone().requires_grad_()
    total = energy(y, log_ratio).sum()
    grad, slope = torch.autograd.grad(total, [y, log_ratio], create_graph=True)
    error = (sigma * grad - xi).flatten(1).square().sum(1)
    score = ((1 + ratio**2) * error / d).mean()
    level = ((slope - (d - xi.flatten(1).square().sum(1))).square() / d).mean()
    return DenoisingLoss(score, level)

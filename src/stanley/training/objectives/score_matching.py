"""Score matching: the gradient of the log-density, without chains, noise levels or log Z."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from stanley.errors import require
from stanley.networks.activations import require_smooth
from stanley.samplers.noise import normal_like
from stanley.training.objectives.without_chains import WithoutChains, require_no_levels
from stanley.types import Energy, Potential

if TYPE_CHECKING:
    from stanley.training.config import TrainConfig
    from stanley.training.objectives import Ratios
    from stanley.training.state import TrainState


@dataclass(frozen=True)
class ScoreMatching(WithoutChains):
    """With U = E/T and data x⁺, the loss is

        σ = 0, sliced:         L = mean of ½|∇U(x⁺)|² - v·∇²U(x⁺)·v,      v ~ N(0, I)
        at a noise level σ:    L = mean of ½|σ·∇U(x⁺ + σ·ξ) - ξ|²,        ξ ~ N(0, I)

    The first has its minimum at U = -log p + const, p the law of the data; the second at that of
    the data with noise σ. Both are cheaper than chains. Not true: that the minimum is found where
    data are rare: the loss does not look there, so the shares of modes that lie apart stay open,
    and chains from noise may never meet the data. For that there is `denoising` at many levels.
    Hyvärinen (2005); Song, Garg, Shi & Ermon (2019), equation 8, sliced; Vincent (2011), denoising.
    """

    noise_std: float = 0.0  # σ of the noise that is added to data; 0 for sliced score matching
    kind: Literal["score-matching"] = "score-matching"

    def __post_init__(self) -> None:
        require(
            0 <= self.noise_std < math.inf,
            f"objective.noise_std is {self.noise_std}, but must not be negative; use 0 for sliced "
            "score matching",
        )

    def check(self, config: TrainConfig) -> None:
        """Raise StanleyError for what cannot work together with the rest of the configuration."""
        require_no_levels(config, self.kind)
        activation = getattr(config.network, "activation", None)
        if activation is not None:  # that of a user's own is looked at later
            require_smooth(activation)

    @property
    def differentiates_twice(self) -> bool:
        return True

    def descend(self, config: TrainConfig, state: TrainState, x_pos: Tensor) -> Ratios:
        """Leave ∇_θ L of one batch x⁺ (B, *event) in the parameters; what its record says of it."""
        state.energy.train()
        potential = Potential(state.model, config.temperature)
        xi = normal_like(x_pos, state.chain_generator)
        if self.noise_std > 0:
            loss = one_level_loss(potential, x_pos, xi, self.noise_std)
        else:
            loss = sliced_loss(potential, x_pos, xi)
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        return {"loss": (loss.detach(), torch.ones_like(loss))}


def sliced_loss(potential: Energy, x: Tensor, v: Tensor) -> Tensor:
    """mean of ½|∇U(x)|² - v·∇²U(x)·v for points x and directions v (B, *event)."""
    x = x.detach().requires_grad_()
    (grad,) = torch.autograd.grad(potential(x).sum(), x, create_graph=True)
    (bend,) = torch.autograd.grad((grad * v).sum(), x, create_graph=True)
    return (grad.square() / 2 - v * bend).flatten(1).sum(1).mean()


def one_level_loss(potential: Energy, x: Tensor, xi: Tensor, sigma: float) -> Tensor:
    """mean of ½|σ·∇U(x + σ·ξ) - ξ|² for points x and noise ξ (B, *event)."""
    y = (x + sigma * xi).detach().requires_grad_()
    (grad,) = torch.autograd.grad(potential(y).sum(), y, create_graph=True)
    return ((sigma * grad - xi).square() / 2).flatten(1).sum(1).mean()

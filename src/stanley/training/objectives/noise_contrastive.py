"""Noise-contrastive estimation: tell data from noise whose density is known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from stanley.errors import require
from stanley.samplers.noise import normal_like
from stanley.training.objectives.without_chains import WithoutChains, require_no_levels
from stanley.types import Energy, Potential

if TYPE_CHECKING:
    from stanley.training.bank import StartNoise
    from stanley.training.config import TrainConfig
    from stanley.training.objectives import Ratios
    from stanley.training.state import TrainState


@dataclass(frozen=True)
class NoiseContrastive(WithoutChains):
    """Logistic regression between data x⁺ and ν times as many points x⁻ of a Gaussian q:

        L = -mean log s(G(x⁺)) - ν·mean log s(-G(x⁻)),    G = -U - log q - log ν,

    with U = E/T and s the logistic function. The minimum is at exp(-U) = p, the density of the
    data, normalised: the network's last bias learns log Z. q has the mean of the data and w times
    their standard deviation, in each coordinate of vectors and as one number for images.
    Not true: that it works in many dimensions. Noise is then told from data at a glance, and the
    loss says little about p. Gutmann & Hyvärinen (2010).
    """

    noise_ratio: int = 1  # ν, points of noise for each data point
    noise_width: float = 1.2  # w, the noise's standard deviation in units of the data's
    kind: Literal["noise-contrastive"] = "noise-contrastive"

    def __post_init__(self) -> None:
        require(
            1 <= self.noise_ratio <= 1000,
            f"objective.noise_ratio is {self.noise_ratio}, but must be between 1 and 1000; 1 is "
            "usual",
        )
        require(
            0 < self.noise_width < math.inf,
            f"objective.noise_width is {self.noise_width}, but must be > 0; a little more than 1 "
            "lets the noise cover the data",
        )

    def check(self, config: TrainConfig) -> None:
        """Raise StanleyError for what cannot work together with the rest of the configuration."""
        require_no_levels(config, self.kind)

    @property
    def differentiates_twice(self) -> bool:
        return False

    def descend(self, config: TrainConfig, state: TrainState, x_pos: Tensor) -> Ratios:
        """Leave ∇_θ L of one batch x⁺ (B, *event) in the parameters; what its record says of it."""
        state.energy.train()
        noise = GaussianNoise.around(state.noise, self.noise_width)
        x_neg = noise.draw(x_pos.repeat_interleave(self.noise_ratio, 0), state.chain_generator)
        potential = Potential(state.model, config.temperature)
        loss = noise_contrastive_loss(potential, noise, x_pos, x_neg)
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        return {"loss": (loss.detach(), torch.ones_like(loss))}


@dataclass(frozen=True)
class GaussianNoise:
    """q = N(mean, diag std²), whose density is known."""

    mean: Tensor  # (*event)
    std: Tensor  # (*event), or one number

    @classmethod
    def around(cls, data: StartNoise, width: float) -> GaussianNoise:
        std = data.std.square().mean().sqrt() if data.is_image else data.std
        require(
            bool((std > 0).all()),
            f"coordinate {int(std.argmin())} of the data is constant, and noise in units of its "
            "standard deviation 0 has no density; leave it out of the data",
        )
        return cls(data.mean, width * std)

    def draw(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """As many points as there are in `like` (B, *event)."""
        return self.mean + self.std * normal_like(like, generator)

    def log_density(self, x: Tensor) -> Tensor:  # (B, *event) -> (B,)
        z = (x - self.mean) / self.std
        log_std = self.std.expand(x.shape[1:]).log().sum()
        d = x[0].numel()
        return -z.square().flatten(1).sum(1) / 2 - log_std - d / 2 * math.log(2 * math.pi)


def noise_contrastive_loss(
    potential: Energy, noise: GaussianNoise, x_pos: Tensor, x_neg: Tensor
) -> Tensor:
    """L of data x⁺ (B, *event) and noise x⁻ (ν·B, *event), in one pass of the network."""
    share = len(x_neg) / len(x_pos)
    x = torch.cat([x_pos, x_neg])
    logit = -potential(x) - noise.log_density(x) - math.log(share)
    of_data, of_noise = logit.split([len(x_pos), len(x_neg)])
    return F.softplus(-of_data).mean() + share * F.softplus(of_noise).mean()

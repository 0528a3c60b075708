"""Energies that know the noise level: E(x, σ) of data to which noise N(0, σ²) was added."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stanley.data.base import Dataset, centre
from stanley.errors import require
from stanley.types import Energy

ROWS = 10_000  # of the data, from which their mean and spread are taken


@dataclass(frozen=True)
class Levels:
    """The noise levels σ that an energy knows, as ratios σ/s to the data's standard deviation s."""

    smallest: float
    largest: float

    def __post_init__(self) -> None:
        require(
            1e-4 <= self.smallest < 1,
            f"network.smallest_level is {self.smallest}, but must be at least 1e-4, where "
            "rounding begins to drown it, and below 1, the data's own spread; 0.02 is usual",
        )
        require(
            1 < self.largest <= 1e4,
            f"network.largest_level is {self.largest}, but must be above 1, the data's own "
            "spread, and at most 10000; 10 is usual",
        )


class LevelEnergy(nn.Module):
    """E(x, σ) = |u|²/2 + (d/2)·ln 2π(σ² + s²) - G(u, r)/√(r² + f²),

        u = (x - μ)/√(σ² + s²),   r = σ/s.

    μ (*event) and s, one number, are mean and standard deviation of the data: `fit_data` sets them,
    and they are kept with the weights. G is `net`: (B, *event), ln r (B,) -> (B,). Where G = 0 this
    is the normalised Gaussian with the data's mean and spread, which is right for σ ≫ s.

    The factor of G is that of a denoiser whose output has unit variance at all levels, s/σ (Karras,
    Aittala, Aila & Laine 2022, section 5, as the potential of their network), with a floor f: below
    σ = f·s the data have a spread of their own, and E does not grow any more.

    As a function of x alone it is E(x, σ_min). Not true: that it is normalised for every G; the
    level score of `Denoising` keeps log Z the same for all σ, as far as it is learned.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, net: nn.Module, event_shape: tuple[int, ...], levels: Levels, floor: float
    ) -> None:
        super().__init__()
        self.net, self.levels, self.floor = net, levels, floor
        self.register_buffer("mean", torch.zeros(event_shape))
        self.register_buffer("std", torch.ones(()))

    def fit_data(self, data: Dataset) -> None:
        """Take μ and s from the data's first 10,000 rows."""
        first = data.train[:ROWS]
        x = centre(first) if data.is_image else first.float()
        std = float((x - x.mean(0)).square().mean().sqrt())
        require(
            std > 0,
            "the data are constant: all rows are the same, and noise cannot be measured in units "
            "of their standard deviation 0; use other data",
        )
        self.mean.copy_(x.mean(0))
        self.std.fill_(std)

    def forward(self, x: Tensor, log_ratio: Tensor | None = None) -> Tensor:
        """E(x, σ) (B,) for x (B, *event) and ln(σ/s) (B,); at σ_min unless given."""
        if log_ratio is None:
            log_ratio = x.new_full((x.shape[0],), math.log(self.levels.smallest))
        d = x[0].numel()
        square = (2 * log_ratio).exp()  # r²
        u = (x - self.mean) / self.std / (1 + square).sqrt().view(-1, *[1] * (x.dim() - 1))
        gaussian = u.square().flatten(1).sum(1) / 2 + d / 2 * (1 + square).log()
        constant = d / 2 * math.log(2 * math.pi) + d * self.std.log()
        return gaussian + constant - self.net(u, log_ratio) / (square + self.floor**2).sqrt()

    def at(self, sigma: float) -> AtLevel:
        """The energy x ↦ E(x, σ) of one level; raises StanleyError outside [σ_min, σ_max]."""
        low, high = self.sigma_min, self.sigma_max
        require(
            0.999 * low <= sigma <= 1.001 * high,
            f"sigma is {sigma:.4g}, but the energy was made for noise levels from {low:.4g} to "
            f"{high:.4g}",
        )
        return AtLevel(self, sigma)

    def start(self, num: int, generator: torch.Generator) -> Tensor:
        """`num` starts of a ladder, (num, *event), from N(μ, (σ_max² + s²)·I)."""
        shape, device = (num, *self.mean.shape), self.mean.device
        xi = torch.randn(shape, generator=generator, device=device, dtype=self.mean.dtype)
        return self.mean + self.std * math.hypot(self.levels.largest, 1) * xi

    @property
    def sigma_min(self) -> float:
        return self.levels.smallest * float(self.std)

    @property
    def sigma_max(self) -> float:
        return self.levels.largest * float(self.std)


@dataclass(frozen=True)
class AtLevel:
    """x ↦ E(x, σ): an energy that knows noise levels, at one of them."""

    energy: LevelEnergy
    sigma: float

    def __call__(self, x: Tensor) -> Tensor:  # (B, *event) -> (B,)
        ratio = math.log(self.sigma / float(self.energy.std))
        return self.energy(x, x.new_full((len(x),), ratio))


def knows_levels(network: object) -> bool:
    """Whether what a configuration names is, or builds, an energy that knows noise levels."""
    return getattr(network, "levels", None) not in (None, False)


def level_energy(energy: Energy) -> LevelEnergy | None:
    """The energy itself if it knows noise levels."""
    return energy if isinstance(energy, LevelEnergy) else None

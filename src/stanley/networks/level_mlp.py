"""A multilayer perceptron for vectors that knows the noise level."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Literal

import torch
from torch import Tensor, nn

from stanley.errors import require
from stanley.networks.activations import SmoothActivation, activation, require_smooth
from stanley.networks.levels import LevelEnergy, Levels
from stanley.networks.sizes import MOST_LAYERS, MOST_UNITS, require_size

FREQUENCIES, FEW = 24, 3  # so many, for points of up to so many coordinates


@dataclass(frozen=True)
class LevelMLP:
    """E(x, σ) of `LevelEnergy` with G an MLP of (3u, t, e^{-|ω|²r²/2}·sin ω·z, …·cos ω·z),

        z = (x - μ)/s,   r = σ/s,   t = where ln r lies between its ends, with two harmonics.

    The F frequencies ω have independent N(0, w²) entries, w = `fourier_std`; they are drawn
    with the first weights and never trained. A sine whose period is below the noise is damped as
    the noise itself damps it: E[sin ω·(z + r·ξ)] = e^{-|ω|²r²/2}·sin ω·z.
    With `damped` false they are sin ω·u and cos ω·u, at all levels, for what is sharp at every
    level: a flow between pairs of optimal transport, which do not mix as data with noise do.
    Not true: that they help in many dimensions. A few random directions then say little, and on a
    Gaussian in ten dimensions the KL was three times as large with them. None is 24 for points of
    up to three coordinates, and no frequencies beyond.
    """

    width: int = 128  # units of a layer
    depth: int = 3  # hidden layers
    activation: SmoothActivation = "silu"  # silu, gelu or softplus
    fourier: int | None = None  # F, number of random frequencies; null: 24 for up to 3 coordinates
    fourier_std: float = 6.0  # w, their standard deviation, in units of 1/s
    damped: bool = True  # whether waves fade with the noise; false for flow-matching
    floor: float = 0.15  # f, below which the energy's scale does not grow any more; see above
    smallest_level: float = 0.02  # σ_min/s, at which the energy is judged and sampled
    largest_level: float = 4.0  # σ_max/s, at which the data are noise and chains start
    kind: Literal["level-mlp"] = "level-mlp"

    def __post_init__(self) -> None:
        _ = self.levels
        require_smooth(self.activation)
        require_size("width", self.width, MOST_UNITS)
        require_size("depth", self.depth, MOST_LAYERS)
        require(
            self.fourier is None or 0 <= self.fourier <= MOST_UNITS,
            f"network.fourier is {self.fourier}, but must not be negative; 0 means no features",
        )
        for name in ("fourier_std", "floor"):
            value = getattr(self, name)
            require(0 < value < math.inf, f"network.{name} is {value}, but must be > 0")

    @property
    def levels(self) -> Levels:
        """The noise levels σ/s that it knows; raises StanleyError for what are none."""
        return Levels(self.smallest_level, self.largest_level)

    def frequencies(self, d: int) -> int:
        """F for points of d coordinates."""
        if self.fourier is not None:
            return self.fourier
        return FREQUENCIES if d <= FEW else 0

    def build(self, event_shape: tuple[int, ...]) -> nn.Module:
        return LevelEnergy(
            LevelMLPNet(self, prod(event_shape)), event_shape, self.levels, self.floor
        )


class LevelMLPNet(nn.Module):
    frequencies: Tensor

    def __init__(self, spec: LevelMLP, d: int) -> None:
        super().__init__()
        self.low = math.log(spec.levels.smallest)
        self.high = math.log(spec.levels.largest)
        num = spec.frequencies(d)
        self.damped = spec.damped
        self.register_buffer("frequencies", spec.fourier_std * torch.randn(num, d))
        sizes = [d + 5 + 2 * num, *[spec.width] * spec.depth]
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(sizes):
            layers += [nn.Linear(fan_in, fan_out), activation(spec.activation)]
        self.layers = nn.Sequential(*layers, nn.Linear(spec.width, 1))

    def forward(self, u: Tensor, log_ratio: Tensor) -> Tensor:  # (B, *event), (B,) -> (B,)
        u, log_ratio = u.flatten(1), log_ratio[:, None]
        square = (2 * log_ratio).exp()
        t = (log_ratio - self.low) / (self.high - self.low)
        if self.damped:
            phase = (u * (1 + square).sqrt()) @ self.frequencies.T  # ω·z
            size = (-square * self.frequencies.square().sum(1) / 2).exp()
        else:
            phase, size = u @ self.frequencies.T, 1.0  # ω·u
        waves = [f(math.pi * k * t) for k in (1, 2) for f in (torch.sin, torch.cos)]
        inputs = torch.cat([3 * u, t, *waves, size * phase.sin(), size * phase.cos()], 1)
        return self.layers(inputs).squeeze(1)

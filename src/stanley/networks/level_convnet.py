"""A convolutional network for images that knows the noise level."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from stanley.errors import require
from stanley.networks.activations import SmoothActivation, activation, require_smooth
from stanley.networks.levels import LevelEnergy, Levels
from stanley.networks.sizes import MOST_LAYERS, MOST_UNITS, require_size

EMBEDDED = 64  # numbers in which the noise level is told to the convolutions
OUTPUT_SCALE = 30.0  # of the last convolution: G of an image is of the order of hundreds


@dataclass(frozen=True)
class LevelConvNet:
    """E(x, σ) of `LevelEnergy` with the layout of `ConvNet`: one 3×3 and three 4×4 convolutions of
    stride 2, to w, 2w, 4w and 8w channels. Besides,

        h ← φ(h·(1 + a(σ)) + b(σ))    after each of them, with a and b learned from zero,
        h ← h + φ(W h)                `blocks` times at each size but the first, W from zero,

    and G is the sum over all pixels of a read-out of each of the four sizes. No normalisation: E of
    an image must not depend on the others. Images are square, with a side of 8 or more that 4
    divides.
    """

    width: int = 24  # w, channels of the first layer
    blocks: int = 2  # residual blocks at each size but the first
    activation: SmoothActivation = "silu"  # silu, gelu or softplus
    floor: float = 1e-3  # f, below which the energy's scale does not grow any more; see above
    smallest_level: float = 0.05  # σ_min/s, at which the energy is judged and sampled
    largest_level: float = 15.0  # σ_max/s, at which the data are noise and chains start
    kind: Literal["level-convnet"] = "level-convnet"

    def __post_init__(self) -> None:
        _ = self.levels
        require_smooth(self.activation)
        require_size("width", self.width, MOST_UNITS)
        require(
            0 <= self.blocks <= MOST_LAYERS,
            f"network.blocks is {self.blocks}, but must be between 0 and {MOST_LAYERS:,}",
        )
        require(
            0 < self.floor < math.inf, f"network.floor is {self.floor}, but must be > 0; try 1e-3"
        )

    @property
    def levels(self) -> Levels:
        """The noise levels σ/s that it knows; raises StanleyError for what are none."""
        return Levels(self.smallest_level, self.largest_level)

    def build(self, event_shape: tuple[int, ...]) -> nn.Module:
        require(
            len(event_shape) == 3
            and event_shape[1] == event_shape[2]
            and event_shape[1] >= 8
            and event_shape[1] % 4 == 0,
            f"network {self.kind!r} needs square images (C, H, H) with H at least 8 and divisible "
            f"by 4, but the data have shape {event_shape}; use network.kind level-mlp for vectors, "
            "or another data.size",
        )
        net = LevelConvNetwork(self, *event_shape[:2])
        return LevelEnergy(net, event_shape, self.levels, self.floor)


class NoiseLevel(nn.Module):
    """ln(σ/s) (B,) as numbers that a network can use: sines of eight frequencies, and an MLP."""

    frequencies: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.logspace(math.log2(0.5), math.log2(16), 8, 2) / 4)
        self.layers = nn.Sequential(
            nn.Linear(16, EMBEDDED), nn.SiLU(), nn.Linear(EMBEDDED, EMBEDDED), nn.SiLU()
        )

    def forward(self, log_ratio: Tensor) -> Tensor:  # (B,) -> (B, EMBEDDED)
        phase = log_ratio[:, None] * self.frequencies
        return self.layers(torch.cat([phase.sin(), phase.cos()], 1))


class LevelConvNetwork(nn.Module):
    def __init__(self, spec: LevelConvNet, channels: int, size: int) -> None:
        super().__init__()
        widths = [spec.width * factor for factor in (1, 2, 4, 8)]
        self.level = NoiseLevel()
        self.convolutions = nn.ModuleList(
            [nn.Conv2d(channels, widths[0], 3, 1, 1)]
            + [nn.Conv2d(fan_in, fan_out, 4, 2, 1) for fan_in, fan_out in pairwise(widths)]
        )
        self.modulations = nn.ModuleList(zero(nn.Linear(EMBEDDED, 2 * width)) for width in widths)
        self.blocks = nn.ModuleList(
            nn.Sequential(*(Residual(width, spec) for _ in range(spec.blocks)))
            for width in widths[1:]
        )
        readouts = [nn.Conv2d(width, 1, 1, bias=False) for width in widths[:-1]]
        for readout, width in zip(readouts, widths, strict=False):
            nn.init.normal_(readout.weight, std=0.1 / width**0.5)
        self.readouts = nn.ModuleList(readouts)
        self.head = nn.Conv2d(widths[-1], 1, size // 8)
        self.activation = activation(spec.activation)

    def forward(self, u: Tensor, log_ratio: Tensor) -> Tensor:  # (B, C, H, W), (B,) -> (B,)
        level, h = self.level(log_ratio), u
        total = u.new_zeros(u.shape[0])
        for depth, (convolution, modulation) in enumerate(
            zip(self.convolutions, self.modulations, strict=True)
        ):
            scale, shift = modulation(level)[:, :, None, None].chunk(2, 1)
            h = self.activation(convolution(h) * (1 + scale) + shift)
            h = self.blocks[depth - 1](h) if depth else h
            if depth < len(self.readouts):
                total = total + self.readouts[depth](h).flatten(1).sum(1)
        return total + OUTPUT_SCALE * self.head(h).flatten(1).sum(1)


class Residual(nn.Module):
    """h + φ(W h), W from zero."""

    def __init__(self, width: int, spec: LevelConvNet) -> None:
        super().__init__()
        self.convolution = zero(nn.Conv2d(width, width, 3, 1, 1))
        self.activation = activation(spec.activation)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.activation(self.convolution(h))


def zero(layer: nn.Linear | nn.Conv2d) -> nn.Linear | nn.Conv2d:
    """The layer with all weights 0: it begins as if it were not there."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer

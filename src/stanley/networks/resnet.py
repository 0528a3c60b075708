"""A pre-activation residual energy for 28 to 64 px."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from stanley.errors import require
from stanley.networks.activations import Activation, activation
from stanley.networks.sizes import MOST_LAYERS, MOST_UNITS, require_size


@dataclass(frozen=True)
class ResNet:
    """Residual blocks x ← x + W₂φ(W₁φ(x)), a sum over all pixels, and a linear layer.

    Each stage has `blocks` blocks; average pooling halves the image between stages, down to about 4
    pixels. The stages have w, w, 2w, 2w, … channels for `width` w. Images are square, of 8 pixels a
    side or more. There is no batch normalisation, which would couple the chains of a batch. With
    `spectral_norm` every weight is divided by an estimate of its largest singular value (Miyato et
    al. 2018); the estimate changes in each forward pass of training and is kept in checkpoints.
    Pre-activation: He et al. (2016); use in energies: Du & Mordatch (2019).
    """

    width: int = 64  # channels of the first stage
    blocks: int = 1  # residual blocks of a stage
    spectral_norm: bool = False  # divide weights by their largest singular value
    activation: Activation = "silu"  # silu, gelu, softplus, relu or leaky-relu
    kind: Literal["resnet"] = "resnet"

    def __post_init__(self) -> None:
        require_size("width", self.width, MOST_UNITS)
        require_size("blocks", self.blocks, MOST_LAYERS)

    def build(self, event_shape: tuple[int, ...]) -> nn.Module:
        require(
            len(event_shape) == 3 and event_shape[1] == event_shape[2] and event_shape[1] >= 8,
            f"network 'resnet' needs square images (C, H, H) of at least 8 px, but the data "
            f"have shape {event_shape}; use network.kind mlp for vectors",
        )
        channels, size, _ = event_shape
        layers: list[nn.Module] = [self.conv(channels, self.width)]
        fan_in, stage = self.width, 0
        while size >= 4:
            fan_out = self.width * 2 ** (stage // 2)
            for _ in range(self.blocks):
                layers.append(ResidualBlock(self, fan_in, fan_out))
                fan_in = fan_out
            if size >= 8:
                layers.append(nn.AvgPool2d(2))
            size, stage = size // 2, stage + 1
        return ResNetEnergy(
            nn.Sequential(*layers, activation(self.activation)), self.normed(nn.Linear(fan_in, 1))
        )

    def conv(self, fan_in: int, fan_out: int, size: int = 3) -> nn.Module:
        return self.normed(nn.Conv2d(fan_in, fan_out, size, 1, size // 2))

    def normed(self, layer: nn.Module) -> nn.Module:
        return spectral_norm(layer) if self.spectral_norm else layer


class ResidualBlock(nn.Module):
    def __init__(self, spec: ResNet, fan_in: int, fan_out: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            activation(spec.activation),
            spec.conv(fan_in, fan_out),
            activation(spec.activation),
            spec.conv(fan_out, fan_out),
        )
        self.shortcut = nn.Identity() if fan_in == fan_out else spec.conv(fan_in, fan_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.residual(x)


class ResNetEnergy(nn.Module):
    def __init__(self, features: nn.Sequential, head: nn.Module) -> None:
        super().__init__()
        self.features, self.head = features, head

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B,)
        return self.head(self.features(x).sum((2, 3))).squeeze(1)

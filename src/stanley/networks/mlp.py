"""A multilayer perceptron for vectors."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Literal

from torch import Tensor, nn

from stanley.networks.activations import Activation, activation
from stanley.networks.sizes import MOST_LAYERS, MOST_UNITS, require_size


@dataclass(frozen=True)
class MLP:
    """E(x) = w·φ(W_L … φ(W_1 x)): `depth` hidden layers of `width` units, smooth by default."""

    width: int = 128  # units of a layer
    depth: int = 2  # hidden layers
    activation: Activation = "silu"  # silu, gelu, softplus, relu or leaky-relu
    kind: Literal["mlp"] = "mlp"

    def __post_init__(self) -> None:
        require_size("width", self.width, MOST_UNITS)
        require_size("depth", self.depth, MOST_LAYERS)

    def build(self, event_shape: tuple[int, ...]) -> nn.Module:
        sizes = [prod(event_shape), *[self.width] * self.depth]
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(sizes):
            layers += [nn.Linear(fan_in, fan_out), activation(self.activation)]
        return MLPEnergy(nn.Sequential(*layers, nn.Linear(self.width, 1)))


class MLPEnergy(nn.Module):
    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:  # (B, *event) -> (B,)
        return self.layers(x.flatten(1)).squeeze(1)

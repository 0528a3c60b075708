"""A multilayer perceptron for vectors."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Literal

import torch
from torch import Tensor, nn

from stanley.errors import require
from stanley.networks.activations import Activation, activation
from stanley.networks.by_hand import back, rules, through, untouched
from stanley.networks.sizes import MOST_LAYERS, MOST_UNITS, require_size
from stanley.samplers.joint import Pull, Vjp


@dataclass(frozen=True)
class MLP:
    """E(x) = w·φ(W_L … φ(W_1 z)): `depth` hidden layers of `width` units, smooth by default.

    z = x, or with `fourier` = F > 0 random Fourier features besides,

        z = (x, a·sin(Ωx), a·cos(Ωx)),   Ω (F, d) with independent N(0, s²) entries,

    a = `fourier_scale`, s = `fourier_std` in units of 1/x. Ω is drawn with the first weights and
    never trained. A network of x alone learns fine structure late; with features it does early.
    Not true: that more is better. At a = 0.3 and 1 training in the plane ran away; 0.1 is calm.
    Tancik et al. (2020), Fourier features let networks learn high frequency functions.
    """

    width: int = 128  # units of a layer
    depth: int = 2  # hidden layers
    activation: Activation = "silu"  # silu, gelu, softplus, relu or leaky-relu
    fourier: int = 0  # number of random Fourier features of the input; 0 for none
    fourier_std: float = 2.0  # standard deviation of their frequencies, in units of 1/x
    fourier_scale: float = 0.1  # amplitude of the features; x itself has 1
    kind: Literal["mlp"] = "mlp"

    def __post_init__(self) -> None:
        require_size("width", self.width, MOST_UNITS)
        require_size("depth", self.depth, MOST_LAYERS)
        require(
            0 <= self.fourier <= MOST_UNITS,
            f"network.fourier is {self.fourier}, but must not be negative; 0 means no features",
        )
        for name in ("fourier_std", "fourier_scale"):
            value = getattr(self, name)
            require(0 < value < float("inf"), f"network.{name} is {value}, but must be > 0")

    def build(self, event_shape: tuple[int, ...]) -> nn.Module:
        d = prod(event_shape)
        features = None
        if self.fourier:
            features = FourierFeatures(d, self.fourier, self.fourier_std, self.fourier_scale)
        sizes = [d + 2 * self.fourier, *[self.width] * self.depth]
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(sizes):
            layers += [nn.Linear(fan_in, fan_out), activation(self.activation)]
        return MLPEnergy(nn.Sequential(*layers, nn.Linear(self.width, 1)), features)


class FourierFeatures(nn.Module):
    """(x, a·sin(Ωx), a·cos(Ωx)): (B, d) -> (B, d + 2F)."""

    frequencies: Tensor

    def __init__(self, d: int, num: int, std: float, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.register_buffer("frequencies", std * torch.randn(num, d))

    def forward(self, x: Tensor) -> Tensor:
        phase = x @ self.frequencies.T
        return torch.cat([x, self.scale * phase.sin(), self.scale * phase.cos()], 1)

    def vjp(self) -> Vjp | None:
        """The features and the way back without autograd: see `samplers.joint`."""
        if type(self) is not FourierFeatures or not untouched(self):
            return None
        frequencies, transposed, scale = self.frequencies, self.frequencies.T, self.scale
        num = len(frequencies)

        def function(x: Tensor) -> tuple[Tensor, Pull]:
            phase = torch.mm(x, transposed)
            sin, cos = phase.sin(), phase.cos()

            def pull(v: Tensor) -> Tensor:
                straight, of_sin, of_cos = v.split([x.shape[1], num, num], 1)
                of_phase = of_sin * scale * cos + of_cos * scale * -sin
                return straight + torch.mm(of_phase, frequencies)

            return torch.cat([x, scale * sin, scale * cos], 1), pull

        return function


class MLPEnergy(nn.Module):
    def __init__(self, layers: nn.Sequential, features: FourierFeatures | None = None) -> None:
        super().__init__()
        self.layers = layers
        self.features = features

    def forward(self, x: Tensor) -> Tensor:  # (B, *event) -> (B,)
        z = x.flatten(1)
        return self.layers(z if self.features is None else self.features(z)).squeeze(1)

    def vjp(self) -> Vjp | None:
        """E and the way back to x without autograd: see `samplers.joint`."""
        layers = rules(self.layers)
        features = None if self.features is None else self.features.vjp()
        known = layers is not None and (self.features is None or features is not None)
        if type(self) is not MLPEnergy or not untouched(self) or not known:
            return None
        functions = [*filter(None, [features]), *(layers or ())]

        def function(x: Tensor) -> tuple[Tensor, Pull]:
            energy, pulls = through(functions, x.flatten(1))
            return energy.squeeze(1), lambda v: back(pulls, v.unsqueeze(1)).view(x.shape)

        return function

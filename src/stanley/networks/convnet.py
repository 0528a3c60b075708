"""The paper's convolutional energy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from stanley.errors import require
from stanley.networks.activations import Activation, activation
from stanley.networks.by_hand import back, rules, through, untouched
from stanley.networks.sizes import MOST_UNITS, require_size
from stanley.samplers.joint import Pull, Vjp


@dataclass(frozen=True)
class ConvNet:
    """A 3×3 convolution, three 4×4 convolutions with stride 2, and one over all that is left.

    For `width` w there are w, 2w, 4w, 8w and 1 channels, and 26 million multiply-adds for an image
    of 32×32×3 at w = 32. Images are square, of 8 pixels a side or more. The published network has
    LeakyReLU (slope 0.2), which makes E piecewise linear; SiLU trains more stably. STANLEY (draft),
    section 5; the layout is that of Nijkamp et al. (2020).
    """

    width: int = 32  # channels of the first layer
    activation: Activation = "silu"  # silu, gelu, softplus, relu or leaky-relu
    kind: Literal["convnet"] = "convnet"

    def __post_init__(self) -> None:
        require_size("width", self.width, MOST_UNITS)

    def build(self, event_shape: tuple[int, ...]) -> nn.Module:
        require(
            len(event_shape) == 3 and event_shape[1] == event_shape[2] and event_shape[1] >= 8,
            f"network 'convnet' needs square images (C, H, H) of at least 8 px, but the data "
            f"have shape {event_shape}; use network.kind mlp for vectors",
        )
        channels, size, _ = event_shape
        w = self.width
        layers: list[nn.Module] = [nn.Conv2d(channels, w, 3, 1, 1), activation(self.activation)]
        for fan_in, fan_out in ((w, 2 * w), (2 * w, 4 * w), (4 * w, 8 * w)):
            layers += [nn.Conv2d(fan_in, fan_out, 4, 2, 1), activation(self.activation)]
        return ConvEnergy(nn.Sequential(*layers, nn.Conv2d(8 * w, 1, size // 8, 1, 0)))


class ConvEnergy(nn.Module):
    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B,)
        return self.layers(x).flatten(1).sum(1)

    def vjp(self) -> Vjp | None:
        """E and the way back to x without autograd: see `samplers.joint`."""
        layers = rules(self.layers)
        if type(self) is not ConvEnergy or not untouched(self) or layers is None:
            return None

        def function(x: Tensor) -> tuple[Tensor, Pull]:
            h, pulls = through(layers, x)
            like = h.flatten(1).shape
            return h.flatten(1).sum(1), lambda v: back(
                pulls, v.unsqueeze(1).expand(like).reshape(h.shape)
            )

        return function

"""The activations that a network can name, as in torch.nn."""

from __future__ import annotations

from typing import Literal, get_args

from torch import nn

from stanley.errors import require

Activation = Literal["silu", "gelu", "softplus", "relu", "leaky-relu"]
SmoothActivation = Literal["silu", "gelu", "softplus"]  # twice differentiable


def require_smooth(name: str) -> None:
    """For objectives that differentiate ∇E once more: at a kink its derivative says nothing."""
    smooth = get_args(SmoothActivation)
    require(
        name in smooth,
        f"network.activation is {name!r}, but must be one of {', '.join(smooth)}: denoising "
        "differentiates twice, and a kinked energy has second derivatives of 0",
    )


def activation(name: Activation) -> nn.Module:
    """A new module. 'relu' and 'leaky-relu' (slope 0.2) make the energy piecewise linear."""
    known = {
        "silu": nn.SiLU,
        "gelu": nn.GELU,
        "softplus": nn.Softplus,
        "relu": nn.ReLU,
        "leaky-relu": lambda: nn.LeakyReLU(0.2),
    }
    require(name in known, f"network.activation is {name!r}, but must be one of {', '.join(known)}")
    return known[name]()

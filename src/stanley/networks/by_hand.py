"""Layers forwards and backwards without autograd, in the operations that autograd would call.

Each rule binds one layer: it gives a function h ↦ (φ(h), v ↦ v·∂φ/∂h). The numbers are those of
autograd bit for bit, for contiguous h, since the operations are the same ones in the same order.
What a rule does not know for certain it leaves to autograd: see `rules`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from stanley.products import times
from stanley.samplers.joint import Pull, Vjp

aten: Any = torch.ops.aten
HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
)


def linear(layer: nn.Linear) -> Vjp:
    """W h + b; a single output needs no matrix product on the way back."""
    assert layer.bias is not None  # see `has_plain_weights`
    weight, bias = layer.weight.detach(), layer.bias.detach()
    forward, backward = times(weight.t(), bias), times(weight)
    single = len(weight) == 1

    def function(h: Tensor) -> tuple[Tensor, Pull]:
        return forward(h), lambda v: v * weight if single else backward(v)

    return function


def convolution(layer: nn.Conv2d) -> Vjp:
    assert layer.bias is not None  # see `has_plain_weights`
    assert not isinstance(layer.padding, str)
    weight, bias = layer.weight.detach(), layer.bias.detach()
    how = (layer.stride, layer.padding, layer.dilation)
    only_input = [True, False, False]  # neither the weights' gradient nor the bias's

    def function(h: Tensor) -> tuple[Tensor, Pull]:
        def pull(v: Tensor) -> Tensor:
            return aten.convolution_backward(
                v, h, weight, None, *how, False, [0, 0], layer.groups, only_input
            )[0]

        return F.conv2d(h, weight, bias, *how, layer.groups), pull

    return function


def silu(layer: nn.SiLU) -> Vjp:
    return lambda h: (F.silu(h), lambda v: aten.silu_backward(v, h))


def gelu(layer: nn.GELU) -> Vjp:
    kind = layer.approximate
    return lambda h: (
        F.gelu(h, approximate=kind),
        lambda v: aten.gelu_backward(v, h, approximate=kind),
    )


def softplus(layer: nn.Softplus) -> Vjp:
    beta, limit = layer.beta, layer.threshold
    return lambda h: (
        F.softplus(h, beta, limit),
        lambda v: aten.softplus_backward(v, h, beta, limit),
    )


def relu(layer: nn.ReLU) -> Vjp:
    def function(h: Tensor) -> tuple[Tensor, Pull]:
        y = F.relu(h)
        return y, lambda v: aten.threshold_backward(v, y, 0)

    return function


def leaky_relu(layer: nn.LeakyReLU) -> Vjp:
    slope = layer.negative_slope
    return lambda h: (
        F.leaky_relu(h, slope),
        lambda v: aten.leaky_relu_backward(v, h, slope, False),
    )


RULES: dict[type[nn.Module], Callable[[Any], Vjp]] = {
    nn.Linear: linear,
    nn.Conv2d: convolution,
    nn.SiLU: silu,
    nn.GELU: gelu,
    nn.Softplus: softplus,
    nn.ReLU: relu,
    nn.LeakyReLU: leaky_relu,
}


def rules(layers: nn.Module | None) -> list[Vjp] | None:
    """A rule for each layer of a plain `nn.Sequential`, or None: a layer of another type, a
    subclass, one with hooks or a forward of its own, without a bias, with weights that are computed
    from others.
    """
    if type(layers) is not nn.Sequential or not untouched(layers):
        return None
    found: list[Vjp] = []
    for layer in layers:
        rule = RULES.get(type(layer))
        if rule is None or not plain_call(layer) or not has_plain_weights(layer):
            return None
        found.append(rule(layer))
    return found


def untouched(module: nn.Module) -> bool:
    """Whether calling the module does what its class says: no hooks, nothing put in its place."""
    everywhere = any(getattr(torch_module, "_global" + name, None) for name in HOOKS)
    return not everywhere and plain_call(module)


def plain_call(module: nn.Module) -> bool:
    """The same, of the module alone: hooks of all modules aside."""
    own = vars(module)
    return (
        not any(own[name] for name in HOOKS)
        and module._compiled_call_impl is None
        and "forward" not in own
    )


def has_plain_weights(layer: nn.Module) -> bool:
    """Weights and bias are parameters of the layer itself, and zeros surround a convolution."""
    if not isinstance(layer, nn.Linear | nn.Conv2d):
        return True
    if isinstance(layer, nn.Conv2d) and (
        layer.padding_mode != "zeros" or isinstance(layer.padding, str)
    ):
        return False
    return type(layer.weight) is nn.Parameter and type(layer.bias) is nn.Parameter


def through(functions: Iterable[Vjp], h: Tensor) -> tuple[Tensor, list[Pull]]:
    """h after all layers, and the way back through each, the first layer's first."""
    pulls = []
    for function in functions:
        h, pull = function(h)
        pulls.append(pull)
    return h, pulls


def back(pulls: list[Pull], v: Tensor) -> Tensor:
    """v taken back through the layers, the last first; each is let go of with what it keeps."""
    while pulls:
        v = pulls.pop()(v)
    return v

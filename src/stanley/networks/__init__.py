"""Networks: frozen specs whose `build(event_shape)` returns an energy (B, *event) -> (B,)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from stanley.networks.convnet import ConvNet
from stanley.networks.given import GivenNetwork, NamedNetwork, own_network
from stanley.networks.level_convnet import LevelConvNet
from stanley.networks.level_mlp import LevelMLP
from stanley.networks.levels import LevelEnergy, Levels
from stanley.networks.mlp import MLP
from stanley.networks.reference import WithReference
from stanley.networks.resnet import ResNet
from stanley.streams import global_stream

#: What a configuration can name.
AnyNetwork = MLP | ConvNet | ResNet | LevelMLP | LevelConvNet

#: What stands for a user's own in a configuration.
OwnNetwork = GivenNetwork | NamedNetwork


def build_energy(
    network: AnyNetwork | OwnNetwork,
    event_shape: tuple[int, ...],
    *,
    seed: int,
    reference_std: float | None = None,
    own: Any = None,
) -> nn.Module:
    """The energy (B, *event) -> (B,), with first weights that depend on the seed alone.

    The global random generator is left as it was. With `reference_std` a Gaussian reference is
    added. Weights of convolutions are stored channels-last, and activations follow: chains of
    images then take a sixth less time on a CPU (docs/performance.md), with the same numbers up to
    rounding. In place of the network `own`, a user's module or what builds one, is taken if given:
    a copy, with its own weights, stored as they are. Raises StanleyError for an event shape that
    the network cannot take.
    """
    with global_stream(seed, "weights"):
        energy = network.build(event_shape) if own is None else own_network(own, event_shape)
    if own is None:
        energy.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  # not in torch's types
    return energy if reference_std is None else WithReference(energy, reference_std)


__all__ = [
    "MLP",
    "AnyNetwork",
    "ConvNet",
    "GivenNetwork",
    "LevelConvNet",
    "LevelEnergy",
    "LevelMLP",
    "Levels",
    "NamedNetwork",
    "OwnNetwork",
    "ResNet",
    "WithReference",
    "build_energy",
]

"""Conventions of the whole library, stated once.

Shapes       B chains or batch rows; `event` is the shape of one point, (d,) or (C, H, W) with
             images in [-1, 1].
Sign         p(x) ∝ exp(-E(x)/T): low energy means likely. A paper's f = -E/T.
Temperature  applied once, where the energy is handed to the chain. Samplers act on the potential U
             = E/T, with p ∝ exp(-U), and have no noise knob of their own.
Step size    h is the variance of the noise: x' = x - (h/2)·∇U(x) + √h·ξ, ξ ~ N(0, I).
             Many libraries write x - ε·∇U + √(2ε)·ξ: that is h = 2ε.
             Image EBM code writes x - ∂F + ε·ξ: that is U = 2F/ε² and h = ε².
Wrappers     hold what they wrap as `energy`, or as the tuple `energies` where these are several.
             Whatever wants to know what lies inside a potential (a network, its precision, the
             chunks it is taken in) asks `layers`, which sees through every such wrapper, a user's
             own too. A plain function or a module is a layer like any other. A wrapper that holds a
             row for each chain has besides `for_rows(rows)`, the wrapper for those chains alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from stanley.errors import require

#: (B, *event) -> (B,). Differentiable, and each row depends on its own point alone.
Energy = Callable[[Tensor], Tensor]

E = TypeVar("E", bound=Energy)


@dataclass(frozen=True)
class Potential:
    """U(x) = E(x) / T: what a sampler sees of an energy at temperature T > 0."""

    energy: Energy
    temperature: float = 1.0

    def __post_init__(self) -> None:
        require(
            self.temperature > 0,
            f"temperature is {self.temperature}, must be > 0; use 1 for p ∝ exp(-E)",
        )

    def __call__(self, x: Tensor) -> Tensor:  # (B, *event) -> (B,)
        return self.energy(x) / self.temperature


@dataclass(frozen=True)
class LogDensity:
    """U(x) = -log p(x): the potential of a log-density, which may lack a constant.

    The log-density stands where other wrappers have an energy, so that networks in it are seen.
    """

    energy: Energy  # log p, (B, *event) -> (B,)

    def __call__(self, x: Tensor) -> Tensor:  # (B, *event) -> (B,)
        return -self.energy(x)


@dataclass(frozen=True)
class Chunked:
    """The same energy, whose values and gradients are taken for at most `chunk_size` chains at a
    time.

    The evaluations of `samplers.base` look for it with `chunk_size_of`: activations of that many
    chains are in memory at once, whatever the number of chains. Positions and noise are those of
    all chains, so the numbers are the same up to the rounding of kernels of another size; it costs
    a launch of the network per chunk.
    """

    energy: Energy
    chunk_size: int

    def __post_init__(self) -> None:
        require(
            isinstance(self.chunk_size, int) and self.chunk_size >= 1,
            f"chunk_size is {self.chunk_size}, must be a whole number of at least 1; leave it out"
            " for no chunks",
        )

    def __call__(self, x: Tensor) -> Tensor:  # (B, *event) -> (B,)
        return self.energy(x)


@dataclass(frozen=True)
class Bf16:
    """The same energy with its matrix products and convolutions in bfloat16 (`torch.autocast`), U
    back in float32.

    For unadjusted chains: the gradient is right to about 1 %, at most half the time on hardware
    that has bfloat16, and several times slower on processors that do not. Positions and noise stay
    in float32: near 1 the spacing of bfloat16 is 0.0078, wider than the noise of image chains.
    Not for adjusted chains: a Metropolis test needs differences of U, and U of a few hundred is
    known to ±1 only. Whatever runs a Metropolis test refuses it unless `force`; `in_float32` takes
    it off.
    """

    energy: Energy
    force: bool = False

    def __call__(self, x: Tensor) -> Tensor:  # (B, *event) -> (B,)
        with torch.autocast(x.device.type, torch.bfloat16):
            return self.energy(x).to(x.dtype)


def layers(potential: Energy) -> Iterator[Energy]:
    """The potential and every energy inside it, each wrapper before what it wraps;
    networks are not looked into.
    """
    yield potential
    for energy in wrapped_in(potential):
        yield from layers(energy)


def wrapped_in(potential: Energy) -> tuple[Energy, ...]:
    """The energies that a wrapper holds; none for a network, a function,
    or anything else that wraps nothing.
    """
    if isinstance(potential, nn.Module):
        return ()
    held: tuple[Any, ...] = (getattr(potential, "energy", None),)
    if holds_several(potential):
        held = tuple(potential.energies)  # type: ignore[attr-defined]
    return held if all(map(callable, held)) else ()


def holds_several(potential: Energy) -> bool:
    return isinstance(getattr(potential, "energies", None), tuple | list)


def rewrapped(potential: E, change: Callable[[Energy], Energy]) -> E:
    """The potential with `change` made to each of its layers, from the inside out;
    it is itself left as it is.
    """
    before = wrapped_in(potential)
    after = tuple(rewrapped(energy, change) for energy in before)
    if any(a is not b for a, b in zip(after, before, strict=True)):
        name, value = ("energies", after) if holds_several(potential) else ("energy", after[0])
        potential = copy.copy(potential)
        # wrappers are frozen, and this one is ours alone
        object.__setattr__(potential, name, value)
    return change(potential)  # type: ignore[return-value]  # an energy like the one given


def chunk_size_of(potential: Energy) -> int | None:
    """How many chains the potential takes at a time: the least that a layer asks for,
    None where none does.
    """
    return min(
        (layer.chunk_size for layer in layers(potential) if isinstance(layer, Chunked)),
        default=None,
    )


def event_shape_of(potential: Energy) -> tuple[int, ...] | None:
    """The shape of one point, where a layer of the potential states it as `event_shape`."""
    stated = (getattr(layer, "event_shape", None) for layer in layers(potential))
    return next((tuple(shape) for shape in stated if shape is not None), None)


def for_rows(potential: E, rows: slice) -> E:
    """The potential of these chains: a layer that holds a row for each chain
    (a known image) keeps those rows alone.
    """
    return rewrapped(potential, lambda u: u.for_rows(rows) if hasattr(u, "for_rows") else u)  # type: ignore[attr-defined]


def rounded(potential: Energy) -> bool:
    """Whether U is known to a few digits only, and nobody insisted."""
    return any(isinstance(layer, Bf16) and not layer.force for layer in layers(potential))


def in_float32(potential: E) -> E:
    """The same potential without `Bf16`, for all that compares values of U rather than follow its
    gradient.

    That is a Metropolis test, log Z, KL and total variation, annealing, and scores of what is
    outside.
    """
    return rewrapped(potential, lambda u: u.energy if isinstance(u, Bf16) else u)


def networks_in(potential: Energy) -> tuple[nn.Module, ...]:
    """The networks inside `Potential` and other wrappers; none where there is none."""
    return tuple(layer for layer in layers(potential) if isinstance(layer, nn.Module))


def piecewise_linear(potential: Energy) -> str | None:
    """Name of the first kinked activation in the networks behind a potential, or None.

    A network whose only non-linearities are kinked has a Hessian of zero almost everywhere.
    """
    kinked = (
        nn.ReLU,
        nn.LeakyReLU,
        nn.PReLU,
        nn.RReLU,
        nn.ReLU6,
        nn.Hardtanh,
        nn.Hardshrink,
        nn.Softshrink,
    )
    parts = (part for network in networks_in(potential) for part in network.modules())
    return next((type(part).__name__ for part in parts if isinstance(part, kinked)), None)

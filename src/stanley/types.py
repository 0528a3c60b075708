"""Conventions of the whole library, stated once.

Shapes       B chains or batch rows; `event` is the shape of one point, (d,) or (C, H, W) with images in [-1, 1].
Sign         p(x) ∝ exp(-E(x)/T): low energy means likely. A paper's f = -E/T.
Temperature  applied once, where the energy is handed to the chain. Samplers act on the potential U = E/T,
             with p ∝ exp(-U), and have no noise knob of their own.
Step size    h is the variance of the noise: x' = x - (h/2)·∇U(x) + √h·ξ, ξ ~ N(0, I).
             Many libraries write x - ε·∇U + √(2ε)·ξ: that is h = 2ε.
             Image EBM code writes x - ∂F + ε·ξ: that is U = 2F/ε² and h = ε².
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stanley.errors import require

#: (B, *event) -> (B,). Differentiable, and each row depends on its own point alone.
Energy = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Potential:
    """U(x) = E(x) / T: what a sampler sees of an energy at temperature T > 0."""

    energy: Energy
    temperature: float = 1.0

    def __post_init__(self) -> None:
        require(self.temperature > 0, f"temperature is {self.temperature}, must be > 0; use 1 for p ∝ exp(-E)")

    def __call__(self, x: Tensor) -> Tensor:  # (B, *event) -> (B,)
        return self.energy(x) / self.temperature

    @property
    def chunk_size(self) -> int | None:
        return getattr(self.energy, "chunk_size", None)


@dataclass(frozen=True)
class Chunked:
    """The same energy, whose gradients are taken for at most `chunk_size` chains at a time.

    Samplers look at `chunk_size`: activations of that many chains are in memory at once, whatever the number of
    chains. Positions and noise are those of all chains, so the numbers are the same up to the rounding of kernels of
    another size; it costs a launch of the network per chunk.
    """

    energy: Energy
    chunk_size: int

    def __post_init__(self) -> None:
        require(
            isinstance(self.chunk_size, int) and self.chunk_size >= 1,
            f"chunk_size is {self.chunk_size}, must be a whole number of at least 1; leave it out for no chunks",
        )

    def __call__(self, x: Tensor) -> Tensor:  # (B, *event) -> (B,)
        return self.energy(x)


@dataclass(frozen=True)
class Bf16:
    """The same energy with its matrix products and convolutions in bfloat16 (`torch.autocast`), U back in float32.

    For unadjusted chains: the gradient is right to about 1 %, at most half the time on hardware that has bfloat16,
    and several times slower on processors that do not. Positions and noise stay in float32: near 1 the spacing of
    bfloat16 is 0.0078, wider than the noise of image chains.
    Not for adjusted chains: a Metropolis test needs differences of U, and U of a few hundred is known to ±1 only.
    `run_chains` refuses it there unless `force`.
    """

    energy: Energy
    force: bool = False

    def __call__(self, x: Tensor) -> Tensor:  # (B, *event) -> (B,)
        with torch.autocast(x.device.type, torch.bfloat16):
            return self.energy(x).to(x.dtype)

    @property
    def chunk_size(self) -> int | None:
        return getattr(self.energy, "chunk_size", None)


def rounded(potential: Energy) -> bool:
    """Whether U is known to a few digits only, and nobody insisted."""
    while potential is not None and not isinstance(potential, nn.Module):
        if isinstance(potential, Bf16):
            return not potential.force
        potential = getattr(potential, "energy", None)  # type: ignore[assignment]
    return False


def network_of(potential: Energy) -> nn.Module | None:
    """The network inside `Potential` and other wrappings that hold theirs as `energy`; None where there is none."""
    energy = potential
    while not isinstance(energy, nn.Module) and hasattr(energy, "energy"):
        energy = energy.energy  # type: ignore[attr-defined]
    return energy if isinstance(energy, nn.Module) else None


def piecewise_linear(potential: Energy) -> str | None:
    """Name of the first kinked activation in the network behind a potential, or None.

    A network whose only non-linearities are kinked has a Hessian of zero almost everywhere.
    """
    energy = network_of(potential)
    if energy is None:
        return None
    kinked = (nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ReLU6, nn.Hardtanh, nn.Hardshrink, nn.Softshrink)
    return next((type(m).__name__ for m in energy.modules() if isinstance(m, kinked)), None)

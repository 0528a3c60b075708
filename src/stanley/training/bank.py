"""Where chains start: noise, and the bank of persistent chains."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stanley.data.base import Dataset, centre


@dataclass(frozen=True)
class StartNoise:
    """What a chain that has no history starts from, and the scale against which its spread is
    measured.

    Images: U[-1, 1] per pixel. Vectors: N(mean, std²) per coordinate, the data's own.
    mean, std are of the data (of at most 10,000 rows), shape (*event).
    """

    mean: Tensor
    std: Tensor
    is_image: bool

    @classmethod
    def of(cls, data: Dataset, device: torch.device) -> StartNoise:
        first = data.train[:10_000]
        x = (centre(first) if data.is_image else first.float()).to(device)
        return cls(x.mean(0), x.std(0, unbiased=False), data.is_image)

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        shape = (n, *self.mean.shape)
        if self.is_image:
            return 2 * torch.rand(shape, generator=generator, device=self.mean.device) - 1
        return self.mean + self.std * torch.randn(
            shape, generator=generator, device=self.mean.device
        )

    def spread(self, x: Tensor) -> Tensor:
        """Median over chains of the root mean square of (x - mean)/σ, σ² the mean variance of the
        data: about 1.
        """
        sigma = (self.std**2).mean().sqrt()
        return ((x - self.mean) / sigma).flatten(1).pow(2).mean(1).sqrt().nanmedian()


class Bank:
    """M persistent chains; positions only, never energies or gradients, which go stale when the
    weights move.

    Chains are written back to the slots they were read from: none is lost or doubled.
    """

    def __init__(self, positions: Tensor) -> None:
        self.positions = positions  # (M, *event)

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """n distinct slots, uniformly, and their positions."""
        order = torch.randperm(
            len(self.positions), generator=generator, device=self.positions.device
        )
        slots = order[:n]
        return slots, self.positions[slots]

    def write(self, slots: Tensor, x: Tensor) -> None:
        self.positions[slots] = x


def restart(x: Tensor, chosen: Tensor, noise: StartNoise, generator: torch.Generator) -> Tensor:
    """x with the `chosen` chains (B,) replaced by fresh noise; the same random numbers are used
    whichever are marked.
    """
    return torch.where(chosen.view(-1, *[1] * (x.dim() - 1)), noise.draw(len(x), generator), x)

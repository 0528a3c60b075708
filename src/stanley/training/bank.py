"""Where chains start: noise, and the bank of persistent chains."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stanley.data.base import Dataset, centre


@dataclass(frozen=True)
class StartNoise:
    """The noise that new chains start from, and the scale on which their spread is measured.

    Images: U[-1, 1] in each pixel. Vectors: N(mean, std²) in each coordinate, with the mean and
    standard deviation of the data (of the first 10,000 rows).
    """

    mean: Tensor  # (*event)
    std: Tensor  # (*event)
    is_image: bool

    @classmethod
    def of(cls, data: Dataset, device: torch.device) -> StartNoise:
        first = data.train[:10_000]
        x = (centre(first) if data.is_image else first.float()).to(device)
        return cls(x.mean(0), x.std(0, unbiased=False), data.is_image)

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """n starts, (n, *event)."""
        shape = (n, *self.mean.shape)
        if self.is_image:
            return 2 * torch.rand(shape, generator=generator, device=self.mean.device) - 1
        xi = torch.randn(shape, generator=generator, device=self.mean.device)
        return self.mean + self.std * xi

    def spread(self, x: Tensor) -> Tensor:
        """The median over chains (B, *event) of √mean((x - mean)²)/σ, σ² the data's mean variance.

        It is about 1 for the data themselves. Chains that are not a number are left out. Of S runs
        side by side, x (S, B, *event), with the same noise: (S,).
        """
        sigma, first = (self.std**2).mean().sqrt(), x.dim() - self.mean.dim()
        size = ((x - self.mean) / sigma).flatten(first).pow(2).mean(-1).sqrt()
        return size.nanmedian(-1).values


class Bank:
    """The positions of M persistent chains, each in a slot of its own.

    Energies and gradients are not kept: they are those of weights that have moved since. A chain is
    written back to the slot that it was read from, so none is lost and none is there twice.
    """

    def __init__(self, positions: Tensor) -> None:
        self.positions = positions  # (M, *event)

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """n distinct slots, uniformly, and their positions."""
        device = self.positions.device
        slots = torch.randperm(len(self.positions), generator=generator, device=device)[:n]
        return slots, self.positions[slots]

    def write(self, slots: Tensor, x: Tensor) -> None:
        """Put the chains x (n, *event) back into their slots (n,)."""
        self.positions[slots] = x


def restart(x: Tensor, chosen: Tensor, noise: StartNoise, generator: torch.Generator) -> Tensor:
    """x (B, *event) with the `chosen` chains (B,) replaced by fresh noise.

    As many random numbers are drawn whichever are chosen.
    """
    return torch.where(chosen.view(-1, *[1] * (x.dim() - 1)), noise.draw(len(x), generator), x)

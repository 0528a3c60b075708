"""Where chains start: noise, and the bank of persistent chains."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stanley.data.base import Dataset, centre

PERMUTED = 100_000  # slots up to which a draw permutes them all


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
        """n distinct slots, every set of n as probable as any other, and their positions.

        Of up to 100,000 slots the first n of a permutation of all; of more by `distinct`, which
        draws other numbers but takes time and memory that do not grow with the bank.
        """
        m, device = len(self.positions), self.positions.device
        if m <= PERMUTED or n > m // 2:
            slots = torch.randperm(m, generator=generator, device=device)[:n]
        else:
            slots = distinct(n, m, generator)
        return slots, self.positions[slots]

    def write(self, slots: Tensor, x: Tensor) -> None:
        """Put the chains x (n, *event) back into their slots (n,)."""
        self.positions[slots] = x


def distinct(n: int, m: int, generator: torch.Generator) -> Tensor:
    """n distinct numbers below m, in random order, every set of n as probable as any other.

    The first n different values of a sequence of independent uniform ones, whose law is the same
    however the m numbers are named, and so is that of the n. For n ≤ m/2 it takes O(n log n) time,
    whatever m is; it reads back from the device how many differ.
    """
    drawn = torch.empty(0, dtype=torch.long, device=generator.device)
    while len(drawn) < n:
        size = (n - len(drawn),)
        more = torch.randint(m, size, generator=generator, device=generator.device)
        drawn = first_of_each(torch.cat([drawn, more]))
    return drawn


def first_of_each(values: Tensor) -> Tensor:
    """Each value once, where it stands first, in the order of the values."""
    order = torch.sort(values, stable=True).indices
    ordered = values[order]
    again = torch.zeros_like(values, dtype=torch.bool)
    again[order[1:]] = ordered[1:] == ordered[:-1]
    return values[~again]


def restart(x: Tensor, chosen: Tensor, noise: StartNoise, generator: torch.Generator) -> Tensor:
    """x (B, *event) with the `chosen` chains (B,) replaced by fresh noise.

    As many random numbers are drawn whichever are chosen.
    """
    return torch.where(chosen.view(-1, *[1] * (x.dim() - 1)), noise.draw(len(x), generator), x)

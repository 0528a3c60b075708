"""Where samplers take their random numbers from: a generator, or a tape that holds them already.

A compiled step and a CUDA graph are functions of tensors alone, so their random numbers are inputs.
A step is run once with a `Recorder`, which notes what it asks for; from then on the same numbers
are drawn beforehand, in the same order, from the same generator, and handed in on a `Tape`. Every
way to run a step then sees the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Kind = Literal["normal", "uniform", "bits"]


class Draw(NamedTuple):
    """One request: N(0, 1), U[0, 1), or 0 and 1 with equal chances."""

    kind: Kind
    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    def draw(self, generator: torch.Generator) -> Tensor:
        if self.kind == "normal":
            return torch.randn(
                self.shape, generator=generator, dtype=self.dtype, device=self.device
            )
        if self.kind == "uniform":
            return torch.rand(self.shape, generator=generator, dtype=self.dtype, device=self.device)
        return torch.randint(0, 2, self.shape, generator=generator, device=self.device).to(
            self.dtype
        )


class Recorder:
    """A generator that keeps a list of what was asked of it."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator, self.draws = generator, []

    def take(self, draw: Draw) -> Tensor:
        self.draws.append(draw)
        return draw.draw(self.generator)


class Tape:
    """Numbers drawn beforehand, handed out in their order."""

    def __init__(self, numbers: Iterable[Tensor]) -> None:
        self.numbers = iter(numbers)

    def take(self, draw: Draw) -> Tensor:
        return next(self.numbers)


class Generators:
    """A generator for each of S runs whose chains lie side by side, those of a run together: every
    run draws from its own what it would draw alone.
    """

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self.generators = generators

    @property
    def device(self) -> torch.device:
        return self.generators[0].device

    def take(self, draw: Draw) -> Tensor:
        rows, *event = draw.shape
        own = draw._replace(shape=(rows // len(self.generators), *event))
        return torch.cat([own.draw(generator) for generator in self.generators])


Source = torch.Generator | Recorder | Tape | Generators


def normal_like(x: Tensor, generator: Source) -> Tensor:
    """ξ ~ N(0, I) with the shape, type and device of x."""
    return take("normal", x, tuple(x.shape), generator)


def uniform_like(x: Tensor, generator: Source) -> Tensor:
    """u ~ U[0, 1) with the shape, type and device of x."""
    return take("uniform", x, tuple(x.shape), generator)


def signs_like(x: Tensor, generator: Source, shape: tuple[int, ...] | None = None) -> Tensor:
    """±1 with equal chances, of the type and device of x, and of its shape unless given."""
    return 2 * take("bits", x, tuple(x.shape) if shape is None else shape, generator) - 1


def take(kind: Kind, x: Tensor, shape: tuple[int, ...], generator: Source) -> Tensor:
    draw = Draw(kind, shape, x.dtype, x.device)
    return draw.draw(generator) if isinstance(generator, torch.Generator) else generator.take(draw)

"""Inpainting: chains on the unknown pixels alone, all others clamped."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stanley.errors import require
from stanley.samplers import ChainInfo, Sampler, run_chains
from stanley.types import Energy
from stanley.uses.rows import row_per_chain, rows_for


@dataclass(frozen=True, eq=False)
class Clamped:
    """U_c(z) = U(x with z where the mask is, the known values elsewhere).

    exp(-U_c) is, up to its constant, the conditional density p(z | known), so a sampler that leaves
    exp(-U) invariant leaves the exact conditional invariant here. A chain lives in the unknown
    coordinates: noise, step sizes, thresholds and the Metropolis test see these alone.
    Not the same: running chains on all pixels and writing the known ones back after each step,
    which samples no stated law.

    known   (1 or B, *event), one row for all chains or one a chain; its values under the mask are
            not looked at
    mask    bool, True where unknown: (d,) for vectors, (H, W) for images, all channels of a pixel
            together
    z       (B, m) for vectors, (B, C, 1, m) for images, m the number of unknown coordinates or
            pixels
    """

    energy: Energy
    known: Tensor
    mask: Tensor

    def __post_init__(self) -> None:
        event = tuple(self.known.shape[1:])
        place = event if len(event) == 1 else event[-2:]
        require(
            self.mask.dtype == torch.bool and tuple(self.mask.shape) == place,
            f"mask is {self.mask.dtype} of shape {tuple(self.mask.shape)}, must be torch.bool of"
            f" shape {place} for points of shape {event}",
        )
        unknown = int(self.mask.sum())
        require(
            unknown > 0,
            "mask marks nothing as unknown: there is nothing to fill in; mark some pixels",
        )
        require(
            unknown < self.mask.numel(),
            f"mask marks all {unknown} as unknown: nothing is known of the point; use stanley"
            " sample, or mark fewer",
        )
        index = self.mask.flatten().nonzero().squeeze(1).to(self.known.device)
        object.__setattr__(self, "index", index)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Of z."""
        return tuple(self.take(self.known[:1]).shape[1:])

    def for_rows(self, rows: slice) -> Clamped:
        return self if len(self.known) == 1 else replace(self, known=self.known[rows])

    def __call__(self, z: Tensor) -> Tensor:  # (B, C, 1, m) -> (B,)
        return self.energy(self.put(z))

    def take(self, x: Tensor) -> Tensor:
        """The unknown part z of points x."""
        z = flat(x, self.mask)[..., self.index]  # type: ignore[attr-defined]  # set in __post_init__
        return z if self.mask.dim() == 1 else z.unsqueeze(-2)

    def put(self, z: Tensor) -> Tensor:
        """Whole points x: z where the mask is, and bit for bit the known values elsewhere."""
        known = flat(rows_for(self.known, z, "known"), self.mask)
        z = z if self.mask.dim() == 1 else z.squeeze(-2)
        x = known.index_copy(-1, self.index, z)  # type: ignore[attr-defined]
        return x.reshape(len(z), *self.known.shape[1:])


def flat(x: Tensor, mask: Tensor) -> Tensor:
    """(B, d) as it is, (B, C, H, W) as (B, C, H·W)."""
    return x if mask.dim() == 1 else x.flatten(-2)


@dataclass(frozen=True)
class Inpainted:
    """n chains for each of N images. `mean` estimates E[x | known] from the n final states
    alone.
    """

    draws: Tensor  # (N, n, *event), the chains' last states, known pixels as given
    info: ChainInfo  # of the N·n chains

    @property
    def mean(self) -> Tensor:  # (N, *event)
        return self.draws.mean(1)


def inpaint(
    sampler: Sampler,
    potential: Energy,
    images: Tensor,
    mask: Tensor,
    x0: Tensor,
    num_steps: int,
    *,
    generator: torch.Generator,
    progress: bool = False,
) -> Inpainted:
    """Fill in what the mask marks: len(x0) / len(images) chains for each image, started at x0 under
    the mask.

    images   (N, *event), known outside the mask
    x0       (N·n, *event), image by image; looked at under the mask only
    """
    per_image = chains_per_image(images, x0)
    clamped = Clamped(potential, row_per_chain(images, per_image), mask)
    chains = run_chains(
        sampler, clamped, clamped.take(x0), num_steps, generator=generator, progress=progress
    )
    x = clamped.put(chains.x).reshape(len(images), per_image, *images.shape[1:])
    return Inpainted(x, chains.info)


def chains_per_image(images: Tensor, x0: Tensor) -> int:
    """How many of the starts belong to each image."""
    require(
        len(images) >= 1
        and len(x0) >= 1
        and len(x0) % len(images) == 0
        and x0.shape[1:] == images.shape[1:],
        f"x0 has shape {tuple(x0.shape)} for images of shape {tuple(images.shape)}, must be the"
        " same number of chains for each image, image by image",
    )
    return len(x0) // len(images)

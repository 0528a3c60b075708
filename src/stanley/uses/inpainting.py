"""Inpainting: chains on the unknown pixels alone, with the known ones fixed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from stanley.errors import require
from stanley.samplers import ChainInfo, Sampler, evaluate, run_chains
from stanley.samplers.annealed import step_down
from stanley.samplers.arguments import Points, as_request
from stanley.samplers.noise import normal_like
from stanley.streams import as_generator, stream
from stanley.types import Energy
from stanley.uses.rows import row_per_chain, rows_for


@dataclass(frozen=True, eq=False)
class Clamped:
    """The potential U as a function of the unknown coordinates z alone.

        U_c(z) = U(x),   x = z where the mask is True, the known values elsewhere

    known   (1 or B, *event): one row for all chains, or one for each; its values under the mask are
            not used
    mask    bool, True where unknown: (d,) for vectors; (H, W) for images, for all channels at once
    z       (B, m) for vectors, (B, C, 1, m) for images, where m is the number of unknown
            coordinates or pixels

    exp(-U_c) is proportional to the conditional density p(z | known), so a sampler that leaves
    exp(-U) invariant leaves the exact conditional law invariant here. Noise, step sizes, thresholds
    and the Metropolis test concern the unknown coordinates alone. Not true: that one may as well
    run chains on all pixels and restore the known ones after each step: that samples another,
    unknown law. Raises StanleyError for a mask of another shape, and for one with nothing known or
    nothing unknown.
    """

    energy: Energy
    known: Tensor
    mask: Tensor

    def __post_init__(self) -> None:
        event = tuple(self.known.shape[1:])
        shape = event if len(event) == 1 else event[-2:]
        require(
            self.mask.dtype == torch.bool and tuple(self.mask.shape) == shape,
            f"mask is {self.mask.dtype} of shape {tuple(self.mask.shape)}, but must be torch.bool"
            f" of shape {shape} for points of shape {event}",
        )
        unknown = int(self.mask.sum())
        require(
            unknown > 0,
            "mask marks nothing as unknown, so there is nothing to fill in; mark some pixels",
        )
        require(
            unknown < self.mask.numel(),
            f"mask marks all {unknown} as unknown, so nothing is known of the point; mark fewer, or"
            " use stanley sample",
        )
        index = self.mask.flatten().nonzero().squeeze(1).to(self.known.device)
        object.__setattr__(self, "index", index)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one z."""
        return tuple(self.take(self.known[:1]).shape[1:])

    def for_rows(self, rows: slice) -> Clamped:
        return self if len(self.known) == 1 else replace(self, known=self.known[rows])

    def __call__(self, z: Tensor) -> Tensor:  # (B, C, 1, m) -> (B,)
        return self.energy(self.put(z))

    def take(self, x: Tensor) -> Tensor:
        """The unknown part z of points x (B, *event)."""
        z = flat(x, self.mask)[..., self.index]  # type: ignore[attr-defined]  # set in __post_init__
        return z if self.mask.dim() == 1 else z.unsqueeze(-2)

    def put(self, z: Tensor) -> Tensor:
        """Whole points x (B, *event): z where the mask is True, the known values elsewhere."""
        known = flat(rows_for(self.known, z, "known"), self.mask)
        z = z if self.mask.dim() == 1 else z.squeeze(-2)
        x = known.index_copy(-1, self.index, z)  # type: ignore[attr-defined]
        return x.reshape(len(z), *self.known.shape[1:])


def flat(x: Tensor, mask: Tensor) -> Tensor:
    """Vectors (B, d) unchanged, images (B, C, H, W) as (B, C, H·W)."""
    return x if mask.dim() == 1 else x.flatten(-2)


@dataclass(frozen=True)
class Inpainted:
    """The result of `inpaint`: n chains for each of N images.

    draws   the last states of the chains, with the known pixels as given, (N, n, *event)
    info    of the N·n chains
    """

    draws: Tensor
    info: ChainInfo

    @property
    def mean(self) -> Tensor:
        """An estimate of E[x | known], (N, *event), from the last states alone."""
        return self.draws.mean(1)


def inpaint(
    sampler: Sampler | str,
    potential: Energy,
    images: Tensor,
    mask: Tensor,
    x0: Points,
    num_steps: int,
    *,
    generator: torch.Generator | None = None,
    seed: int | None = None,
    progress: bool = False,
) -> Inpainted:
    """Fill in the masked part of images by running n chains for each, see `Clamped`.

    images   (N, *event), known where the mask is False
    mask     bool, True where unknown: (d,) for vectors, (H, W) for images
    x0       (N·n, *event), starts of the n chains of the first image, then of the second, …; only
             their values under the mask are used
    """
    sampler, potential, x0, generator = as_request(
        "inpaint", sampler, potential, x0, generator, seed
    )
    per_image = chains_per_image(images, x0)
    clamped = Clamped(potential, row_per_chain(images, per_image), mask)
    chains = run_chains(
        sampler, clamped, clamped.take(x0), num_steps, generator=generator, progress=progress
    )
    x = clamped.put(chains.x).reshape(len(images), per_image, *images.shape[1:])
    return Inpainted(x, chains.info)


@torch.no_grad()
def anneal_unknown(
    potential_at: Callable[[float], Energy],
    known: Tensor,
    mask: Tensor,
    x0: Tensor,
    sigmas: Sequence[float],
    *,
    generator: torch.Generator | None = None,
    seed: int | None = None,
    corrections: int = 2,
) -> Tensor:
    """Starts for `inpaint`: chains of the unknown coordinates that come down a ladder of noise
    levels (`samplers.annealed`) beside the known ones, to which noise of the same level is added.

    potential_at   U(·, σ), the energy of data with noise N(0, σ²)
    known          (B, *event), a row for each chain, known where the mask is False
    x0             (B, *event), starts at the level sigmas[0]
    corrections    Langevin steps with h = σ² after each step down

    Returns (B, *event) with the known values as given, after (1 + corrections) gradients a level.
    Not true: that it ends in the conditional law. The noise of the known values is drawn anew each
    time, so that a step knows them less well than they are: of two Gaussians with correlation 0.8
    the one comes 59 % of its way to where the other draws it with no corrections, and 88 % with 2,
    at 40 levels. Chains on the clamped potential follow.
    Song & Ermon (2019), algorithm 2; Song et al. (2021), appendix I.2.
    """
    rng = as_generator(generator, seed, "anneal_unknown", device=known.device)

    def clamped(sigma: float) -> Clamped:
        return Clamped(potential_at(sigma), known + sigma * normal_like(known, rng), mask)

    exact = Clamped(potential_at(sigmas[-1]), known, mask)
    z = exact.take(x0)
    for sigma, lower in pairwise(sigmas):
        z = step_down(clamped(sigma), z, sigma, lower, rng)
        for _ in range(corrections):
            grad = evaluate(clamped(lower), z).grad
            z = z - lower**2 / 2 * grad + lower * normal_like(z, rng)
    return exact.put(z)


def chains_per_image(images: Tensor, x0: Tensor) -> int:
    """The number of chains for each image."""
    require(
        len(images) >= 1
        and len(x0) >= 1
        and len(x0) % len(images) == 0
        and x0.shape[1:] == images.shape[1:],
        f"x0 has shape {tuple(x0.shape)} for images of shape {tuple(images.shape)}, but must hold"
        " the same number of chains for each image",
    )
    return len(x0) // len(images)


def inpaint_stream(seed: int, device: torch.device) -> torch.Generator:
    """The random numbers of `stanley inpaint --seed`, wherever it is asked for."""
    return stream(seed, "inpaint", device=device)

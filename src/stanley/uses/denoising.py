"""Denoising: chains on the posterior of the clean image, given a noisy one."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stanley.errors import require
from stanley.samplers import (
    ChainInfo,
    GradientDescent,
    Langevin,
    Sampler,
    evaluate,
    run_chains,
)
from stanley.samplers.arguments import Points, as_request
from stanley.streams import stream
from stanley.types import Energy
from stanley.uses.inpainting import chains_per_image
from stanley.uses.rows import row_per_chain, rows_for


def posterior_mean(potential: Energy, observed: Tensor, std: float) -> Tensor:
    """E[x | y] = y - σ²·∇U(y) of a clean point x, by one gradient, where U = -log of the density of
    data *with noise N(0, σ²)*: the energy E(·, σ) of a network that knows noise levels.

    observed   y (B, *event), with noise of standard deviation `std` = σ

    Not true of the energy of clean data, or of another level: the formula is that of one σ.
    Robbins (1956); Miyasawa (1961).
    """
    require(0 < std < math.inf, f"the noise std is {std}, but must be > 0 and finite; try 0.2")
    return observed - std**2 * evaluate(potential, observed).grad


@dataclass(frozen=True, eq=False)
class Noisy:
    """The potential of the posterior of a clean point x, given a noisy observation y.

        U_y(x) = U(x) + |y - x|² / (2σ²) = -log [p(x)·N(y; x, σ² I)] + const

    observed   y, (1 or B, *event): one row for all chains, or one for each
    std        σ of the noise, in the units of x: images span [-1, 1]

    A sampler that leaves exp(-U) invariant leaves the posterior invariant here; `GradientDescent`
    follows its gradient to a mode. An unadjusted step of size h is unstable where h > 4σ², whatever
    the energy. Not true: that the posterior mean is good whatever the energy: it is only as good as
    p is.
    """

    energy: Energy
    observed: Tensor
    std: float

    def __post_init__(self) -> None:
        require(
            0 < self.std < math.inf,
            f"the noise std is {self.std}, but must be > 0 and finite, for images in [-1, 1]; try"
            " 0.2",
        )

    @property
    def event_shape(self) -> tuple[int, ...]:
        return tuple(self.observed.shape[1:])

    def for_rows(self, rows: slice) -> Noisy:
        return self if len(self.observed) == 1 else replace(self, observed=self.observed[rows])

    def __call__(self, x: Tensor) -> Tensor:  # (B, *event) -> (B,)
        y = rows_for(self.observed, x, "observed")
        return self.energy(x) + (y - x).square().flatten(1).sum(1) / (2 * self.std**2)


@dataclass(frozen=True)
class Denoised:
    """The result of `denoise`: n chains for each of N images.

    draws   the last states of the chains, (N, n, *event)
    info    of the N·n chains
    """

    draws: Tensor
    info: ChainInfo

    @property
    def mean(self) -> Tensor:
        """An estimate of E[x | y], (N, *event), from the last states alone."""
        return self.draws.mean(1)


def denoise(
    sampler: Sampler | str,
    potential: Energy,
    observed: Tensor,
    std: float,
    x0: Points,
    num_steps: int,
    *,
    generator: torch.Generator | None = None,
    seed: int | None = None,
    progress: bool = False,
) -> Denoised:
    """Denoise images by running n chains on the posterior of each, see `Noisy`.

    observed   (N, *event), clean images plus N(0, σ²) noise, not clipped
    std        σ
    x0         (N·n, *event), starts of the n chains of the first image, then of the second, …; the
               observed images themselves are good starts

    Raises StanleyError for an unadjusted Langevin or gradient step that is unstable, h >= 4σ².
    """
    sampler, potential, x0, generator = as_request(
        "denoise", sampler, potential, x0, generator, seed
    )
    require_stable(sampler, std)
    per_image = chains_per_image(observed, x0)
    posterior = Noisy(potential, row_per_chain(observed, per_image), std)
    chains = run_chains(sampler, posterior, x0, num_steps, generator=generator, progress=progress)
    return Denoised(chains.x.reshape(len(observed), per_image, *observed.shape[1:]), chains.info)


def require_stable(sampler: Sampler, std: float) -> None:
    """Refuse unadjusted steps of h >= 4σ², which are unstable for the quadratic part of U_y."""
    h = float(sampler.step_size)
    require(
        h < 4 * std**2 or not isinstance(sampler, GradientDescent | Langevin),
        f"the step size is {h:.3g}, but must be < 4σ² = {4 * std**2:.3g} for noise of std {std:g},"
        f" where steps become unstable; use a step size of {std**2:.2g}, or an adjusted sampler"
        " such as mala",
    )


def denoise_stream(seed: int, device: torch.device) -> torch.Generator:
    """The random numbers of `stanley denoise --seed`, wherever it is asked for."""
    return stream(seed, "denoise", device=device)

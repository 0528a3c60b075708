"""Denoising: the posterior of the clean image, given a noisy one."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stanley.errors import require
from stanley.samplers import ChainInfo, GradientDescent, Langevin, Sampler, run_chains
from stanley.types import Energy
from stanley.uses.inpainting import chains_per_image
from stanley.uses.rows import row_per_chain, rows_for


@dataclass(frozen=True, eq=False)
class Noisy:
    """U_y(x) = U(x) + |y - x|² / (2σ²): -log of p(x)·N(y; x, σ² I), the posterior of x given y, up
    to a constant.

    A sampler that leaves exp(-U) invariant leaves the posterior invariant; `GradientDescent` is its
    gradient flow and ends at a mode. Not true: that the posterior mean is good if the energy is
    not: it is as good as p is. An explicit step of size h is unstable where h > 4σ², whatever the
    energy.

    observed   y, (1 or B, *event), one row for all chains or one a chain
    std        σ of the noise, in the units of x: images span [-1, 1]
    """

    energy: Energy
    observed: Tensor
    std: float

    def __post_init__(self) -> None:
        require(
            0 < self.std < math.inf,
            f"noise std is {self.std}, must be > 0 and finite, in units of the image's [-1, 1];"
            " try 0.2",
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
    """n chains for each of N images. `mean` estimates E[x | y] from the n final states alone."""

    draws: Tensor  # (N, n, *event), the chains' last states
    info: ChainInfo  # of the N·n chains

    @property
    def mean(self) -> Tensor:  # (N, *event)
        return self.draws.mean(1)


def denoise(
    sampler: Sampler,
    potential: Energy,
    observed: Tensor,
    std: float,
    x0: Tensor,
    num_steps: int,
    *,
    generator: torch.Generator,
    progress: bool = False,
) -> Denoised:
    """len(x0) / len(observed) chains on each image's posterior, from x0.

    observed   (N, *event), clean images plus N(0, σ²) noise, not clipped
    x0         (N·n, *event), image by image; the observed images themselves are a good start
    """
    require_stable(sampler, std)
    per_image = chains_per_image(observed, x0)
    posterior = Noisy(potential, row_per_chain(observed, per_image), std)
    chains = run_chains(sampler, posterior, x0, num_steps, generator=generator, progress=progress)
    return Denoised(chains.x.reshape(len(observed), per_image, *observed.shape[1:]), chains.info)


def require_stable(sampler: Sampler, std: float) -> None:
    """A step without a Metropolis test stays below the 4σ² at which the posterior's own quadratic
    part throws it.
    """
    h = float(sampler.step_size)
    require(
        h < 4 * std**2 or not isinstance(sampler, GradientDescent | Langevin),
        f"the noise is {std:g} and the step size {h:.3g}: steps of the posterior are unstable from"
        f" 4σ² = {4 * std**2:.3g} on; use a step size of {std**2:.2g}, or an adjusted sampler such"
        " as mala",
    )

"""Annealed chains: from noise down a ladder of noise levels, one gradient a rung."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from stanley.errors import require
from stanley.progress import Bar
from stanley.samplers.base import evaluate
from stanley.samplers.noise import normal_like
from stanley.streams import as_generator
from stanley.types import Energy

RUNGS = 40
POWER = 7.0


def ladder(
    largest: float, smallest: float, num: int = RUNGS, power: float = POWER
) -> tuple[float, ...]:
    """`num` noise levels from σ_max down to σ_min, even in σ^{1/power}:

        σ_k = (σ_max^{1/ρ} + k/(num - 1)·(σ_min^{1/ρ} - σ_max^{1/ρ}))^ρ,   ρ = `power`.

    Karras, Aittala, Aila & Laine (2022), equation 5. Raises StanleyError for levels that do not
    descend and for fewer than two of them.
    """
    require(
        0 < smallest < largest < math.inf,
        f"the ladder goes from {largest} down to {smallest}, but must go from a larger to a "
        "smaller noise level, both above 0 and finite",
    )
    require(num >= 2, f"the ladder has {num} levels, but must have at least 2; 40 is usual")
    require(power >= 1, f"power is {power}, but must be at least 1; 7 is usual, 1 is even steps")
    top, bottom = largest ** (1 / power), smallest ** (1 / power)
    inner = [(top + k / (num - 1) * (bottom - top)) ** power for k in range(1, num - 1)]
    return (largest, *inner, smallest)


def evenly_in_log(largest: float, smallest: float, num: int) -> tuple[float, ...]:
    """`num` noise levels from σ_max down to σ_min with equal ratios: `ladder` for power → ∞."""
    inner = [largest * (smallest / largest) ** (k / (num - 1)) for k in range(1, num - 1)]
    return (largest, *inner, smallest)


def require_descending(sigmas: Sequence[float]) -> None:
    """Raises StanleyError for what is no ladder of noise levels."""
    require(
        len(sigmas) >= 2 and all(a > b > 0 for a, b in pairwise(sigmas)),
        f"the noise levels are {tuple(sigmas)[:5]}…, but must be two or more, descending, above 0",
    )


@torch.no_grad()
def anneal(
    potential_at: Callable[[float], Energy],
    x: Tensor,
    sigmas: Sequence[float],
    *,
    generator: torch.Generator | None = None,
    seed: int | None = None,
    progress: bool = False,
) -> Tensor:
    """Chains x (B, *event), drawn at the noise level sigmas[0], taken down to sigmas[-1]:

        x ← x - (σ² - σ'²)·∇U(x, σ) + σ'·√(1 - σ'²/σ²)·ξ,   ξ ~ N(0, I),

    for neighbours σ > σ' of the ladder; `potential_at(σ)` is U(·, σ) = -log of the density of data
    with noise of variance σ². One gradient each, len(sigmas) - 1 in all.

    It is the mean and variance of p(x_σ' | x_σ, x₀) with E[x₀ | x_σ] = x - σ²·∇U(x, σ) for x₀, and
    so exact where the data are one point. Not true: that it leaves any density invariant, or that
    it ends in exp(-U(·, σ_min)) for a finite ladder. For data N(0, s²), v = σ² + s², a rung takes
    the variance V to (v'/v)²·V + σ'²·(1 - σ'²/σ²), less than v': 40 levels from 7 s to s/7 end a
    tenth too narrow. Chains of an exact sampler at σ_min take that away.
    Ho, Jain & Abbeel (2020), the posterior of equation 7 in the variance-exploding form of Song et
    al. (2021), equation 47.
    """
    generator = as_generator(generator, seed, "anneal", device=x.device)
    require_descending(sigmas)
    with Bar("annealing", len(sigmas) - 1, enabled=progress) as bar:
        for rung, (sigma, lower) in enumerate(pairwise(sigmas), 1):
            x = step_down(potential_at(sigma), x, sigma, lower, generator)
            if bar.due(rung):
                bar.draw(rung, f"noise level {lower:.3g}")
    return x


def step_down(
    potential: Energy, x: Tensor, sigma: float, lower: float, generator: torch.Generator
) -> Tensor:
    """One rung: x - (σ² - σ'²)·∇U(x) + σ'·√(1 - σ'²/σ²)·ξ, on the potential U(·, σ)."""
    noise = lower * math.sqrt(1 - lower**2 / sigma**2) * normal_like(x, generator)
    return x - (sigma**2 - lower**2) * evaluate(potential, x).grad + noise

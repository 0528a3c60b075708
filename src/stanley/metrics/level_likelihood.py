"""The normalising constant of an energy that knows noise levels, with its ladder as the path.

A chain goes down the levels σ₁ > … > σ_K by Gaussian steps T_k, and noise takes it up again by B_k:

    T_k(x_k | x_{k-1}) = N(x_{k-1} - v_k·∇U(x_{k-1}, σ_{k-1}), τ_k²),    v_k = σ_{k-1}² - σ_k²
    B_k(x_{k-1} | x_k) = N(x_k, v_k)

Forward pass   draw x₁ ~ q, a Gaussian reference, and x_k ~ T_k. With
               w = exp(-U(x_K, σ_K))·Π B_k(x_{k-1} | x_k) / (q(x₁)·Π T_k(x_k | x_{k-1})),
               E w = Z = ∫ exp(-U(x, σ_K)) dx, so E log(mean w) <= log Z.
Reverse pass   draw x_K ~ exp(-U(·, σ_K))/Z and x_{k-1} ~ B_k. Then E 1/w = 1/Z, so
               E[-log(mean 1/w)] >= log Z.

It is annealed importance sampling with the steps of the ladder for moves, which need no Metropolis
test and hardly lag behind: data under noise have the law B_k exactly, and T_k is its reverse as
well as one Gaussian can be. Both identities hold whatever U(·, σ) is for σ > σ_K; the closer it is
to -log of the density under noise, the narrower the bracket. Not true: that a narrow bracket proves
that no mode was missed. Neal (2001); Grosse et al. (2015); for these steps Sohl-Dickstein et al.
(2015), and Doucet, Grathwohl, Matthews & Strathmann (2022).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Generator, Tensor

from stanley.batches import in_chunks
from stanley.errors import require
from stanley.metrics.likelihood import CHUNK, PILOT, Bracket, GaussianReference, Pass, summary
from stanley.samplers.annealed import require_descending
from stanley.samplers.base import evaluate, per_chain, values
from stanley.samplers.noise import normal_like
from stanley.streams import as_generator
from stanley.types import Energy

At = Callable[[float], Energy]  # σ -> U(·, σ)


@torch.no_grad()
def bracket_down_levels(
    at: At,
    sigmas: Sequence[float],
    reference: GaussianReference,
    *,
    num_chains: int,
    generator: Generator | None = None,
    seed: int | None = None,
    target_samples: Tensor | None = None,
) -> Bracket:
    """Bound log Z of exp(-U(·, σ_K)) from below, and from above where samples of it are given.

    at              σ ↦ U(·, σ), (B, *event) -> (B,)
    sigmas          σ₁ > … > σ_K > 0, K >= 2; more levels make the bracket narrower
    reference       q, about the density of data with noise σ₁
    num_chains      chains of the forward pass
    target_samples  (n, *event), independent draws of exp(-U(·, σ_K))/Z

    Cost for each level, chain and pass: one gradient. A pilot run of at most 64 chains, which is
    then discarded, finds the variances τ_k². Raises StanleyError for levels that do not descend,
    too few chains, and weights that are not finite.
    """
    generator = as_generator(generator, seed, "bracket_down_levels", device=reference.mean.device)
    levels = list(sigmas)
    require_descending(levels)
    require(
        num_chains >= 2, f"num_chains is {num_chains}, but must be at least 2; a hundred is usual"
    )
    pilot = reference.draw(min(PILOT, num_chains), generator)
    spreads = step_spreads(at, levels, pilot, generator)
    forward = forward_pass(at, levels, spreads, reference, num_chains, generator)
    reverse = None
    if target_samples is not None:
        reverse = reverse_pass(at, levels, spreads, reference, target_samples, generator)
    return Bracket(forward, reverse, len(levels))


def forward_pass(
    at: At,
    sigmas: list[float],
    spreads: list[float],
    reference: GaussianReference,
    num: int,
    generator: Generator,
) -> Pass:
    x = reference.draw(num, generator)
    log_w = in_chunks(reference, x, CHUNK).double()
    for (sigma, lower), spread in zip(pairwise(sigmas), spreads, strict=True):
        v = sigma**2 - lower**2
        mean = x - v * gradient(at(sigma), x)
        below = mean + spread * normal_like(x, generator)
        log_w = log_w + log_ratio(x, below, mean, v, spread)
        x = below
    log_w = log_w - values(at(sigmas[-1]), x, CHUNK).double()
    return summary(log_w, None, sign=1)


def reverse_pass(
    at: At,
    sigmas: list[float],
    spreads: list[float],
    reference: GaussianReference,
    x: Tensor,
    generator: Generator,
) -> Pass:
    log_w = -values(at(sigmas[-1]), x, CHUNK).double()
    steps = list(zip(pairwise(sigmas), spreads, strict=True))
    for (sigma, lower), spread in reversed(steps):
        v = sigma**2 - lower**2
        above = x + v**0.5 * normal_like(x, generator)
        mean = above - v * gradient(at(sigma), above)
        log_w = log_w + log_ratio(above, x, mean, v, spread)
        x = above
    log_w = log_w + in_chunks(reference, x, CHUNK).double()
    return summary(-log_w, None, sign=-1)


def log_ratio(above: Tensor, below: Tensor, mean: Tensor, v: float, spread: float) -> Tensor:
    """log B(above | below) - log T(below | above) in float64: (B,)."""
    d = above[0].numel()
    up = per_chain((above - below) ** 2) / v
    down = per_chain((below - mean) ** 2) / spread**2
    return (down - up) / 2 + d * math.log(spread / v**0.5)


def step_spreads(at: At, sigmas: list[float], x: Tensor, generator: Generator) -> list[float]:
    """τ_k of each step: the mean variance of x_k given x_{k-1}, where U(·, σ) is exact.

        τ_k² = v_k·(1 - v_k·E|∇U(x_{k-1}, σ_{k-1})|²/d),

    by the law of total variance, and between those of data that are one point, σ_k²·v_k/σ_{k-1}²,
    and data spread out without bounds, v_k. Bao, Li, Zhu & Zhang (2022), Analytic-DPM.
    """
    spreads = []
    for sigma, lower in pairwise(sigmas):
        v = sigma**2 - lower**2
        grad = gradient(at(sigma), x)
        least = v * lower**2 / sigma**2
        variance = min(v, max(least, v * (1 - v * float(grad.square().mean()))))
        spreads.append(variance**0.5)
        x = x - v * grad + variance**0.5 * normal_like(x, generator)
    return spreads


def gradient(potential: Energy, x: Tensor) -> Tensor:
    """∇U for at most CHUNK points at a time: (B, *event)."""
    return in_chunks(lambda part: evaluate(potential, part).grad, x, CHUNK)

"""Points moved down noise levels along the gradient of a potential, without noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from stanley.batches import finite_chains
from stanley.errors import require
from stanley.progress import Bar
from stanley.samplers.annealed import require_descending
from stanley.samplers.base import evaluate
from stanley.samplers.run import ChainInfo, ChainResult
from stanley.types import Energy


@torch.no_grad()
def transport(
    potential_at: Callable[[float], Energy],
    x: Tensor,
    sigmas: Sequence[float],
    *,
    keep_every: int | None = None,
    progress: bool = False,
) -> ChainResult:
    """Points x (B, *event) taken from sigmas[0] down to sigmas[-1] along dx/dσ = ∇V(x, σ):

        x' = x - h/2·(∇V(x, σ) + ∇V(x - h·∇V(x, σ), σ')),   h = σ - σ',

    for neighbours σ > σ' of the levels (Heun's rule, of second order: half the steps leave four
    times the error); `potential_at(σ)` is V(·, σ). Two gradients each. Nothing is drawn: the law
    of the ends is that of the starts, moved. The result is that of chains whose every step is
    accepted; its U is not a number, since no density is behind V.
    """
    require_descending(sigmas)
    steps = len(sigmas) - 1
    require(
        keep_every is None or 1 <= keep_every <= steps,
        f"keep_every is {keep_every}, must lie between 1 and the number of steps = {steps}",
    )
    before, kept, speed = x, [], x.new_zeros(len(x))
    with Bar("flow", steps, enabled=progress) as bar:
        for n, (sigma, lower) in enumerate(pairwise(sigmas), 1):
            before, h = x, sigma - lower
            here = evaluate(potential_at(sigma), x).grad
            there = evaluate(potential_at(lower), x - h * here).grad
            x = x - h / 2 * (here + there)
            speed = speed + torch.linalg.vector_norm(here.flatten(1), dim=1)
            if keep_every is not None and n % keep_every == 0:
                kept.append(x)
            if bar.due(n):
                bar.draw(n, f"noise level {lower:.3g}")
    one = torch.ones_like(speed)
    info = ChainInfo(
        acceptance=one,
        step_scale=one,
        grad_norm=speed / steps,
        invalid=torch.zeros(len(x), dtype=torch.long, device=x.device),
        nonfinite=~finite_chains(x),
        potential=torch.full_like(speed, torch.nan),
        threshold=None,
        num_gradients=2 * steps,
    )
    return ChainResult(x, torch.stack(kept) if kept else None, info, before)

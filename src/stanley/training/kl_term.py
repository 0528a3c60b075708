"""What the loss sees of the sampler itself: a gradient through the last step of the chains."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from stanley.samplers import AnySampler, ClippedLangevin, Langevin, Sampler, Stanley, TamedLangevin
from stanley.samplers.base import ChainState
from stanley.samplers.stanley import Law


class LastStep(NamedTuple):
    """The step x_{K-1} → x_K of B chains, as it was taken."""

    sampler: Sampler  # with the step size it had
    before: Tensor  # (B, *event)   x_{K-1}
    threshold: Tensor | None  # 0-d  STANLEY's th as it was resolved
    temperature: float


def kl_term(last: LastStep, x: Tensor, energy: Tensor, grad: Tensor, grad_before: Tensor) -> Tensor:
    """mean E_sg(x_K(θ)), whose θ-gradient is mean ∇E(x_K)·∂x_K/∂θ: E is held fixed, x_K is not.

    x, energy, grad   x_K (B, *event), E(x_K) (B,), ∇E(x_K) (B, *event); all held fixed
    grad_before       ∇E_θ(x_{K-1}) (B, *event), differentiable in θ

        x_K(θ) = μ(g) + √v(g)⊙ξ,   g = ∇E_θ(x_{K-1})/T,   x_{K-1} and ξ held fixed

    Of KL(q‖p) = E_q[E]/T + E_q[log q] + log Z, q the law of the chains' ends, this is the first
    term. The entropy term E_q[log q], which the source estimates from nearest neighbours, is left
    out: samples are pulled to low energy, and only the noise pushes them apart.
    Not true: that the gradient goes through the earlier steps, or through a quantile threshold.
    ξ is computed from the step as it was taken, so chains in bfloat16 change the gradient by their
    rounding only.
    Du, Li, Tenenbaum & Mordatch (2021), "Improved contrastive divergence", section 3.1.
    """
    state = ChainState(last.before, energy, grad_before / last.temperature, last.threshold)
    law = law_of(last.sampler, state)
    std = law.variance.sqrt()
    noise = (x - law.mean.detach()) / std.detach()  # ξ
    x_theta = law.mean + std * noise  # x_K in value
    pull = (grad.detach() * x_theta).flatten(1).sum(1).mean()
    return energy.detach().mean() + pull - pull.detach()


def law_of(sampler: Sampler, state: ChainState) -> Law:
    """N(μ, diag v) of one step as a differentiable function of the state's gradient."""
    if isinstance(sampler, Stanley):
        # without a correction no potential is looked at
        return sampler.law(lambda x: x, state, None)
    h = torch.as_tensor(sampler.step_size, dtype=state.x.dtype, device=state.x.device)
    factor: Tensor | float = 1.0
    if isinstance(sampler, ClippedLangevin):
        factor = sampler.scale(state)
    if isinstance(sampler, TamedLangevin):
        factor = sampler.taming(state)
    return Law(state.x - h / 2 * factor * state.grad, h, None)


def why_no_gradient(sampler: AnySampler) -> str | None:
    """Why no gradient goes through this sampler's step; None where one does."""
    if isinstance(sampler, Stanley):
        if sampler.correction != "none":
            return (
                f"its correction {sampler.correction!r} needs more than the gradient at the point where the step starts"
            )
        if sampler.refresh != "step":
            return f"with refresh {sampler.refresh!r} its γ is that of the chain's start, not of the last step"
        return None
    if isinstance(sampler, Langevin | ClippedLangevin | TamedLangevin):
        return None
    return "its step is not a Gaussian move with a law that the gradient at one point determines"

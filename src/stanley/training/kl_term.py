"""What the loss sees of the sampler itself: a gradient through the last step of the chains."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from stanley.samplers import Sampler
from stanley.samplers.base import ChainState, Gaussian
from stanley.samplers.traits import traits_of


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
    assert isinstance(last.sampler, Gaussian)  # see `why_not`
    law = last.sampler.law(not_looked_at, state)
    std = law.variance.sqrt()
    noise = (x - law.mean.detach()) / std.detach()  # ξ
    x_theta = law.mean + std * noise  # x_K in value
    pull = (grad.detach() * x_theta).flatten(1).sum(1).mean()
    return energy.detach().mean() + pull - pull.detach()


def not_looked_at(x: Tensor) -> Tensor:
    """In place of the potential: a law that is known from the state's gradient asks for no
    other.
    """
    raise AssertionError("the law of the last step asked for the potential")


def why_no_gradient(sampler: Sampler) -> str | None:
    """Why no gradient goes through this sampler's step; None where one does."""
    traits = traits_of(sampler)
    if traits.adjusted:
        return "it ends in a Metropolis test, whose outcome has no gradient"
    if not isinstance(sampler, Gaussian):
        return "it is no Gaussian move that the gradient at one point and a fixed ξ determine"
    if traits.gradients > 1:
        return (
            f"it takes {traits.gradients} gradients, and only that of its start is differentiated"
        )
    return traits.not_markov or traits.not_adjustable

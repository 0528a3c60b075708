"""The specification written a second time, dense and slow: full Hessians, torch.distributions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Normal

from stanley import samplers
from stanley.types import Energy


def gradient(potential: Energy, x: Tensor) -> Tensor:
    return torch.func.grad(lambda z: potential(z).sum())(x)


def hessian(potential: Energy, x: Tensor) -> Tensor:
    """(B, d, d), one chain at a time."""
    event = x.shape[1:]

    def one(z: Tensor) -> Tensor:
        return potential(z.reshape(1, *event))[0]

    return torch.func.vmap(torch.func.hessian(one))(x.flatten(1))


def size(grad: Tensor, scope: str) -> Tensor:
    """|∇U| spread over the event."""
    if scope == "element":
        return grad.abs()
    axes = (1,) if scope == "pixel" else tuple(range(1, grad.dim()))
    return (grad**2).sum(axes, keepdim=True).sqrt().expand_as(grad)


def gamma(grad: Tensor, threshold: float, scope: str, floor: float = 0.0) -> Tensor:
    return (threshold / size(grad, scope)).clamp(max=1.0).clamp(min=floor)


def divergence(potential: Energy, x: Tensor, threshold: float, scope: str, floor: float = 0.0) -> Tensor:
    """Γ_i = ½ Σ_j ∂_jγ_ij = ½ ∂_iγ_ii, by differentiating γ(x) itself."""

    def flat_gamma(flat: Tensor) -> Tensor:
        point = flat.reshape(1, *x.shape[1:])
        return gamma(gradient(potential, point), threshold, scope, floor).flatten()

    rows = [torch.func.jacrev(flat_gamma)(row.flatten()).diagonal() / 2 for row in x]
    return torch.stack(rows).reshape(x.shape)


def probe(potential: Energy, x: Tensor, threshold: float, scope: str, floor: float, signs: Tensor) -> Tensor:
    """The random-sign estimate of the same, from dense Hessians."""
    grad = gradient(potential, x)
    here, norm = gamma(grad, threshold, scope, floor), size(grad, scope)
    vector = (signs if scope == "element" else signs.expand_as(grad) * grad).flatten(1)
    product = torch.einsum("bij,bj->bi", hessian(potential, x), vector).reshape(x.shape)
    curvature = signs * product * (grad if scope == "element" else 1)
    return torch.where((norm > threshold) & (here > floor), -here * curvature / norm**2 / 2, 0.0)


@dataclass(frozen=True)
class Proposal:
    """N(mean(x), diag variance(x)) of a library sampler, from the formulas above."""

    sampler: object
    threshold: float = 1.0
    frozen: Tensor | None = None  # γ kept for the run
    signs: Tensor | None = None

    def law(self, potential: Energy, x: Tensor) -> tuple[Tensor, Tensor]:
        s = self.sampler
        s = s.proposal if isinstance(s, samplers.Adjusted) else s
        h, grad = s.step_size, gradient(potential, x)
        if isinstance(s, samplers.Langevin | samplers.MALA):
            return x - h / 2 * grad, torch.full_like(x, h)
        if isinstance(s, samplers.ClippedLangevin):
            return x - h / 2 * gamma(grad, self.threshold, s.scope) * grad, torch.full_like(x, h)
        assert isinstance(s, samplers.Stanley)
        if self.frozen is not None:
            return x - h / 2 * self.frozen * grad, (h * self.frozen).expand_as(x)
        scale = gamma(grad, self.threshold, s.scope, s.floor)
        mean = x - h / 2 * scale * grad
        if s.correction == "drift" and self.signs is None:
            mean = mean + h * divergence(potential, x, self.threshold, s.scope, s.floor)
        elif s.correction == "drift":
            mean = mean + h * probe(potential, x, self.threshold, s.scope, s.floor, self.signs)
        return mean, h * scale

    def log_prob(self, potential: Energy, x: Tensor, y: Tensor) -> Tensor:
        """log q(x → y)."""
        mean, variance = self.law(potential, x)
        return Normal(mean, variance.sqrt()).log_prob(y).flatten(1).sum(1)

    def log_alpha(self, potential: Energy, x: Tensor, y: Tensor) -> Tensor:
        """log π(y)q(y→x) - log π(x)q(x→y)."""
        energies = potential(x) - potential(y)
        return energies + self.log_prob(potential, y, x) - self.log_prob(potential, x, y)

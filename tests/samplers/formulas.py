"""The specification written a second time, dense and slow: full Hessians, torch.distributions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal
from torch.nn.functional import logsigmoid

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


def divergence(
    potential: Energy, x: Tensor, threshold: float, scope: str, floor: float = 0.0
) -> Tensor:
    """Γ_i = ½ Σ_j ∂_jγ_ij = ½ ∂_iγ_ii, by differentiating γ(x) itself."""

    def flat_gamma(flat: Tensor) -> Tensor:
        point = flat.reshape(1, *x.shape[1:])
        return gamma(gradient(potential, point), threshold, scope, floor).flatten()

    rows = [torch.func.jacrev(flat_gamma)(row.flatten()).diagonal() / 2 for row in x]
    return torch.stack(rows).reshape(x.shape)


def probe(
    potential: Energy, x: Tensor, threshold: float, scope: str, floor: float, signs: Tensor
) -> Tensor:
    """The random-sign estimate of the same, from dense Hessians."""
    grad = gradient(potential, x)
    here, norm = gamma(grad, threshold, scope, floor), size(grad, scope)
    vector = (signs if scope == "element" else signs.expand_as(grad) * grad).flatten(1)
    product = torch.einsum("bij,bj->bi", hessian(potential, x), vector).reshape(x.shape)
    curvature = signs * product * (grad if scope == "element" else 1)
    return torch.where((norm > threshold) & (here > floor), -here * curvature / norm**2 / 2, 0.0)


def probe_variance(potential: Energy, x: Tensor, threshold: float, floor: float) -> Tensor:
    """Var(Γ) of the random signs of 'pixel' scope, over all of them."""
    (height, width), pixels = x.shape[2:], x.shape[2:].numel()
    found = []
    for bits in range(2**pixels):
        signs = torch.tensor([1.0 if bits >> i & 1 else -1.0 for i in range(pixels)], dtype=x.dtype)
        signs = signs.reshape(1, 1, height, width).expand(len(x), 1, height, width)
        found.append(probe(potential, x, threshold, "pixel", floor, signs))
    return torch.stack(found).var(0, correction=0)


def normal(w: Tensor, h: float) -> Tensor:
    """log N(w; 0, h), in the type of w."""
    return Normal(torch.zeros_like(w), h**0.5).log_prob(w)


def barker_moments(grad: Tensor, h: float) -> tuple[Tensor, Tensor]:
    """Mean and variance of w with density 2·N(w; 0, h)·σ(-w·g), by the trapezoid rule on ±10√h.

    The integrand is analytic up to |Im w| = π/|g|: at spacing √h/100 the error is below
    e^{-200π²/(|g|√h)} ~ 0.
    """
    w = h**0.5 * torch.linspace(-10, 10, 2001, dtype=grad.dtype)
    density = 2 * normal(w, h).exp() * torch.sigmoid(-w * grad[..., None]) * (w[1] - w[0])
    mean = (density * w).sum(-1)
    return mean, (density * w**2).sum(-1) - mean**2


def truncated(grad: Tensor, threshold: float) -> Tensor:
    """D = -∇U, or as long as the threshold: AMALA's drift."""
    return -gamma(grad, threshold, "sample") * grad


def stretched(sampler, drift: Tensor) -> Tensor:
    """h(εI + DDᵀ), dense: (B, d, d)."""
    flat = drift.flatten(1)
    return sampler.step_size * (
        sampler.epsilon * torch.eye(flat.shape[1], dtype=flat.dtype)
        + flat[:, :, None] * flat[:, None]
    )


def first_metric(sampler, grad: Tensor) -> Tensor:
    """G of preconditioned SGLD at its first step."""
    weight = 1.0 if sampler.bias_correction else 1 - sampler.beta
    return 1 / (sampler.epsilon + weight**0.5 * grad.abs())


@dataclass(frozen=True)
class Proposal:
    """The law of a library sampler's proposal, from the formulas above.

    `law` is its mean and the variance of each component, all there is to know where it is N(mean,
    diag variance).
    """

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
        if isinstance(s, samplers.Underdamped):  # the first step, p ~ N(0, I)
            keep = math.exp(-s.friction * h)
            return x - h**2 * (1 + keep) / 4 * grad, torch.full_like(x, h**2 * (1 + keep) / 2)
        if isinstance(s, samplers.PreconditionedLangevin):  # the first step
            metric = first_metric(s, grad)
            mean = x - h / 2 * metric * grad
            if s.correction == "drift":
                rows = torch.func.jacrev(lambda z: first_metric(s, gradient(potential, z)).sum(0))(
                    x
                )
                slope = torch.einsum("ibi->bi", rows.reshape(x[0].numel(), len(x), -1)).reshape(
                    x.shape
                )
                mean = mean + h / 2 * slope
            return mean, h * metric
        if isinstance(s, samplers.RandomWalk):
            return x, torch.full_like(x, h)
        if isinstance(s, samplers.Barker):
            mean, variance = barker_moments(grad, h)
            return x + mean, variance
        if isinstance(s, samplers.AMALA):
            drift = truncated(grad, self.threshold)
            variance = stretched(s, drift).diagonal(dim1=1, dim2=2).reshape(x.shape)
            return x + h / 2 * drift, variance
        if isinstance(s, samplers.TamedLangevin):
            return x - h / 2 * grad / (1 + h / 2 * size(grad, s.scope)), torch.full_like(x, h)
        if isinstance(s, samplers.GradientDescent):
            return x - h / 2 * grad, torch.zeros_like(x)
        if isinstance(s, samplers.MatchedLangevin):
            scale = gamma(grad, self.threshold, s.scope)
            return x - h / 2 * scale * grad, torch.full_like(x, float(h * scale.mean()))
        if isinstance(s, samplers.ClippedLangevin):
            return x - h / 2 * gamma(grad, self.threshold, s.scope) * grad, torch.full_like(x, h)
        assert isinstance(s, samplers.Stanley)
        if self.frozen is not None:
            return x - h / 2 * self.frozen * grad, (h * self.frozen).expand_as(x)
        scale = gamma(grad, self.threshold, s.scope, s.floor)
        mean = x - h / 2 * scale * grad
        if s.correction == "drift" and self.signs is None:
            mean = mean + h * divergence(potential, x, self.threshold, s.scope, s.floor)
            if s.scope == "pixel":
                return mean, h * scale + h**2 * probe_variance(
                    potential, x, self.threshold, s.floor
                )
        elif s.correction == "drift":
            mean = mean + h * probe(potential, x, self.threshold, s.scope, s.floor, self.signs)
        return mean, h * scale

    def log_prob(self, potential: Energy, x: Tensor, y: Tensor) -> Tensor:
        """log q(x → y)."""
        s, grad = self.sampler, gradient(potential, x)
        if isinstance(s, samplers.Barker):
            w = y - x
            signed = normal(w, s.step_size) + math.log(2) + logsigmoid(-w * grad)
            return signed.flatten(1).sum(1)
        mean, variance = self.law(potential, x)
        if isinstance(s, samplers.AMALA):
            covariance = stretched(s, truncated(grad, self.threshold))
            return MultivariateNormal(mean.flatten(1), covariance).log_prob(y.flatten(1))
        return Normal(mean, variance.sqrt()).log_prob(y).flatten(1).sum(1)

    def log_alpha(self, potential: Energy, x: Tensor, y: Tensor) -> Tensor:
        """log π(y)q(y→x) - log π(x)q(x→y)."""
        energies = potential(x) - potential(y)
        return energies + self.log_prob(potential, y, x) - self.log_prob(potential, x, y)

"""The anisotropic step scale γ = th / max(th, |∇U|): what |·| is, and what th is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from stanley.errors import require

Scope = Literal["element", "pixel", "sample"]


@dataclass(frozen=True)
class Quantile:
    """A threshold without units: the given quantile of |∇U| over all chains, taken when a run
    starts.

    `Quantile(0.9)` leaves nine in ten components (or pixels, or chains: what the scope counts) at
    full step.
    """

    quantile: float  # share of |∇U| that lies below the threshold

    def __post_init__(self) -> None:
        q = self.quantile
        require(
            0 < q < 1, f"threshold quantile is {q}, must lie between 0 and 1; 0.9 is a good start"
        )


def magnitude(grad: Tensor, scope: Scope) -> Tensor:
    """|∇U|: absolute value per element, norm over channels per pixel,
    norm over the event per sample.
    """
    if scope == "element":
        return grad.abs()
    if scope == "pixel":
        require(
            grad.dim() == 4,
            f"scope 'pixel' needs images (B, C, H, W), got shape {tuple(grad.shape)}; "
            "use 'element' or 'sample' for vectors",
        )
        return torch.linalg.vector_norm(grad, dim=1, keepdim=True)
    return torch.linalg.vector_norm(grad, dim=tuple(range(1, grad.dim())), keepdim=True)


def resolve_threshold(threshold: float | Quantile, grad: Tensor, scope: Scope) -> Tensor:
    """The threshold as a 0-d tensor in units of |∇U|; non-finite chains do not count in a
    quantile.
    """
    if not isinstance(threshold, Quantile):
        return torch.as_tensor(threshold, dtype=grad.dtype, device=grad.device)
    size = magnitude(grad, scope).flatten()
    finite = size.isfinite()
    ranked = torch.where(finite, size, torch.inf).sort().values
    rank = (threshold.quantile * (finite.sum() - 1)).round().long().clamp(min=0)
    # where every gradient is zero any positive threshold gives γ = 1
    return ranked.gather(0, rank[None])[0].clamp(min=torch.finfo(grad.dtype).tiny)


def scale(grad: Tensor, threshold: Tensor, scope: Scope, floor: float = 0.0) -> Tensor:
    """γ = max(floor, th / max(th, |∇U|)) in (0, 1], broadcastable to the event; the draft's (5)."""
    gamma = threshold / torch.maximum(magnitude(grad, scope), threshold)
    return gamma.clamp(min=floor) if floor > 0 else gamma


def check_scope(sampler: object, scope: str) -> None:
    known = ("element", "pixel", "sample")
    require(
        scope in known,
        f"{type(sampler).__name__}: scope is {scope!r}, must be one of {', '.join(known)}",
    )


def check_threshold(sampler: object, threshold: float | Quantile) -> None:
    if not isinstance(threshold, Quantile | Tensor):
        require(
            0 < threshold < math.inf,
            f"{type(sampler).__name__}: threshold is {threshold}, must be > 0 and finite, in units"
            " of |∇U|; use Quantile(0.9) when the units are unknown, Langevin for no threshold",
        )

"""The anisotropic step scale γ = th / max(th, |∇U|): what |·| is, and what th is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from stanley.errors import require

Scope = Literal["element", "pixel", "sample"]

FOLLOWED = 1024  # of the |∇U| are looked at to see whether a quantile has grown


@dataclass(frozen=True)
class Quantile:
    """A threshold without units: the given quantile of |∇U| over all chains.

    `Quantile(0.9)` leaves nine in ten components (or pixels, or chains: what the scope counts) at
    full step. It is taken where the chains are when a run starts, and follows them upwards: where
    the quantile over the chains has become more than twice the threshold, it becomes the
    threshold. So chains that start at a mode, a saddle or very close together, where gradients
    mean nothing yet, do not keep that threshold. Each change at least doubles it, which bounds
    their number; afterwards the kernel is fixed. Not true: that it follows downwards. After a
    start far out on a steep slope it stays large, and γ = 1 nearer to the modes: give a number, or
    warm up first, as `adapt` and `stanley sample` do.
    """

    quantile: float  # share of |∇U| that lies below the threshold

    def __post_init__(self) -> None:
        q = self.quantile
        require(
            0 < q < 1, f"threshold quantile is {q}, must lie between 0 and 1; 0.9 is a good start"
        )


@dataclass(frozen=True)
class QuantileOfEach(Quantile):
    """The same for the chains of S runs side by side, as many of each: every run has the quantile
    over its own chains, and a threshold of its own.
    """

    quantile: Any  # (S,), of each run

    def __post_init__(self) -> None:
        """Each was checked in its run."""

    @property
    def runs(self) -> int:
        return len(self.quantile)


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
    """The threshold as a 0-d tensor in units of |∇U|, when a run starts; of several runs side by
    side one for each chain, (B, 1, …).
    """
    if not isinstance(threshold, Quantile):
        return torch.as_tensor(threshold, dtype=grad.dtype, device=grad.device)
    # where every gradient is zero any positive threshold gives γ = 1
    tiny = torch.finfo(grad.dtype).tiny
    size = magnitude(grad, scope)
    return for_chains(quantile_over_chains(by_run(size, threshold), threshold), size).clamp(
        min=tiny
    )


def follow_threshold(
    current: Tensor | None,
    threshold: float | Quantile,
    grad: Tensor,
    scope: Scope,
    factor: float = 2.0,
) -> Tensor | None:
    """The threshold of the next step: the quantile over the chains as they are, where that is more
    than `factor` times the current one; see `Quantile`. A number stays what it is.

    From at most 1,024 of the |∇U|, evenly spaced, so that it costs next to nothing.
    """
    if current is None or not isinstance(threshold, Quantile):
        return current
    size = magnitude(grad, scope)
    sizes = by_run(size, threshold)
    per_chain, stride = size[0].numel(), -(-sizes.shape[-1] // FOLLOWED)
    while math.gcd(stride, per_chain) > 1:  # else some coordinates would never be looked at
        stride += 1
    now = for_chains(quantile_over_chains(sizes[..., ::stride], threshold), size)
    return torch.where(now > factor * current, now, current)


def quantile_over_chains(size: Tensor, threshold: Quantile) -> Tensor:
    """The quantile of the finite ones of |∇U| (n,), 0-d, or of each row of (S, n)."""
    finite = size.isfinite()
    ranked = torch.where(finite, size, torch.inf).sort(-1).values
    rank = (threshold.quantile * (finite.sum(-1) - 1)).round().long().clamp(min=0)
    found = ranked.gather(-1, rank[..., None])[..., 0]
    return torch.where(finite.any(-1), found, 0.0)


def by_run(size: Tensor, threshold: Quantile) -> Tensor:
    """|∇U| of all chains (B, …) as one row (n,), or as a row for each run (S, n)."""
    return (
        size.reshape(threshold.runs, -1)
        if isinstance(threshold, QuantileOfEach)
        else size.flatten()
    )


def for_chains(found: Tensor, size: Tensor) -> Tensor:
    """One number, 0-d, as it is; those of S runs (S,) for each of the B chains: (B, 1, …)."""
    if found.dim() == 0:
        return found
    return found.repeat_interleave(len(size) // len(found)).view(-1, *[1] * (size.dim() - 1))


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

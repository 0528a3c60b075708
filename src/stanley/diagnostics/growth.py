"""H1: whether U grows faster than linearly along random rays.

The answer is a frozen value with its numbers and a `verdict` in words that quotes them. It is no
proof: rays are a sample of all directions, and what holds far out in a sample can fail elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stanley.batches import finite_chains
from stanley.device import widest_float
from stanley.diagnostics.rays import RADII, check_radii, directions
from stanley.errors import require
from stanley.samplers.base import evaluate
from stanley.types import Energy, networks_in

# r^0.05 grows by a quarter from 1 to 100; what grows less counts as levelling off
LEAST_EXPONENT = 0.05


@dataclass(frozen=True)
class RayGrowth:
    """∇U along rays u: the numbers behind H1 and a verdict on them."""

    radii: Tensor  # (R,)
    radial: Tensor  # (R, num_rays)   ⟨u, ∇U(ru)⟩, the radial derivative
    # (R, num_rays)   ⟨u, ∇U/|∇U|⟩; H1 has its sign reversed and asks for a limsup below 0
    cosine: Tensor
    # (num_rays,)   p in radial ~ r^p over the last decade of radii; NaN where radial is not > 0
    exponent: Tensor
    holds: bool  # nothing seen on these rays contradicts H1
    verdict: str

    def quantiles(
        self, levels: Sequence[float] = (0.0, 0.1, 0.5, 0.9, 1.0)
    ) -> tuple[Tensor, Tensor]:
        """Of the radial derivative and of the cosine over the rays: (R, levels) each."""
        at = torch.tensor(levels, dtype=self.radial.dtype, device=self.radial.device)
        return self.radial.quantile(at, 1).T, self.cosine.quantile(at, 1).T


def h1_on_rays(
    potential: Energy,
    event_shape: Sequence[int],
    *,
    generator: torch.Generator,
    num_rays: int = 64,
    radii: Sequence[float] = RADII,
    dtype: torch.dtype | None = None,
) -> RayGrowth:
    """Whether U grows faster than linearly along random rays x = ru, |u| = 1, as H1 asks in every
    direction:

        ⟨u, ∇U(ru)⟩ → ∞   and   limsup ⟨x/|x|, -∇U/|∇U|⟩ < 0      as r → ∞.

    Growth is the exponent p of ⟨u, ∇U⟩ ~ r^p over the last decade of radii, on the ray where it is
    least: a piecewise linear network has p = 0, a Gaussian 1, x⁴ 3, Student t -1. H1 is refused
    where ⟨u, ∇U⟩ ≤ 0, p ≤ 0.05 or the cosine ≤ 0 on any ray.

    radii   increasing, in the units of x; the largest should lie where the tails have taken over,
            and a Gaussian reference of standard deviation s takes over from a network of slope a
            only beyond a·s²
    dtype   of the points; the network's own unless given, float64 for a function

    One gradient per ray and radius. Not true: that passing proves H1 or that failing refutes it.
    All is judged at finite radii, growth slower than r^0.05 is taken for none, and in high
    dimension random rays miss the axes and every other thin cone.
    STANLEY (draft), H1, eq. (9).
    """
    require(num_rays >= 1, f"h1_on_rays: num_rays is {num_rays}, must be at least 1; 64 is usual")
    check_radii(radii, least=2)
    rays = directions(event_shape, num_rays, generator, dtype or dtype_of(potential, generator))
    radial, cosine = [], []
    for r in radii:
        grad = gradient(potential, r * rays, r).flatten(1)
        along = (grad * rays.flatten(1)).sum(1, dtype=widest_float(grad.device))
        radial.append(along)
        cosine.append(
            along / torch.linalg.vector_norm(grad, dim=1, dtype=widest_float(grad.device))
        )
    values = torch.stack(radial)
    at = torch.tensor(radii, dtype=values.dtype, device=values.device)
    exponent = growth(at, values)
    return RayGrowth(
        at, values, torch.stack(cosine), exponent, *judge_growth(at, values, cosine[-1], exponent)
    )


def growth(radii: Tensor, radial: Tensor) -> Tensor:
    """p from the outermost radius and the last one that is a decade further in, or the first:
    (num_rays,).
    """
    inner = int((radii <= radii[-1] / 10 * (1 + 1e-9)).sum().clamp(min=1)) - 1
    first, last = radial[inner], radial[-1]
    return torch.where(
        (first > 0) & (last > 0), (last / first).log() / (radii[-1] / radii[inner]).log(), math.nan
    )


def judge_growth(
    radii: Tensor, radial: Tensor, cosine: Tensor, exponent: Tensor
) -> tuple[bool, str]:
    far, last, n = float(radii[-1]), radial[-1], radial.shape[1]
    spread = (
        f"radial derivative {float(last.min()):.3g} to {float(last.max()):.3g} at radius {far:g}"
    )
    inward = int((last <= 0).sum())
    if 2 * inward > n:
        return (
            False,
            f"the potential falls outward on {inward} of {n} rays ({spread}), so that exp(-U) has "
            "no finite mass: H1 fails. If the function is a log-density, hand over its negative",
        )
    if inward:
        return (
            False,
            f"the potential does not grow outward on {inward} of {n} rays ({spread}): H1 fails",
        )
    turned = int(exponent.isnan().sum())
    if turned:
        return (
            False,
            (
                f"{turned} of {n} rays still fell a decade before ({spread}): no exponent yet, use"
                " larger radii"
            ),
        )
    least = float(exponent.min())
    if least < -LEAST_EXPONENT:
        return (
            False,
            (
                f"the radial derivative falls like r^{least:.2f} ({spread}): less than linear"
                " growth, H1 fails"
            ),
        )
    if least <= LEAST_EXPONENT:
        return (
            False,
            (
                f"the radial derivative levels off (r^p, p = {least:.3f} on the flattest ray;"
                f" {spread}): at most linear growth, H1 fails; a Gaussian reference |x|²/(2s²)"
                " repairs it"
            ),
        )
    lowest = float(cosine.min())
    if lowest <= 0:
        return (
            False,
            (
                f"the gradient turns away from the ray: least cosine {lowest:.3g} at radius"
                f" {far:g}, H1 fails"
            ),
        )
    return (
        True,
        (
            f"the radial derivative grows like r^p, p = {least:.2f} to {float(exponent.max()):.2f}"
            f" ({spread}), and the cosine is at least {lowest:.3g}: superlinear on all {n} rays,"
            " nothing contradicts H1"
        ),
    )


def dtype_of(potential: Energy, generator: torch.Generator) -> torch.dtype:
    """Of the weights of the network behind a potential, float64 for anything else."""
    weights = (w for network in networks_in(potential) for w in network.parameters())
    weight = next((w for w in weights if w.is_floating_point()), None)
    if weight is None:
        return torch.float64
    require(
        weight.device.type == generator.device.type,
        f"the network is on {weight.device} and the generator on {generator.device}; "
        f"use torch.Generator({str(weight.device)!r})",
    )
    return weight.dtype


def gradient(potential: Energy, x: Tensor, radius: float) -> Tensor:
    """∇U, refused where it is no number: nothing can be said of growth from there on."""
    grad = evaluate(potential, x).grad
    bad = int((~finite_chains(grad)).sum())
    require(
        bad == 0,
        f"∇U is not finite on {bad} of {len(x)} rays at radius {radius:g} in {x.dtype}; use smaller"
        " radii or float64",
    )
    return grad

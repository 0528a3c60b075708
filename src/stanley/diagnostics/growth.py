"""Assumption H1 of the theory: whether U grows faster than linearly, along random rays.

The result holds the numbers and a `verdict`, one sentence that quotes them. Not true: that it is a
proof: rays are a sample of all directions, and what holds along them can fail elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from stanley.batches import finite_chains
from stanley.device import widest_float
from stanley.diagnostics.rays import RADII, check_radii, directions
from stanley.errors import require
from stanley.samplers.arguments import as_potential, device_of
from stanley.samplers.base import evaluate
from stanley.samplers.runaway import question
from stanley.streams import as_generator
from stanley.types import Energy, networks_in

# r^0.05 grows by a quarter from r = 1 to 100; a radial derivative that grows less levels off
LEAST_EXPONENT = 0.05


@dataclass(frozen=True)
class RayGrowth:
    """The result of `h1_on_rays`: ∇U along rays ru, |u| = 1.

    radii      r, (R,)
    radial     radial derivative ⟨u, ∇U(ru)⟩, (R, num_rays)
    cosine     ⟨u, ∇U/|∇U|⟩, (R, num_rays); H1 has the opposite sign, and asks for a limsup below 0
    exponent   p in radial ~ r^p over the last decade of radii, (num_rays,); NaN where radial is not
               positive
    holds      whether nothing seen on these rays contradicts H1
    verdict    one sentence that quotes these numbers
    """

    radii: Tensor
    radial: Tensor
    cosine: Tensor
    exponent: Tensor
    holds: bool
    verdict: str

    def quantiles(
        self, levels: Sequence[float] = (0.0, 0.1, 0.5, 0.9, 1.0)
    ) -> tuple[Tensor, Tensor]:
        """Quantiles over the rays of the radial derivative and of the cosine: (R, levels) each."""
        at = torch.tensor(levels, dtype=self.radial.dtype, device=self.radial.device)
        return self.radial.quantile(at, 1).T, self.cosine.quantile(at, 1).T


def h1_on_rays(
    potential: Energy | Distribution,
    event_shape: Sequence[int],
    *,
    generator: torch.Generator | None = None,
    seed: int | None = None,
    num_rays: int = 64,
    radii: Sequence[float] = RADII,
    dtype: torch.dtype | None = None,
) -> RayGrowth:
    """Check along random rays x = ru, |u| = 1, whether U grows faster than linearly.

    Assumption H1 asks for this in every direction:

        ⟨u, ∇U(ru)⟩ → ∞   and   limsup ⟨x/|x|, -∇U/|∇U|⟩ < 0      as r → ∞.

    The growth along a ray is the exponent p in ⟨u, ∇U⟩ ~ r^p over the last decade of radii: p = 0
    for a piecewise linear network, 1 for a Gaussian, 3 for x⁴, -1 for a Student t. H1 fails if
    ⟨u, ∇U⟩ ≤ 0, p ≤ 0.05 or the cosine ≤ 0 on any ray.

    radii   increasing, in the units of x. The largest should lie where the tails dominate: a
            Gaussian reference of standard deviation s dominates a network of slope a only beyond
            a·s².
    dtype   of the points; by default that of the network's weights, float64 for a function

    Cost: one gradient per ray and radius. Raises StanleyError where ∇U is not finite. Not true:
    that passing proves H1 or that failing refutes it: radii are finite, growth slower than r^0.05
    counts as none, and in high dimension random rays miss the axes and every other narrow cone.
    STANLEY (draft), H1, eq. (9).
    """
    potential = as_potential(potential)
    generator = as_generator(generator, seed, "h1_on_rays", device=device_of(potential))
    require(
        num_rays >= 1, f"h1_on_rays: num_rays is {num_rays}, but must be at least 1; 64 is usual"
    )
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
        at,
        values,
        torch.stack(cosine),
        exponent,
        *judge_growth(at, values, cosine[-1], exponent, question(potential)),
    )


def growth(radii: Tensor, radial: Tensor) -> Tensor:
    """The exponent p of each ray: (num_rays,).

    It compares the outermost radius with the last one that is at least a decade smaller, or with
    the first if there is none.
    """
    inner = int((radii <= radii[-1] / 10 * (1 + 1e-9)).sum().clamp(min=1)) - 1
    first, last = radial[inner], radial[-1]
    return torch.where(
        (first > 0) & (last > 0), (last / first).log() / (radii[-1] / radii[inner]).log(), math.nan
    )


def judge_growth(
    radii: Tensor, radial: Tensor, cosine: Tensor, exponent: Tensor, asked: str
) -> tuple[bool, str]:
    far, last, n = float(radii[-1]), radial[-1], radial.shape[1]
    spread = (
        f"radial derivative {float(last.min()):.3g} to {float(last.max()):.3g} at radius {far:g}"
    )
    inward = int((last <= 0).sum())
    if 2 * inward > n:
        return (
            False,
            f"the potential falls outwards on {inward} of {n} rays ({spread}), so exp(-U) cannot be"
            f" normalised and H1 fails; {asked}",
        )
    if inward:
        return (
            False,
            f"the potential does not grow outwards on {inward} of {n} rays ({spread}), so H1 fails",
        )
    turned = int(exponent.isnan().sum())
    if turned:
        return (
            False,
            (
                f"on {turned} of {n} rays the potential still fell a decade before ({spread}), so"
                " they have no exponent yet; use larger radii"
            ),
        )
    least = float(exponent.min())
    if least < -LEAST_EXPONENT:
        return (
            False,
            (
                f"the radial derivative falls like r^{least:.2f} ({spread}): the potential grows"
                " less than linearly, so H1 fails"
            ),
        )
    if least <= LEAST_EXPONENT:
        return (
            False,
            (
                f"the radial derivative levels off (r^p, p = {least:.3f} on the flattest ray;"
                f" {spread}): the potential grows at most linearly, so H1 fails; add a Gaussian"
                " reference |x|²/(2s²)"
            ),
        )
    lowest = float(cosine.min())
    if lowest <= 0:
        return (
            False,
            (
                f"the gradient points away from the ray: the smallest cosine is {lowest:.3g} at"
                f" radius {far:g}, so H1 fails"
            ),
        )
    return (
        True,
        (
            f"the radial derivative grows like r^p, p = {least:.2f} to {float(exponent.max()):.2f}"
            f" ({spread}), and the cosine is at least {lowest:.3g}: the potential grows faster than"
            f" linearly on all {n} rays, and nothing contradicts H1"
        ),
    )


def dtype_of(potential: Energy, generator: torch.Generator) -> torch.dtype:
    """The dtype of the weights of the network in a potential; float64 if there is none."""
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
    """∇U at the points of one radius. Raises StanleyError where it is not finite."""
    grad = evaluate(potential, x).grad
    bad = int((~finite_chains(grad)).sum())
    require(
        bad == 0,
        f"∇U is not finite on {bad} of {len(x)} rays at radius {radius:g} in {x.dtype}; use smaller"
        " radii or float64",
    )
    return grad

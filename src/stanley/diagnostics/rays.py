"""Points on random rays from the origin, at which conditions on the tails are checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from stanley.errors import require
from stanley.streams import as_generator

RADII = tuple(10 ** (k / 3) for k in range(13))  # 1 … 10⁴, three a decade


def points_on_rays(
    event_shape: Sequence[int],
    radii: Sequence[float] = RADII,
    *,
    generator: torch.Generator | None = None,
    seed: int | None = None,
    num_rays: int = 4,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Points ru at all radii r on the same random rays |u| = 1: (len(radii)·num_rays, *event).

    The points are sorted by radius, and lie on the generator's device. Raises StanleyError for
    radii that are not positive, increasing and finite.
    """
    generator = as_generator(generator, seed, "points_on_rays")
    require(
        num_rays >= 1, f"points_on_rays: num_rays is {num_rays}, but must be at least 1; 4 is usual"
    )
    check_radii(radii, least=1)
    rays = directions(event_shape, num_rays, generator, dtype)
    return torch.cat([r * rays for r in radii])


def directions(
    event_shape: Sequence[int], number: int, generator: torch.Generator, dtype: torch.dtype
) -> Tensor:
    """Points that are uniform on the unit sphere: (number, *event), on the generator's device."""
    require(
        len(event_shape) >= 1 and all(size >= 1 for size in event_shape),
        f"event_shape is {tuple(event_shape)}, but must be the shape of one point, such as (2,) or"
        " (3, 32, 32)",
    )
    ray = torch.randn(
        number, *event_shape, generator=generator, dtype=dtype, device=generator.device
    )
    length = torch.linalg.vector_norm(ray.flatten(1), dim=1)
    return ray / length.view(-1, *[1] * len(event_shape))


def check_radii(radii: Sequence[float], least: int) -> None:
    increasing = all(a < b for a, b in pairwise(radii))
    require(
        len(radii) >= least and increasing and radii[0] > 0 and math.isfinite(radii[-1]),
        f"radii are {[float(f'{r:.4g}') for r in radii]}, but must be at least {least} numbers that"
        " are positive, increasing and finite",
    )

"""Points on random rays from the origin, where the theorems on tails are looked at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from stanley.errors import require

RADII = tuple(10 ** (k / 3) for k in range(13))  # 1 … 10⁴, three a decade


def points_on_rays(
    event_shape: Sequence[int],
    radii: Sequence[float] = RADII,
    *,
    generator: torch.Generator,
    num_rays: int = 4,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """ru for each of the radii r on the same random unit rays u: (len(radii)·num_rays, *event)."""
    require(
        num_rays >= 1, f"points_on_rays: num_rays is {num_rays}, must be at least 1; 4 is usual"
    )
    check_radii(radii, least=1)
    rays = directions(event_shape, num_rays, generator, dtype)
    return torch.cat([r * rays for r in radii])


def directions(
    event_shape: Sequence[int], number: int, generator: torch.Generator, dtype: torch.dtype
) -> Tensor:
    """Uniform on the unit sphere: (number, *event), on the generator's device."""
    require(
        len(event_shape) >= 1 and all(size >= 1 for size in event_shape),
        f"event_shape is {tuple(event_shape)}, must be the shape of one point such as (2,) or (3,"
        " 32, 32)",
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
        f"radii are {[float(f'{r:.4g}') for r in radii]}, must be at least {least} positive"
        " increasing finite numbers",
    )

"""Interpolation without latents: a path between two points that relaxes into the valleys of U."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stanley.device import widest_float
from stanley.errors import require
from stanley.samplers.base import evaluate, values
from stanley.types import Energy


@dataclass(frozen=True)
class Path:
    """P + 1 points from a to b, with U along the relaxed path and along the straight line it
    started from.
    """

    points: Tensor  # (P + 1, *event), evenly spread; the first is a and the last b, bit for bit
    energy: Tensor  # (P + 1,)
    straight: Tensor  # (P + 1,)
    moved: float  # mean |x_k' - x_k| per coordinate in the last step: 0 where the path has settled

    @property
    def barrier(self) -> float:
        """max U along the path less the higher end: what a chain would have to climb on this
        path.
        """
        return float(self.energy.max() - torch.maximum(self.energy[0], self.energy[-1]))

    @property
    def straight_barrier(self) -> float:
        return float(self.straight.max() - torch.maximum(self.straight[0], self.straight[-1]))


@torch.no_grad()
def string(
    potential: Energy, a: Tensor, b: Tensor, num_points: int, num_steps: int, step_size: float
) -> Path:
    """The simplified string method: from the straight line x_k = a + (k/P)·(b - a), k = 0..P,
    repeat

        1.  x_k ← x_k - (h/2)·∇U(x_k)                                for 0 < k < P; the ends stay
        2.  x_k ← the point at the share k/P of the length of the polygon x_0, …, x_P

    Between two minima it converges to a path along which ∇U is parallel to the path, up to the
    polygon's O(1/P): its highest point is a saddle. No noise, no spring constant, no latents. From
    a point that is no minimum it first goes downhill.
    Not true: that it finds the lowest path: it finds one that the straight line can be deformed
    into. h has a limit as in Langevin: too large a step makes the path jagged and U along it
    larger; a path that is not finite is an error. E, Ren & Vanden-Eijnden (2007), J. Chem. Phys.
    126, 164103.

    a, b         (*event)
    num_points   P + 1, ends included
    step_size    h, as a sampler's
    """
    require(
        a.shape == b.shape,
        f"the ends have shapes {tuple(a.shape)} and {tuple(b.shape)}, must be the same",
    )
    require(
        num_points >= 3,
        f"num_points is {num_points}, must be at least 3: two ends and one between them",
    )
    require(num_steps >= 0, f"num_steps is {num_steps}, must not be negative")
    require(step_size > 0, f"step_size is {step_size}, must be > 0; it is that of a sampler")
    require(
        bool((a != b).any()),
        "the two ends are the same point: there is nothing between them; give two",
    )
    share = torch.linspace(0, 1, num_points, dtype=a.dtype, device=a.device).view(
        -1, *[1] * a.dim()
    )
    x = torch.lerp(a.expand(num_points, *a.shape), b.expand(num_points, *b.shape), share)
    x[0], x[-1] = a, b
    straight, moved = values(potential, x), 0.0
    for step in range(num_steps):
        state = evaluate(potential, x)
        relaxed = x - step_size / 2 * state.grad
        relaxed[0], relaxed[-1] = a, b
        require(
            bool(relaxed.isfinite().all()),
            f"the path is not finite after step {step + 1}: step_size {step_size:.3g} is too large"
            " here; use a smaller",
        )
        new = equally_spaced(relaxed)
        moved, x = float((new - x).abs().mean()), new
    return Path(x, values(potential, x), straight, moved)


def equally_spaced(x: Tensor) -> Tensor:
    """Points at the shares 0, 1/P, …, 1 of the length of the polygon x (P + 1, *event);
    its ends are kept.
    """
    flat = x.flatten(1).to(widest_float(x.device))
    length = torch.cat([flat.new_zeros(1), (flat[1:] - flat[:-1]).norm(dim=1).cumsum(0)])
    wanted = torch.linspace(0, 1, len(x), dtype=length.dtype, device=x.device) * length[-1]
    right = torch.searchsorted(length, wanted).clamp(1, len(x) - 1)
    before, after = length[right - 1], length[right]
    # two points in one place: any share
    share = ((wanted - before) / (after - before)).nan_to_num(0.0)[:, None]
    new = torch.lerp(flat[right - 1], flat[right], share).to(x).reshape(x.shape)
    new[0], new[-1] = x[0], x[-1]
    return new

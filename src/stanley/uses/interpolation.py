"""Interpolation without latent variables: a path that relaxes into the valleys of U."""

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
    """The result of `string`: a relaxed path from a to b.

    points     P + 1 evenly spaced points, (P + 1, *event); the first is exactly a, the last b
    energy     U at these points, (P + 1,)
    straight   U along the straight line from which the path started, (P + 1,)
    moved      mean |x_k' - x_k| per coordinate in the last step; near 0 if the path has settled
    """

    points: Tensor
    energy: Tensor
    straight: Tensor
    moved: float

    @property
    def barrier(self) -> float:
        """max U along the path, minus U at its higher end."""
        return float(self.energy.max() - torch.maximum(self.energy[0], self.energy[-1]))

    @property
    def straight_barrier(self) -> float:
        """The barrier of the straight line."""
        return float(self.straight.max() - torch.maximum(self.straight[0], self.straight[-1]))


@torch.no_grad()
def string(
    potential: Energy, a: Tensor, b: Tensor, num_points: int, num_steps: int, step_size: float
) -> Path:
    """Interpolate between a and b by the simplified string method.

    From the straight line x_k = a + (k/P)·(b - a), k = 0 … P, repeat

        1.  x_k ← x_k - (h/2)·∇U(x_k) for 0 < k < P; the ends are fixed
        2.  x_k ← the point at the fraction k/P of the length of the polygon x_0, …, x_P

    a, b         (*event)
    num_points   P + 1 >= 3, including the ends
    step_size    h, as in Langevin. Too large a step makes the path jagged and U along it larger.

    Between two minima it converges to a path to which ∇U is parallel, up to O(1/P), so that its
    highest point is a saddle; from an end that is no minimum the path first goes downhill. There is
    no noise and no spring constant. Raises StanleyError for equal ends, and for a path that is not
    finite. Not true: that it finds the lowest path: it finds one into which the straight line can
    be deformed. E, Ren & Vanden-Eijnden (2007), J. Chem. Phys. 126, 164103.
    """
    require(
        a.shape == b.shape,
        f"the ends have shapes {tuple(a.shape)} and {tuple(b.shape)}, but both must be the same",
    )
    require(
        num_points >= 3,
        f"num_points is {num_points}, but must be at least 3: two ends and one between them",
    )
    require(num_steps >= 0, f"num_steps is {num_steps}, but must be at least 0")
    require(step_size > 0, f"step_size is {step_size}, but must be > 0; try that of a sampler")
    require(
        bool((a != b).any()),
        "the two ends are the same point, so there is nothing between them; give two points",
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
            f"the path is not finite after step {step + 1}, since step_size = {step_size:.3g} is"
            " too large; use a smaller one",
        )
        new = equally_spaced(relaxed)
        moved, x = float((new - x).abs().mean()), new
    return Path(x, values(potential, x), straight, moved)


def equally_spaced(x: Tensor) -> Tensor:
    """The points at the fractions 0, 1/P, …, 1 of the length of the polygon x (P + 1, *event)."""
    flat = x.flatten(1).to(widest_float(x.device))
    length = torch.cat([flat.new_zeros(1), (flat[1:] - flat[:-1]).norm(dim=1).cumsum(0)])
    wanted = torch.linspace(0, 1, len(x), dtype=length.dtype, device=x.device) * length[-1]
    right = torch.searchsorted(length, wanted).clamp(1, len(x) - 1)
    before, after = length[right - 1], length[right]
    # 0/0 for two equal points, between which any point will do
    share = ((wanted - before) / (after - before)).nan_to_num(0.0)[:, None]
    new = torch.lerp(flat[right - 1], flat[right], share).to(x).reshape(x.shape)
    new[0], new[-1] = x[0], x[-1]
    return new

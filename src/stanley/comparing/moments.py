"""What chains on a density are held to: two moments of every coordinate, and how far off they are.

Test functions  f = (y, y²) of every coordinate, y = x, or of named parameters their values. For the
                funnel y = (v, x_i e^{-v/2}), since rare draws carry the second moment of its x_i.
Squared error   b²(t) = max over f of (Ê_t f - E f)²/Var f, with Ê_t over all chains and the second
                half of the steps so far, (t/2, t]: squared bias while the start is remembered, or
                where the sampler has another law, and variance besides. Hoffman & Sountsov (2022)
                and Robnik et al. (2023) report the same of second moments, and the limit 0.01.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stanley.judging.coordinates import columns_of
from stanley.streams import stream
from stanley.targets import Funnel, StudentT, Target
from stanley.types import Energy

LIMIT = 0.01  # of b²: as accurate as 100 independent draws
DRAWS, AT_ONCE = 100_000, 20_000  # exact ones, for Var y² where it has no closed form here


@dataclass(frozen=True)
class Moments:
    """E f and Var f, (k,) in float64, and where they come from in words."""

    mean: Tensor
    variance: Tensor
    source: str

    def error(self, mean: Tensor) -> float:
        """b² of the means of f over some draws."""
        return float(((mean - self.mean) ** 2 / self.variance).max())

    def plain(self) -> dict[str, Any]:
        mean, variance = self.mean.tolist(), self.variance.tolist()
        return {"mean": mean, "variance": variance, "source": self.source}

    @classmethod
    def of(cls, plain: dict[str, Any]) -> Moments:
        mean, variance = (
            torch.tensor(plain[name], dtype=torch.float64) for name in ("mean", "variance")
        )
        return cls(mean, variance, plain["source"])


def functions(potential: Energy, x: Tensor) -> Tensor:
    """f at points (n, B, *event): (n, B, k) in float64."""
    y = columns_of(potential, x).double()
    if isinstance(potential, Funnel):
        v = y[..., :1]
        y = torch.cat([v, y[..., 1:] * (-v / 2).exp()], -1)
    return torch.cat([y, y**2], -1)


def exact_moments(potential: Energy) -> Moments | None:
    """Of a target of the library whose moments are known; None for any other density.

    E f is exact. So is Var y; Var y², which is only a unit, is from 100,000 exact draws but for the
    funnel and Student's t.
    """
    if isinstance(potential, Funnel):  # v and the others are independent normal numbers
        scale = torch.ones(potential.d, dtype=torch.float64)
        scale[0] = potential.std**2
        mean = torch.cat([torch.zeros_like(scale), scale])
        return Moments(mean, torch.cat([scale, 2 * scale**2]), "exact")
    known = isinstance(potential, Target) and potential.second_moment is not None
    if not known:
        return None
    assert isinstance(potential, Target)
    first, variance, second = potential.mean, potential.variance, potential.second_moment
    assert first is not None
    assert variance is not None
    assert second is not None
    if isinstance(potential, StudentT):
        nu, s = potential.dof, potential.scale
        fourth = torch.full_like(second, 3 * nu**2 * s**4 / ((nu - 2) * (nu - 4)))
    else:
        generator = stream(0, "fourth moments")
        parts = [potential.sample(AT_ONCE, generator) ** 4 for _ in range(DRAWS // AT_ONCE)]
        fourth = torch.stack([part.mean(0) for part in parts]).mean(0)
    spread = torch.cat([variance, fourth - second**2])
    return Moments(torch.cat([first, second]), spread, "exact")


def moments_of(draws: Tensor, potential: Energy, source: str) -> Moments:
    """Those of long exact chains (n, B, *event), as a reference."""
    f = functions(potential, draws).flatten(0, 1)
    return Moments(f.mean(0), f.var(0), source)

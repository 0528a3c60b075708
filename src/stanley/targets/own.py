"""A density of the user's own as a potential: a function of many points or of one, a log-density,
or a distribution of `torch.distributions`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from stanley.errors import StanleyError, require
from stanley.targets.base import Target
from stanley.targets.parameters import ParameterPotential, of_distribution
from stanley.targets.probing import for_many_points, probes, unchecked_distributions
from stanley.types import Energy, LogDensity


@dataclass(frozen=True)
class PerPoint:
    """A function of a single point, (*event) -> (), for many points at once, by `torch.vmap`."""

    function: Energy

    def __call__(self, x: Tensor) -> Tensor:  # (B, *event) -> (B,)
        with unchecked_distributions():
            return torch.vmap(self.function)(x)


def from_log_density(log_density: Energy | Distribution) -> LogDensity | ParameterPotential:
    """The potential U = -log p of a log-density, which may lack a constant.

    log_density  (B, *event) -> (B,), or a distribution of `torch.distributions`

    A function of a single point, (*event) -> (), is recognised by `draw` and by `--target`, which
    know the shape of a point; elsewhere wrap it in `targets.PerPoint`. A distribution whose support
    is not the whole space, such as Gamma or Dirichlet, becomes a potential of unconstrained
    coordinates with the Jacobian added, like one of `Parameters`, and its draws are called x.
    Raises StanleyError for what cannot be called, is a potential already, or is discrete.
    """
    if isinstance(log_density, Distribution):
        return of_distribution(log_density)
    require(
        callable(log_density),
        f"a log-density is a function (B, *event) -> (B,), but {type(log_density).__name__} was"
        " handed over",
    )
    require(
        not isinstance(log_density, LogDensity | ParameterPotential | Target),
        f"from_log_density was given a {type(log_density).__name__}, which is a potential already;"
        " use it as it is",
    )
    return LogDensity(log_density)


def potential_of(
    density: Any,
    event_shape: tuple[int, ...],
    *,
    name: str = "the density",
    std: float = 1.0,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Energy:
    """The density as a function of many points, (B, *event) -> (B,), tried on a few of N(0, std²I).

    It is taken as it is where it gives one number for each of B points, and through `PerPoint`
    where it gives one number for a single point. Raises StanleyError for one that does neither,
    that lets the value of one point depend on the others, or that fails.
    """

    def by_vmap() -> Energy:
        if isinstance(density, nn.Module):  # a network takes batches
            raise StanleyError(f"{name} is no function of a single point")
        if isinstance(density, LogDensity):
            return LogDensity(PerPoint(density.energy))
        return PerPoint(density)

    return for_many_points(density, by_vmap, probes(event_shape, std, dtype, device), name)

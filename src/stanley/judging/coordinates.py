"""The coordinates of a density by name, and the table of their draws."""

from __future__ import annotations

import torch
from torch import Tensor

from stanley.diagnostics.table import Summary, summary_by_name
from stanley.samplers.base import values
from stanley.targets.parameters import ParameterPotential, Parameters, entry_name
from stanley.types import Energy, layers

AT_ONCE = 4096  # points at which U is taken together


def parameters_of(potential: Energy) -> Parameters | None:
    """The named parameters of a density; None where it has none."""
    named = (u.parameters for u in layers(potential) if isinstance(u, ParameterPotential))
    return next(named, None)


def names_of(potential: Energy, event: tuple[int, ...]) -> tuple[str, ...]:
    """mu, theta[0], …, of named parameters; x[0], x[1], … of a density without."""
    parameters = parameters_of(potential)
    if parameters is not None:
        return tuple(parameters.names())
    index = torch.cartesian_prod(*map(torch.arange, event)).reshape(-1, len(event)).tolist()
    return tuple(entry_name("x", place) for place in index)


def columns_of(potential: Energy, points: Tensor) -> Tensor:
    """The named coordinates, (n, B, k), of points (n, B, *event): constrained where there are
    constraints.
    """
    parameters = parameters_of(potential)
    if parameters is None:
        return points.flatten(2)
    return parameters.columns(parameters.constrain(points))


def values_of(potential: Energy, points: Tensor) -> dict[str, Tensor]:
    """The draws by name, (chains, draws, *shape) each, of points (draws, chains, *event)."""
    parameters, z = parameters_of(potential), points.movedim(0, 1)
    return {"x": z} if parameters is None else parameters.constrain(z)


def potential_at(potential: Energy, points: Tensor) -> Tensor:
    """U at points (n, B, *event): (n, B)."""
    return values(potential, points.flatten(0, 1), AT_ONCE).view(points.shape[:2])


def table_of(potential: Energy, points: Tensor, u: Tensor) -> Summary:
    """The table of every named coordinate, and of U as its last row."""
    names = (*names_of(potential, tuple(points.shape[2:])), "U")
    return summary_by_name(
        torch.cat([columns_of(potential, points), u[..., None].to(points)], -1), names
    )

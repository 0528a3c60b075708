"""Find the density that a name stands for: one of the library's targets, or a user's function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from stanley import own_code
from stanley.errors import did_you_mean, require
from stanley.targets import Target, named
from stanley.targets.named import TARGETS
from stanley.targets.own import from_log_density, potential_of
from stanley.types import Energy, event_shape_of

DType = Literal["float32", "float64"]


@dataclass(frozen=True)
class Density:
    """A potential U, the shape of its points, and the law N(0, s²I) from which chains start."""

    name: str
    potential: Energy
    event_shape: tuple[int, ...]
    start_std: float  # s
    dtype: torch.dtype
    device: torch.device

    def initial(self, n: int, generator: torch.Generator) -> Tensor:
        """Return n independent starting points (n, *event)."""
        noise = torch.randn(
            n, *self.event_shape, generator=generator, dtype=self.dtype, device=self.device
        )
        return self.start_std * noise


def find(
    name: str,
    *,
    shape: tuple[int, ...] | None = None,
    start_std: float = 1.0,
    dtype: DType | None = None,
    device: torch.device | str = "cpu",
    log_density: bool = False,
) -> Density:
    """Return the density that `name` stands for.

    name       a name of `stanley.targets.named`, or `module:function` or `file.py:function`. The
               latter is imported at once, and may be anything that is called as a potential U,
               (B, *event) -> (B,) or (*event) -> (), with p ∝ exp(-U), or a distribution of torch
    shape      shape of one point; not needed for a named target, nor for a function with an
               attribute `event_shape`
    start_std  s > 0, standard deviation of the starting points; R̂ is more sensitive when they are
               spread more widely than the density
    dtype      dtype of the points; by default that of a module's weights, else float64
    log_density   whether the function is log p in place of U

    The function is tried on a few starting points. Raises StanleyError for an unknown name, a
    module or function that cannot be imported, a missing or invalid shape, a function whose values
    are not one number per point, and any error that the function itself raises.
    """
    require(
        start_std > 0,
        f"start_std is {start_std}, but must be > 0: the standard deviation of the chains' starts",
    )
    place, law = torch.device(device), False
    if ":" in name:
        potential = imported(name)
        law = isinstance(potential, Distribution)
        potential = from_log_density(potential) if law else potential
        event = shape or event_shape_of(potential)
        require(
            event is not None,
            f"{name} has no attribute event_shape, so the shape of one point is not known; "
            "give it, for example --shape 10 or --shape 3,32,32",
        )
    else:
        require(
            not name.endswith(".py"), f"target {name!r} names no function; give {name}:FUNCTION"
        )
        known = [*TARGETS, "module:function"]
        require(name in TARGETS, f"unknown target {name!r}: {did_you_mean(name, known)}")
        require(
            not log_density,
            f"target {name!r} is a potential of the library, not a log-density; leave out"
            " --log-density",
        )
        require(
            shape is None,
            f"shape is {shape}, but target {name!r} has a shape of its own; leave it out",
        )
        potential = named(name)
        event = potential.event_shape
    if isinstance(potential, nn.Module | Target):
        potential = potential.to(place)
    if isinstance(potential, nn.Module):
        potential = potential.eval().requires_grad_(False)
    weight = next(potential.parameters(), None) if isinstance(potential, nn.Module) else None
    kind = getattr(torch, dtype) if dtype else torch.float64 if weight is None else weight.dtype
    if log_density and not law:
        potential = from_log_density(potential)
    shape = checked_shape(event)
    potential = potential_of(potential, shape, name=name, std=start_std, dtype=kind, device=place)
    return Density(name, potential, shape, start_std, kind, place)


def imported(name: str) -> Any:
    """The potential that `module:function` or `path/file.py:function` names."""
    found = own_code.imported(name)
    what = f"no function but {type(found).__name__}"
    if isinstance(found, type):
        what = f"the class {found.__name__}, make an instance of it"
    require(
        (callable(found) and not isinstance(found, type)) or isinstance(found, Distribution),
        f"{name} is {what}; a target is called as U: (B, *event) -> (B,)",
    )
    return found


def checked_shape(shape: Any) -> tuple[int, ...]:
    sizes = tuple(shape) if isinstance(shape, list | tuple) else (shape,)  # torch.Size is a tuple
    require(
        len(sizes) >= 1 and all(isinstance(n, int) and n >= 1 for n in sizes),
        f"shape is {shape}, but must be the shape of one point in whole numbers >= 1, such as 10"
        " or 3,32,32",
    )
    return sizes

"""Find the density that a name stands for: one of the library's targets, or a user's function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from stanley import own_code
from stanley.errors import StanleyError, did_you_mean, in_one_line, require
from stanley.streams import stream
from stanley.targets import Target, named
from stanley.targets.named import TARGETS
from stanley.types import Energy

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
) -> Density:
    """Return the density that `name` stands for.

    name       a name of `stanley.targets.named`, or `module:function` or `file.py:function`. The
               latter is imported at once, and may be anything that is called as a potential U,
               (B, *event) -> (B,), with p ∝ exp(-U).
    shape      shape of one point; not needed for a named target, nor for a function with an
               attribute `event_shape`
    start_std  s > 0, standard deviation of the starting points; R̂ is more sensitive when they are
               spread more widely than the density
    dtype      dtype of the points; by default that of a module's weights, else float64

    The function is tried on two starting points. Raises StanleyError for an unknown name, a
    module or function that cannot be imported, a missing or invalid shape, a function whose values
    are not one number per point, and any error that the function itself raises.
    """
    require(
        start_std > 0,
        f"start_std is {start_std}, but must be > 0: the standard deviation of the chains' starts",
    )
    place = torch.device(device)
    if ":" in name:
        potential = imported(name)
        event = shape or getattr(potential, "event_shape", None)
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
    density = Density(name, potential, checked_shape(event), start_std, kind, place)
    probe(density)
    return density


def imported(name: str) -> Callable[..., Any]:
    """The potential that `module:function` or `path/file.py:function` names."""
    found = own_code.imported(name)
    what = f"no function but {type(found).__name__}"
    if isinstance(found, type):
        what = f"the class {found.__name__}, make an instance of it"
    require(
        callable(found) and not isinstance(found, type),
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


def probe(density: Density) -> None:
    """Check that U gives one number per point, and that it does not depend on the other points."""
    x = density.initial(2, stream(0, "probe", device=density.device))
    try:
        u, alone = density.potential(x.clone()), density.potential(x[:1].clone())
    except StanleyError:
        raise
    except (Exception, SystemExit) as error:  # whatever a user's function does
        raise StanleyError(
            f"{density.name} failed on points of shape {tuple(x.shape)}, {x.dtype}:"
            f" {in_one_line(error)}"
        ) from error
    require(
        isinstance(u, Tensor) and u.shape == (2,),
        f"{density.name} returned"
        f" {f'shape {tuple(u.shape)}' if isinstance(u, Tensor) else type(u).__name__} for points of"
        f" shape {tuple(x.shape)}, but must be (2,), one number per point",
    )
    require(
        isinstance(alone, Tensor) and alone.shape == (1,),
        f"{density.name} returned {tuple(u.shape)} for two points and something else for one; must"
        f" be one number each",
    )
    require(
        u.dtype == x.dtype and u.device == x.device,
        f"{density.name} returned {u.dtype} for points of {x.dtype}; compute U in the type of its"
        f" points",
    )
    same = torch.isclose(u[:1], alone, rtol=1e-3, atol=1e-5, equal_nan=True)
    require(
        same.all(),
        f"{density.name} gives {float(u[0]):.6g} for a point among others and {float(alone):.6g}"
        " for the same point alone, but U of a point must not depend on the other points; use no"
        " means or norms over the batch",
    )

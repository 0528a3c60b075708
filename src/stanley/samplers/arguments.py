"""What people have, as what chains need: a sampler's name, a distribution, an array, a seed."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from stanley.errors import StanleyError, require
from stanley.samplers.base import Sampler
from stanley.samplers.named import sampler_named
from stanley.samplers.noise import Generators
from stanley.streams import as_generator
from stanley.targets.own import from_log_density
from stanley.targets.parameters import Parameters
from stanley.types import Energy, networks_in

FIRST_STEP = 0.1  # the step size of a sampler of which only the name is given

#: Points as people have them: a tensor, or what numpy makes an array of.
Points = Tensor | np.ndarray | Sequence[Any]


class Request(NamedTuple):
    """Chains that can run: what was given for them, each as what it stands for."""

    sampler: Sampler
    potential: Energy
    x0: Tensor  # (B, *event)
    generator: torch.Generator  # or the `noise.Generators` of runs side by side


def as_request(
    what: str, sampler: Any, potential: Any, x0: Any, generator: Any, seed: Any
) -> Request:
    """The arguments of the function that is called `what`; see `as_sampler`, `as_potential`,
    `as_positions` and `streams.as_generator`, which raise StanleyError. The generators of several
    runs side by side (`noise.Generators`) are taken as they are."""
    sampler, potential = as_sampler(sampler), as_potential(potential)
    x0 = as_positions(x0, potential)
    if not isinstance(generator, Generators):
        generator = as_generator(generator, seed, what, device=x0.device)
    return Request(sampler, potential, x0, cast(torch.Generator, generator))


def as_sampler(sampler: Any) -> Sampler:
    """A sampler as it is; of a name such as 'mala' that sampler at step size 0.1, where `adapt`
    begins its search.

    Raises StanleyError for an unknown name, a class, and what is no sampler.
    """
    if isinstance(sampler, str):
        return sampler_named(sampler, FIRST_STEP)
    if isinstance(sampler, type):
        raise StanleyError(
            f"sampler is the class {sampler.__name__}; give one of it, such as"
            f" {sampler.__name__}({FIRST_STEP:g})"
        )
    require(
        callable(getattr(sampler, "init", None)) and callable(getattr(sampler, "step", None)),
        f"sampler is of type {type(sampler).__name__}, which has no init and step: give a sampler"
        " of stanley.samplers, the name of one, such as 'mala', or one like"
        " examples/own_sampler.py",
    )
    return sampler


def as_potential(potential: Any) -> Energy:
    """A potential as it is, and the one of a distribution of torch.

    Raises StanleyError for parameters without a density and for what cannot be called.
    """
    if isinstance(potential, Distribution):
        return from_log_density(potential)
    require(
        not isinstance(potential, Parameters),
        "these are Parameters without a density; use parameters.potential(log_density)",
    )
    if not callable(potential):
        raise StanleyError(
            f"a potential is called, U: (B, *event) -> (B,), but {potential!r} cannot be"
        )
    return cast(Energy, potential)


def as_positions(points: Any, potential: Any = None, name: str = "x0") -> Tensor:
    """A tensor as it is; of an array, or of lists of numbers, the tensor with the type and on the
    device of the weights of the potential, if it has any, else float64, or float32 of an array of
    that type.

    Raises StanleyError for what is not an array of numbers.
    """
    if isinstance(points, Tensor):
        return points
    try:
        rows = isinstance(points, list | tuple) and all(isinstance(row, Tensor) for row in points)
        if rows and len(points):
            return torch.stack(list(points))
        array = np.asarray(points)
    except (ValueError, TypeError, RuntimeError):
        raise StanleyError(
            f"{name} is a {type(points).__name__} whose rows differ in their shape or are no"
            " numbers; must be (chains, *event)"
        ) from None
    require(
        array.dtype.kind in "fiu",
        f"{name} is {type(points).__name__} of {array.dtype}, must be numbers, (chains, *event)",
    )
    like = weight_of(potential)
    if like is not None:
        return torch.tensor(array.astype(np.float64), dtype=like.dtype, device=like.device)
    return torch.tensor(array if array.dtype == np.float32 else array.astype(np.float64))


def weight_of(potential: Any) -> Tensor | None:
    """A weight of the potential, which knows the type and the device of its networks."""
    weights = (w for net in networks_in(potential) for w in net.parameters())
    return next((w for w in weights if w.is_floating_point()), None)


def device_of(potential: Any) -> torch.device:
    """Where the networks of a potential are; the CPU where it has none."""
    weight = weight_of(potential)
    return torch.device("cpu") if weight is None else weight.device


def is_whole(number: Any) -> bool:
    """Whether it is a whole number, also one of numpy."""
    try:
        return operator.index(number) == number
    except TypeError:
        return False

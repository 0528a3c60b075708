"""Whether a function of the user's own is one of many points or of one, tried on a few points."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from stanley.errors import StanleyError, in_one_line, require
from stanley.streams import stream
from stanley.types import Energy

E = TypeVar("E", bound=Energy)


def probes(
    event_shape: tuple[int, ...],
    std: float = 1.0,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    unlike: tuple[int, ...] = (),
) -> Tensor:
    """A few points of N(0, std²I), as many as no dimension of a point, or of `unlike`, is long."""
    num = next(n for n in range(2, 99) if n not in (*event_shape, *unlike))
    generator = stream(0, "probe", device=device)
    return std * torch.randn(num, *event_shape, generator=generator, dtype=dtype, device=device)


def for_many_points(
    many: E, by_vmap: Callable[[], E], x: Tensor, name: str, *, one_first: bool = False
) -> E:
    """`many` if it gives one number for each of the points x, else `by_vmap()` if that does.

    one_first  take `by_vmap()` too where by `many` the value of a point depends on the others, as
               that of a function with a plain `.sum()` does. Else that is refused.

    Raises StanleyError where neither does, and for whatever a user's function raises.
    """
    u, error = attempt(many, x)
    if not good(u, x):
        single, by_one = attempt_one(by_vmap, x)
        if single is not None:
            check_type(single(x), x, name)
            return single
        message = complaint(u, error, x, name)
        if by_one is not None and "vmap" in str(by_one):
            message += (
                f"; as a function of a single point torch.vmap refused it: {in_one_line(by_one)}"
            )
        raise StanleyError(message) from error
    assert isinstance(u, Tensor)
    check_type(u, x, name)
    alone, error = attempt(many, x[:1])
    same = good(alone, x[:1]) and bool(
        torch.isclose(u[:1], alone, rtol=1e-3, atol=1e-5, equal_nan=True)  # type: ignore[arg-type]
    )
    if same:
        return many
    if one_first:
        single, _ = attempt_one(by_vmap, x)
        if single is not None:
            return single
    require(
        good(alone, x[:1]),
        f"{name} returned {tuple(u.shape)} for {len(x)} points, but for one point"
        f" {complaint(alone, error, x[:1], 'it')}",
    )
    assert isinstance(alone, Tensor)
    raise StanleyError(
        f"{name} gives {float(u[0]):.6g} for a point among others and {float(alone):.6g} for the"
        " same point alone, but U of a point must not depend on the other points; use no means or"
        " norms over the batch, or wrap a function of a single point in stanley.targets.PerPoint"
    )


def attempt_one(by_vmap: Callable[[], E], x: Tensor) -> tuple[E | None, BaseException | None]:
    """The function through vmap if it gives one number for each point, else what it raised."""
    try:
        single = by_vmap()
        u, error = attempt(single, x)
    except StanleyError as refused:
        return None, refused
    return (single if good(u, x) else None), error


def attempt(function: Energy, x: Tensor) -> tuple[object, BaseException | None]:
    """What the function gives, or what it raised."""
    try:
        with torch.no_grad():
            return function(x.clone()), None
    except StanleyError:
        raise
    except (Exception, SystemExit) as error:  # whatever a user's function does
        return None, error


def good(u: object, x: Tensor) -> bool:
    return isinstance(u, Tensor) and u.shape == x.shape[:1]


def complaint(u: object, error: BaseException | None, x: Tensor, name: str) -> str:
    if error is not None:
        return f"{name} failed on points of shape {tuple(x.shape)}, {x.dtype}: {in_one_line(error)}"
    what = f"shape {tuple(u.shape)}" if isinstance(u, Tensor) else type(u).__name__
    return (
        f"{name} returned {what} for points of shape {tuple(x.shape)}, but must be ({len(x)},),"
        " one number per point"
    )


def check_type(u: object, x: Tensor, name: str) -> None:
    assert isinstance(u, Tensor)
    require(
        u.dtype == x.dtype and u.device == x.device,
        f"{name} returned {u.dtype} on {u.device} for points of {x.dtype} on {x.device}; compute U"
        " in the type of its points",
    )


@contextmanager
def unchecked_distributions() -> Iterator[None]:
    """Without the checks of arguments in `torch.distributions`, which `torch.vmap` cannot take."""
    before = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)

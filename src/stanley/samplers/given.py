"""Samplers of the user's own, as files hold them: by their class or name, and their arguments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from stanley.config import differences, to_dict
from stanley.errors import StanleyError, require
from stanley.own_code import GivenInPython, NamedByUser, OwnPart, called, value_of
from stanley.samplers.traits import Traits, innermost, is_adjusted, wrapped_by

if TYPE_CHECKING:
    from stanley.samplers.base import Sampler

EXAMPLE = "see examples/own_sampler.py"


class NotHandedOver(OwnPart):
    """What stands in a configuration for a sampler of the user's own until that is handed over.

    It knows what was written of it, and moves no chain.
    """

    arguments: dict[str, Any]
    adjusted: bool

    @property
    def step_size(self) -> float:
        return float(self.arguments.get("step_size", float("nan")))

    @property
    def traits(self) -> Traits:
        return Traits(adjusted=self.adjusted)

    def init(self, potential: Any, x: Any) -> Any:
        raise StanleyError(self.why_not)

    def step(self, potential: Any, state: Any, generator: Any) -> Any:
        raise StanleyError(self.why_not)

    def propose(self, potential: Any, state: Any, generator: Any) -> Any:
        raise StanleyError(self.why_not)

    def log_ratio(self, potential: Any, state: Any, candidate: Any, move: Any) -> Any:
        raise StanleyError(self.why_not)


@dataclass(frozen=True)
class GivenSampler(GivenInPython, NotHandedOver):
    """A sampler that was an object in Python."""

    class_: str
    arguments: dict[str, Any] = field(default_factory=dict)
    adjusted: bool = False
    kind: Literal["given"] = "given"

    part: ClassVar[str] = "sampler"
    handed: ClassVar[str] = "sampler={}"


@dataclass(frozen=True)
class NamedSampler(NamedByUser, NotHandedOver):
    """A sampler that was named on the command line, `module:Name` or `file.py:Name`."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    checksum: str | None = None
    adjusted: bool = False
    kind: Literal["by-name"] = "by-name"

    part: ClassVar[str] = "sampler"
    handed: ClassVar[str] = "sampler={}"


def is_own(sampler: object) -> bool:
    """Whether its class is from outside the package."""
    return type(sampler).__module__.partition(".")[0] != "stanley"


def described(sampler: Any) -> Any:
    """The sampler as a configuration holds it: one of the user's own by its class and arguments,
    also inside another.
    """
    if is_own(sampler):
        return GivenSampler(type(sampler).__qualname__, arguments_of(sampler), is_adjusted(sampler))
    inner = wrapped_by(sampler)
    if inner is None:
        return sampler
    inside = described(inner[1])
    return sampler if inside is inner[1] else replace(sampler, **{inner[0]: inside})


def plain(sampler: Sampler) -> dict[str, Any]:
    """The sampler as JSON-ready values."""
    return to_dict(described(sampler))


def arguments_of(sampler: Any) -> dict[str, Any]:
    """The fields that its class is called with, as JSON-ready values."""
    own = {f.name: getattr(sampler, f.name) for f in fields(sampler) if f.init}
    return {name: value_of(value) for name, value in own.items() if name != "kind"}


def require_sampler(sampler: Any) -> None:
    """Raise StanleyError for an object that is no sampler: see `samplers.base`."""
    name, whole = type(sampler).__name__, sampler
    good = is_dataclass(sampler) and not isinstance(sampler, type)
    require(good, f"sampler {name} is no frozen dataclass, which a sampler must be; {EXAMPLE}")
    for method in ("init", "step"):
        require(
            callable(getattr(sampler, method, None)),
            f"sampler {name} has no method {method}, which a sampler must have; {EXAMPLE}",
        )
    inside: Any = innermost(whole)
    require(
        "step_size" in {f.name for f in fields(inside) if f.init},
        f"sampler {type(inside).__name__} has no field step_size, which training changes; "
        f"{EXAMPLE}",
    )
    size = whole.step_size
    require(
        isinstance(size, float | int) and 0 < size < float("inf"),
        f"sampler {name} has step_size {size!r}, but must have a number > 0",
    )


def own_inside(sampler: Any) -> GivenSampler | NamedSampler | None:
    """What stands for a sampler of the user's own in it, if anything does."""
    inside = innermost(sampler)
    return inside if isinstance(inside, GivenSampler | NamedSampler) else None


def with_own(sampler: Any, own: Any) -> Any:
    """The sampler of a configuration with the user's own in place of what stands for it.

    `own` is a sampler, which must be the one that was written down, or its class, which is called
    with the arguments that were. One that wraps others may be handed over whole.
    """
    record = own_inside(sampler)
    if record is None:
        require(
            own is None,
            "sampler= is handed over, but the run was trained with one of the library, "
            f"{getattr(sampler, 'kind', '?')!r}; leave it out",
        )
        return sampler
    if own is None:
        raise StanleyError(record.why_not)
    if isinstance(own, type) or not hasattr(own, "init"):
        own = made(record, own)
    elif not is_own(own):
        own = innermost(own)
    require_sampler(own)
    here = described(own)
    same = {"class": record.called, "arguments": record.arguments}
    arguments = {name: here.arguments.get(name) for name in record.arguments}
    changed = differences(same, {"class": here.class_, "arguments": arguments})
    require(
        not changed,
        "the sampler that is handed over is not the one that was used ("
        + "; ".join(f"{n}: {a!r} → {b!r}" for n, (a, b) in changed.items())
        + "); hand over that one, or its class",
    )
    return inside_out(sampler, own)


def made(record: GivenSampler | NamedSampler, function: Callable[..., Any]) -> Any:
    return called(record.called, function, record.arguments)


def inside_out(sampler: Any, own: Any) -> Any:
    inner = wrapped_by(sampler)
    return own if inner is None else replace(sampler, **{inner[0]: inside_out(inner[1], own)})

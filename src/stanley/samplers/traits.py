"""Samplers that hold another: what is asked of the one inside, and the same sampler with another number in it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

from torch import Tensor

from stanley.samplers.base import Sampler
from stanley.samplers.scale import Quantile

S = TypeVar("S", bound=Sampler)


def adjustable_step(sampler: Sampler) -> bool:
    """Whether the acceptance rate says anything about the step size."""
    return getattr(sampler, "adjusted", False)


def target_of(sampler: Sampler) -> float:
    """The acceptance rate that is best, by theory, for this kind of move."""
    return getattr(sampler, "target_acceptance", 0.574)


def with_step_size(sampler: S, step_size: float) -> S:
    """The same sampler with another h, also inside a sampler that wraps another."""
    return replace_inside(sampler, step_size=step_size)


def with_threshold(sampler: S, threshold: Tensor | None) -> S:
    """The same sampler with its threshold a number."""
    assert threshold is not None
    return replace_inside(sampler, threshold=float(threshold))


def has_quantile(sampler: Sampler) -> bool:
    """Whether the threshold depends on where the chains are when a run starts."""
    inner = wrapped_by(sampler)
    return isinstance(getattr(sampler, "threshold", None), Quantile) if inner is None else has_quantile(inner[1])


def replace_inside(sampler: Any, **fields: float) -> Any:
    inner = wrapped_by(sampler)
    return replace(sampler, **(fields if inner is None else {inner[0]: replace_inside(inner[1], **fields)}))


def wrapped_by(sampler: Sampler) -> tuple[str, Sampler] | None:
    """The field that holds another sampler, and that sampler."""
    return next(((name, getattr(sampler, name)) for name in ("proposal", "sampler") if hasattr(sampler, name)), None)

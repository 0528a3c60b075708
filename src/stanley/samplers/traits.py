"""What a sampler states of itself besides its step, and what holds of one that wraps another."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor

from stanley.samplers.scale import Quantile

if TYPE_CHECKING:
    from stanley.samplers.base import Sampler

S = TypeVar("S", bound="Sampler")


@dataclass(frozen=True)
class Traits:
    """Stated by a sampler as its attribute `traits`, never part of a configuration.

    The defaults are those of one Langevin-type move: what holds of a sampler that states nothing.
    A test holds every sampler of the library to what it states.
    """

    #: The step ends in a Metropolis test, so that exp(-U) is left invariant.
    adjusted: bool = False
    #: The acceptance rate to aim at; 0.574 is the optimum of Langevin-type moves, by
    #: Roberts & Rosenthal (1998).
    target_acceptance: float = 0.574
    #: The step size is a time step, √h of a Langevin sampler, not the variance h of the noise.
    step_is_time: bool = False
    #: What the step size is, for the message that refuses one.
    step_size_hint: str = "it is the variance of the noise per step"
    #: The step draws no random number.
    deterministic: bool = False
    #: The law of one chain's step does not depend on where the other chains are.
    independent_chains: bool = True
    #: A step takes one gradient, at its end, and does not use it itself: where no step follows, it
    #: may be left out.
    gradient_is_for_next: bool = False

    # Cost per chain. A Hessian-vector product counts as two gradients.
    #: Gradients of one step; their mean where steps differ, which then count in `StepInfo`.
    gradients: int = 1
    #: Evaluations of U without its gradient, in one step.
    potentials: int = 0
    init_gradients: int = 1
    init_potentials: int = 0
    #: Gradients that `log_ratio` takes of its own.
    log_ratio_gradients: int = 0

    # Reasons, as the end of a sentence; None where nothing stands in the way.
    #: Why a step depends on more than where the chains are.
    not_markov: str | None = None
    #: Why the step is no function of tensors, which `execution` could compile or capture.
    not_traceable: str | None = None
    #: Why `Adjusted` cannot hold it.
    not_adjustable: str | None = None


def traits_of(sampler: Sampler) -> Traits:
    """What the sampler states; a wrapper states what becomes of the sampler inside."""
    return getattr(sampler, "traits", Traits())


def is_adjusted(sampler: Sampler) -> bool:
    """Whether the acceptance rate says anything about the step size."""
    return traits_of(sampler).adjusted


def why_not_adjustable(sampler: Sampler) -> str | None:
    """Why there is no Metropolis test for the sampler's moves; None where `Adjusted` makes one."""
    if not hasattr(sampler, "log_ratio"):
        return traits_of(sampler).not_adjustable or "it has no propose and log_ratio"
    return traits_of(sampler).not_adjustable


def leaves_out_last(sampler: Sampler) -> bool:
    """Whether the gradient at the end of the last step may be left out: what the class states whose
    step it is, since one that extends it may use that gradient.
    """
    of = {
        name: next(c for c in type(sampler).__mro__ if name in vars(c))
        for name in ("traits", "step", "propose")
        if hasattr(sampler, name)
    }
    return traits_of(sampler).gradient_is_for_next and len(set(of.values())) == 1


def with_step_size(sampler: S, step_size: float) -> S:
    """The same sampler with another h, also inside a sampler that wraps another."""
    return replace_inside(sampler, step_size=step_size)


def with_threshold(sampler: S, threshold: Tensor | None) -> S:
    """The same sampler with its threshold a number."""
    assert threshold is not None
    return replace_inside(sampler, threshold=float(threshold))


def has_quantile(sampler: Sampler) -> bool:
    """Whether the threshold depends on where the chains are when a run starts."""
    return isinstance(getattr(innermost(sampler), "threshold", None), Quantile)


def replace_inside(sampler: Any, **fields: float) -> Any:
    inner = wrapped_by(sampler)
    return replace(
        sampler, **(fields if inner is None else {inner[0]: replace_inside(inner[1], **fields)})
    )


def innermost(sampler: Sampler) -> Sampler:
    """The sampler that holds no other."""
    inner = wrapped_by(sampler)
    return sampler if inner is None else innermost(inner[1])


def wrapped_by(sampler: Sampler) -> tuple[str, Sampler] | None:
    """The field that holds another sampler, and that sampler."""
    return next(
        (
            (name, getattr(sampler, name))
            for name in ("proposal", "sampler")
            if hasattr(sampler, name)
        ),
        None,
    )

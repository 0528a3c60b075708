"""One sampler for the chains of S runs side by side, those of a run together, whose numbers may
differ: each number becomes a tensor with a row for each chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from stanley.config import kind_of
from stanley.samplers.adjusted import Adjusted
from stanley.samplers.base import Sampler
from stanley.samplers.clipped import ClippedLangevin
from stanley.samplers.jumps import MALAWithJumps, spread_of
from stanley.samplers.langevin import Langevin
from stanley.samplers.mala import MALA
from stanley.samplers.scale import Quantile, QuantileOfEach
from stanley.samplers.stanley import Stanley
from stanley.samplers.traits import innermost, replace_inside, traits_of

#: Samplers that compute with a number for each chain as with one for all.
KNOWN = (Langevin, Stanley, ClippedLangevin, MALA, MALAWithJumps)

#: Their numbers that may differ from run to run.
OWN_NUMBERS = ("step_size", "threshold", "jump_std", "jump_share")


def why_not_beside(sampler: Sampler, other: Sampler) -> str | None:
    """Why the chains of two runs cannot be moved as one; None where they can."""
    a, b = innermost(sampler), innermost(other)
    if not isinstance(a, KNOWN) or type(sampler) not in (*KNOWN, Adjusted):
        known = "langevin, stanley, clipped-langevin, their adjusted forms, mala, mala-with-jumps"
        return f"sampler {kind_of(sampler)!r} is none of {known}"
    if type(sampler) is not type(other) or type(a) is not type(b):
        return f"sampler is {kind_of(sampler)!r} in one and {kind_of(other)!r} in another"
    if not traits_of(sampler).independent_chains:
        return "sampler.refresh is 'lagged', by which chains look at each other"
    for name in (field.name for field in fields(a)):
        one, two = getattr(a, name), getattr(b, name)
        alike = type(one) is type(two) or {type(one), type(two)} == {int, float}
        if one != two and not (name in OWN_NUMBERS and alike):
            return f"sampler.{name} is {one!r} in one and {two!r} in another"
    return None


def side_by_side(samplers: Sequence[Sampler], step_sizes: Sequence[float], x: Tensor) -> Any:
    """The sampler of all chains x (S·B, *event), with the step sizes of the runs."""
    inner = [innermost(sampler) for sampler in samplers]
    chains = len(x) // len(inner)

    def rows(values: Sequence[Any], shape: tuple[int, ...]) -> Tensor:
        """A number for each chain, of the type of x: (S·B, *shape)."""
        column = x.new_tensor(values)
        return column.repeat_interleave(chains).view(-1, *[1] * len(shape)).expand(-1, *shape)

    event, ones = tuple(x.shape[1:]), (1,) * (x.dim() - 1)
    # in full: arithmetic with a number for each coordinate is faster than with one for each chain
    numbers: dict[str, Any] = {"step_size": rows(step_sizes, event).contiguous()}
    first = inner[0]
    thresholds = [getattr(sampler, "threshold", None) for sampler in inner]
    if isinstance(thresholds[0], Quantile):
        shares = [q.quantile for q in thresholds if q is not None]
        # in the type in which one share and a count of chains are multiplied
        numbers["threshold"] = QuantileOfEach(torch.tensor(shares, device=x.device))
    elif thresholds[0] is not None:
        numbers["threshold"] = rows(thresholds, ones)
    if isinstance(first, MALAWithJumps):
        numbers["jump_share"] = rows(
            [s.jump_share for s in inner if isinstance(s, MALAWithJumps)], ()
        )
        numbers["jump_std"] = rows(jump_stds(inner, x), event).contiguous()
    return replace_inside(samplers[0], **numbers)


def jump_stds(samplers: Sequence[Sampler], x: Tensor) -> list[float]:
    """The width of each run's jumps, from its own chains where that is asked for."""
    return [
        float(spread_of(chains)) if sampler.jump_std is None else sampler.jump_std
        for sampler, chains in zip(samplers, x.chunk(len(samplers)), strict=True)
        if isinstance(sampler, MALAWithJumps)
    ]

"""From a start to a chain that can be believed: find the step size where there is none,
and leave the start behind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stanley.batches import finite_chains
from stanley.errors import StanleyError, require
from stanley.samplers import Adjusted, ChainInfo, Sampler, adapt, run_chains
from stanley.samplers.adapt import Precondition
from stanley.samplers.base import values
from stanley.samplers.runaway import check_mass
from stanley.samplers.traits import has_quantile, is_adjusted, with_threshold
from stanley.types import Energy, in_float32


@dataclass(frozen=True)
class Ready:
    """A sampler without anything left open, chains that have left their start,
    and what was done to get there.
    """

    sampler: Sampler
    x: Tensor  # (B, *event)
    step_size_from: str  # in words: "adapt, 500 steps"

    def numbers(self, info: ChainInfo) -> dict[str, Any]:
        """What chains of this sampler came to, ready for JSON;
        null where nothing is ever rejected.
        """
        adjusted = is_adjusted(self.sampler)
        return {
            "step_size": float(self.sampler.step_size),
            "step_size_from": self.step_size_from,
            "acceptance": float(info.acceptance.mean()) if adjusted else None,
            "gradients_per_chain": info.num_gradients,
            "nonfinite": int(info.nonfinite.sum()),
        }


def warm_up(
    sampler: Sampler,
    potential: Energy,
    x0: Tensor,
    num_steps: int,
    *,
    generator: torch.Generator,
    tune: bool,
    precondition: Precondition | None = None,
) -> Ready:
    """`num_steps` steps from x0 whose draws are thrown away.

    tune=False  the sampler's own step size
    tune=True   `adapt` finds the step size, from the sampler's own as the first guess. A sampler
                that never rejects gets that of its adjusted twin, `Adjusted(sampler)`, and the
                threshold: the step at which a Metropolis test would accept at the usual rate. Its
                bias is then not gone; one that has no twin is refused.

    A quantile threshold becomes a number where the chains are in the end. With 0 steps the chains
    stay at x0. Raises StanleyError if a chain diverges: what follows could only start at finite
    points.
    """
    require(num_steps >= 0, f"warm-up is {num_steps} steps, must be at least 0")
    out = int((~values(potential, x0).isfinite()).sum())
    require(
        out == 0,
        f"U is not finite at {out} of {len(x0)} starts: no chain can leave such a point; change the"
        " width of the starts, or move the density so that they lie inside it",
    )
    twin = sampler if is_adjusted(sampler) or not tune else adjusted_twin(sampler)
    require(
        precondition is None or (tune and twin is sampler),
        f"precondition={precondition!r} is found along with the step size of an adjusted sampler;"
        " leave it out, or use an adjusted sampler and give no step size",
    )
    x, step_size_from = x0, f"the sampler itself, after {num_steps} steps of warm-up"
    if tune:
        require(
            num_steps >= 1,
            "warm-up is 0 steps, and the step size is to be found: give steps, or a step size",
        )
        exact = in_float32(potential)  # the twin's Metropolis test compares values of U
        found, x = adapt(twin, exact, x0, num_steps, generator=generator, precondition=precondition)
        check_mass(potential, x0, x)
        if twin is sampler:
            return Ready(found, x, f"adapt, {num_steps} steps")
        sampler = found.proposal  # type: ignore[attr-defined]  # Adjusted's
        step_size_from = (
            f"adapt of its adjusted twin, {num_steps} steps, then {num_steps} of its own"
        )
    if num_steps:
        x = run_chains(sampler, potential, x, num_steps, generator=generator).x
        check_mass(potential, x0, x)
        lost = int((~finite_chains(x)).sum())
        require(
            lost == 0,
            f"{lost} of {len(x)} chains of {type(sampler).__name__} left the finite numbers in the"
            f" warm-up, at step size {float(sampler.step_size):.3g}; use a smaller step size, or an"
            " adjusted sampler",
        )
    if has_quantile(sampler):
        sampler = with_threshold(sampler, sampler.init(potential, x).threshold)
    return Ready(sampler, x, step_size_from)


def adjusted_twin(sampler: Sampler) -> Sampler:
    try:
        return Adjusted(sampler)  # type: ignore[arg-type]  # checked there
    except StanleyError as error:
        raise StanleyError(
            f"no step size was given, and none can be found: {error}; give a step size"
        ) from None

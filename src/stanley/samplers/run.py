"""The one chain loop."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from stanley.batches import finite_chains
from stanley.errors import StanleyError, require
from stanley.memory import raise_limit
from stanley.notebooks import in_a_line, in_html
from stanley.progress import Bar
from stanley.samplers.arguments import Points, as_request, is_whole
from stanley.samplers.base import ChainState, Sampler
from stanley.samplers.blocks import BLOCK, Several, in_blocks
from stanley.samplers.execution import Execution, Step, stepper
from stanley.samplers.joint import LeftOut, joint
from stanley.samplers.totals import ChainInfo, Totals
from stanley.samplers.traits import is_adjusted, leaves_out_last
from stanley.samplers.trajectories import prepared
from stanley.types import Energy, in_float32, layers, rounded

LEVEL = 0.05  # nats by which values of U may be rounded before a Metropolis test is doubted


@dataclass(frozen=True)
class ChainResult:
    x: Tensor  # (B, *event)
    draws: Tensor | None  # (num_kept, B, *event), every keep_every-th state
    info: ChainInfo
    before: Tensor  # (B, *event), where the chains were before the last step

    def told(self) -> dict[str, object]:
        """What came of the chains, for a person."""
        lost = int(self.info.nonfinite.sum())
        return {
            "x": tuple(self.x.shape),
            "draws": None if self.draws is None else tuple(self.draws.shape),
            "acceptance": f"{float(self.info.acceptance.mean()):.2f}",
            "gradients a chain": f"{self.info.num_gradients:,}",
            **({"not finite": f"{lost} of {len(self.x)}"} if lost else {}),
        }

    def __repr__(self) -> str:
        return in_a_line("ChainResult", self.told())

    def _repr_html_(self) -> str:
        return in_html("Chains", self.told())


@torch.no_grad()
def run_chains(
    sampler: Sampler | str,
    potential: Energy | Distribution,
    x0: Points,
    num_steps: int = 1000,
    *,
    generator: torch.Generator | None = None,
    seed: int | None = None,
    keep_every: int | None = None,
    execution: Execution = "auto",
    progress: bool = False,
    last_gradient: bool = True,
) -> ChainResult:
    """Run B independent chains for `num_steps` steps from x0.

    sampler      or its name, such as 'mala', for that sampler at step size 0.1
    potential    U: (B, *event) -> (B,), p ∝ exp(-U), or a distribution of torch; for an energy at
                 temperature T hand over `Potential(E, T)`
    x0           (B, *event), finite; a tensor fixes type and device, and is left as it is; an array
                 or lists take those of a network's weights, else float64
    generator, seed   the only source of randomness, one of the two; the generator on the device of
                 x0
    keep_every   keep every n-th state in `draws`
    execution    'eager', 'compile', 'graph' (CUDA) or 'auto': how a step is carried out, see
                 `execution.py`
    progress     show a bar with the acceptance
    last_gradient   False: U and ∇U at the last positions are left out where the sampler's last step
                 does not use them; `info.potential` is NaN then, and `info.nonfinite` of positions
                 alone

    A chain that turns non-finite stays so, touches no other chain, and is marked in
    `info.nonfinite`. Memory does not grow with num_steps unless draws are kept. n steps and then m
    steps from there with the same generator equal n + m steps, up to a compiler's rounding, except
    for what a sampler resolves at its start (a quantile threshold, a frozen γ). Raises StanleyError
    for a non-finite start, num_steps < 1, a potential of the wrong shape, or without the gradient
    that every sampler but `RandomWalk` needs.
    """
    sampler, potential, x0, generator = as_request(
        "run_chains", sampler, potential, x0, generator, seed
    )
    check_request(x0, num_steps, generator, keep_every)
    begun = begin(sampler, potential, x0, execution)
    left_out = not last_gradient and leaves_out_last(sampler)
    totals = Totals(sampler, begun.state, left_out)
    draws = x0.new_empty(num_steps // keep_every, *x0.shape) if keep_every else None
    n, state = 0, begun.state
    before = x = state.x
    with Bar("chains", num_steps, enabled=progress) as bar:
        for moved in taken(sampler, begun, totals, num_steps, generator):
            state, positions = moved
            for after in positions:
                n, before, x = n + 1, x, after
                if draws is not None and keep_every and n % keep_every == 0:
                    draws[n // keep_every - 1] = x
            if bar.due(n):
                bar.draw(n, totals.note(n))
    if is_adjusted(sampler) and x0.device.type == "cpu":  # elsewhere reading U would wait for it
        warn_of_level(state.potential)
    return ChainResult(x, draws, totals.summary(state, num_steps), before)


class Begun(NamedTuple):
    """Chains at their start, and what moves them."""

    step: Step  # by one step
    several: Several | None  # by `BLOCK` steps at once, where that is quicker
    state: ChainState


def begin(sampler: Sampler, potential: Energy, x0: Tensor, execution: Execution = "auto") -> Begun:
    """Chains at x0, and what moves them. Raises StanleyError for a potential that the sampler
    cannot use, or of points of another shape.
    """
    check_precision(sampler, potential)
    check_event(potential, x0)
    raise_limit()
    execution, potential = prepared(execution, sampler, potential, x0)
    step = stepper(execution, sampler, potential, x0)
    several = in_blocks(execution, sampler, potential, x0, step)
    return Begun(step, several, sampler.init(joint(potential, x0), x0))


def taken(
    sampler: Sampler, begun: Begun, totals: Totals, num_steps: int, generator: torch.Generator
) -> Iterator[tuple[ChainState, list[Tensor]]]:
    """The state after a step, or after several at once, and the positions after each of them."""
    step, several, state = begun
    last, n = num_steps - totals.left_out, 0  # of the steps that are taken with their gradient
    while n < num_steps:
        if several is not None and 0 < n <= last - BLOCK:  # the first may have no memory yet
            state, positions = several(state, totals, generator)
        else:
            before = state
            if n < last:
                state, info = step(before, generator)
            else:
                state, info = sampler.step(LeftOut(), before, generator)
            totals.add(before, info)
            positions = [state.x]
        n += len(positions)
        yield state, positions


def warn_of_level(potential: Tensor) -> None:
    """A Metropolis test compares values of U, which are known to |U|·eps only.

    Warns where the median of that is above 0.05 nats: at |U| = 1e7 in float32 (±1) the variance of
    a normal density comes out as 0.96, at 1e8 as 2.0. The level of U has no meaning for the chain.
    """
    level = float(potential.abs().nanmedian())
    rounding = level * torch.finfo(potential.dtype).eps
    if LEVEL < rounding < math.inf:
        kind = str(potential.dtype).removeprefix("torch.")
        warnings.warn(
            f"U is about {level:.0e}, which {kind} knows to ±{rounding:.0e} only, and a Metropolis "
            "test compares values of U: the chains' law is not exp(-U). Subtract a constant from "
            "the energy, or use float64",
            stacklevel=3,
        )


def check_request(
    x0: Tensor, num_steps: int, generator: torch.Generator, keep_every: int | None
) -> None:
    require(
        is_whole(num_steps) and num_steps >= 1,
        f"num_steps is {num_steps!r}, must be a whole number of at least 1",
    )
    require(
        keep_every is None or (is_whole(keep_every) and 1 <= keep_every <= num_steps),
        f"keep_every is {keep_every!r}, must be a whole number between 1 and num_steps ="
        f" {num_steps}",
    )
    require(
        x0.dim() >= 2 and len(x0) >= 1,
        f"x0 has shape {tuple(x0.shape)}, must be (chains, *event) with at least one chain; "
        "a single chain in d dimensions is (1, d)",
    )
    require(
        x0.dtype in (torch.float32, torch.float64),
        f"x0 has type {x0.dtype}, must be float32 or float64: positions with fewer digits than the "
        "noise needs have another law; use x0.float(), and Bf16(energy) for a bfloat16 network",
    )
    if generator.device.type != x0.device.type:
        raise StanleyError(
            f"the generator is on {generator.device} and x0 on {x0.device}; use"
            f" torch.Generator({str(x0.device)!r})"
        )
    bad = int((~finite_chains(x0)).sum())
    require(
        bad == 0,
        f"x0 has {bad} of {len(x0)} chains at a non-finite position; start every chain at a finite"
        " point",
    )


def check_precision(sampler: Sampler, potential: Energy) -> None:
    """No Metropolis test on a U that is rounded, unless someone insisted."""
    require(
        not (is_adjusted(sampler) and rounded(potential)),
        f"{type(sampler).__name__} tests differences of U, and U in bfloat16 is known to three"
        " digits only; use an unadjusted sampler, float32 (stanley.types.in_float32), or"
        " Bf16(energy, force=True)",
    )


def potential_for(sampler: Sampler, potential: Energy) -> Energy:
    """The potential in the precision that the sampler's chains can use: float32 where a step ends
    in a Metropolis test, as it is elsewhere."""
    return in_float32(potential) if is_adjusted(sampler) else potential


def check_event(potential: Energy, x0: Tensor) -> None:
    """A potential that knows the shape of its points, as all of `stanley.targets` do, gets points
    of that shape.

    Some would be accepted otherwise: a density in the plane does not look at a third coordinate.
    """
    energy = next((layer for layer in layers(potential) if hasattr(layer, "event_shape")), None)
    event = getattr(energy, "event_shape", None)
    require(
        event is None or tuple(x0.shape[1:]) == tuple(event),
        f"x0 has shape {tuple(x0.shape)}, must be {(len(x0), *(event or ()))}: the points of"
        f" {type(energy).__name__} have shape {event}",
    )

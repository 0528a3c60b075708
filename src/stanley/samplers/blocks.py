"""Several steps of a chain as one compiled function: it is called once for all of them, and between
two of them no tensor is handed to Python and back.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from stanley.samplers.base import ChainState, Sampler
from stanley.samplers.execution import Call, Execution, Step, is_traced, traced
from stanley.samplers.totals import Sums, Told, Totals
from stanley.types import Energy

BLOCK = 8  # steps in one function

#: (state, totals, generator) -> the state after `BLOCK` steps, and the positions after each.
Several = Callable[[ChainState, Totals, torch.Generator], tuple[ChainState, list[Tensor]]]
Carried = tuple[ChainState, Sums]
Steps = tuple[list[Tensor], list[Told]]  # the positions after each, and what is told of it


def in_blocks(
    execution: Execution, sampler: Sampler, potential: Energy, x0: Tensor, step: Step
) -> Several | None:
    """`BLOCK` steps at once, the same ones as those of `step`, which is taken as often where they
    cannot be traced together. None where nothing is gained: eager steps, and images, whose steps
    take so long that calls are nothing beside them.
    """
    if execution != "compile" or x0.dim() != 2:
        return None
    one_by_one = partial(steps_by, step)
    block = traced(execution, block_of_steps, sampler, potential, one_by_one)
    how: list[Call] = []  # found out by the first call

    def several(
        state: ChainState, totals: Totals, generator: torch.Generator
    ) -> tuple[ChainState, list[Tensor]]:
        if not how:  # where a step alone cannot be traced that was said, and is not said again
            alone = is_traced(execution, sampler, potential, state, generator)
            how.append(block if alone else one_by_one)
        (state, totals.sums), (positions, told) = how[0]((state, totals.sums), generator)
        for one in told:
            totals.count(one)
        return state, positions

    return several


def block_of_steps(
    sampler: Sampler, potential: Energy, carried: Carried, generator: Any
) -> tuple[Carried, Steps]:
    """What is traced."""
    return steps_by(partial(sampler.step, potential), carried, generator)


def steps_by(step: Step, carried: Carried, generator: Any) -> tuple[Carried, Steps]:
    """`BLOCK` steps one after the other."""
    (state, sums), positions, told = carried, [], []
    for _ in range(BLOCK):
        before = state
        state, info = step(before, generator)
        sums = sums.after(before, info)
        positions.append(state.x)
        told.append(Told.of(info))
    return (state, sums), (positions, told)

"""Trajectories whose length is drawn anew in each step, compiled.

Such a step is no function of tensors, but its leapfrog steps are. They are traced and compiled in
blocks of 1, 2, 4 and 8, of which a trajectory of any length is made: of 21 steps two of 8, one of
4 and one of 1. The operations are those of `leapfrog`, so the traced blocks are the eager steps bit
for bit, and a compiler's differ by the rounding of fused operations. Momenta, coins and the
Metropolis test stay as they are. Step size and scale are inputs: a warm-up compiles for a scale of
each coordinate, for a dense one if it comes to that, and nothing anew.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from stanley.samplers import execution
from stanley.samplers.base import ChainState, Sampler
from stanley.samplers.chees import ChEES
from stanley.samplers.execution import Execution
from stanley.samplers.hmc import HMC, WithLeapfrog, leapfrog
from stanley.samplers.joint import joint
from stanley.samplers.preconditioned import Sheared, Stretched, without_preconditioner
from stanley.samplers.traits import traits_of
from stanley.types import Energy, rewrapped

BLOCKS = (1, 2, 4, 8)  # leapfrog steps in one call of a compiled function


class Counted:
    """The same potential, which counts the points that it is asked for."""

    def __init__(self, energy: Energy) -> None:
        self.energy, self.points = energy, 0

    def __call__(self, x: Tensor) -> Tensor:
        self.points += len(x)
        return self.energy(x)


def prepared(
    how: Execution, sampler: Sampler, potential: Energy, x0: Tensor
) -> tuple[Execution, Energy]:
    """How the sampler's steps are carried out, and the potential for that: one that knows its
    gradient without autograd, or one whose trajectories are taken in compiled blocks.
    """
    if how in ("auto", "eager"):
        return how, joint(potential, x0)
    if how == "compile" and draws_lengths(sampler):
        return "eager", WithLeapfrog(potential, in_blocks)
    return how, potential


def draws_lengths(sampler: Sampler) -> bool:
    """Whether each step is a trajectory of another number of leapfrog steps."""
    inner = without_preconditioner(sampler)
    return type(inner) in (HMC, ChEES) and traits_of(inner).not_traceable is not None


def in_blocks(
    potential: Energy, state: ChainState, momentum: Tensor, step_size: float, num: int
) -> tuple[ChainState, Tensor]:
    """`leapfrog`, in compiled blocks where they can be had."""
    counted: list[Counted] = []

    def bare(layer: Any) -> Energy:
        if isinstance(layer, Counted):
            counted.append(layer)
        return layer.energy if isinstance(layer, Counted | WithLeapfrog) else layer

    inside: Any = rewrapped(potential, bare)
    kind, scale = Stretched, torch.ones_like(state.x[0])
    if type(inside) is Stretched:
        inside, scale = inside.energy, inside.scale
    elif type(inside) is Sheared:
        kind, inside, scale = Sheared, inside.energy, inside.factor
    numbers = execution.number(step_size, state.x), scale
    tensors = state.x, state.potential, state.grad, momentum
    blocks: dict[int, Any] = {}
    for size in BLOCKS:
        if size <= num:
            blocks[size] = execution.remembered(
                "compile",
                (size, kind, *execution.key_of_potential(inside), *execution.like(tensors)),
                partial(compiled_block, size, kind, inside, (*tensors, *numbers)),
            )
            if blocks[size] is None:  # as it was told
                plain = rewrapped(potential, without_this)
                return leapfrog(plain, state, momentum, step_size, num)
    left = num
    for size, block in reversed(blocks.items()):
        for _ in range(left // size):
            tensors = block(*tensors, *numbers)
        left %= size
    for layer in counted:
        layer.points += num * len(state.x)
    x, u, grad, momentum = tensors
    return ChainState(x, u, grad), momentum


def without_this(layer: Energy) -> Energy:
    return layer.energy if isinstance(layer, WithLeapfrog) else layer


def compiled_block(
    size: int, kind: type[Stretched | Sheared], energy: Energy, inputs: tuple[Tensor, ...]
) -> Any:
    """(x, U, ∇U, p, ε, scale) to the first four after `size` leapfrog steps, compiled."""

    def block(
        x: Tensor, u: Tensor, grad: Tensor, momentum: Tensor, step_size: Any, scale: Tensor
    ) -> tuple[Tensor, ...]:
        state = ChainState(x, u, grad)
        after, momentum = leapfrog(kind(energy, scale), state, momentum, step_size, size)
        return after.x, after.potential, after.grad, momentum

    return execution.compiled(execution.graph_of(block, inputs), inputs)

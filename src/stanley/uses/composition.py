"""Composition: one density that several energies agree on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from torch import Tensor

from stanley.errors import require
from stanley.samplers import Sampler
from stanley.samplers.traits import with_step_size
from stanley.types import Energy

S = TypeVar("S", bound=Sampler)


@dataclass(frozen=True)
class Composed:
    """U(x) = Σ_i w_i·U_i(x), that is p ∝ Π_i p_i^{w_i}: likely where all are.

    A product of experts: no training, and no normalising constants are needed, since Σ w_i·log Z_i
    is a constant too. Not true: that equal weights weigh the parts equally: a U_i of twice the
    scale counts twice. Not true: that p is "a or b" (that would be a mixture, -log Σ exp(-U_i), and
    needs every Z_i). Hinton (2002), "Training products of experts"; for images Du, Li & Mordatch
    (2020).

    weights   w_i > 0; all 1 unless given
    """

    energies: tuple[Energy, ...]
    weights: tuple[float, ...] = field(default=())

    def __post_init__(self) -> None:
        object.__setattr__(self, "energies", tuple(self.energies))
        require(len(self.energies) >= 1, "no energies were given; give two or more to compose")
        weights = tuple(float(w) for w in self.weights) or (1.0,) * len(self.energies)
        require(
            len(weights) == len(self.energies),
            f"{len(weights)} weights were given for {len(self.energies)} energies; give one each",
        )
        require(
            all(0 < w < math.inf for w in weights),
            f"weights are {', '.join(f'{w:g}' for w in weights)}, must be > 0 and finite: exp(+U)"
            " has no finite mass",
        )
        object.__setattr__(self, "weights", weights)

    def __call__(self, x: Tensor) -> Tensor:  # (B, *event) -> (B,)
        first, *rest = (w * u(x) for w, u in zip(self.weights, self.energies, strict=True))
        return sum(rest, first)


def sampler_of_sum(samplers: Sequence[S], weights: Sequence[float]) -> S:
    """The first of the energies' samplers, at the step size 1/Σ(w_i/h_i): a step size is an inverse
    curvature, and curvatures add up. For a sampler of another kind, whose step size may be another
    thing, stands the first one."""
    first = samplers[0]
    alike = [one if type(one) is type(first) else first for one in samplers]
    rates = [w / float(one.step_size) for w, one in zip(weights, alike, strict=True)]
    return with_step_size(first, 1 / sum(rates))


def require_same_shape(shapes: Sequence[tuple[str, tuple[int, ...]]]) -> tuple[int, ...]:
    """The one event shape of all named energies."""
    (name, shape), *rest = shapes
    for other, its in rest:
        require(
            its == shape,
            f"{other} has points of shape {its}, {name} of {shape}: energies are added on one"
            " space; train both on data of one size",
        )
    return shape

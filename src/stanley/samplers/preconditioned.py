"""Any sampler in rescaled coordinates: a fixed diagonal mass matrix."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from stanley.errors import require
from stanley.samplers.base import ChainState, Sampler, StepInfo
from stanley.samplers.traits import Traits, traits_of
from stanley.types import Energy


@dataclass(frozen=True)
class Stretched:
    """U_z(z) = U(s⊙z)."""

    energy: Energy
    scale: Tensor

    def __call__(self, z: Tensor) -> Tensor:
        return self.energy(self.scale * z)


@dataclass(frozen=True, eq=False)
class Preconditioned:
    """The sampler run on U_z(z) = U(s⊙z), x = s⊙z,   ∇U(x) = ∇U_z(z)/s.

    s = `scale` has the shape of one point and is positive: the widths of the target, from `adapt`
    or from knowledge. For Langevin moves it means steps x - (h/2)·s²⊙∇U + √h·s⊙ξ. With s = 1 it is
    the sampler itself, bit for bit. Leaves invariant what the sampler does: s is fixed, and the
    Jacobian of x = s⊙z is a constant. Costs no gradient more. Thresholds, and the γ they make, are
    in units of |s⊙∇U|. The chain in z is kept in the state's memory, so nothing is computed twice
    and one that does not move keeps its x bit for bit. Not true: that it helps with correlations;
    that takes a full matrix. It holds a tensor, so a configuration file cannot name it, and two of
    them are equal only if they are one.
    """

    sampler: Sampler
    scale: Tensor

    def __post_init__(self) -> None:
        bad = int((~((self.scale > 0) & self.scale.isfinite())).sum())
        require(
            bad == 0,
            f"Preconditioned: {bad} of {self.scale.numel()} entries of scale are not positive and"
            " finite; give the width of the target in each coordinate",
        )

    @property
    def step_size(self) -> float:
        return self.sampler.step_size

    @property
    def traits(self) -> Traits:
        why = "wrap it the other way round, Preconditioned(Adjusted(...), scale)"
        return replace(traits_of(self.sampler), not_adjustable=why)

    def init(self, potential: Energy, x: Tensor) -> ChainState:
        require(
            self.scale.shape == x.shape[1:],
            f"Preconditioned: scale has shape {tuple(self.scale.shape)}, must be"
            f" {tuple(x.shape[1:])}, the shape of one point",
        )
        s = self.scale.to(x)
        return outer(
            self.sampler.init(Stretched(potential, s), x.detach() / s), x.detach().clone(), s
        )

    def step(
        self, potential: Energy, state: ChainState, generator: torch.Generator
    ) -> tuple[ChainState, StepInfo]:
        inside = Stretched(potential, self.scale.to(state.x))
        after, info = self.sampler.step(inside, state.memory, generator)
        return self.carry(state, after), info

    def carry(self, state: ChainState, after: ChainState) -> ChainState:
        """The state that follows when the chain in z goes on to `after`."""
        s = self.scale.to(state.x)
        # what stayed keeps its bits
        x = torch.where(after.x == state.memory.x, state.x, s * after.x)
        return outer(after, x, s)


def outer(inner: ChainState, x: Tensor, scale: Tensor) -> ChainState:
    """The state in x that belongs to the state in z."""
    return inner._replace(x=x, grad=inner.grad / scale, memory=inner)


def without_preconditioner(sampler: Any) -> Any:
    """The sampler without its scale."""
    return sampler.sampler if isinstance(sampler, Preconditioned) else sampler

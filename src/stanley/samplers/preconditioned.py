"""Any sampler in rescaled coordinates: a fixed mass matrix, diagonal or dense."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from stanley.errors import require
from stanley.samplers.base import ChainState, Sampler, StepInfo, value_and_gradient
from stanley.samplers.joint import KnowsGradient
from stanley.samplers.traits import Traits, traits_of
from stanley.types import Energy


@dataclass(frozen=True)
class Stretched(KnowsGradient):
    """U_z(z) = U(s⊙z),   ∇U_z(z) = s⊙∇U(s⊙z)."""

    energy: Energy
    scale: Tensor

    def __call__(self, z: Tensor) -> Tensor:
        return self.energy(self.scale * z)

    def value_and_gradient(self, x: Tensor) -> tuple[Tensor, Tensor]:
        u, grad = value_and_gradient(self.energy, self.scale * x)
        return u, grad * self.scale


@dataclass(frozen=True)
class Sheared(KnowsGradient):
    """U_z(z) = U(Lz),   ∇U_z(z) = Lᵀ∇U(Lz)."""

    energy: Energy
    factor: Tensor  # L, (d, d)

    def __call__(self, z: Tensor) -> Tensor:
        return self.energy(times(self.factor, z))

    def value_and_gradient(self, x: Tensor) -> tuple[Tensor, Tensor]:
        u, grad = value_and_gradient(self.energy, times(self.factor, x))
        return u, times(self.factor.T, grad)


def times(matrix: Tensor, x: Tensor) -> Tensor:
    """Ax of points x (B, *event), as vectors of their d numbers."""
    return (x.flatten(1) @ matrix.T).view_as(x)


@dataclass(frozen=True, eq=False)
class Preconditioned:
    """The sampler run on U_z(z) = U(s⊙z), x = s⊙z,   ∇U(x) = ∇U_z(z)/s.

    s = `scale` has the shape of one point and is positive: the widths of the target, from `adapt`
    or from knowledge. For Langevin moves it means steps x - (h/2)·s²⊙∇U + √h·s⊙ξ. With s = 1 it is
    the sampler itself, bit for bit. Leaves invariant what the sampler does: s is fixed, and the
    Jacobian of x = s⊙z is a constant. Costs no gradient more. Thresholds, and the γ they make, are
    in units of |s⊙∇U|. The chain in z is kept in the state's memory, so nothing is computed twice
    and one that does not move keeps its x bit for bit. Not true: that it helps with correlations;
    that takes `DensePreconditioned`. It holds a tensor, so a configuration file cannot name it, and
    two of them are equal only if they are one.
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
        return replace(traits_of(self.sampler), not_adjustable=why, gradient_is_for_next=False)

    def init(self, potential: Energy, x: Tensor) -> ChainState:
        self.check(x)
        inner = self.sampler.init(self.inside(potential, x), self.rescaled(x.detach()))
        return self.outer(inner, x.detach().clone())

    def step(
        self, potential: Energy, state: ChainState, generator: torch.Generator
    ) -> tuple[ChainState, StepInfo]:
        inside = self.inside(potential, state.x)
        after, info = self.sampler.step(inside, state.memory, generator)
        return self.carry(state, after), info

    def check(self, x: Tensor) -> None:
        require(
            self.scale.shape == x.shape[1:],
            f"Preconditioned: scale has shape {tuple(self.scale.shape)}, must be"
            f" {tuple(x.shape[1:])}, the shape of one point",
        )

    def inside(self, potential: Energy, x: Tensor) -> Energy:
        """U_z, for points like x."""
        return Stretched(potential, self.scale.to(x))

    def rescaled(self, x: Tensor) -> Tensor:
        """z of x."""
        return x / self.scale.to(x)

    def carry(self, state: ChainState, after: ChainState) -> ChainState:
        """The state that follows when the chain in z goes on to `after`."""
        # what stayed keeps its bits
        stayed = after.x == state.memory.x
        return self.outer(after, torch.where(stayed, state.x, self.scale.to(state.x) * after.x))

    def outer(self, inner: ChainState, x: Tensor) -> ChainState:
        """The state in x that belongs to the state in z."""
        return inner._replace(x=x, grad=inner.grad / self.scale.to(x), memory=inner)


@dataclass(frozen=True, eq=False)
class DensePreconditioned(Preconditioned):
    """The sampler run on U_z(z) = U(Lz), x = Lz,   ∇U(x) = L⁻ᵀ∇U_z(z).

    L = `scale` is lower triangular, (d, d), with a positive diagonal: the Cholesky factor of the
    covariance of the target, from `adapt` or from knowledge; points of any shape are taken as
    vectors of their d numbers. For HMC it is the dense mass matrix (LLᵀ)⁻¹. What `Preconditioned`
    keeps, it keeps: the law, the number of gradients, the bits of a chain that does not move. Costs
    2·B·d² multiplications a gradient besides. Not true: that it helps where the correlations are
    others from place to place.
    """

    def __post_init__(self) -> None:
        factor = self.scale
        square = factor.dim() == 2 and factor.shape[0] == factor.shape[1]
        require(
            square,
            f"DensePreconditioned: scale has shape {tuple(factor.shape)}, must be (d, d) for points"
            " of d numbers",
        )
        good = (
            bool(factor.isfinite().all())
            and bool((factor.diagonal() > 0).all())
            and not bool(factor.triu(1).any())
        )
        require(
            good,
            "DensePreconditioned: scale must be finite and lower triangular with a positive"
            " diagonal: torch.linalg.cholesky(covariance)",
        )

    def check(self, x: Tensor) -> None:
        d = math.prod(x.shape[1:])
        require(
            len(self.scale) == d,
            f"DensePreconditioned: scale has shape {tuple(self.scale.shape)}, must be {(d, d)} for"
            f" points of shape {tuple(x.shape[1:])}",
        )

    def inside(self, potential: Energy, x: Tensor) -> Energy:
        return Sheared(potential, self.scale.to(x))

    def rescaled(self, x: Tensor) -> Tensor:
        return self.solved(x, transposed=False)

    def carry(self, state: ChainState, after: ChainState) -> ChainState:
        moved = ~(after.x == state.memory.x).flatten(1).all(1)
        rows = moved.view(-1, *[1] * (state.x.dim() - 1))
        return self.outer(after, torch.where(rows, times(self.scale.to(state.x), after.x), state.x))

    def outer(self, inner: ChainState, x: Tensor) -> ChainState:
        return inner._replace(x=x, grad=self.solved(inner.grad, transposed=True), memory=inner)

    def solved(self, x: Tensor, *, transposed: bool) -> Tensor:
        """L⁻¹x, or L⁻ᵀx."""
        factor = self.scale.to(x)
        matrix = factor.T if transposed else factor
        columns = torch.linalg.solve_triangular(matrix, x.flatten(1).T, upper=transposed)
        return columns.T.reshape(x.shape)


def without_preconditioner(sampler: Any) -> Any:
    """The sampler without its scale."""
    return sampler.sampler if isinstance(sampler, Preconditioned) else sampler

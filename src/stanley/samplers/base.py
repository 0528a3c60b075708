"""What every sampler shares: the state of the chains, one evaluation of the potential, the
Metropolis test.

A sampler is a frozen dataclass with

    init(potential, x) -> ChainState
    step(potential, state, generator) -> (ChainState, StepInfo)

State is for the next step, info is for the reader. A sampler that can be Metropolis-adjusted has
besides

    propose(potential, state, generator) -> (candidate: ChainState, move, StepInfo)
    log_ratio(potential, state, candidate, move) -> (B,)     log q(y→x) - log q(x→y)

where `move` is whatever the log-ratio needs to know of how the candidate y was drawn from x. One
that draws its proposal from a Gaussian of independent components states that law besides,

    law(potential, state, signs=None) -> Law                 N(mean, diag variance)

with `signs` what its `signs(x, generator)` drew, if its drift is estimated with random signs.

What else the library asks of a sampler (whether its step ends in a Metropolis test, the acceptance
rate to aim at, its cost, why it cannot be compiled) stands in one value, its attribute `traits`:
see `traits.Traits`, whose defaults hold where there is none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from stanley.batches import finite_chains
from stanley.device import widest_float
from stanley.errors import StanleyError, require
from stanley.samplers.joint import Joint, KnowsGradient
from stanley.samplers.noise import uniform_like
from stanley.samplers.traits import traits_of
from stanley.types import Energy, chunk_size_of, for_rows

DETACHED = (
    "the potential's value does not depend on x through autograd; "
    "compute it with torch operations on x, without detach, numpy or no_grad"
)


class ChainState(NamedTuple):
    """B chains: where they are and what is known there, so that no gradient is computed twice."""

    x: Tensor  # (B, *event)
    potential: Tensor  # (B,)          U(x)
    grad: Tensor  # (B, *event)        ∇U(x)
    threshold: Tensor | None = None  # 0-d, STANLEY's th, resolved when the run starts
    scale: Tensor | None = None  # γ, only where it is frozen for the whole run
    # what else a sampler carries from step to step (momentum, second moments, replicas)
    memory: Any = None


class StepInfo(NamedTuple):
    """One step as the reader sees it; None where the sampler has no such thing."""

    acceptance: Tensor | None = None  # (B,)  min(1, α), the probability of accepting, not the coin
    scale: Tensor | None = None  # (B,)       mean of γ over the event
    invalid: Tensor | None = None  # (B,)     proposals rejected because log α was NaN or infinite
    num_gradients: int | None = None  # per chain, where it is not what the sampler's traits state
    num_potentials: int | None = None  # likewise, evaluations of U without its gradient
    # (R - 1,)  mean over chains, between neighbours; NaN where not tried
    swap_acceptance: Tensor | None = None


class Law(NamedTuple):
    """The Gaussian N(mean, diag variance) that one step draws from,
    and the signs its drift used.
    """

    mean: Tensor  # (B, *event)
    variance: Tensor  # broadcastable to the mean
    signs: Tensor | None = None


class Sampler(Protocol):
    """Anything with `init` and `step`; see the top of this module."""

    @property
    def step_size(self) -> float: ...

    def init(self, potential: Energy, x: Tensor) -> ChainState: ...

    def step(
        self, potential: Energy, state: ChainState, generator: torch.Generator
    ) -> tuple[ChainState, StepInfo]: ...


class Proposal(Sampler, Protocol):
    """A sampler whose step has a tractable density, so that it can be Metropolis-adjusted."""

    def propose(
        self, potential: Energy, state: ChainState, generator: torch.Generator
    ) -> tuple[ChainState, Any, StepInfo]: ...

    def log_ratio(
        self, potential: Energy, state: ChainState, candidate: ChainState, move: Any
    ) -> Tensor: ...


@runtime_checkable
class FollowsChains(Protocol):
    """A sampler with a threshold that follows the chains; see `scale.Quantile`."""

    def followed(self, state: ChainState, factor: float = 2.0) -> ChainState: ...


@runtime_checkable
class Gaussian(Sampler, Protocol):
    """A sampler whose proposal is Gaussian, with independent components, and says which."""

    def law(self, potential: Energy, state: ChainState, signs: Tensor | None = None) -> Law: ...


@runtime_checkable
class RandomSigns(Gaussian, Protocol):
    """A Gaussian proposal whose mean depends on random signs."""

    def signs(self, x: Tensor, generator: torch.Generator) -> Tensor | None: ...


def evaluate(potential: Energy, x: Tensor) -> ChainState:
    """U(x) and ∇U(x) for all chains: one forward and one backward pass to the input alone,
    for each chunk.
    """
    x = x.detach()
    return ChainState(x, *gradients(potential, x.shape[0])(x))


def gradients(potential: Energy, num: int) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """x ↦ (U(x), ∇U(x)) for `num` chains. What the potential asks for is looked up here, once for
    all gradients of a trajectory.
    """
    size = potential.chunk_size if isinstance(potential, Joint) else chunk_size_of(potential)
    if size is None or size >= num:
        return partial(value_and_gradient, potential)
    parts = [*chunks(potential, num)]

    def in_parts(x: Tensor) -> tuple[Tensor, Tensor]:
        u, grad = zip(*(value_and_gradient(part, x[rows]) for part, rows in parts), strict=True)
        return torch.cat(u), torch.cat(grad)

    return in_parts


@torch.no_grad()
def values(potential: Energy, x: Tensor, at_most: int | None = None) -> Tensor:
    """U(x) without its gradient, for at most `at_most` points at a time,
    or fewer where U asks for it: (B,).

    It carries no gradient even where U switches its own on.
    """
    parts = [
        check_shape(part(x[rows]), x[rows]).detach()
        for part, rows in chunks(potential, len(x), at_most)
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def value_and_gradient(potential: Energy, x: Tensor) -> tuple[Tensor, Tensor]:
    if isinstance(potential, KnowsGradient) and x.is_contiguous():
        return potential.value_and_gradient(x)
    x = x.detach().requires_grad_(True)
    with torch.enable_grad():
        try:
            u = check_potential(potential(x), x)
        except RuntimeError as error:
            if "Can't call numpy()" in str(error):
                raise StanleyError(DETACHED) from error
            raise
        (grad,) = torch.autograd.grad(u.sum(), x, allow_unused=True)
    if grad is None:  # U has a gradient, but only with respect to the weights
        raise StanleyError(DETACHED)
    return u.detach(), grad


def hessian_vector(potential: Energy, x: Tensor, vector: Tensor) -> Tensor:
    """∇²U(x)·v for each chain, exactly, by differentiating v·∇U once more."""
    parts = chunks(potential, len(x))
    products = [hessian_vector_of(part, x[rows], vector[rows]) for part, rows in parts]
    return products[0] if len(products) == 1 else torch.cat(products)


def hessian_vector_of(potential: Energy, x: Tensor, vector: Tensor) -> Tensor:
    x = x.detach().requires_grad_(True)
    with torch.enable_grad():
        u = check_potential(potential(x), x)
        (grad,) = torch.autograd.grad(u.sum(), x, create_graph=True)
        if not grad.requires_grad:  # linear potential: the Hessian is zero
            return torch.zeros_like(x)
        (product,) = torch.autograd.grad(grad, x, vector, materialize_grads=True)
    return product.detach()


def chunks(
    potential: Energy, num: int, at_most: int | None = None
) -> Iterator[tuple[Energy, slice]]:
    """The rows of `num` chains in turn, each with the potential of those rows: at most `at_most` at
    a time, or fewer where the potential is `types.Chunked`; all at once where neither says
    anything."""
    size = min(filter(None, (chunk_size_of(potential), at_most)), default=num)
    if size >= num:
        yield potential, slice(None)
        return
    for first in range(0, num, size):
        rows = slice(first, first + size)
        yield for_rows(potential, rows), rows


def check_potential(u: Tensor, x: Tensor) -> Tensor:
    """U itself if it can drive a chain by its gradient; costs no device time."""
    if not check_shape(u, x).requires_grad:
        raise StanleyError(DETACHED)
    return u


def check_shape(u: Tensor, x: Tensor) -> Tensor:
    """U itself if it is one number per chain."""
    if u.shape != x.shape[:1]:
        raise StanleyError(
            f"the potential returned shape {tuple(u.shape)} for points of shape {tuple(x.shape)}, "
            f"must be ({len(x)},): one number per chain; sum over the event dimensions"
        )
    return u


def per_chain(values: Tensor) -> Tensor:
    """Sum over the event in float64, so that log-ratios of images do not drown in rounding: (B,
    *event) -> (B,).
    """
    return values.flatten(1).sum(1, dtype=widest_float(values.device))


def log_normal(x: Tensor, law: Law) -> Tensor:
    """log N(x; mean, diag variance) without its constant, summed over the event: (B,)."""
    variance = law.variance.expand_as(x)
    return -per_chain((x - law.mean) ** 2 / variance + variance.log()) / 2


def number_like(value: float, x: Tensor) -> Tensor:
    """A number, or a 0-d tensor, as a 0-d tensor of the type and on the device of x."""
    return torch.as_tensor(value, dtype=x.dtype, device=x.device)


def metropolis(
    state: ChainState,
    candidate: ChainState,
    log_ratio: Tensor,
    generator: torch.Generator,
    info: StepInfo,
) -> tuple[ChainState, StepInfo]:
    """Accept y with probability min(1, α), log α = U(x) - U(y) + log q(y→x) - log q(x→y), chain by
    chain.

    A NaN or infinite log α is a rejection and is counted, and so is a position that is not finite.
    A rejected chain keeps its state bit for bit.
    """
    log_alpha = state.potential.to(log_ratio) - candidate.potential.to(log_ratio) + log_ratio
    valid = log_alpha.isfinite() & finite_chains(candidate.x)
    coin = uniform_like(log_alpha, generator)
    accept = valid & (coin.log() < log_alpha)
    acceptance = torch.where(valid, log_alpha.clamp(max=0).exp(), 0.0)
    return choose(accept, candidate, state), info._replace(acceptance=acceptance, invalid=~valid)


def choose(accept: Tensor, candidate: ChainState, state: ChainState) -> ChainState:
    """The candidate where accepted, else the old state, chain by chain."""
    rows = accept.view(-1, *[1] * (state.x.dim() - 1))
    return candidate._replace(
        x=torch.where(rows, candidate.x, state.x),
        potential=torch.where(accept, candidate.potential, state.potential),
        grad=torch.where(rows, candidate.grad, state.grad),
    )


def require_positive(sampler: Sampler, **values: float) -> None:
    """Each named hyper-parameter is > 0; a 0-d tensor is taken at its word
    (reading it would wait for the device).
    """
    for name, value in values.items():
        if not isinstance(value, Tensor):
            hint = "use a positive number"
            if name == "step_size":
                hint = traits_of(sampler).step_size_hint
            require(
                0 < value < math.inf,
                f"{type(sampler).__name__}: {name} is {value}, must be > 0 and finite; {hint}",
            )

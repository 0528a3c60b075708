"""U and ∇U in one pass without autograd, where every layer of a potential says how.

For networks as small as those of the plane autograd costs more than the arithmetic. An energy that
can do without it has, in its class, a method

    vjp() -> None, or a function  x ↦ (E(x), v ↦ v·∇E(x))

with E(x) and v of shape (B,), x and v·∇E of shape (B, *event): what `torch.func.vjp` gives, for all
x of a run. It is asked once a run, so it may look up weights, which must not be replaced meanwhile;
v is handed in once, so what was kept on the way can be let go of. It must give the numbers of
autograd, bit for bit, or None where it is not sure that it does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stanley.types import Chunked, Energy, Potential, chunk_size_of, networks_in

Pull = Callable[[Tensor], Tensor]
Vjp = Callable[[Tensor], tuple[Tensor, Pull]]


class KnowsGradient:
    """A wrapper whose gradient is not that of autograd through its call, but bit for bit the same:
    `value_and_gradient` of contiguous points x (B, *event) gives U(x) (B,) and ∇U(x).
    """

    def __call__(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def value_and_gradient(self, x: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError


@dataclass(frozen=True)
class Joint(KnowsGradient):
    """The same potential, which knows U and ∇U without autograd."""

    energy: Energy
    vjp: Vjp
    chunk_size: int | None = None  # that of the potential, looked up once a run

    def __call__(self, x: Tensor) -> Tensor:  # (B, *event) -> (B,)
        return self.energy(x)

    def value_and_gradient(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """U(x) (B,) and ∇U(x) (B, *event)."""
        u, pull = self.vjp(x)
        return u, pull(torch.ones_like(u))


@dataclass(frozen=True)
class LeftOut(KnowsGradient):
    """In place of a potential whose values nobody will use: U and ∇U are NaN, and cost nothing."""

    def __call__(self, x: Tensor) -> Tensor:
        return torch.full((len(x),), torch.nan, dtype=x.dtype, device=x.device)

    def value_and_gradient(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self(x), torch.full_like(x, torch.nan)


def joint(potential: Energy, x: Tensor) -> Energy:
    """The potential as a `Joint` for chains like x (B, *event), or itself where a part of it, or
    what goes on around it, is not known: autocast, transforms of torch.func, modes of torch that
    see every operation, weights of another type than x.
    """
    if isinstance(potential, Joint):
        return potential
    weights = (w for network in networks_in(potential) for w in network.parameters())
    if observed(x) or any(w.dtype != x.dtype or w.device != x.device for w in weights):
        return potential
    function = vjp_of(potential)
    if function is None:
        return potential
    return Joint(potential, function, chunk_size_of(potential))


def observed(x: Tensor) -> bool:
    """Whether something else than autograd wants to see, or changes, what is computed."""
    return (
        type(x) is not Tensor
        or torch.is_autocast_enabled(x.device.type)
        or torch._C._len_torch_function_stack() > 0
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._functorch.peek_interpreter_stack() is not None  # pyright: ignore[reportAttributeAccessIssue]
    )


def vjp_of(energy: Energy) -> Vjp | None:
    """The function x ↦ (E(x), v ↦ v·∇E(x)) of an energy, if it has one."""
    held: Any = energy
    exact = type(energy)  # a subclass may be called in another way
    if exact is Chunked:  # `evaluate` asks for one chunk at a time
        return vjp_of(held.energy)
    if exact is Potential:
        inner = vjp_of(held.energy)
        if held.temperature == 1:  # the division changes no bit
            return inner
        return inner and over_temperature(inner, held.temperature)
    # of the class: a wrapper that hands attributes on has the method of what it wraps
    own: Callable[[Any], Vjp | None] | None = getattr(exact, "vjp", None)
    return None if own is None or exact is Joint else own(held)


def over_temperature(inner: Vjp, temperature: float) -> Vjp:
    """Of E/T."""

    def function(x: Tensor) -> tuple[Tensor, Pull]:
        energy, pull = inner(x)
        return energy / temperature, lambda v: pull(v / temperature)

    return function

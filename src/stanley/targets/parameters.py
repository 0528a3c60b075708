"""Densities of named parameters with constraints, sampled in unconstrained coordinates.

    model = Parameters(mu=real(), tau=positive(), theta=real(8))
    U = model.potential(lambda mu, tau, theta: ...)      log-density of the constrained values

A point is the unconstrained coordinates z of all parameters in a row, (n,). Each parameter is
x = T(z), with T the transform that `torch.distributions.biject_to` has for its constraint, and

    U(z) = -log p(T(z)) - log |det ∂T/∂z|,

so that x = T(z) has the density p when z has exp(-U).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, biject_to, constraints

from stanley.errors import StanleyError, did_you_mean, require
from stanley.targets.probing import for_many_points, probes, unchecked_distributions

Constraint = constraints.Constraint


@dataclass(frozen=True, eq=False)
class Parameter:
    """Values of one shape under a constraint that `torch.distributions` knows.

    shape  of one value, (*shape)
    """

    constraint: Constraint
    shape: tuple[int, ...]
    name: str  # of the constraint, as it was written
    must: str  # what must hold, in words

    def __post_init__(self) -> None:
        good = all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in self.shape)
        require(
            good, f"a parameter has shape {self.shape}, but its sizes must be whole numbers from 1"
        )

    @property
    def inner_shape(self) -> tuple[int, ...]:
        """The shape of its unconstrained coordinates."""
        return tuple(biject_to(self.constraint).inverse_shape(self.shape))

    @property
    def size(self) -> int:
        return math.prod(self.inner_shape)

    def constrain(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z (B, size) -> the values (B, *shape) and log |det ∂T/∂z|, (B,)."""
        transform, inner = biject_to(self.constraint), z.unflatten(-1, self.inner_shape or (1,))
        if not self.inner_shape:
            inner = inner[..., 0]
        x = transform(inner)
        return x, transform.log_abs_det_jacobian(inner, x).reshape(len(z), -1).sum(1)

    def unconstrain(self, x: Tensor) -> Tensor:
        """(B, *shape) -> (B, size)."""
        return biject_to(self.constraint).inv(x).reshape(len(x), -1)

    def holds(self, x: Tensor) -> Tensor:
        """Whether the constraint holds, for each of the values (B, *shape): (B,) bool."""
        return self.constraint.check(x).reshape(len(x), -1).all(1)

    def varies(self) -> Tensor:
        """Which entries can vary: (*shape) bool."""
        free = torch.ones(self.shape, dtype=torch.bool)
        if self.constraint is constraints.corr_cholesky:
            free = free.tril()
            free[..., 0, 0] = False
        return free

    def __repr__(self) -> str:
        return f"{self.name}{list(self.shape) if self.shape else ''}"


@dataclass(frozen=True, eq=False, repr=False)
class CholeskyFactor(Parameter):
    """Lower triangular matrices with a positive diagonal: on it the transform of `positive`, below
    it the coordinates themselves. `biject_to` has none for the matrix as a whole.
    """

    @property
    def inner_shape(self) -> tuple[int, ...]:
        n = self.shape[-1]
        return (n * (n + 1) // 2,)

    def constrain(self, z: Tensor) -> tuple[Tensor, Tensor]:
        n, positive = self.shape[-1], biject_to(constraints.positive)
        inner, below = z[:, :n], torch.tril_indices(n, n, -1, device=z.device)
        diagonal = positive(inner)
        x = torch.diag_embed(diagonal)
        rows = torch.zeros_like(x).index_put(
            (torch.arange(len(z), device=z.device)[:, None], below[0], below[1]), z[:, n:]
        )
        return x + rows, positive.log_abs_det_jacobian(inner, diagonal).sum(1)

    def unconstrain(self, x: Tensor) -> Tensor:
        n = self.shape[-1]
        below = torch.tril_indices(n, n, -1, device=x.device)
        diagonal = biject_to(constraints.positive).inv(x.diagonal(dim1=-2, dim2=-1))
        return torch.cat([diagonal, x[:, below[0], below[1]]], 1)

    def varies(self) -> Tensor:
        return torch.ones(self.shape, dtype=torch.bool).tril()


def real(*shape: int) -> Parameter:
    """Any real numbers: a number, or an array of the shape."""
    return Parameter(constraints.real, shape, "real", "be finite")


def positive(*shape: int) -> Parameter:
    """Numbers > 0: x = exp z."""
    return Parameter(constraints.positive, shape, "positive", "be > 0")


def interval(low: float, high: float, *shape: int) -> Parameter:
    """Numbers between low and high: x = low + (high - low)/(1 + exp(-z))."""
    require(
        math.isfinite(low) and math.isfinite(high) and low < high,
        f"interval({low}, {high}): low must be below high, and both finite; real() has no bounds,"
        " positive() one",
    )
    inside = f"lie between {low} and {high}"
    return Parameter(constraints.interval(float(low), float(high)), shape, "interval", inside)


def unit_interval(*shape: int) -> Parameter:
    """Numbers between 0 and 1, such as probabilities."""
    return Parameter(constraints.unit_interval, shape, "unit interval", "lie between 0 and 1")


def simplex(n: int, *batch: int) -> Parameter:
    """n positive numbers that sum to 1, or an array (*batch, n) of such rows: by stick breaking."""
    require(
        isinstance(n, int) and n >= 2,
        f"simplex({n}): must have at least 2 entries; a simplex of one is the number 1, which"
        " leaves nothing to sample: use 1 itself",
    )
    must = "be positive numbers that sum to 1"
    return Parameter(constraints.simplex, (*batch, n), "simplex", must)


def cholesky(n: int) -> Parameter:
    """Lower triangular matrices L (n, n) with a positive diagonal, as Σ = LLᵀ has.

    The density is one of L, over the n(n+1)/2 entries that are not 0. A density of Σ needs the
    Jacobian 2ⁿ·Π_i L_ii^{n+1-i} besides (i from 1), which is not added.
    """
    require(isinstance(n, int) and n >= 1, f"cholesky({n}): the size must be at least 1")
    must = "be lower triangular with a positive diagonal"
    return CholeskyFactor(constraints.lower_cholesky, (n, n), "cholesky", must)


def correlation(n: int) -> Parameter:
    """Cholesky factors L (n, n) of correlation matrices LLᵀ, as `LKJCholesky` is a density of."""
    require(
        isinstance(n, int) and n >= 2,
        f"correlation({n}): must have at least 2 rows; a correlation matrix of one is the number 1",
    )
    must = "be lower triangular with a positive diagonal and rows of length 1"
    return Parameter(constraints.corr_cholesky, (n, n), "correlation", must)


class Parameters:
    """Named parameters with constraints; see the top of this module.

        Parameters(mu=real(), tau=positive(), theta=real(8), w=simplex(3), L=cholesky(4))

    Raises StanleyError where there is none, or where one is no parameter.
    """

    def __init__(self, **parameters: Parameter) -> None:
        require(parameters, "Parameters() has no parameter; give one, such as mu=real()")
        for name, parameter in parameters.items():
            hint = f"{name}={parameter.__name__}()" if inspect.isfunction(parameter) else "real()"
            require(
                isinstance(parameter, Parameter),
                f"Parameters: {name} is {parameter!r}, but must be a parameter such as {hint}",
            )
        self.parts = dict(parameters)

    @property
    def event_shape(self) -> tuple[int]:
        """The shape of one point: the number of unconstrained coordinates, (n,)."""
        return (sum(part.size for part in self.parts.values()),)

    def constrain(self, z: Tensor) -> dict[str, Tensor]:
        """The values by name, (..., *shape) each, of unconstrained points z (..., n)."""
        values, _ = self.with_jacobian(z.reshape(-1, z.shape[-1]))
        return {name: x.reshape((*z.shape[:-1], *x.shape[1:])) for name, x in values.items()}

    def with_jacobian(self, z: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """The values by name, (B, *shape) each, of points z (B, n), and log |det ∂T/∂z|, (B,)."""
        pieces = z.split([part.size for part in self.parts.values()], dim=-1)
        values, total = {}, z.new_zeros(len(z))
        for (name, part), piece in zip(self.parts.items(), pieces, strict=True):
            values[name], log_jacobian = part.constrain(piece)
            total = total + log_jacobian
        return values, total

    def unconstrain(self, values: Mapping[str, Any]) -> Tensor:
        """The points (B, n) of values by name, each (*shape), for one point, or (B, *shape).

        Raises StanleyError for a name, a shape or a value that does not belong there.
        """
        for name in values:
            require(
                name in self.parts,
                f"there is no parameter {name!r}: {did_you_mean(str(name), self.parts)}",
            )
        pieces = []
        for name, part in self.parts.items():
            require(name in values, f"the value of {name} is missing; give all parameters")
            try:
                x = torch.as_tensor(values[name], dtype=torch.float64)
            except (TypeError, ValueError, RuntimeError):
                raise StanleyError(
                    f"{name} is {type(values[name]).__name__}, but must be numbers"
                ) from None
            whole = (-1, *part.shape)
            fits = x.shape == part.shape or x.shape[1:] == part.shape
            require(
                fits,
                f"{name} has shape {tuple(x.shape)}, but must be {part.shape}, or"
                f" (chains, {', '.join(map(str, part.shape))}".rstrip(", ")
                + ")",
            )
            x = x.reshape(whole)
            bad = ~part.holds(x)
            require(
                not bad.any(),
                f"{name} is {shown(x[bad][0] if bad.any() else x)}, but must {part.must}",
            )
            z = part.unconstrain(x)
            edge = ~z.isfinite().all(1)
            require(
                not edge.any(),
                f"{name} is {shown(x[edge][0] if edge.any() else x)}, at the edge of what is"
                f" allowed (it must {part.must}); start inside",
            )
            pieces.append(z)
        num = max(len(z) for z in pieces)
        for name, z in zip(self.parts, pieces, strict=True):
            require(
                len(z) in (1, num), f"{name} has values for {len(z)} chains, but others for {num}"
            )
        return torch.cat([z.expand(num, -1) for z in pieces], 1)

    def potential(self, log_density: Callable[..., Tensor]) -> ParameterPotential:
        """U(z) of a log-density of the constrained values, which may lack a constant.

        log_density  is called by name, with values of a single point, (*shape) each, and gives one
                     number; or with those of B points, (B, *shape) each, and gives (B,). Which of
                     the two it is, is tried. The former goes through `torch.vmap`, with the checks
                     of arguments in `torch.distributions` off.

        Raises StanleyError for other arguments, for what is neither, and for whatever it raises.
        """
        require(
            callable(log_density),
            f"a log-density is a function of {', '.join(self.parts)}, but"
            f" {type(log_density).__name__} was handed over",
        )
        check_arguments(log_density, list(self.parts))
        sizes = tuple(n for part in self.parts.values() for n in part.shape)
        return for_many_points(
            ParameterPotential(self, log_density, per_point=False),
            lambda: ParameterPotential(self, log_density, per_point=True),
            probes(self.event_shape, 0.5, unlike=sizes),
            "the log-density",
            one_first=True,
        )

    def names(self) -> list[str]:
        """Of all entries that can vary, in the order of `columns`: mu, theta[0], L[1, 0], …"""
        return [
            entry_name(name, index)
            for name, part in self.parts.items()
            for index in np.argwhere(part.varies().numpy()).tolist()
        ]

    def columns(self, values: Mapping[str, Tensor]) -> Tensor:
        """The entries that can vary, (..., number of names), of values (..., *shape) by name."""
        return torch.cat(
            [
                x[..., part.varies()] if part.shape else x[..., None]
                for (name, part) in self.parts.items()
                for x in [values[name]]
            ],
            -1,
        )

    def coordinate_name(self, i: int) -> str:
        """The parameter that the unconstrained coordinate i belongs to, in words."""
        for name, part in self.parts.items():
            if i < part.size:
                return name if part.size == 1 else f"{name} (unconstrained coordinate {i})"
            i -= part.size
        raise IndexError(i)

    def __repr__(self) -> str:
        told = ", ".join(f"{name}: {part!r}" for name, part in self.parts.items())
        return f"Parameters({told}; {self.event_shape[0]} unconstrained coordinates)"


@dataclass(frozen=True, eq=False)
class ParameterPotential:
    """U(z) = -log p(T(z)) - log |det ∂T/∂z| of unconstrained points z (B, n)."""

    parameters: Parameters
    log_density: Callable[..., Tensor]
    per_point: bool  # whether the log-density is one of a single point

    @property
    def event_shape(self) -> tuple[int]:
        return self.parameters.event_shape

    def __call__(self, z: Tensor) -> Tensor:  # (B, n) -> (B,)
        values, log_jacobian = self.parameters.with_jacobian(z)
        with unchecked_distributions():
            if self.per_point:
                log_p = torch.vmap(lambda x: self.log_density(**x))(values)
            else:
                log_p = self.log_density(**values)
        if not isinstance(log_p, Tensor) or log_p.shape != log_jacobian.shape:
            return log_p  # for whoever checks what the user's function gives
        return -(log_p + log_jacobian)


def of_distribution(law: Distribution) -> ParameterPotential:
    """The potential of a distribution of torch, its draws called x; batches are independent.

    Raises StanleyError for a discrete law, and for a support that has no transform.
    """
    name, support = type(law).__name__, law.support
    assert support is not None
    require(
        not support.is_discrete,
        f"{name} is discrete, and chains move in a continuous space; use its own sample()",
    )
    if isinstance(support, getattr(constraints, "MixtureSameFamilyConstraint", ())):
        support = support.base_constraint  # type: ignore[attr-defined]  # of a component
    shape = tuple(law.batch_shape + law.event_shape)
    try:
        part = Parameter(support, shape, name, f"lie in the support of {name}")
        size = part.size
    except NotImplementedError:
        raise StanleyError(
            f"torch has no transform from an unconstrained space to the support of {name}"
            f" ({support}); write its log-density over Parameters, such as cholesky(n)"
        ) from None
    require(size >= 1, f"{name} has no coordinate that can vary")

    def log_density(x: Tensor) -> Tensor:
        return law.log_prob(x).reshape(len(x), -1).sum(1)

    return ParameterPotential(Parameters(x=part), log_density, per_point=False)


def check_arguments(function: Callable[..., Any], names: list[str]) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # it does not say
        return
    try:
        signature.bind(**dict.fromkeys(names))
    except TypeError as error:
        raise StanleyError(
            f"the log-density takes {signature}, but is called by the names of the parameters,"
            f" ({', '.join(names)}): {error}"
        ) from None


def entry_name(name: str, index: list[int]) -> str:
    return f"{name}[{', '.join(map(str, index))}]" if index else name


def shown(x: Tensor) -> str:
    values = [f"{v:.4g}" for v in x.flatten().tolist()]
    more = ", …" if len(values) > 6 else ""
    return values[0] if len(values) == 1 else f"({', '.join(values[:6])}{more})"

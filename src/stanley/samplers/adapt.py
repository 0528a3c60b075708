"""Step sizes for adjusted samplers, found from the acceptance rate, and scales from the chains."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, TypeVar, get_args, overload

import torch
from torch import Tensor
from torch.distributions import Distribution

from stanley.batches import finite_chains
from stanley.device import widest_float
from stanley.errors import StanleyError, require
from stanley.samplers.arguments import Points, as_request
from stanley.samplers.base import ChainState, Sampler, StepInfo
from stanley.samplers.chees import MOST_LEAPFROG, ChEES, TrajectorySearch, van_der_corput
from stanley.samplers.execution import Execution, check_execution
from stanley.samplers.preconditioned import (
    DensePreconditioned,
    Preconditioned,
    without_preconditioner,
)
from stanley.samplers.run import check_event, check_precision, check_request
from stanley.samplers.runaway import check_mass
from stanley.samplers.traits import (
    has_quantile,
    innermost,
    is_adjusted,
    replace_inside,
    traits_of,
    why_not_adjustable,
    with_step_size,
    with_threshold,
)
from stanley.samplers.trajectories import draws_lengths, prepared
from stanley.types import Energy

S = TypeVar("S", bound=Sampler)
Precondition = Literal["draws", "gradients", "both", "dense"]

#: Shares of the steps: each of the first three windows ends in a new scale, the last finds the step
#: size alone.
WINDOWS = (0.1, 0.2, 0.4, 0.3)

FEWEST = 20  # steps in which a scale can be found
LOOK_EVERY = 10  # steps, for chains that run away
#: Of `ChEES`, leapfrog steps of one trajectory while there is no scale yet that could be relied on.
FIRST_LEAPFROG = 100
MOST_DENSE = 1000  # numbers of one point for which there is a dense scale
PAYS = 4.0  # how many times as round the target must become by one
NOTHING, EVERYTHING = 1e-3, 0.99  # mean acceptances of a search that has found nothing


@overload
def adapt(
    sampler: S,
    potential: Energy | Distribution,
    x0: Points,
    num_steps: int = 500,
    *,
    generator: torch.Generator | None = None,
    seed: int | None = None,
    target_acceptance: float | None = None,
    precondition: None = None,
    execution: Execution = "auto",
) -> tuple[S, Tensor]: ...


@overload
def adapt(
    sampler: str,
    potential: Energy | Distribution,
    x0: Points,
    num_steps: int = 500,
    *,
    generator: torch.Generator | None = None,
    seed: int | None = None,
    target_acceptance: float | None = None,
    precondition: None = None,
    execution: Execution = "auto",
) -> tuple[Sampler, Tensor]: ...


@overload
def adapt(
    sampler: Sampler | str,
    potential: Energy | Distribution,
    x0: Points,
    num_steps: int = 500,
    *,
    generator: torch.Generator | None = None,
    seed: int | None = None,
    target_acceptance: float | None = None,
    precondition: Precondition,
    execution: Execution = "auto",
) -> tuple[Preconditioned, Tensor]: ...


@torch.no_grad()
def adapt(
    sampler: Sampler | str,
    potential: Energy | Distribution,
    x0: Points,
    num_steps: int = 500,
    *,
    generator: torch.Generator | None = None,
    seed: int | None = None,
    target_acceptance: float | None = None,
    precondition: Precondition | None = None,
    execution: Execution = "auto",
) -> tuple[Sampler, Tensor]:
    """The sampler with the step size at which its chains accept at the target rate, and where the
    chains ended.

    Dual averaging (Hoffman & Gelman 2014, section 3.2.1) on log h, with the acceptance averaged
    over all finite chains at each step:

        H̄_n = (1 - 1/(n + n₀))·H̄_{n-1} + (a* - a_n)/(n + n₀),   log h_n = μ - (√n/κ)·H̄_n,
        log h̄_n = n^{-c}·log h_n + (1 - n^{-c})·log h̄_{n-1},     μ = log 10h₀, n₀ = 10, κ = 0.05,
        c = 0.75.

    a* is `target_acceptance`, the sampler's own unless given: 0.574 for Langevin-type moves, 0.8
    for HMC, 0.4 for Barker, 0.234 for a random walk. Sampler, positions and randomness are given as
    to `run_chains`; the step size of the sampler is the first guess. With execution='compile' the
    trajectories of `ChEES` and of `HMC` with jitter are compiled; the steps of other samplers are
    taken eagerly here.

    With `precondition` the sampler comes back inside `Preconditioned`, with a scale per coordinate
    measured over all finite chains and the second half of a window of steps:

        'draws'      s_i = (Var x_i)^{1/2}
        'gradients'  s_i = (E (∂_iU)²)^{-1/2}             Titsias (2023), the diagonal of the Fisher
                     matrix
        'both'       s_i = (Var x_i / E (∂_iU)²)^{1/4}    as in nutpie
        'dense'      Cov x = LLᵀ, inside `DensePreconditioned`, where it pays; else as 'draws'

    The first three agree on independent Gaussians; elsewhere 'draws' looks at the widths of the
    target, 'gradients' at its steepness. 'dense' looks at correlations too. It pays where points
    have 2 to 1,000 numbers and, of the covariance C of every other chain and C' of the chains
    between,

        κ(L⁻¹C'L⁻ᵀ) ≤ κ(S⁻¹C'S⁻¹)/4,   C = LLᵀ,   S² = diag C,

    with κ the ratio of the largest to the smallest eigenvalue: where what half of the chains know
    makes the other half so much rounder that a trajectory takes half the steps. Too few chains or
    draws for a covariance do not pass that, since the halves are independent.

    Windows of 10, 20 and 40 % of the steps each end in a new scale, and the search for h starts
    again from 1, a natural step where every width is 1; the last 30 % find h at the final scale.

    Of `ChEES` the trajectory length is found along with the step size, which then aims at the
    harmonic mean of the acceptance; see there.

    A `Quantile` threshold becomes a number, resolved where the chains are when the last window
    begins (without `precondition`: after half the steps), so that h belongs to it. In a
    `ReplicaExchange` it is the cold chains' number, for all temperatures.
    Returns a new frozen sampler with h̄: nothing adapts while it draws. The chain that adapts is
    not invariant, throw its draws away. Not true: that the scale is right before the chains have
    found the target. Raises StanleyError for a sampler that is not adjusted: nothing is rejected,
    so there is nothing to aim at.
    """
    sampler, potential, x0, generator = as_request("adapt", sampler, potential, x0, generator, seed)
    name = type(sampler).__name__
    instead = f"MALA or Adjusted({name}(...))" if why_not_adjustable(sampler) is None else "MALA"
    require(
        is_adjusted(sampler),
        f"adapt needs a Metropolis-adjusted sampler, got {name}, which never rejects; use"
        f" {instead}",
    )
    own = traits_of(sampler).target_acceptance
    target = own if target_acceptance is None else target_acceptance
    require(0 < target < 1, f"target_acceptance is {target}, must lie between 0 and 1")
    known = (None, *get_args(Precondition))
    require(
        precondition in known,
        f"precondition is {precondition!r}, must be None, 'draws', 'gradients', 'both' or 'dense'",
    )
    check_request(x0, num_steps, generator, None)
    check_precision(sampler, potential)
    check_event(potential, x0)
    require(
        precondition is None or num_steps >= FEWEST,
        f"num_steps is {num_steps}, must be at least {FEWEST} with precondition; a few hundred are"
        " usual",
    )
    check_execution(execution, x0)
    how = execution if draws_lengths(sampler) else "eager"
    _, potential = prepared(how, sampler, potential, x0)
    x, *windows = (
        x0,
        *split(
            num_steps, WINDOWS if precondition else (0.5, 0.5) if has_quantile(sampler) else (1.0,)
        ),
    )
    for n, steps in enumerate(windows, 1):
        if n == len(windows) and has_quantile(sampler):
            sampler = with_threshold(sampler, sampler.init(potential, x).threshold)
        most = FIRST_LEAPFROG if n < len(windows) else MOST_LEAPFROG
        sampler, x, seen = tune(
            sampler, potential, x, steps, target, generator, most, precondition == "dense"
        )
        if precondition and n < len(windows):
            factor = seen.factor() if precondition == "dense" else None
            natural = {"step_size": 1.0}
            kind = Preconditioned if factor is None else DensePreconditioned
            if learns_trajectory(sampler) and type(sampler) is not kind:
                natural["trajectory"] = 1.0  # later ones have the units of this one
            scale = seen.scale(precondition) if factor is None else factor
            sampler = kind(replace_inside(without_preconditioner(sampler), **natural), scale)
    return sampler, x


def split(num_steps: int, shares: tuple[float, ...]) -> list[int]:
    """Windows of at least one step that add up to num_steps;
    the last takes what rounding leaves.
    """
    windows = (
        [max(1, int(share * num_steps)) for share in shares[:-1]]
        if num_steps >= len(shares)
        else []
    )
    return [*windows, num_steps - sum(windows)]


def tune(
    sampler: S,
    potential: Energy,
    x: Tensor,
    num_steps: int,
    target: float,
    generator: torch.Generator,
    most_leapfrog: int = MOST_LEAPFROG,
    dense: bool = False,
) -> tuple[S, Tensor, Moments]:
    """One window of dual averaging: the sampler with h̄, where the chains ended,
    what their second half looked like.
    """
    first = float(sampler.step_size)
    averaging, seen, accepted = DualAveraging(target, first), Moments(x, dense), []
    search = TrajectoryKernel(sampler, most_leapfrog) if learns_trajectory(sampler) else None  # type: ignore[arg-type]
    state = sampler.init(potential, x)
    for n in range(num_steps):
        kernel = with_step_size(sampler, averaging.step_size)
        if search is None:
            state, info = kernel.step(potential, state, generator)
        else:
            state, info = search.step(kernel, potential, state, generator)
        accepted.append(mean_acceptance(info.acceptance, state.potential))
        averaging.update(accepted[-1] if search is None else harmonic(info.acceptance, state))
        if n >= num_steps // 2:
            seen.add(state)
        if (n + 1) % LOOK_EVERY == 0 or n + 1 == num_steps:
            check_mass(potential, x, state.x)
    check_search(first, averaging.mean_step_size, accepted, state)
    found = with_step_size(sampler, averaging.mean_step_size)
    return found if search is None else search.found(found), state.x, seen


class TrajectoryKernel:
    """Steps of `ChEES`, as it is or in the coordinates of `Preconditioned`, whose trajectories are
    looked at for a better length."""

    def __init__(self, sampler: ChEES | Preconditioned, most: int) -> None:
        self.most = most  # leapfrog steps of one trajectory
        self.search = TrajectorySearch(innermost(sampler).trajectory)  # type: ignore[attr-defined]

    def step(
        self, kernel: Sampler, potential: Energy, state: ChainState, generator: torch.Generator
    ) -> tuple[ChainState, StepInfo]:
        chees = replace(innermost(kernel), trajectory=self.search.length)  # type: ignore[type-var]
        assert isinstance(chees, ChEES)
        u, inner = van_der_corput(self.search.n + 1), state
        if isinstance(kernel, Preconditioned):
            potential, inner = kernel.inside(potential, state.x), state.memory
        move = chees.move(potential, inner, u, generator, self.most)
        self.search.update(inner.x, move)
        after = kernel.carry(state, move.after) if inner is not state else move.after  # type: ignore[attr-defined]
        return after, move.info

    def found(self, sampler: S) -> S:
        longest = float(sampler.step_size) * MOST_LEAPFROG
        return replace_inside(sampler, trajectory=min(self.search.mean_length, longest))


def learns_trajectory(sampler: Sampler) -> bool:
    return isinstance(without_preconditioner(sampler), ChEES)


def check_search(first: float, found: float, accepted: list[float], state: ChainState) -> None:
    """Refuse a step size that says nothing of the density: nothing, or everything, was accepted.

    By the mean acceptance over the second half of the search, where it has 50 steps or more.
    """
    late = accepted[len(accepted) // 2 :]
    mean, judged = sum(late) / len(late), len(accepted) >= 50
    if not math.isfinite(found) or found < 1e-30 * first or (judged and mean < NOTHING):
        raise StanleyError(
            f"adapt: the step size went from {first:g} to {found:g} in {len(accepted)} steps, and "
            f"of the last {len(late)} hardly any move was accepted ({mean:.1g}); check that the "
            "potential is finite where the chains start, start them nearer to the density, or give "
            "them more steps"
        )
    lost = int((~finite_chains(state.x)).sum())
    if found > 1e30 * first or lost or (judged and mean > EVERYTHING and found > 1e6 * first):
        raise StanleyError(
            f"adapt: the step size grew from {first:g} to {found:g} in {len(accepted)} steps, and "
            f"{mean:.3f} of the last {len(late)} moves were accepted: the density seems to have no "
            "finite mass (U is flat, or falls, in some direction). Add a prior or bounds, or check "
            "the sign of U; for a density that is very wide, give a first step size of its scale"
        )


class Moments:
    """Var x_i and E (∂_iU)² over finite chains and steps, in float64,
    x about where the window began.
    """

    def __init__(self, x: Tensor, dense: bool = False) -> None:
        self.exact = widest_float(x.device)
        self.type, self.centre = x.dtype, x.to(self.exact).mean(0)
        self.count = self.first = self.second = self.steepness = torch.zeros_like(self.centre)
        wanted = dense and 2 <= x[0].numel() <= MOST_DENSE and len(x) >= 4
        self.halves = (Covariance(self.centre), Covariance(self.centre)) if wanted else None

    def add(self, state: ChainState) -> None:
        chains = finite_chains(state.x) & state.potential.isfinite()
        finite = chains.view(-1, *[1] * (state.x.dim() - 1))
        x = torch.where(finite, state.x - self.centre, 0.0)
        self.count = self.count + finite.sum(0)
        self.first, self.second = self.first + x.sum(0), self.second + (x**2).sum(0)
        self.steepness = self.steepness + torch.where(
            finite, state.grad.to(self.exact) ** 2, 0.0
        ).sum(0)

        for half, among in enumerate(self.halves or ()):
            among.add(x[half::2].flatten(1), chains[half::2])

    def factor(self) -> Tensor | None:
        """L of the covariance of all, lower triangular, or None where it does not pay."""
        if self.halves is None:
            return None
        here, there = (half.covariance() for half in self.halves)
        factor, bad = torch.linalg.cholesky_ex(here)
        widths = here.diagonal().clamp(min=0).sqrt()
        whole, failed = torch.linalg.cholesky_ex(self.halves[0].plus(self.halves[1]).covariance())
        if bad or failed or not whole.isfinite().all():
            return None
        dense = roundness(factor, there)
        if dense == math.inf or PAYS * dense > roundness(widths.diag(), there):
            return None
        return whole.to(self.type)

    def scale(self, kind: Precondition) -> Tensor:
        variance = self.second / self.count - (self.first / self.count) ** 2
        steepness = self.steepness / self.count
        for name, value, needed in (
            ("draws", variance, kind != "gradients"),
            ("gradients", steepness, kind in ("gradients", "both")),
        ):
            bad = int((~((value > 0) & value.isfinite())).sum()) if needed else 0
            what = "do not move" if name == "draws" else "have no gradient, or a non-finite one"
            require(
                bad == 0,
                f"adapt: precondition={kind!r}, but {bad} of {value.numel()} coordinates {what}; "
                "give it more chains or steps, another precondition, or None",
            )
        square = {
            "draws": variance,
            "dense": variance,
            "gradients": 1 / steepness,
            "both": (variance / steepness).sqrt(),
        }[kind]
        return square.sqrt().to(self.type)


class Covariance:
    """Sums over points (n, d) that make their covariance."""

    def __init__(self, like: Tensor) -> None:
        self.count = like.new_zeros(())
        self.first = like.new_zeros(like.numel())
        self.second = like.new_zeros(like.numel(), like.numel())

    def add(self, x: Tensor, finite: Tensor) -> None:
        """Points of which those that are not finite are zero."""
        self.count = self.count + finite.sum()
        self.first, self.second = self.first + x.sum(0), self.second + x.T @ x

    def plus(self, other: Covariance) -> Covariance:
        both = Covariance(self.first)
        both.count, both.first = self.count + other.count, self.first + other.first
        both.second = self.second + other.second
        return both

    def covariance(self) -> Tensor:
        mean = self.first / self.count
        return self.second / self.count - mean[:, None] * mean


def roundness(factor: Tensor, covariance: Tensor) -> float:
    """κ(L⁻¹CL⁻ᵀ), 1 where C = LLᵀ and more elsewhere; infinite where it has no full rank."""
    half = torch.linalg.solve_triangular(factor, covariance, upper=False)
    white = torch.linalg.solve_triangular(factor, half.T, upper=False)
    if not white.isfinite().all():
        return math.inf
    low, *_, high = torch.linalg.eigvalsh((white + white.T) / 2).tolist()
    return high / low if low > 0 else math.inf


class DualAveraging:
    """The recursion in `adapt`'s docstring."""

    def __init__(self, target: float, step_size: float) -> None:
        self.target, self.centre = target, math.log(10 * step_size)
        self.error, self.log_step, self.log_mean, self.n = 0.0, math.log(step_size), 0.0, 0

    def update(self, acceptance: float) -> None:
        self.n += 1
        n, kappa, n0, c = self.n, 0.05, 10, 0.75
        self.error += (self.target - acceptance - self.error) / (n + n0)
        self.log_step = self.centre - n**0.5 / kappa * self.error
        self.log_mean = n**-c * self.log_step + (1 - n**-c) * self.log_mean

    @property
    def step_size(self) -> float:
        return math.exp(min(max(self.log_step, -700.0), 700.0))

    @property
    def mean_step_size(self) -> float:
        return math.exp(min(max(self.log_mean, -700.0), 700.0))


@dataclass(frozen=True)
class RobbinsMonro:
    """log h ← min(log h₀, log h + ρ·(a - a*)), once per training iteration, a the mean acceptance
    of its chains.

    The target moves with the weights, so the rate ρ = `rate` is constant and never averaged. h
    never exceeds the sampler's own step size h₀: early in training the energy is smooth and any
    step is accepted, but noise wider than the finest scale of the data cannot see that scale, and
    training then diverges. a* is `target_acceptance`, the sampler's own unless given, as in
    `adapt`. Robbins & Monro (1951).
    """

    target_acceptance: float | None = None  # acceptance to aim at; null for the sampler's own
    rate: float = 0.05  # ρ, how fast the step size follows

    def __post_init__(self) -> None:
        a = self.target_acceptance
        require(
            a is None or 0 < a < 1,
            f"objective.adapt.target_acceptance is {a}, must lie between 0 and 1",
        )
        require(self.rate > 0, f"objective.adapt.rate is {self.rate}, must be > 0; 0.05 is usual")

    def update(self, step_size: float, acceptance: float, sampler: Sampler) -> float:
        """The next h of `sampler`, whose own step size is the largest allowed."""
        own = traits_of(sampler).target_acceptance
        target = own if self.target_acceptance is None else self.target_acceptance
        return min(
            float(sampler.step_size), step_size * math.exp(self.rate * (acceptance - target))
        )


def harmonic(acceptance: Tensor | None, state: ChainState) -> float:
    """The harmonic mean over finite chains, each taken as 10⁻³ at least: that of ChEES-HMC, by
    which a few chains that accept nothing shorten the step of all."""
    assert acceptance is not None
    finite = state.potential.isfinite()
    inverse = torch.where(finite, 1 / acceptance.clamp(min=1e-3), 0.0).sum()
    return float(finite.sum() / inverse) if finite.any() else 0.0


def mean_acceptance(acceptance: Tensor | None, potential: Tensor) -> float:
    """Mean over the chains that are still finite; 0 when none is."""
    assert acceptance is not None
    finite = potential.isfinite()
    return float((acceptance * finite).sum() / finite.sum().clamp(min=1))

"""Draws from a density that can be trusted, or that say why they cannot be."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from stanley.device import pick_device
from stanley.diagnostics.table import Summary
from stanley.errors import StanleyError, did_you_mean, require
from stanley.judging.coordinates import (
    names_of,
    parameters_of,
    potential_at,
    table_of,
    values_of,
)
from stanley.notebooks import sentences_in_html
from stanley.samplers import ChEES, RandomWalk, Sampler, adapt, run_chains
from stanley.samplers.adapt import Precondition
from stanley.samplers.arguments import (
    FIRST_STEP,
    Points,
    as_positions,
    as_potential,
    as_sampler,
    is_whole,
)
from stanley.samplers.base import DETACHED, evaluate, values
from stanley.samplers.execution import Execution
from stanley.samplers.run import potential_for
from stanley.samplers.runaway import check_mass
from stanley.samplers.traits import is_adjusted, with_step_size
from stanley.samplers.trajectories import Counted
from stanley.streams import as_generator
from stanley.targets.own import potential_of
from stanley.targets.parameters import Parameters
from stanley.types import Energy, event_shape_of, networks_in

RHAT, ESS = 1.01, 400  # Vehtari et al. (2021), section 4
LOST = 1.1  # above this R̂ the chains have not found the density: they are warmed up again
FIRST = 200  # draws of each chain before they are judged for the first time
MANY = 10_000  # numbers in one point from which there are 16 chains, not 64
KEPT = 1 << 26  # at most so many numbers in the kept draws, 512 MB in float64
TRIES = 20  # of starts at which U is not finite


class NotConverged(UserWarning):
    """Draws that have not reached what was wanted; the message says where."""


@dataclass(frozen=True)
class Wanted:
    """What draws must reach.

    ess   bulk and tail effective sample size of every coordinate and of U
    rhat  R̂ of every coordinate and of U, at most
    mcse  Monte Carlo error of the mean of every coordinate, at most; by the name of a parameter for
          its coordinates alone; None for any
    """

    ess: float = ESS
    rhat: float = RHAT
    mcse: float | Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        require(self.ess > 0, f"ess is {self.ess}, must be > 0; {ESS} is usual")
        require(self.rhat > 1, f"rhat is {self.rhat}, must be > 1; {RHAT} is usual")
        errors = self.mcse.values() if isinstance(self.mcse, Mapping) else [self.mcse]
        for error in errors:
            require(
                error is None or error > 0,
                f"mcse is {error}, must be > 0, in the units of the coordinate",
            )

    def errors(self, names: tuple[str, ...]) -> Tensor | None:
        """The largest error allowed of each coordinate; infinite where any will do."""
        if self.mcse is None:
            return None
        if not isinstance(self.mcse, Mapping):
            return torch.tensor(
                [math.inf if name == "U" else self.mcse for name in names], dtype=torch.float64
            )
        of = [name.split("[")[0] for name in names]
        for name in self.mcse:
            require(
                name in of, f"mcse names {name!r}, which is no parameter: {did_you_mean(name, of)}"
            )
        return torch.tensor([self.mcse.get(name, math.inf) for name in of], dtype=torch.float64)

    def missing(self, table: Summary) -> list[str]:
        """What has not been reached, one sentence each; empty if all has been."""
        s, names, reasons = table.chains, table.names, []

        def where(bad: Tensor, most: Tensor) -> tuple[str, str]:
            i = int(most.nan_to_num(nan=-math.inf, posinf=math.inf).argmax())
            return names[i], f"{int(bad.sum())} of {len(names)} coordinates"

        unknown = s.mean.isnan()
        if unknown.any():
            name, share = where(unknown, unknown.double())
            reasons.append(f"{name} has draws that are not finite, and so have {share}")
        still = s.constant
        if still.any():
            name, share = where(still, still.double())
            reasons.append(f"{name} never moved, {share}: no proposal was accepted, or it is fixed")
        bad = s.rhat > self.rhat
        if bad.any():
            name, share = where(bad, s.rhat)
            reasons.append(
                f"R̂ is {float(s.rhat[names.index(name)]):.3g} at {name} and above {self.rhat:g} at"
                f" {share}: the chains disagree"
            )
        for kind, ess in (("bulk", s.ess_bulk), ("tail", s.ess_tail)):
            bad = ess < self.ess
            if bad.any():
                name, share = where(bad, -ess)
                reasons.append(
                    f"{kind} ESS is {float(ess[names.index(name)]):.0f} at {name} and below"
                    f" {self.ess:g} at {share}"
                )
        allowed = self.errors(names)
        if allowed is not None:
            ratio = s.mcse / allowed.to(s.mcse)
            bad = ratio > 1
            if bad.any():
                name, share = where(bad, ratio)
                i = names.index(name)
                reasons.append(
                    f"the Monte Carlo error of the mean of {name} is {float(s.mcse[i]):.2g}, and"
                    f" {float(allowed[i]):g} was wanted; above it at {share}"
                )
        return reasons


@dataclass(frozen=True, eq=False)
class Draws:
    """Draws of B chains, after the warm-up; `out[name]` are those of one parameter.

    points      (num_draws, B, *event), what the chains moved: unconstrained where the density is
                one of `Parameters`
    u           U at the points, (num_draws, B)
    values      the draws by name, (chains, draws, *shape) each, constrained
    sampler     as the warm-up left it
    table       of every coordinate and of U
    reasons     why not to trust them, one sentence each; empty if there is none
    history     what was done, one sentence each
    gradients   of each chain, warm-up included; of a random walk evaluations of U
    acceptance  mean over chains and steps
    keep_every  of so many steps one draw is kept
    """

    points: Tensor
    u: Tensor
    values: dict[str, Tensor]
    sampler: Sampler
    table: Summary
    reasons: tuple[str, ...]
    history: tuple[str, ...]
    gradients: int
    acceptance: float
    keep_every: int

    @property
    def converged(self) -> bool:
        """Whether everything that was wanted has been reached."""
        return not self.reasons

    def keys(self) -> tuple[str, ...]:
        return tuple(self.values)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __contains__(self, name: object) -> bool:
        return name in self.values

    def __getitem__(self, name: str) -> Tensor:
        """The draws of one parameter, (chains, draws, *shape), constrained; those of a density
        without named parameters are called x.
        """
        require(
            name in self.values,
            f"there is no parameter {name!r}: {did_you_mean(str(name), self.values)}",
        )
        return self.values[name]

    def summary(self) -> Summary:
        """The table of all coordinates by name, and of the potential U."""
        return self.table

    def to_arviz(self) -> Any:
        """The draws for ArviZ: groups `posterior`, by name, and `sample_stats`, with lp = -U.

        Needs the extra arviz. With arviz-base an `xarray.DataTree`, with arviz before 1.0 its
        `InferenceData`.
        """
        posterior = {name: x.cpu().numpy() for name, x in self.values.items()}
        stats = {"lp": -self.u.T.cpu().numpy()}
        try:
            from arviz_base import from_dict
        except ImportError:
            try:
                from arviz import from_dict as former
            except ImportError:
                raise StanleyError(
                    "to_arviz needs ArviZ, which is not installed: pip install 'stanley[arviz]'"
                ) from None
            return former(posterior=posterior, sample_stats=stats)
        return from_dict({"posterior": posterior, "sample_stats": stats})

    def verdict(self) -> str:
        """One sentence: what was reached, or what was not."""
        s = self.table.chains
        if self.converged:
            return (
                f"converged: R̂ at most {s.worst_rhat:.3f}, bulk ESS at least"
                f" {s.worst_ess_bulk:,.0f}, tail ESS at least {s.worst_ess_tail:,.0f}, at every"
                " coordinate and U"
            )
        return "not converged: " + "; ".join(self.reasons)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {tuple(x.shape)}" for name, x in self.values.items())
        return f"Draws({shapes}; {self.verdict()})"

    def _repr_html_(self) -> str:
        return sentences_in_html([self.verdict()]) + self.table._repr_html_()


def draw(
    potential: Energy | Distribution,
    shape: int | tuple[int, ...] | None = None,
    *,
    ess: float = ESS,
    rhat: float = RHAT,
    mcse: float | Mapping[str, float] | None = None,
    budget: int = 100_000,
    chains: int | None = None,
    warm_up: int = 500,
    sampler: Sampler | str | None = None,
    start: Points | Mapping[str, Any] | None = None,
    start_std: float = 1.0,
    keep_every: int = 1,
    seed: int = 0,
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    execution: Execution = "auto",
    progress: bool = False,
) -> Draws:
    """Draws from p ∝ exp(-U) whose chains agree, by exact samplers alone, within a budget.

    potential  U: (B, *event) -> (B,) or (*event) -> (); one of `Parameters.potential`,
               `from_log_density` or `stanley.targets`; or a distribution of torch
    shape      of one point, where the potential does not state it
    ess, rhat, mcse   what to reach, at every coordinate and U; see `Wanted`
    budget     gradients of each chain, warm-up included, after which no other round begins
    chains     64, or 16 where a point has more than 10,000 numbers
    warm_up    steps, which are thrown away
    sampler    the name or value of an exact sampler, whose step size is the first guess
    start      one point, or one for each chain: a tensor, an array, or values of the
               parameters by name; else N(0, start_std²I) in unconstrained coordinates
    keep_every   of so many steps one draw is kept, at least
    seed, generator   the only source of randomness; the generator where both are given
    dtype      float64, or the type of a network's weights
    execution  how steps are carried out, as for `run_chains`: 'compile' takes some seconds first,
               and then a fraction of the time where there are few chains

    The rules. The sampler is `ChEES` with a scale for each coordinate, or a dense one where that
    pays (see `adapt`), all learned in the warm-up, or `RandomWalk` where U has no gradient. Starts
    at which U is not finite are drawn again, each time half as wide. 200 draws of each chain are
    judged, then twice as many in all, and so on, until everything that is wanted is reached. Where
    R̂ stays above its limit, the later half of the draws is taken alone if that reaches everything;
    where R̂ is above 1.1, all are thrown away and the chains are warmed up again, for twice as many
    steps. Of more than 2²⁶ numbers every other draw is kept.

    What was not reached is in `reasons`, and a warning. Raises StanleyError for a sampler that is
    not exact, starts at which U is not finite, a constraint that a start violates, and chains that
    run away since exp(-U) has no finite mass. Not true: that agreement proves convergence: a mode
    that no chain has found leaves no trace.
    """
    wanted = Wanted(ess, rhat, mcse)
    whole = {"budget": budget, "warm_up": warm_up, "keep_every": keep_every}
    for name, value in whole.items():
        require(is_whole(value), f"{name} is {value!r}, must be a whole number")
    require(keep_every >= 1, f"keep_every is {keep_every}, must be at least 1; 1 keeps every draw")
    require(budget >= 1, f"budget is {budget}, must be at least 1 gradient a chain")
    require(warm_up >= 20, f"warm_up is {warm_up}, must be at least 20 steps; 500 is usual")
    place = pick_device(str(device))
    u, event, kind = density_of(potential, shape, start, dtype, place, start_std)
    parameters = parameters_of(u)
    rng = as_generator(generator, seed if generator is None else None, "draw", device=place)
    num = number_of_chains(chains, event)
    x0 = starts(u, parameters, start, num, event, start_std, rng, kind, place)
    first = exact_sampler(sampler, u, x0)
    u = potential_for(first, u)
    rounds = Rounds(u, event, wanted, budget, rng, progress, keep_every, execution)
    out = rounds.run(first, x0, warm_up)
    if out.reasons:
        warnings.warn(
            f"not converged within the budget of {budget:,} gradients a chain:"
            f" {'; '.join(out.reasons)}; raise the budget, or look for coordinates in which the"
            " density is rounder",
            NotConverged,
            stacklevel=2,
        )
    return out


@dataclass(frozen=True, eq=False)
class Judged:
    """Points (num_draws, B, *event), U there, the table, and what has not been reached."""

    points: Tensor
    u: Tensor
    table: Summary
    missing: tuple[str, ...]


class Rounds:
    """Warm up, draw, judge, until everything is reached or the budget is used up."""

    def __init__(
        self,
        potential: Energy,
        event: tuple[int, ...],
        wanted: Wanted,
        budget: int,
        generator: torch.Generator,
        progress: bool,
        keep_every: int = 1,
        execution: Execution = "auto",
    ) -> None:
        self.keep_every = keep_every
        self.execution: Execution = execution
        self.potential, self.wanted = potential, wanted
        self.budget, self.generator, self.progress = budget, generator, progress
        self.spent, self.steps, self.accepted = 0, 0, 0.0
        self.history: list[str] = []
        if isinstance(wanted.mcse, Mapping):
            wanted.errors((*names_of(potential, event), "U"))  # a name that is wrong is told now

    def run(self, sampler: Sampler, x0: Tensor, warm_up: int) -> Draws:
        sampler, x = self.warm_up(sampler, x0, warm_up)
        kept: list[Tensor] = []
        every, steps = self.keep_every, FIRST * self.keep_every
        while True:
            points, x = self.some_draws(sampler, x, steps, every)
            kept.append(points)
            while sum(map(torch.numel, kept)) > KEPT:
                kept, every = [part[1::2] for part in kept], 2 * every
            judged = self.judge(torch.cat(kept))
            rhat = judged.table.chains.worst_rhat
            if rhat > self.wanted.rhat:
                later = self.judge(judged.points[len(judged.points) // 2 :])
                judged = judged if later.missing else later
            if not judged.missing or self.spent >= self.budget:
                return self.result(sampler, judged, every)
            if rhat > LOST:
                check_mass(self.potential, x0, x, far=3.0)  # by now there is a suspicion
                warm_up *= 2
                sampler, x = self.warm_up(with_step_size(sampler, FIRST_STEP), x, warm_up)
                kept, every, steps = [], self.keep_every, FIRST * self.keep_every
                self.steps, self.accepted = 0, 0.0
            else:
                steps = every * sum(map(len, kept))

    def warm_up(self, sampler: Sampler, x0: Tensor, steps: int) -> tuple[Sampler, Tensor]:
        counted = Counted(self.potential)
        scale: Precondition = "dense"
        sampler, x = adapt(
            sampler,
            counted,
            x0,
            steps,
            generator=self.generator,
            precondition=scale,
            execution=self.execution,
        )
        check_mass(self.potential, x0, x)
        self.note(f"warm-up of {steps:,} steps", counted.points // len(x))
        return sampler, x

    def some_draws(
        self, sampler: Sampler, x: Tensor, steps: int, every: int
    ) -> tuple[Tensor, Tensor]:
        run = run_chains(
            sampler,
            self.potential,
            x,
            steps,
            generator=self.generator,
            keep_every=every,
            execution=self.execution,
            progress=self.progress,
        )
        assert run.draws is not None
        self.steps, self.accepted = (
            self.steps + steps,
            self.accepted + steps * float(run.info.acceptance.mean()),
        )
        self.note(f"{steps:,} steps", run.info.num_gradients + run.info.num_potentials)
        return run.draws, run.x

    def note(self, what: str, cost: int) -> None:
        self.spent += cost
        self.history.append(f"{what}, {cost:,} gradients a chain")

    def judge(self, points: Tensor) -> Judged:
        u = potential_at(self.potential, points)
        table = table_of(self.potential, points, u)
        return Judged(points, u, table, tuple(self.wanted.missing(table)))

    def result(self, sampler: Sampler, judged: Judged, every: int) -> Draws:
        return Draws(
            judged.points,
            judged.u,
            values_of(self.potential, judged.points),
            sampler,
            judged.table,
            judged.missing,
            tuple(self.history),
            self.spent,
            self.accepted / self.steps,
            every,
        )


def density_of(
    potential: Any,
    shape: int | tuple[int, ...] | None,
    start: Any,
    dtype: torch.dtype | None,
    device: torch.device,
    start_std: float,
) -> tuple[Energy, tuple[int, ...], torch.dtype]:
    """The potential as one of many points, the shape of a point, and the type of its numbers."""
    u: Any = as_potential(potential)
    own = event_shape_of(u)
    if isinstance(start, Tensor) and own is None and shape is None:
        raise StanleyError("the shape of a point is not known; give it, for example draw(U, 10, …)")
    given = (shape,) if isinstance(shape, int) else None if shape is None else tuple(shape)
    require(
        own is None or given in (None, own),
        f"shape is {given}, but the points of this density have shape {own}; leave it out",
    )
    event = own or given
    require(
        event is not None,
        "the shape of a point is not known; give it, for example draw(U, 10) or draw(U, (3, 32,"
        " 32))",
    )
    assert event is not None
    require(
        len(event) >= 1 and all(isinstance(n, int) and n >= 1 for n in event),
        f"shape is {event}, but must be whole numbers from 1",
    )
    weights = (w for net in networks_in(u) for w in net.parameters() if w.is_floating_point())
    kind = dtype or next((w.dtype for w in weights), torch.float64)
    require(start_std > 0, f"start_std is {start_std}, must be > 0")
    if own is None or isinstance(u, nn.Module):
        u = potential_of(u, event, std=start_std, dtype=kind, device=device)
    return u, event, kind


def number_of_chains(chains: int | None, event: tuple[int, ...]) -> int:
    num = (16 if math.prod(event) > MANY else 64) if chains is None else chains
    require(
        is_whole(num) and num >= 4,
        f"chains is {num}, must be at least 4, for R̂ to compare them; ChEES wants 16 or more",
    )
    return num


def starts(
    potential: Energy,
    parameters: Parameters | None,
    start: Any,
    num: int,
    event: tuple[int, ...],
    std: float,
    generator: torch.Generator,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """Where the chains start, (num, *event): points at which U is finite."""
    if start is not None:
        if isinstance(start, Mapping):
            require(
                parameters is not None,
                "start gives values by name, but the density has no named parameters; give a"
                " tensor",
            )
            assert parameters is not None
            x = parameters.unconstrain(start)
        else:
            x = as_positions(start, potential, "start")
        x = x.to(device, dtype)
        x = x[None] if tuple(x.shape) == event else x
        fits = tuple(x.shape[1:]) == event and len(x) in (1, num)
        require(
            fits,
            f"start has shape {tuple(x.shape)}, but must be {event}, or {(num, *event)} for"
            f" {num} chains",
        )
        x = x.expand(num, *event).clone()
        check_starts(values(potential, x), "start")
        return x

    def noise(width: float) -> Tensor:
        shape = (num, *event)
        return width * torch.randn(shape, generator=generator, dtype=dtype, device=device)

    x = noise(std)
    u = values(potential, x)
    for n in range(1, TRIES):
        bad = ~u.isfinite()
        if not bad.any():
            return x
        x = torch.where(bad.view(-1, *[1] * len(event)), noise(std / 2**n), x)
        u = values(potential, x)
    check_starts(u, f"random starts, the last of them within {std / 2 ** (TRIES - 1):.1g} of 0")
    return x


def check_starts(u: Tensor, what: str) -> None:
    bad = ~u.isfinite()
    if bad.any():
        kind = (
            "NaN"
            if u[bad].isnan().all()
            else "infinite"
            if u[bad].isinf().all()
            else ("NaN or infinite")
        )
        raise StanleyError(
            f"U is {kind} at {int(bad.sum())} of {len(u)} starts ({what}): no chain can leave such"
            " a point; look at the density there, or start where it is finite (start=…)"
        )


def exact_sampler(sampler: Sampler | str | None, potential: Energy, x0: Tensor) -> Sampler:
    """The sampler that was asked for, or the one that the rules choose."""
    if sampler is None:
        try:
            evaluate(potential, x0)
        except StanleyError as error:
            if str(error) != DETACHED:
                raise
            return RandomWalk(FIRST_STEP)
        return ChEES(FIRST_STEP)
    sampler = as_sampler(sampler)
    name = getattr(sampler, "kind", type(sampler).__name__)
    require(
        is_adjusted(sampler),
        f"{name} is not exact: its law is not exp(-U), however long it runs, and draw takes exact"
        " samplers alone; use chees, hmc, mala, barker, …, or run_chains",
    )
    return sampler

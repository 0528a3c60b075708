"""All diagnostics of a sampler on a density in one call, as `stanley diagnose` shows them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from stanley.data.standardisation import Standardisation
from stanley.diagnostics import (
    Bias,
    ChainSummary,
    DriftRatio,
    Meeting,
    RayGrowth,
    bias_against_adjusted,
    couple,
    drift_ratio,
    exponential_norm,
    h1_on_rays,
    points_on_rays,
    summarise,
    verdict,
)
from stanley.diagnostics.coupling import Initial
from stanley.diagnostics.table import Summary, summary_by_name
from stanley.errors import StanleyError, require
from stanley.judging.coordinates import table_of
from stanley.notebooks import sentences_in_html
from stanley.samplers import ChainInfo, Sampler, run_chains
from stanley.samplers.arguments import (
    Points,
    as_positions,
    as_potential,
    as_sampler,
    device_of,
    weight_of,
)
from stanley.samplers.base import values
from stanley.samplers.traits import is_adjusted
from stanley.streams import as_generator
from stanley.targets import Target
from stanley.types import Energy, event_shape_of, in_float32

KEPT = 1 << 26  # at most so many numbers in the kept draws, 512 MB in float64
FEW = 20  # pairs of the pilot run, which finds the lag
ROWS = 6  # coordinates in the table
RADII = tuple(10 ** (k / 3) for k in range(10))  # 1 … 10³, in units of the draws' typical |x|
SIGNIFICANCE = 0.01  # probability of a false alarm of all comparisons with exact moments together


@dataclass(frozen=True)
class Effort:
    """How much each part of a diagnosis may cost; 0 pairs, rays or copies leave that part out.

    chains          number of chains
    steps           of each chain, after the warm-up
    pairs           of coupled chains
    coupled_steps   after which pairs that have not met are given up
    rays            on which the growth of U is measured
    copies          steps from each of 4 × 10 points, for the drift ratio
    """

    chains: int = 64
    steps: int = 2000
    pairs: int = 200
    coupled_steps: int = 5000
    rays: int = 64
    copies: int = 1000

    def __post_init__(self) -> None:
        least = {
            "chains": (2, "for R̂ to compare chains"),
            "steps": (4, "for R̂ to split chains into halves"),
            "coupled_steps": (1, "for chains to meet"),
        }
        for name, (low, why) in least.items():
            value = getattr(self, name)
            require(value >= low, f"{name} is {value}, but must be at least {low} {why}")
        for name, low in (("pairs", FEW), ("rays", 1), ("copies", 2)):
            value = getattr(self, name)
            require(
                value == 0 or value >= low,
                f"{name} is {value}, but must be at least {low}, or 0 to leave that part out",
            )


VECTORS = Effort()
IMAGES = Effort(chains=16, steps=500, pairs=0, coupled_steps=500, rays=16, copies=0)


def effort_for(event_shape: Sequence[int], **given: int | None) -> Effort:
    """The default effort for points of this shape, with the fields in `given` replaced."""
    usual = VECTORS if len(event_shape) == 1 else IMAGES
    return replace(usual, **{name: value for name, value in given.items() if value is not None})


@dataclass(frozen=True)
class Diagnosis:
    """The result of `diagnose`.

    info        of the chains
    draws       (num_kept, B, *event)
    potential   U at the draws, (num_kept, B)
    summary     convergence diagnostics of every coordinate
    summary_u   the same of U
    exact, coupling, growth, drift, bias   the other parts, see `diagnose`; None if not run
    left_out    name of a part that was not run -> the reason
    table       of every coordinate by name, constrained where there are constraints, and of U
    """

    sampler: Sampler
    effort: Effort
    info: ChainInfo
    draws: Tensor
    potential: Tensor
    summary: ChainSummary
    summary_u: ChainSummary
    exact: ExactMoments | None
    coupling: Meeting | None
    growth: RayGrowth | None
    drift: DriftRatio | None
    bias: Bias | None
    left_out: dict[str, str]
    table: Summary

    def verdicts(self) -> dict[str, list[str]]:
        """For each part that was run, its result in sentences."""
        u = self.summary_u
        sentences = {"chains": verdict(self.summary)}
        if verdict(u):
            sentences["chains"].append(
                f"the potential U has not converged either: its R̂ is {u.worst_rhat:.3g}, its bulk"
                f" ESS {u.worst_ess_bulk:.0f} and its tail ESS {u.worst_ess_tail:.0f}"
            )
        sentences["chains"] = sentences["chains"] or ["nothing speaks against these chains"]
        if self.exact is not None:
            sentences["exact moments"] = [self.exact.verdict]
        if self.bias is not None:
            sentences["bias"] = self.bias.verdict
        for name, part in (
            ("coupling", self.coupling),
            ("growth", self.growth),
            ("drift", self.drift),
        ):
            if part is not None:
                sentences[name] = [part.verdict() if isinstance(part, Meeting) else part.verdict]
        if self.coupling is not None and len(self.coupling.times) < self.effort.pairs:
            sentences["coupling"].append(
                f"this is from a pilot run of {FEW} pairs; the {self.effort.pairs} pairs of the"
                " main run were not run"
            )
        return sentences

    def lines(self) -> list[str]:
        """The verdicts, one line each, by the name of the part."""
        return [f"{part}: {line}" for part, said in self.verdicts().items() for line in said]

    def __repr__(self) -> str:
        kind = getattr(self.sampler, "kind", type(self.sampler).__name__)
        return "\n".join([f"Diagnosis of {kind}", *self.lines()])

    def _repr_html_(self) -> str:
        return sentences_in_html(self.lines()) + self.table._repr_html_()


@dataclass(frozen=True)
class ExactMoments:
    """The errors of the means of x and x² over the draws, where the exact moments are known.

    mean, second   errors in units of the standard error, (*event) each
    limit          above which an error is not due to chance, with the correction for multiple
                   comparisons
    verdict        one sentence that quotes these numbers
    """

    mean: Tensor
    second: Tensor
    limit: float
    verdict: str


def diagnose(
    sampler: Sampler | str,
    potential: Energy | Distribution,
    initial: Initial | None = None,
    x0: Points | None = None,
    *,
    generator: torch.Generator | None = None,
    seed: int | None = None,
    effort: Effort = VECTORS,
    progress: bool = False,
) -> Diagnosis:
    """Run chains of a sampler, judge their convergence, and check what theory assumes.

    sampler  or its name, for that sampler at step size 0.1
    initial  the law from which coupled pairs start, (n, generator) -> (n, *event); N(0, I) unless
             given
    x0       (B, *event), B >= 2, where the chains start: the states after the warm-up, if that is
             not to be judged; draws of `initial` unless given
    generator, seed   the only source of randomness, one of the two

    The parts of the result are

    summary    R̂, bulk and tail ESS and MCSE of every coordinate, and of U
    exact      errors of the moments, for a `Target` whose moments are known
    coupling   how many steps it takes from `initial` to equilibrium, by L-lag couplings, where L is
               the median meeting time of the pairs of a pilot run
    growth     H1, whether U grows faster than linearly along rays
    drift      ΠV/V for V = e^{|x|/√h}, out to 10³ times the typical |x|
    bias       of an unadjusted sampler, compared with the same proposal with a Metropolis test

    A part that is impossible for this sampler or density, which raises StanleyError, is left out
    and its reason recorded; no other error is caught. Draws are thinned so that at most 2²⁶ numbers
    are kept. Chains run on the potential in its own precision; U at the draws, its growth and the
    reference for the bias use float32 where that precision is bfloat16.
    """
    sampler, potential = as_sampler(sampler), as_potential(potential)
    x = None if x0 is None else as_positions(x0, potential)
    device = device_of(potential) if x is None else x.device
    generator = as_generator(generator, seed, "diagnose", device=device)
    initial = normal_starts(potential, x) if initial is None else initial
    x0 = initial(effort.chains, generator) if x is None else x
    require(len(x0) >= 2, f"x0 holds {len(x0)} chain, but must hold at least 2 to compare them")
    keep = max(1, math.ceil(effort.steps * x0.numel() / KEPT))
    run = run_chains(
        sampler,
        potential,
        x0,
        effort.steps,
        generator=generator,
        keep_every=keep,
        progress=progress,
    )
    draws = run.draws
    assert draws is not None
    exact_u = in_float32(potential)  # for values of U itself, unlike for the chains
    u = potential_of(exact_u, draws)
    summary, summary_u = summarise(draws), summarise(u)
    event, left_out = tuple(x0.shape[1:]), {}

    def part(name: str, wanted: int, compute: Callable[[], Any]) -> Any:
        """The part, or None with a reason in `left_out`."""
        try:
            if wanted:
                return compute()
            left_out[name] = "it was not requested"
        except StanleyError as error:
            left_out[name] = str(error)
        return None

    typical = float(draws[-1].flatten(1).norm(dim=1).nan_to_num(1.0, 1.0, 1.0).median()) or 1.0
    coupling = part(
        "coupling",
        effort.pairs,
        lambda: coupled(sampler, potential, initial, effort, generator),
    )
    growth = part(
        "growth",
        effort.rays,
        lambda: h1_on_rays(
            exact_u,
            event,
            generator=generator,
            num_rays=effort.rays,
            radii=[typical * r for r in RADII],
            dtype=x0.dtype,
        ),
    )
    drift = part(
        "drift",
        effort.copies,
        lambda: drift_ratio(
            sampler,
            potential,
            points_on_rays(
                event, [typical * r for r in RADII], generator=generator, dtype=x0.dtype
            ),
            generator=generator,
            log_v=exponential_norm(float(sampler.step_size) ** -0.5),
            num_copies=effort.copies,
        ),
    )
    bias = part(
        "bias",
        1,
        lambda: bias_against_adjusted(sampler, potential, x0, effort.steps, generator=generator),
    )
    if is_adjusted(sampler):
        left_out["bias"] = "there is none, since the Metropolis test makes the sampler exact"
    exact = against_exact(potential, draws, summary)
    return Diagnosis(
        sampler,
        effort,
        run.info,
        draws,
        u,
        summary,
        summary_u,
        exact,
        coupling,
        growth,
        drift,
        bias,
        left_out,
        table_of(exact_u, draws, u),
    )


def normal_starts(potential: Energy, x: Tensor | None) -> Initial:
    """N(0, I) of points like x, or where there is none of those that the density states."""
    event = event_shape_of(potential) if x is None else tuple(x.shape[1:])
    require(
        event is not None,
        "the shape of a point is not known: give x0, (chains, *event), or initial",
    )
    assert event is not None
    like = weight_of(potential) if x is None else x
    kind = torch.float64 if like is None else like.dtype

    def initial(n: int, generator: torch.Generator) -> Tensor:
        return torch.randn(n, *event, generator=generator, dtype=kind, device=generator.device)

    return initial


def in_units_of_data(found: Diagnosis, standardisation: Standardisation) -> Diagnosis:
    """A diagnosis of chains on standardised points, with draws, their means, deviations and Monte
    Carlo errors in the units of the data, and U = U_z + Σ log std.

    R̂ and ESS are the same in both. The other parts (coupling, growth, drift, bias) stay those of
    the chains that ran.
    """
    _, std = standardisation.on(found.draws.device)
    s, u, shift = found.summary, found.summary_u, standardisation.log_scale
    summary = replace(s, mean=standardisation.undo(s.mean), sd=std * s.sd, mcse=std * s.mcse)
    draws, potential = standardisation.undo(found.draws), found.potential + shift
    columns = torch.cat([draws.flatten(2), potential[..., None].to(draws)], -1)
    return replace(
        found,
        draws=draws,
        potential=potential,
        summary=summary,
        summary_u=replace(u, mean=u.mean + shift),
        table=summary_by_name(columns, found.table.names),
    )


def potential_of(potential: Energy, draws: Tensor) -> Tensor:
    """U at the draws (n, B, *event): (n, B)."""
    return torch.stack([values(potential, x) for x in draws])


def coupled(
    sampler: Sampler,
    potential: Energy,
    initial: Initial,
    effort: Effort,
    generator: torch.Generator,
) -> Meeting:
    """Coupled pairs, with the median meeting time of a pilot run with lag 1 as their lag.

    If a pair of the pilot run does not meet, its result is returned.
    """
    first = couple(
        sampler,
        potential,
        initial,
        num_pairs=FEW,
        lag=1,
        max_steps=effort.coupled_steps,
        generator=generator,
    )
    if first.unmet or effort.pairs == FEW:
        return first
    lag = max(1, int(first.times.median()))
    return couple(
        sampler,
        potential,
        initial,
        num_pairs=effort.pairs,
        lag=lag,
        max_steps=effort.coupled_steps,
        generator=generator,
    )


def against_exact(potential: Energy, draws: Tensor, summary: ChainSummary) -> ExactMoments | None:
    """(mean of the draws - E x)/MCSE, and the same for x²; None if the moments are not known.

    Not true: that this holds for a law without a fourth moment, or one where rare draws dominate
    E x² (the funnel): the MCSE of x² may then be too small.
    """
    if (
        not isinstance(potential, Target)
        or potential.mean is None
        or potential.second_moment is None
    ):
        return None
    square = summarise(draws**2)
    mean = (summary.mean - potential.mean) / summary.mcse
    second = (square.mean - potential.second_moment) / square.mcse
    both = torch.cat([mean.flatten(), second.flatten()])
    limit = -float(
        torch.special.ndtri(torch.tensor(SIGNIFICANCE / 2 / len(both), dtype=torch.float64))
    )
    known = both[both.isfinite()].abs()
    if not len(known):
        return ExactMoments(mean, second, limit, "no moment could be judged")
    worst, off = float(known.max()), int((known > limit).sum())
    agree = (
        f"{off} of {len(both)} means of x and x² differ from the exact moments"
        if off
        else f"all {len(both)} means of x and x² agree with the exact moments"
    )
    return ExactMoments(
        mean,
        second,
        limit,
        f"{agree}: the largest difference is {worst:.1f} standard errors (limit {limit:.1f})",
    )


def coordinate_table(diagnosis: Diagnosis, rows: int | None = ROWS) -> list[dict[str, Any]]:
    """One row for U, and one for each of the at most `rows` coordinates with the largest R̂; for
    all of them with None.
    """
    *coordinates, of_u = diagnosis.table.rows()
    if rows is not None and len(coordinates) > rows:
        rhat = diagnosis.table.chains.rhat[:-1].nan_to_num(math.inf)
        worst = rhat.argsort(descending=True, stable=True)[:rows].sort().values
        coordinates = [coordinates[i] for i in worst.tolist()]
    return [of_u, *coordinates]

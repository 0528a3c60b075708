"""Everything that can be said of a sampler on a density, in one call:
what `stanley diagnose` shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

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
from stanley.errors import StanleyError, require
from stanley.samplers import ChainInfo, Sampler, run_chains
from stanley.samplers.base import values
from stanley.samplers.traits import is_adjusted
from stanley.targets import Target
from stanley.types import Energy, in_float32

KEPT = 1 << 26  # numbers of all kept draws; 512 MB in float64
FEW = 20  # pairs of the first try, which shows the lag
ROWS = 6  # coordinates in the table
# 1 … 10³, in units of the draws' typical distance from 0
RADII = tuple(10 ** (k / 3) for k in range(10))
SIGNIFICANCE = 0.01  # of all comparisons with exact moments together


@dataclass(frozen=True)
class Effort:
    """How much to spend. Each part but the chains can be left out with 0."""

    chains: int = 64
    steps: int = 2000  # of each chain, after the warm-up
    pairs: int = 200  # of coupled chains
    coupled_steps: int = 5000  # until pairs that have not met are given up
    rays: int = 64
    copies: int = 1000  # for the drift ratio at each of 4 × 10 points

    def __post_init__(self) -> None:
        least = {
            "chains": (2, "to compare them"),
            "steps": (4, "to judge chains"),
            "coupled_steps": (1, "to meet in"),
        }
        for name, (low, why) in least.items():
            value = getattr(self, name)
            require(value >= low, f"{name} is {value}, must be at least {low} {why}")
        for name, low in (("pairs", FEW), ("rays", 1), ("copies", 2)):
            value = getattr(self, name)
            require(
                value == 0 or value >= low,
                f"{name} is {value}, must be at least {low}, or 0 for none",
            )


VECTORS = Effort()
IMAGES = Effort(chains=16, steps=500, pairs=0, coupled_steps=500, rays=16, copies=0)


def effort_for(event_shape: Sequence[int], **given: int | None) -> Effort:
    """What is usual for points of this shape, with the fields that are given in its place."""
    usual = VECTORS if len(event_shape) == 1 else IMAGES
    return replace(usual, **{name: value for name, value in given.items() if value is not None})


@dataclass(frozen=True)
class Diagnosis:
    """What was run and what was seen; a part that was not run has a reason in `left_out`."""

    sampler: Sampler
    effort: Effort
    info: ChainInfo
    draws: Tensor  # (num_kept, B, *event)
    potential: Tensor  # (num_kept, B), U at the draws
    summary: ChainSummary  # of each coordinate
    summary_u: ChainSummary  # of U, a coordinate like any other
    exact: ExactMoments | None
    coupling: Meeting | None
    growth: RayGrowth | None
    drift: DriftRatio | None
    bias: Bias | None
    left_out: dict[str, str]

    def verdicts(self) -> dict[str, list[str]]:
        """For each part that was run, what to make of it, a sentence each."""
        u = self.summary_u
        said = {"chains": verdict(self.summary)}
        if verdict(u):
            said["chains"].append(
                f"U, the potential itself, is no better: R̂ {u.worst_rhat:.3g}, bulk ESS"
                f" {u.worst_ess_bulk:.0f}, tail ESS {u.worst_ess_tail:.0f}"
            )
        said["chains"] = said["chains"] or ["nothing speaks against these chains"]
        if self.exact is not None:
            said["exact moments"] = [self.exact.verdict]
        if self.bias is not None:
            said["bias"] = self.bias.verdict
        for name, part in (
            ("coupling", self.coupling),
            ("growth", self.growth),
            ("drift", self.drift),
        ):
            if part is not None:
                said[name] = [part.verdict() if isinstance(part, Meeting) else part.verdict]
        if self.coupling is not None and len(self.coupling.times) < self.effort.pairs:
            said["coupling"].append(
                f"(seen in a first try of {FEW} pairs; the other {self.effort.pairs} were not run)"
            )
        return said


@dataclass(frozen=True)
class ExactMoments:
    """Mean and second moment of the draws against the known ones, in standard errors,
    (*event) each.
    """

    mean: Tensor
    second: Tensor
    limit: float  # beyond which the largest is no accident, all coordinates together
    verdict: str


def diagnose(
    sampler: Sampler,
    potential: Energy,
    initial: Initial,
    x0: Tensor,
    *,
    generator: torch.Generator,
    effort: Effort = VECTORS,
    progress: bool = False,
) -> Diagnosis:
    """Run chains of the sampler from x0 and say what is wrong with them; and test what theory asks
    of the sampler.

    initial  the law that coupled pairs start from, (n, generator) -> (n, *event)
    x0       (B, *event), where the chains start: after a warm-up, if they are to be judged without
             it

    chains   R̂, bulk and tail ESS and MCSE of every coordinate and of U
    exact    against the moments of a `Target` that knows them
    coupling how many steps from `initial` to equilibrium, by L-lag couplings, L the number of steps
    that half the
             pairs of a first try needed
    growth   H1: whether U grows faster than linearly on rays
    drift    ΠV/V for V = e^{|x|/√h}, out to 10³ times the typical |x|
    bias     of an unadjusted sampler against its adjusted twin

    Draws are thinned so that at most 2²⁶ numbers are kept. A part that cannot be had of this
    sampler or density is left out, with the reason; nothing else is caught. A potential in bfloat16
    is what the chains run on; the values of U, its growth and the adjusted twin are of the same
    potential in float32.
    """
    require(len(x0) >= 2, f"{len(x0)} chain, must be at least 2 to compare them")
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
    exact_u = in_float32(potential)  # what is said of U itself, and not of the chains on it
    u = potential_of(exact_u, draws)
    summary, summary_u = summarise(draws), summarise(u)
    event, left_out = tuple(x0.shape[1:]), {}

    def part(name: str, wanted: int, compute: Callable[[], Any]) -> Any:
        """None and a reason where it was not asked for or cannot be had."""
        try:
            if wanted:
                return compute()
            left_out[name] = "not asked for"
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
        left_out["bias"] = "none: the Metropolis test makes the sampler exact"
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
    )


def potential_of(potential: Energy, draws: Tensor) -> Tensor:
    """U at the draws (n, B, *event): (n, B), a draw of all chains at a time."""
    return torch.stack([values(potential, x) for x in draws])


def coupled(
    sampler: Sampler,
    potential: Energy,
    initial: Initial,
    effort: Effort,
    generator: torch.Generator,
) -> Meeting:
    """A first try of few pairs with lag 1 shows the lag that makes the curve tight."""
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
    """(mean of the draws - E x)/MCSE, and the same of x²; None for a density whose moments are not
    known.

    Not true for laws without a fourth moment, nor where rare draws carry E x² (the funnel): there
    the MCSE of x² is too small by chance.
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
        f"{off} of {len(both)} means of x and x² are off"
        if off
        else f"all {len(both)} means of x and x² agree"
    )
    return ExactMoments(
        mean,
        second,
        limit,
        f"{agree}: the worst differs by {worst:.1f} standard errors (limit {limit:.1f})",
    )


def coordinate_table(diagnosis: Diagnosis) -> list[dict[str, float | str]]:
    """The table: U, then the coordinates with the largest R̂, at most six, in their order."""
    s = diagnosis.summary
    order = (
        s.rhat.flatten()
        .nan_to_num(math.inf)
        .argsort(descending=True, stable=True)[:ROWS]
        .sort()
        .values
    )
    found = [row("U", diagnosis.summary_u, 0)]
    return found + [row(coordinate_name(int(i), s.mean.shape), s, int(i)) for i in order]


def row(name: str, summary: ChainSummary, i: int) -> dict[str, float | str]:
    s = summary
    values = {
        "mean": s.mean,
        "sd": s.sd,
        "mcse": s.mcse,
        "rhat": s.rhat,
        "ess_bulk": s.ess_bulk,
        "ess_tail": s.ess_tail,
    }
    return {"name": name} | {key: float(value.flatten()[i]) for key, value in values.items()}


def coordinate_name(i: int, shape: Sequence[int]) -> str:
    index: list[int] = []
    for size in reversed(shape):
        index.insert(0, i % size)
        i //= size
    return f"x[{', '.join(map(str, index))}]"

"""Samplers against targets: gradient evaluations to a small error, and effective draws per gradient
evaluation.

    python benchmarks/samplers.py --out benchmarks/samplers.json       # measures, saves after every
    target
    python benchmarks/samplers.py --draw benchmarks/samplers.json      # prints the tables, draws
    the figure

Test functions  f = (y, y²) of every coordinate, y = x except for the funnel, where y = (v, x_i
                e^{-v/2}): the second
    moment of its x_i is carried by rare draws. E f and Var f are exact or from 2,000,000 exact
    draws; for logistic regression from importance sampling about its mode, checked against
    preconditioned HMC.
Error  b²(t) = max over f of (Ê_t f - E f)² / Var f. Ê_t averages over the chains of a group and
       over the second half
    of the steps so far, (t/2, t]: squared bias while the start is remembered, variance afterwards.
    The same normalised error of second moments, and the limit 0.01 (as accurate as 100 independent
    draws), is what Hoffman & Sountsov (2022) and Robnik, De Luca, Silverstein & Seljak (2023)
    report.
Gradients to 0.01  what a chain had spent, its start included, when b² fell below 0.01 to stay there
                   to the end of the
    run, which is three times as long or the budget. Warm-up and pilots are not in it.
Start  x ~ N(2, 2²) in every coordinate of every target: off the centre, or a symmetric target would
       be right by the
    symmetry of its start, and wider than all targets but v of the funnel and the ring.
Cost  an evaluation of U without its gradient is half a gradient evaluation: the backward pass to
      the input alone
    costs about what the forward pass does. Replicas at every temperature count.
Tuning  `adapt`, 300 steps from the same start for everyone, its own target acceptance. A sampler
        with a second
    hyper-parameter tries up to three values of it, each adapted and then judged by effective draws
    per gradient; the winner is adapted once more with other random numbers, and that is what is
    measured. "+ scale" adapts precondition='both' besides ('draws' for a random walk, which has no
    gradients).
Effective draws  the smallest bulk ESS over all f, from where the adaptation ended, per 1,000
                 gradients; over 1,000
    gradients a chain, and at least 64 draws. It is never much below one a chain, so 1 means: not
    resolved. Pilots run 500, those of HMC 3,072 for every L.
Groups  `--seeds` groups of chains that share nothing but the tuned sampler; ± is the sd over
        groups. Tuning is
    therefore not in the spread; `pilot_step_size` and `step_size` show how much two tunings differ.
Independent draws, one for the price of a gradient, are the floor; no tuning, no start.
Unadjusted rows have the step size and threshold of their adjusted twins; their b² ends at their
bias.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Generator, Tensor

from stanley import (
    AMALA,
    HMC,
    MALA,
    Adjusted,
    Barker,
    Langevin,
    Quantile,
    RandomWalk,
    ReplicaExchange,
    Stanley,
)
from stanley.diagnostics import ess_bulk
from stanley.errors import StanleyError
from stanley.samplers import (
    ChainState,
    ClippedLangevin,
    Preconditioned,
    StepInfo,
    TamedLangevin,
    adapt,
    run_chains,
)
from stanley.samplers.traits import traits_of
from stanley.targets import Funnel, LogisticRegression, StudentT, Target, named

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LIMIT = 0.01  # of b²
WARM_UP, ESS_GRADIENTS, ESS_CHAINS = 300, 1000, 24
LEAST_DRAWS = 64  # of a chain, for its ESS
COLUMNS = (
    "banana",
    "ring-mixture",
    "quartic",
    "student-t",
    "funnel",
    "double-well",
    "ill-conditioned",
    "ill-conditioned + scale",
    "logistic",
    "exp-skew",
    "eight-schools",
)
MULTIMODAL = ("double-well", "ring-mixture")
QUANTILES = tuple(Quantile(q) for q in (0.5, 0.9, 0.99))
LADDERS = ((1.0, 2.0), (1.0, 2.0, 4.0), (1.0, 3.0, 9.0))

#: Each with the values of its second hyper-parameter, if it has one.
CONTENDERS: dict[str, list[Any]] = {
    "MALA": [MALA(0.1)],
    "RandomWalk": [RandomWalk(0.1)],
    "Barker": [Barker(0.1)],
    "HMC": [HMC(0.1, num) for num in (3, 12, 48)],
    "AMALA": [AMALA(0.1, q) for q in QUANTILES],
    "Adjusted(TamedLangevin)": [
        Adjusted(TamedLangevin(0.1, scope)) for scope in ("sample", "element")
    ],  # type: ignore[arg-type]
    "Adjusted(ClippedLangevin)": [Adjusted(ClippedLangevin(0.1, q)) for q in QUANTILES],
    "Adjusted(Stanley element)": [Adjusted(Stanley(0.1, q)) for q in QUANTILES],
    "Adjusted(Stanley sample)": [Adjusted(Stanley(0.1, q, "sample")) for q in QUANTILES],
    "ReplicaExchange(MALA)": [ReplicaExchange(MALA(0.1), t) for t in LADDERS],
}
#: Their moves without the Metropolis test.
TWINS = {
    "MALA": "Langevin",
    "Adjusted(Stanley element)": "Stanley element",
    "Adjusted(Stanley sample)": "Stanley sample",
}
FLOOR = "independent draws"
FIGURE = "docs/images/samplers.png"


@dataclass(frozen=True)
class Case:
    """A target, with what is known of its test functions."""

    target: Target
    mean: Tensor  # E f, (2d,)
    variance: Tensor  # Var f, (2d,)

    def functions(self, x: Tensor) -> Tensor:  # (..., d) -> (..., 2d)
        return functions(self.target, x)


def functions(target: Target, x: Tensor) -> Tensor:
    """f = (y, y²) in float64."""
    y = x.double()
    if isinstance(target, Funnel):
        y = torch.cat([y[..., :1], y[..., 1:] * (-y[..., :1] / 2).exp()], -1)
    return torch.cat([y, y**2], -1)


@dataclass(frozen=True)
class Independent:
    """The target's own draws in place of a chain."""

    target: Target

    def init(self, potential: Any, x: Tensor) -> ChainState:
        return self.step(potential, ChainState(x, x[:, 0], x), Generator().manual_seed(0))[0]

    def step(
        self, potential: Any, state: ChainState, generator: Generator
    ) -> tuple[ChainState, StepInfo]:
        return state._replace(x=self.target.sample(len(state.x), generator)), StepInfo()


def case_of(name: str, draws: int) -> Case:
    """E f and Var f; Var x² of Student's t in closed form, because x⁴ has no variance."""
    target = named(name)
    if isinstance(target, LogisticRegression):
        return Case(target, *by_importance(target, draws // 5))
    generator, size, total, square = Generator().manual_seed(12345), draws // 20, 0.0, 0.0
    for _ in range(20):
        f = functions(target, target.sample(size, generator))
        total, square = total + f.mean(0) / 20, square + (f**2).mean(0) / 20
    mean, variance = total, square - total**2
    if not isinstance(target, Funnel):
        mean = torch.cat([target.mean, target.second_moment])  # type: ignore[list-item]
    if isinstance(target, StudentT):
        nu, s = target.dof, target.scale
        fourth = 3 * nu**2 * s**4 / ((nu - 2) * (nu - 4))
        variance = torch.cat([target.variance, fourth - target.variance**2])  # type: ignore[list-item, operator]
    return Case(target, mean, variance)


def by_importance(target: LogisticRegression, draws: int) -> tuple[Tensor, Tensor]:
    """E f and Var f with weights exp(-U)/q, q a Student t of 10 degrees of freedom about the mode,
    Hessian as U's.
    """
    mode = torch.zeros(1, *target.event_shape, dtype=torch.float64)
    for _ in range(30):  # Newton
        gradient = torch.autograd.functional.jacobian(lambda w: target(w).sum(), mode)[0]
        hessian: Any = torch.autograd.functional.hessian(lambda w: target(w).sum(), mode)
        hessian = hessian[0, :, 0]
        mode = mode - torch.linalg.solve(hessian, gradient)
    proposal, root = StudentT(10.0, len(hessian)), torch.linalg.cholesky(torch.linalg.inv(hessian))
    generator, parts = Generator().manual_seed(12345), []
    for _ in range(20):
        z = proposal.sample(draws // 20, generator)
        x = mode + z @ root.T
        parts.append((proposal(z) - target(x), functions(target, x)))
    weight = torch.cat([w for w, _ in parts]).softmax(0)[:, None]
    f = torch.cat([f for _, f in parts])
    mean = (weight * f).sum(0)
    return mean, (weight * (f - mean) ** 2).sum(0)


def gap_to_hmc(case: Case) -> float:
    """Largest |Ê f - E f| / sd f, Ê over 128,000 draws of preconditioned HMC,
    a second way to the moments.
    """
    sampler, x = tuned(HMC(0.1, 8), case, scaled=True, chains=256, seed=4000)
    draws = run_chains(
        sampler, case.target, x, 500, generator=Generator().manual_seed(4001), keep_every=1
    ).draws
    assert draws is not None
    return float(
        ((case.functions(draws).mean((0, 1)) - case.mean).abs() / case.variance.sqrt()).max()
    )


def start(case: Case, chains: int, seed: int) -> Tensor:
    """x ~ N(2, 2²)."""
    return 2 + 2 * torch.randn(
        chains, *case.target.event_shape, generator=Generator().manual_seed(seed)
    )


def tuned(candidate: Any, case: Case, scaled: bool, chains: int, seed: int) -> tuple[Any, Tensor]:
    how = ("draws" if isinstance(candidate, RandomWalk) else "both") if scaled else None
    generator = Generator().manual_seed(seed)
    return adapt(
        candidate,
        case.target,
        start(case, chains, seed),
        WARM_UP,
        generator=generator,
        precondition=how,
    )  # type: ignore[call-overload]


def price(info: Any) -> float:
    return info.num_gradients + info.num_potentials / 2


def efficiency(
    sampler: Any, case: Case, x: Tensor, groups: int, gradients: float, seed: int
) -> tuple[list[float], float]:
    """Smallest bulk ESS over all f per chain and 1,000 gradients, group by group;
    and the acceptance.
    """
    generator = Generator().manual_seed(seed)
    each = price(run_chains(sampler, case.target, x, 20, generator=generator).info) / 20
    steps = max(LEAST_DRAWS, round(gradients / each))
    out = run_chains(
        sampler, case.target, x, steps, generator=generator, keep_every=max(1, steps // 500)
    )
    assert out.draws is not None
    found = []
    for draws in out.draws.chunk(groups, 1):
        worst = float(ess_bulk(case.functions(draws)).min())
        found.append(1000 * worst / draws.shape[1] / price(out.info))
    return found, float(out.info.acceptance.mean())


def pilot(
    candidates: list[Any], case: Case, scaled: bool, chains: int
) -> tuple[int, list[dict[str, Any]]]:
    """The candidate with the most effective draws per gradient, and what each of them scored."""
    rows: list[dict[str, Any]] = []
    longest = LEAST_DRAWS * max(getattr(candidate, "num_leapfrog", 1) for candidate in candidates)
    # the same for all: an ESS is never much below 1 a chain
    gradients = max(ESS_GRADIENTS / 2, longest)
    for candidate in candidates:
        try:
            sampler, x = tuned(candidate, case, scaled, chains, seed=1000)
            (score,), _ = efficiency(sampler, case, x, 1, gradients, seed=1001)
            rows.append(
                {"settings": describe(sampler), "step_size": float(sampler.step_size), "ess": score}
            )
        except StanleyError as error:
            rows.append(
                {
                    "settings": describe(candidate),
                    "step_size": None,
                    "ess": math.nan,
                    "failure": str(error),
                }
            )
    scores = [row["ess"] if row["ess"] == row["ess"] else -1.0 for row in rows]
    return scores.index(max(scores)), rows


@torch.no_grad()
def converge(sampler: Any, case: Case, x0: Tensor, groups: int, budget: float) -> dict[str, Any]:
    """Gradients until b² stays below the limit, for each group of chains;
    None where it does not within the budget.
    """
    generator = Generator().manual_seed(2000)
    state = sampler.init(case.target, x0)
    cost = traits_of(sampler)
    spent = cost.init_gradients + cost.init_potentials / 2
    costs, means, checked, check = [], [], [], 200.0
    while True:
        block = []
        while spent < check and len(block) < 50:
            state, info = sampler.step(case.target, state, generator)
            if info.num_gradients is None:
                spent += cost.gradients + cost.potentials / 2
            else:
                spent += info.num_gradients + (info.num_potentials or 0) / 2
            costs.append(spent)
            block.append(state.x)
        f = case.functions(torch.stack(block)).unflatten(1, (groups, -1))
        means.append(f.mean(2))  # (steps, groups, 2d)
        if spent < check:
            continue
        checked.append(spent)
        b2 = squared_error(torch.cat(means), case)
        last = [last_above(b2[:, g], costs) for g in range(groups)]
        finite = bool(b2[-1].isfinite().all())
        if not finite or spent >= min(budget, 3 * max(last)):
            break
        check = min(1.3 * check, budget)
    reached = [cost if finite and cost < math.inf else None for cost in last]
    final = [float(b) if math.isfinite(b) else None for b in b2[-1]]
    trace = [
        [round(cost, 1), *(float(f"{b:.3g}") for b in b2[costs.index(cost)])] for cost in checked
    ]
    return {
        "gradients": reached,
        "final_b2": final,
        "ran": spent,
        "diverged": not finite,
        "trace": trace if finite else [],
    }


def squared_error(means: Tensor, case: Case) -> Tensor:
    """b²(t): (steps, groups)."""
    total = torch.cat([torch.zeros_like(means[:1]), means.cumsum(0)])
    t = torch.arange(1, len(total))
    half = t // 2
    estimate = (total[t] - total[half]) / (t - half)[:, None, None]
    return ((estimate - case.mean) ** 2 / case.variance).amax(2)


def last_above(b2: Tensor, costs: list[float]) -> float:
    """What had been spent at the first step after which b² is below the limit to the end;
    ∞ if it is not at the end.
    """
    above = (~(b2 < LIMIT)).nonzero()
    index = int(above[-1]) + 1 if len(above) else 0
    return costs[index] if index < len(costs) else math.inf


def slowness(sampler: Any, mala: Any, case: Case, x: Tensor, rounds: int = 5) -> float:
    """Time per gradient, as a ratio to MALA's: median over interleaved rounds, CPU time."""
    generator, found = Generator().manual_seed(3000), []

    def timed(one: Any) -> float:
        began = time.process_time()
        info = run_chains(one, case.target, x, 20, generator=generator).info
        return (time.process_time() - began) / price(info)

    for _ in range(rounds):
        found.append(timed(sampler) / timed(mala))
    return statistics.median(found)


def twin(sampler: Any) -> Any:
    """The same move without its Metropolis test."""
    if isinstance(sampler, Preconditioned):
        return Preconditioned(twin(sampler.sampler), sampler.scale)
    return sampler.proposal if isinstance(sampler, Adjusted) else Langevin(sampler.step_size)


def describe(sampler: Any) -> str:
    return (
        f"Preconditioned({describe(sampler.sampler)})"
        if isinstance(sampler, Preconditioned)
        else repr(sampler)
    )


def measure(column: str, names: list[str], settings: argparse.Namespace) -> list[dict[str, Any]]:
    """Every sampler on one target."""
    name, scaled = column.removesuffix(" + scale"), column.endswith(" + scale")
    case, groups, rows = case_of(name, settings.exact_draws), settings.seeds, []
    x0 = torch.cat([start(case, settings.chains, seed) for seed in range(groups)])
    tuning = groups * ESS_CHAINS
    mala, _ = tuned(MALA(0.1), case, scaled, tuning, seed=1002)
    if not (scaled or isinstance(case.target, LogisticRegression)):
        row = {"target": column, "sampler": FLOOR, "settings": "exact"}
        rows.append(row | converge(Independent(case.target), case, x0, groups, settings.budget))
    for label in names:
        if label.startswith("ReplicaExchange") and name not in MULTIMODAL:
            continue
        began, row = time.process_time(), {"target": column, "sampler": label}
        candidates = CONTENDERS[label]
        try:
            best, pilots = (
                pilot(candidates, case, scaled, tuning) if len(candidates) > 1 else (0, [])
            )
            sampler, x = tuned(candidates[best], case, scaled, tuning, seed=1002)
            ess, acceptance = efficiency(sampler, case, x, groups, ESS_GRADIENTS, seed=1003)
        except StanleyError as error:
            rows.append(row | {"failure": str(error)})
            continue
        row |= {
            "settings": describe(sampler),
            "step_size": float(sampler.step_size),
            "acceptance": acceptance,
        }
        row |= {"pilots": pilots, "pilot_step_size": pilots[best]["step_size"] if pilots else None}
        row |= {
            "ess_per_1000": ess,
            "time_per_gradient": slowness(sampler, mala, case, x0[: settings.chains]),
        }
        row |= converge(sampler, case, x0, groups, settings.budget)
        rows.append(row | {"seconds": round(time.process_time() - began, 1)})
        report(rows[-1])
        if label in TWINS:
            free = twin(sampler)
            row = {
                "target": column,
                "sampler": TWINS[label],
                "settings": describe(free),
                "step_size": row["step_size"],
            }
            row |= {"time_per_gradient": slowness(free, mala, case, x0[: settings.chains])}
            rows.append(row | converge(free, case, x0, groups, settings.budget))
            report(rows[-1])
    return rows


def report(row: dict[str, Any]) -> None:
    ess = [f"{e:.3g}" for e in row.get("ess_per_1000", [])]
    final = [f"{b:.2g}" for b in row["final_b2"] if b is not None]
    found = (
        row["target"],
        row["sampler"],
        row["settings"],
        row.get("acceptance"),
        row["gradients"],
        final,
        ess,
    )
    print(*found, row["time_per_gradient"], row.get("seconds"), file=sys.stderr, flush=True)


def machine() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
        platform.machine(),
    )
    return (
        f"{model}, {torch.get_num_threads()} thread, torch {torch.__version__},"
        f" {platform.system()}, float32"
    )


def draw(result: dict[str, Any]) -> None:
    """Tables to stdout, the figure to docs/images/."""
    cells = {(row["target"], row["sampler"]): row for row in result["rows"]}
    columns = [c for c in COLUMNS if any(key[0] == c for key in cells)]
    labels = [n for n in (FLOOR, *CONTENDERS, *TWINS.values()) if any(key[1] == n for key in cells)]
    for title, cell in (
        (
            (
                f"Thousands of gradients to b² < {result['limit']}, mean ± sd of {result['seeds']}"
                " groups"
            ),
            thousands,
        ),
        ("Effective draws per 1,000 gradients, worst test function, mean ± sd", effective),
        ("Effective draws per second, MALA = 1", per_second),
    ):
        print(f"\n{title}\n\n| sampler | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
        for label in labels:
            print(
                f"| {shown(label)} |"
                f" {' | '.join(cell(cells, column, label) for column in columns)} |"
            )
    figure(cells, columns, labels, result["budget"])


Cells = dict[tuple[str, str], dict[str, Any]]


def shown(label: str) -> str:
    return f"{label}, unadjusted" if label in TWINS.values() else label


def short(value: float) -> str:
    """Two significant digits."""
    if value >= 1e4:
        return f"{value:.0e}".replace("e+0", "e")
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def thousands(cells: Cells, column: str, label: str) -> str:
    row = cells.get((column, label))
    if row is None:
        return ""
    if "failure" in row:
        return "adapt fails"
    if row["diverged"]:
        return "diverged"
    reached = [g / 1000 for g in row["gradients"] if g is not None]
    if len(reached) == len(row["gradients"]):
        return f"{short(statistics.mean(reached))} ± {short(statistics.stdev(reached))}"
    if reached:
        return f"{len(reached)} of {len(row['gradients'])}"
    return f"× b² {short(statistics.median(row['final_b2']))}"


def effective(cells: Cells, column: str, label: str) -> str:
    ess = cells.get((column, label), {}).get("ess_per_1000")
    return f"{short(statistics.mean(ess))} ± {short(statistics.stdev(ess))}" if ess else ""


def per_second(cells: Cells, column: str, label: str) -> str:
    row, mala = cells.get((column, label), {}), cells.get((column, "MALA"), {})
    if not row.get("ess_per_1000") or not mala.get("ess_per_1000"):
        return ""
    ratio = statistics.mean(row["ess_per_1000"]) / statistics.mean(mala["ess_per_1000"])
    return short(ratio / (row["time_per_gradient"] if label != "MALA" else 1))


def figure(cells: Cells, columns: list[str], labels: list[str], budget: float) -> None:
    """A panel a target, a line a sampler; × where the error stays."""
    from matplotlib.lines import Line2D

    from stanley.plots.figures import BLUE, INK, LABEL, MUTED, VERMILION, new_figure, save

    across = 5
    down = math.ceil((len(columns) + 1) / across)
    sheet = new_figure(14, 0.7 + 2.7 * down)
    for n, column in enumerate(columns):
        ax = sheet.add_subplot(down, across, n + 1)
        panel(ax, cells, column, labels, budget, first=n % across == 0)
    key = sheet.add_subplot(down, across, len(columns) + 1)
    key.set_axis_off()

    def mark(colour: str, marker: str, text: str, **more: Any) -> Line2D:
        return Line2D(
            [], [], color=colour, marker=marker, linestyle="none", markersize=6, label=text, **more
        )

    entries = [
        mark(VERMILION, "o", "adjusted STANLEY\n(mean and sd over groups)"),
        mark(BLUE, "o", "other exact samplers"),
        mark(MUTED, "o", "no Metropolis test", markerfacecolor="white"),
        mark(INK, ".", "single groups,\nwhere not all arrive"),
        mark(INK, "x", f"not in {budget:,}\n(number: groups that did)"),
        mark(INK, "$∞$", "diverged"),
    ]
    key.legend(
        handles=entries,
        loc="center left",
        frameon=False,
        fontsize=LABEL,
        labelcolor=INK,
        borderaxespad=0,
    ).set_in_layout(False)
    sheet.suptitle(
        "Gradient evaluations per chain until b² < 0.01", fontsize=12, color=INK, x=0.01, ha="left"
    )
    print(f"\n{save(sheet, FIGURE)}")


def panel(
    ax: Axes, cells: Cells, column: str, labels: list[str], budget: float, first: bool
) -> None:
    from stanley.plots.figures import BLUE, INK, MUTED, VERMILION, dress

    ax.set_xscale("log")
    dress(ax, column)
    edge = 1.6 * budget
    for y, label in enumerate(labels):
        row = cells.get((column, label))
        if row is None or "failure" in row:
            continue
        free = label in TWINS.values()
        colour = (
            INK if label == FLOOR else MUTED if free else VERMILION if "Stanley" in label else BLUE
        )
        reached = [g for g in row["gradients"] if g is not None]
        if row["diverged"]:
            ax.plot(edge, y, marker="$∞$", color=colour, markersize=8)
        elif len(reached) < len(row["gradients"]):
            ax.plot(edge, y, "x", color=colour, markersize=5.5)
            ax.plot(reached, [y] * len(reached), ".", color=colour, markersize=4)
            if reached:
                ax.annotate(
                    f"{len(reached)}",
                    (edge, y),
                    (-9, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=7,
                )
        else:
            mean, sd = statistics.mean(reached), statistics.stdev(reached)
            low = max(mean - sd, mean / 4)  # the axis is logarithmic
            ax.plot([low, mean + sd], [y, y], color=colour, linewidth=1.4)
            ax.plot(
                mean,
                y,
                "o",
                color=colour,
                markersize=5.5,
                markerfacecolor="white" if free else colour,
            )
    ax.axvline(1.15 * budget, color="#B5B5B5", linewidth=0.8, linestyle=":")
    ax.set_xlim(10, 2.4 * budget)
    ax.set_ylim(len(labels) - 0.5, -0.5)
    ax.set_yticks(range(len(labels)), [shown(label) if first else "" for label in labels])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--targets", nargs="+", default=COLUMNS[:-2], choices=COLUMNS, metavar="TARGET"
    )
    parser.add_argument(
        "--samplers", nargs="+", default=list(CONTENDERS), choices=CONTENDERS, metavar="SAMPLER"
    )
    parser.add_argument("--seeds", type=int, default=5, help="groups of chains")
    parser.add_argument("--chains", type=int, default=64, help="in a group")
    parser.add_argument("--budget", type=int, default=5_000, help="gradient evaluations of a chain")
    parser.add_argument("--exact-draws", type=int, default=2_000_000)
    parser.add_argument(
        "--quick", action="store_true", help="two targets, three samplers: whether it runs at all"
    )
    parser.add_argument(
        "--out",
        default="benchmarks/samplers.json",
        help="written after every target; its other rows are kept",
    )
    parser.add_argument("--draw", metavar="JSON", help="tables and figure of what was measured")
    settings = parser.parse_args()
    if settings.draw:
        draw(json.loads(Path(settings.draw).read_text()))
        return
    if settings.quick:
        settings.targets, settings.seeds, settings.budget, settings.exact_draws = (
            COLUMNS[:2],
            2,
            1000,
            20_000,
        )
        settings.samplers = ["MALA", "RandomWalk", "Adjusted(Stanley element)"]
    names = [label for label in CONTENDERS if label in settings.samplers]
    kept = ("seeds", "chains", "budget", "exact_draws")
    result = {
        "command": "python benchmarks/samplers.py",
        "machine": machine(),
        "warm_up": WARM_UP,
        "limit": LIMIT,
    }
    result |= {key: getattr(settings, key) for key in kept} | {"rows": []}
    out = Path(settings.out)
    if out.exists() and all(
        (old := json.loads(out.read_text())).get(key) == result[key] for key in kept
    ):
        result = old
    for column in settings.targets:
        rows = {
            (row["target"], row["sampler"]): row
            for row in result["rows"] + measure(column, names, settings)
        }
        result["rows"] = list(rows.values())
        if column == "logistic":
            result["logistic_reference_gap"] = gap_to_hmc(case_of(column, settings.exact_draws))
        out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

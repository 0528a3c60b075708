"""Tables and figures of docs/results.md from the record of benchmarks/paper_toys.py.

    python benchmarks/paper_toys_report.py               # tables to the terminal,
                                                         docs/images/toys-*.png
    python benchmarks/paper_toys_report.py --tables      # the tables alone
    python benchmarks/paper_toys_report.py --network leaky-relu     # of its runs, with the figure
    of KL

Densities and chains of the figure are kept under runs/ by the benchmark; what is not there is
trained once more.
"""

from __future__ import annotations

import argparse
import math
import statistics
import warnings
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from paper_toys import (
    BOX,
    CHAINS,
    GRID,
    METHODS,
    NETWORKS,
    RECORD,
    SENSITIVE,
    SENSITIVITY,
    SENSITIVITY_SEEDS,
    STEP_SIZES,
    TARGETS,
    THRESHOLDS,
    TUNE_SEED,
    Job,
    Record,
    carry_out,
    keep_picture,
    label,
    picture,
    read,
    sensitivity_jobs,
    tuning_jobs,
)

from stanley.metrics import density_on_grid

IMAGES = Path(__file__).parents[1] / "docs" / "images"
SCORES = (
    "kl",
    "tv",
    "mmd2_exact_data",
    "mmd2_fresh_data",
    "mmd2_bank_data",
    "mmd2_fresh_model",
    "mmd2_bank_model",
)


def reported_rows(
    record: Record, target: str, first: int = 0
) -> dict[str, tuple[Job, list[dict[str, Any]]]]:
    """By method, best mean KL first, those without a survivor last;
    of the runs whose seeds begin at `first`.
    """
    jobs = [
        job for job in record if job.target == target and job.samples and job.runs[0].seed == first
    ]
    found = {label(job): (job, record[job]) for job in jobs}

    def rank(name: str) -> float:
        survivors = values(found[name][1], "kl")
        return statistics.fmean(survivors) if survivors else math.inf

    return {name: found[name] for name in sorted(found, key=rank)}


def values(rows: Sequence[dict[str, Any]], score: str) -> list[float]:
    return [row[score] for row in rows if row["failure"] is None]


def spread(numbers: Sequence[float], scale: float = 1.0, digits: int = 3) -> str:
    """mean ± sd, or the one number, or a dash."""
    if not numbers:
        return "–"
    mean = f"{round(scale * statistics.fmean(numbers), digits) + 0.0:.{digits}f}"
    return mean if len(numbers) < 2 else f"{mean} ± {scale * statistics.stdev(numbers):.{digits}f}"


def tables(record: Record, network: str) -> None:
    seeds = sorted({job.runs[0].seed for job in record if job.samples})
    for first, target in product(seeds, TARGETS):
        found = reported_rows(record, target, first)
        if found:
            floor = [
                row["mmd2_exact_data"]
                for _, rows in found.values()
                for row in rows
                if row["failure"] is None
            ]
            ran = sum(len(rows) for _, rows in found.values())
            print(f"\n{target}, seeds from {first}; n = {ran} runs, {len(floor)} survived\n")
            head = (
                "failed | KL, nats | TV | exact, data | fresh, data | bank, data | fresh, model |"
                " bank, model"
            )
            print(f"| sampler | h | {head} |\n|{'---|' * 10}")
            for name, (job, rows) in found.items():
                h, edge = job.runs[0].step_size, ""
                if job.method in METHODS:
                    edge = " (edge)" if h in (STEP_SIZES[0], STEP_SIZES[-1]) else ""
                lost = sum(row["failure"] is not None for row in rows)
                cells = [f"{lost} of {len(rows)}", *(spread(values(rows, s)) for s in SCORES[:2])]
                cells += [spread(values(rows, s), 1000, 1) for s in SCORES[2:]]
                print(f"| {name} | {h:.3g}{edge} | {' | '.join(cells)} |")
    for target in TARGETS:
        if not reported_rows(record, target):
            continue
        print(f"\nTuning, {target}, seed {TUNE_SEED}: KL, or the iteration of the failure\n")
        print(
            "| sampler | "
            + " | ".join(f"h = {h:g}" for h in STEP_SIZES)
            + f" |\n|{'---|' * (1 + len(STEP_SIZES))}"
        )
        for name in METHODS:
            for th in THRESHOLDS if METHODS[name].threshold else (None,):
                jobs = [
                    job for job in tuning_jobs(target, name, network) if job.runs[0].threshold == th
                ]
                if all(job in record for job in jobs):
                    cells = [outcome(row) for job in jobs for row in record[job]]
                    print(f"| {label(jobs[0])} | {' | '.join(cells)} |")
    print(
        "\nγ: mean over the run; share of γ = 1 at a quarter, half, three quarters and the end of"
        " it\n"
    )
    print(f"| | target | mean γ | share at full step |\n|{'---|' * 4}")
    for target in TARGETS:
        for name, (_, rows) in reported_rows(record, target).items():
            whole = [
                row
                for row in rows
                if row["failure"] is None and "full" in row.get("quarters", [{}])[0]
            ]
            if whole:
                shares = [
                    statistics.fmean(row["quarters"][k]["full"] for row in whole) for k in range(4)
                ]
                gammas = spread([row["gamma"] for row in whole], digits=2)
                print(
                    f"| {name} | {target} | {gammas} |"
                    f" {', '.join(f'{share:.2f}' for share in shares)} |"
                )
    for target, name in product(TARGETS, SENSITIVE):
        jobs = [job for job in sensitivity_jobs(target, name) if job in record]
        if jobs:
            print(f"\nSensitivity, {target}, {name}, seed {SENSITIVITY_SEEDS[0]}: KL\n")
            print(
                "| th | "
                + " | ".join(f"h = {h:g}" for h in STEP_SIZES)
                + f" |\n|{'---|' * (1 + len(STEP_SIZES))}"
            )
            for th in SENSITIVITY:
                cells = [
                    " / ".join(outcome(row) for row in at(record, jobs, h, th)) for h in STEP_SIZES
                ]
                print(f"| {th:g} | {' | '.join(cells)} |")


def outcome(row: dict[str, Any]) -> str:
    """KL, or the iteration at which the run diverged; "no Z": it reached its end,
    and no Z is finite.
    """
    if row["failure"] is None:
        return f"{row['kl']:.2f}"
    return f"div. {row['at']}" if row["failure"] == "diverged" else "no Z"


def at(record: Record, jobs: Sequence[Job], h: float, th: float) -> list[dict[str, Any]]:
    pairs = [pair for job in jobs for pair in zip(job.runs, record[job], strict=True)]
    return [row for run, row in pairs if (run.step_size, run.threshold) == (h, th)]


def draw(record: Record) -> None:
    """docs/images/toys-*.png: KL of every seed, densities of seed 0, sensitivity."""
    from stanley.plots import save

    made = [save(kl_figure(record), IMAGES / "toys-kl.png")]
    judged = [target for target in TARGETS if reported_rows(record, target)]
    made += [
        save(density_figure(record, target), IMAGES / f"toys-{target}.png") for target in judged
    ]
    if any(job in record for name in SENSITIVE for job in sensitivity_jobs("rings", name)):
        made.append(save(sensitivity_figure(record, "rings"), IMAGES / "toys-sensitivity.png"))
    print("\n".join(map(str, made)))


def kl_figure(record: Record) -> Any:
    """One dot a seed, mean ± sd beside it; at the right edge, how many seeds failed."""
    from stanley.plots.figures import BLUE, INK, MUTED, SMALL, VERMILION, dress, new_figure

    sheets = {target: found for target in TARGETS if (found := reported_rows(record, target))}
    down = max(len(found) for found in sheets.values())
    figure = new_figure(2.0 + 5.0 * len(sheets), 0.9 + 0.25 * down)
    for n, (target, found) in enumerate(sheets.items()):
        ax = figure.add_subplot(1, len(sheets), n + 1)
        known = [kl for _, rows in found.values() for kl in values(rows, "kl")]
        low, high = min(known) / 1.15, max(known) * 2.5
        ax.set_xscale("log")
        dress(ax, f"{target}: KL(data‖model), nats", "dots: seeds; bar: mean ± sd")
        for y, (name, (_, rows)) in enumerate(found.items()):
            colour = VERMILION if "STANLEY" in name else MUTED if "published" in name else BLUE
            kls, lost = values(rows, "kl"), sum(row["failure"] is not None for row in rows)
            if kls:
                mean, sd = statistics.fmean(kls), statistics.stdev(kls) if len(kls) > 1 else 0.0
                ax.plot(
                    [max(mean - sd, low), mean + sd], [y, y], color=colour, linewidth=5, alpha=0.25
                )
                ax.plot(mean, y, "|", color=colour, markersize=10, markeredgewidth=2)
                ax.plot(kls, [y] * len(kls), "o", color=colour, markersize=3.5, alpha=0.8)
            if lost:
                ax.annotate(
                    f"{lost} of {len(rows)} failed",
                    (high, y),
                    (-2, 0),
                    textcoords="offset points",
                    ha="right",
                    va="center",
                    fontsize=SMALL,
                    color=INK,
                )
        ax.set_xlim(low, high)
        ax.set_ylim(down - 0.5, -0.5)
        ax.set_yticks(range(len(found)), list(found))
        marks = (
            (0.2, 0.3, 0.5, 1, 2, 5, 10)
            if high < 100 * low
            else (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)
        )
        ticks = [tick for tick in marks if low < tick < high]
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.minorticks_off()
    return figure


MAIN = (
    "Langevin",
    "STANLEY element",
    "STANLEY element, lagged",
    "MALA",
    "adjusted STANLEY element",
)


def density_figure(record: Record, target: str) -> Any:
    """The truth, then what seed 0 learned: density above, fresh chains below."""
    from stanley.plots import Panel, densities

    law, box, found = TARGETS[target], BOX[target], reported_rows(record, target)
    truth = density_on_grid(lambda x: -law.log_density(x), box, GRID)
    panels = [Panel("truth", truth, law.load().test[:CHAINS], box, "data")]
    for name in MAIN:
        # the better threshold
        for job, rows in [pair for pair in found.values() if pair[0].method == name][:1]:
            path = picture(job) if picture(job).exists() else keep_picture(job, carry_out(job)[1])
            with np.load(path) as kept:
                if "density" in kept:
                    title = (
                        label(job)
                        .replace("adjusted STANLEY", "adjusted S.")
                        .replace("STANLEY element, l", "S. element, l")
                    )
                    panels.append(
                        Panel(title, kept["density"], kept["fresh"], box, f"KL {rows[0]['kl']:.3f}")
                    )
    return densities(panels)


def sensitivity_figure(record: Record, target: str) -> Any:
    """Mean KL over the seeds by h and th; how many failed where any did."""
    from stanley.plots.figures import INK, SMALL, dress, new_figure

    figure = new_figure(12.5, 3.0)
    for n, name in enumerate(SENSITIVE):
        jobs = [job for job in sensitivity_jobs(target, name) if job in record]
        ax = figure.add_subplot(1, len(SENSITIVE), n + 1)
        dress(ax, f"{target}, {name}: KL", "step size h", "threshold th")
        ax.grid(False)
        cells = [[at(record, jobs, h, th) for h in STEP_SIZES] for th in SENSITIVITY]
        kls = [[values(rows, "kl") for rows in line] for line in cells]
        means = np.array([[statistics.fmean(kl) if kl else np.nan for kl in line] for line in kls])
        ax.imshow(
            np.log(means), cmap="viridis_r", vmin=math.log(0.2), vmax=math.log(3), aspect="auto"
        )
        for i, j in product(range(len(SENSITIVITY)), range(len(STEP_SIZES))):
            lost = len(cells[i][j]) - len(kls[i][j])
            failed = f"{lost} of {len(cells[i][j])} failed" if len(cells[i][j]) > 1 else "failed"
            text = "\n".join([f"{means[i, j]:.2f}"] * bool(kls[i][j]) + [failed] * bool(lost))
            ax.annotate(
                text,
                (j, i),
                ha="center",
                va="center",
                fontsize=SMALL,
                color="white" if means[i, j] > 0.6 else INK,
            )
        ax.set_xticks(range(len(STEP_SIZES)), [f"{h:g}" for h in STEP_SIZES])
        ax.set_yticks(range(len(SENSITIVITY)), [f"{th:g}" for th in SENSITIVITY])
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", type=Path, default=RECORD)
    parser.add_argument("--network", default="silu", choices=NETWORKS)
    parser.add_argument("--tables", action="store_true", help="no figures")
    settings = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    record = {
        job: rows for job, rows in read(settings.record).items() if job.network == settings.network
    }
    tables(record, settings.network)
    if not settings.tables and settings.network == "silu":
        draw(record)
    elif not settings.tables:
        from stanley.plots import save

        print(save(kl_figure(record), IMAGES / f"toys-kl-{settings.network}.png"))


if __name__ == "__main__":
    main()

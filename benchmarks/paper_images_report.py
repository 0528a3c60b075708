"""Tables and figures of docs/results.md from the record of benchmarks/paper_images.py.

python benchmarks/paper_images_report.py --root DIR --pictures runs/pictures    # pictures of seed
0, kept by it
"""

from __future__ import annotations

import argparse
import statistics
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from paper_images import (
    RECORD,
    ROWS,
    Row,
    best,
    config_of,
    distance,
    final,
    read,
    step_size_of,
    tuned,
)

from stanley.data import centre
from stanley.plots import figures, images

IMAGES = Path(__file__).parents[1] / "docs" / "images"


LABELS = {
    "langevin": "Langevin",
    "stanley": "STANLEY",
    "gd": "gradient descent",
    "adjusted-stanley": "adjusted STANLEY",
    "clipped": "clipped Langevin",
    "matched": "noise-matched Langevin",
    "hmc": "HMC",
    "random-walk": "random walk",
}


def table(rows: list[Row], data: str) -> Iterable[str]:
    """Markdown: FD of the bank of every seed; means over the seeds that reached the end,
    the others are counted.
    """
    means = (
        "fd_fresh",
        *(("fd_cifar_bank", "fd_cifar_fresh") if seen_by_classifier(rows, data) else ()),
    )
    heads = (
        "sampler",
        "h",
        "failed",
        "FD bank, each seed",
        "FD bank",
        "FD fresh",
        *(f"`{k[:8]}` {k[9:]}" for k in means[1:]),
    )
    heads += ("noise sd", "acceptance", "CPU s")
    yield "| " + " | ".join(heads) + " |"
    yield "|" + "---|" * len(heads)
    found = sorted(
        (r for r in rows if r["stage"] == "run" and r["row"].startswith(data)), key=place
    )
    for name, h, threshold in dict.fromkeys(
        (r["row"], r["step_size"], r["threshold"]) for r in found
    ):
        runs = [
            r for r in found if (r["row"], r["step_size"], r["threshold"]) == (name, h, threshold)
        ]
        done = [r for r in runs if "failure" not in r]
        cells = [label(name, threshold), f"{h:.3g}", f"{len(runs) - len(done)} of {len(runs)}"]
        cells += [", ".join(cell(final(r, "fd_bank")) for r in runs)]
        cells += [spread([final(r, key) for r in done]) for key in ("fd_bank", *means)]
        cells += [
            spread([noise_std(r) for r in done], 4),
            spread([ends(r, "acceptance") for r in done]),
        ]
        cells.append(spread([r["cpu_seconds"] for r in done], 0))
        yield "| " + " | ".join(cells) + " |"


def label(name: str, threshold: float | None = None) -> str:
    return LABELS[name.split("-", 1)[1]] + ("" if threshold is None else f", th {threshold:g}")


def seen_by_classifier(rows: list[Row], data: str) -> bool:
    """Whether the record's runs on these data were scored in its features."""
    return any(
        "fd_cifar_bank" in r["curve"][-1]
        for r in rows
        if r["row"].startswith(data) and r["stage"] == "run"
    )


def spread(values: Sequence[float | None], digits: int = 2) -> str:
    """mean ± sd of what is there."""
    there = [v for v in values if v is not None]
    if not there:
        return "–"
    sd = f" ± {statistics.stdev(there):.{digits}f}" if len(there) > 1 else ""
    return f"{statistics.fmean(there):.{digits}f}{sd}"


def ends(row: Row, name: str) -> float | None:
    """The mean of a record over the last 20 iterations."""
    return row["means_over_20"][name][-1]


def noise_std(row: Row) -> float:
    """Root of the mean variance of the noise a step at the end: √(h·γ̄) where γ scales it;
    0 for gradient descent.
    """
    name, h = row["row"].split("-", 1)[1], ends(row, "step_size") or 0.0
    if name == "gd":
        return 0.0
    if name == "hmc":
        return h  # of the momentum's part, a leapfrog step
    return (
        h
        * (ends(row, "scale") or 1.0 if name in ("stanley", "matched", "adjusted-stanley") else 1.0)
    ) ** 0.5


def tuning(rows: list[Row], data: str) -> Iterable[str]:
    """Markdown: FD of the bank, one number a tuning seed; a dash where it was not tried."""
    found = sorted(
        (r for r in rows if r["stage"] == "tune" and r["row"].startswith(data)), key=place
    )
    lines = {
        key: tuned(rows, *key) for key in dict.fromkeys((r["row"], r["threshold"]) for r in found)
    }
    grid = [
        h for h in next(iter(lines.values()), ()) if any(values[h] for values in lines.values())
    ]
    yield "| sampler | " + " | ".join(f"h = {h:g}" for h in grid) + " |"
    yield "|---|" + "---|" * len(grid)
    for (name, threshold), values in lines.items():
        yield (
            f"| {label(name, threshold)} | "
            + " | ".join(", ".join(map(cell, values[h])) or "–" for h in grid)
            + " |"
        )


def place(row: Row) -> tuple[int, float, int]:
    """Where a row stands in a table, whatever the order of the record."""
    data, name = row["row"].split("-", 1)
    return ROWS[data].index(name), row.get("threshold") or 0.0, row["seed"]


def cell(value: float | None) -> str:
    return "diverged" if value is None else f"{value:.2f}"


TITLES = {"cifar10": "CIFAR-10, 16×16", "flowers102": "Flowers-102, 16×16"}
STYLES = dict(zip(ROWS["cifar10"], figures.CYCLE, strict=True))


def at_tuned_step(rows: list[Row], name: str) -> list[Row]:
    """The reported runs of a row, at the step size that its tuning chose."""
    found = [r for r in rows if (r["row"], r["stage"], r["threshold"]) == (name, "run", None)]
    return (
        [r for r in found if r["step_size"] == step_size_of(name, best(rows, name)[1])]
        if found
        else []
    )


def draw_curves(rows: list[Row], floors: dict[str, float], path: Path) -> None:
    """The bank's Fréchet distance over training: means thick, seeds thin, one-seed rows dashed."""
    figure = figures.new_figure(6.5 * len(floors), 4.6)
    for ax, data in zip(figure.subplots(1, len(floors), squeeze=False)[0], floors, strict=True):
        ax.set_yscale("log")
        figures.dress(
            ax, TITLES[data], "training iteration", "Fréchet distance, 8×8 pixels (not FID)"
        )
        for name in ROWS[data]:
            runs = [r["curve"] for r in at_tuned_step(rows, f"{data}-{name}")]
            runs = [[(p["step"], p["fd_bank"]) for p in curve] for curve in runs]
            if len(runs) > 1:
                for curve in runs:
                    ax.plot(*zip(*curve, strict=True), color=STYLES[name], linewidth=0.6, alpha=0.6)
            length = min(map(len, runs), default=0)
            means = [
                (runs[0][k][0], statistics.fmean(c[k][1] for c in runs)) for k in range(length)
            ]
            if means:
                dashes = "-" if len(runs) > 1 else (0, (3, 1.5))
                called = f"{LABELS[name]} ({len(runs)})"
                ax.plot(
                    *zip(*means, strict=True),
                    color=STYLES[name],
                    linewidth=1.8,
                    linestyle=dashes,
                    label=called,
                )
        ax.axhline(floors[data], color=figures.MUTED, linewidth=1, linestyle=":")
        ax.annotate(
            "held-out images",
            (0, floors[data]),
            xytext=(2, 3),
            textcoords="offset points",
            fontsize=8,
        )
        ax.set_ylim(bottom=floors[data] / 4)
        ax.legend(frameon=False, fontsize=8, loc="lower right", ncols=2)
    figures.save(figure, path)


def draw_gamma(rows: list[Row]) -> None:
    """Mean γ and th over training, of the samplers that have them; all seeds."""
    figure = figures.new_figure(12.5, 6.6)
    axes = figure.subplots(2, 2, sharex=True)
    for column, data in enumerate(ROWS):
        for ax, key, label in zip(
            axes[:, column], ("scale", "threshold"), ("mean γ", "th, units of |∇U|"), strict=True
        ):
            ax.set_yscale("linear" if key == "scale" else "log")
            figures.dress(ax, TITLES[data] if key == "scale" else "", "training iteration", label)
            for name in ("stanley", "adjusted-stanley", "clipped", "matched"):
                for r in at_tuned_step(rows, f"{data}-{name}"):
                    values = r["means_over_20"][key]
                    steps = [20 * k + 10 for k in range(len(values))]
                    first = LABELS[name] if r["seed"] == 0 else None
                    ax.plot(
                        steps, values, color=STYLES[name], linewidth=1.2, alpha=0.8, label=first
                    )
        axes[0, column].set_ylim(0, 1)
        axes[0, column].legend(frameon=False, fontsize=8)
    figures.save(figure, IMAGES / "paper-images-gamma.png")


def draw_grids(pictures: Path, root: str | None) -> None:
    """Data, then the bank and fresh chains of Langevin and STANLEY after the same iterations, seed
    0.

    STANLEY's threshold is the median, then the number that was tuned (its file is named after it).
    """
    said = {"langevin": "Langevin", "stanley": "STANLEY", "stanley-th500": "th 500"}
    for data in ROWS:
        train = config_of(f"{data}-langevin", 1e-4, 0, root).data.load().train
        groups: list[tuple[str, Any]] = [("Data", train[:36])]
        for name, label in said.items():
            kept = np.load(pictures / f"{data}-{name}.npz")
            groups += [(f"{label}, {which}", kept[which][:36]) for which in ("bank", "fresh")]
        figures.save(images.labelled_grids(groups, columns=6), IMAGES / f"paper-images-{data}.png")


def floor(data: str, root: str | None) -> float:
    """What held-out images, as many as the bank has chains, score themselves."""
    spec = config_of(f"{data}-langevin", 1e-4, 0, root).data
    found = distance(centre(spec.load().test[:1000]), spec)
    assert found is not None
    return found


def draw(arguments: argparse.Namespace) -> None:
    rows = read(arguments.record)
    floors = {data: floor(data, arguments.root) for data in arguments.data}
    for data in arguments.data:
        print(
            f"\n{TITLES[data]}; held-out images score {floors[data]:.2f}\n",
            *table(rows, data),
            sep="\n",
        )
        print("", *tuning(rows, data), sep="\n")
    draw_curves(rows, floors, IMAGES / "paper-images-fd.png")
    draw_gamma(rows)
    if arguments.pictures:
        draw_grids(Path(arguments.pictures), arguments.root)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", help="folder with the official files of the data sets")
    parser.add_argument("--data", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--record", type=Path, default=RECORD)
    parser.add_argument(
        "--pictures", help="where the benchmark kept the images of seed 0; none: no grids"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    draw(arguments)


if __name__ == "__main__":
    main()

"""The image experiment at the scale of one CPU core: the draft's samplers, one network, equal gradients.

    python benchmarks/paper_images.py --root DIR                        # all rows, 15 CPU minutes; resumes
    python benchmarks/paper_images.py --root DIR --only cifar10-stanley --seeds 1
    python benchmarks/paper_images.py --root DIR --draw                 # tables and figures of the record
    python benchmarks/paper_images.py --root DIR --iterations 1000 --data cifar10      # longer, a record of its own

A row is a recipe with benchmarks/paper_images.yaml: 250 iterations of 32 chains, 10 gradients each, T the same for all.
First the step size is tuned: every sampler on GRID, CIFAR-10, 125 iterations, seed 101, score the Fréchet distance of
the bank; Flowers-102 takes the same step sizes. Then each row is trained with seeds 0, 1, … and scored every 50
iterations against all training images:
bank   the 1,000 persistent chains as they lie
fresh  256 chains from noise, 100 gradients each, of the averaged weights, at the end
Fréchet distances are of 8×8 pixel averages (192 features), not of Inception features: they are not FID. CIFAR-10 is at
the end also seen through the shipped classifier (`fd_cifar`, 128 features; the 16×16 pixels are enlarged to its 32×32).
Another number of --iterations takes the step sizes that were tuned for the default one, and keeps its own record.
"""

from __future__ import annotations

import argparse
import copy
import functools
import json
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import stanley
from stanley import checkpoint
from stanley.cli.fields import read_config_file, resolve
from stanley.data import CIFAR10, Flowers102, centre, to_bytes
from stanley.errors import StanleyError
from stanley.features import Features, features_named
from stanley.metrics import FeatureStatistics, PixelFeatures, frechet, mmd2
from stanley.plots import figures, images
from stanley.records import RunDirectory
from stanley.samplers.base import evaluate
from stanley.samplers.inside import with_step_size
from stanley.samplers.scale import Quantile, resolve_threshold, scale
from stanley.train_config import TrainConfig
from stanley.trained import Trained

HERE = Path(__file__).resolve().parent
SCALE = HERE / "paper_images.yaml"
RECORD = HERE / "paper_images.jsonl"
IMAGES = HERE.parent / "docs" / "images"

MAIN = ("langevin", "stanley", "gd", "adjusted-stanley")
ROWS = {"cifar10": (*MAIN, "clipped", "matched", "hmc", "random-walk"), "flowers102": (*MAIN, "clipped")}
GRID = (1e-4, 4e-4, 9e-4)  # h, that is noise of 0.01, 0.02, 0.03 a step, at most that of the data; HMC gets √h
TUNING_SEED, TUNING_STEPS = 101, 125
ITERATIONS, FRESH = 250, 256
HMC_FLAGS = {"chain_steps": 2, "sampler.num_leapfrog": 5}
FEATURES = PixelFeatures(8)
CIFAR = functools.cache(lambda: features_named("cifar"))

Row = dict[str, Any]


def config_of(row: str, step_size: float, seed: int, root: str | None, **more: Any) -> TrainConfig:
    """What `stanley train ROW --config benchmarks/paper_images.yaml …` makes of the same flags."""
    flags: dict[str, Any] = {"seed": seed, "sampler.step_size": step_size, "data.root": root}
    flags |= HMC_FLAGS if row.endswith("hmc") else {}
    return resolve(row, read_config_file(SCALE), flags | more)


def step_sizes(row: str) -> tuple[float, ...]:
    return tuple(h**0.5 for h in GRID) if row.endswith("hmc") else GRID


# This process trains many runs on the same two data sets, and each would read the files anew.
for spec in (CIFAR10, Flowers102):
    spec.load = functools.cache(spec.load)  # type: ignore[method-assign]


@functools.cache
def reference(data: Any, features: Features = FEATURES) -> FeatureStatistics:
    """Of all training images."""
    return FeatureStatistics.of(map(centre, data.load().train.split(1024)), features)


@functools.cache
def some_data(data: Any) -> tuple[Tensor, float]:
    """Features of 1,000 training images for the MMD, and the median distance between them."""
    g = torch.Generator().manual_seed(0)
    train = data.load().train
    f = FEATURES(centre(train[torch.randperm(len(train), generator=g)[:1000]]))
    return f, float(torch.pdist(f.double()).median())


def distance(x: Tensor, data: Any, features: Features = FEATURES) -> float | None:
    """Fréchet distance of the finite points to the training images; None where there are too few."""
    x = x[x.flatten(1).isfinite().all(1)]
    if len(x) <= 192:
        return None
    return frechet(FeatureStatistics.of(x.split(1024), features), reference(data, features)).value


def mmd(x: Tensor, data: Any) -> float | None:
    """Gaussian-kernel MMD² of the same features, unbiased; one bandwidth for all rows of a data set."""
    x = x[x.flatten(1).isfinite().all(1)]
    f, bandwidth = some_data(data)
    return mmd2(FEATURES(x), f, bandwidth).value if len(x) > 1 else None


def at(model: Trained, path: Path) -> Trained:
    """The run as it was at an earlier checkpoint."""
    saved, energy = checkpoint.load(path), copy.deepcopy(model.energy)
    checkpoint.restore_weights(energy, saved.part("average"), path)
    sampler = with_step_size(model.config.sampler, saved.meta["step_size"] * saved.meta["slowdown"])
    return replace(model, step=saved.step, energy=energy, sampler=sampler, bank=saved.tensors["bank.positions"])


def gammas(model: Trained) -> dict[str, float] | None:
    """Quantiles of γ over 64 chains of the bank, with th as a run of these chains would resolve it."""
    sampler: Any = getattr(model.sampler, "proposal", model.sampler)
    if not isinstance(getattr(sampler, "threshold", None), Quantile):
        return None
    grad = evaluate(model.potential, model.bank[:64]).grad
    threshold = resolve_threshold(sampler.threshold, grad, sampler.scope)
    gamma = scale(grad, threshold, sampler.scope).double()
    low, median, high = gamma.flatten().quantile(torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)).tolist()
    return {"threshold": float(threshold), "mean": float(gamma.mean()), "q10": low, "median": median, "q90": high}


def train_and_score(config: TrainConfig, fresh_at: Sequence[int], pictures: Path | None) -> Row:
    """Train, then score every checkpoint; a divergence is a row with what there was before it."""
    row: Row = {"iterations": config.steps}
    config.data.load()
    with tempfile.TemporaryDirectory() as folder:
        run, began = RunDirectory(Path(folder) / "run"), time.process_time()
        try:
            stanley.train(config, run.path, device="cpu")
        except StanleyError as error:
            row["failure"] = str(error).replace(folder, "")
        row["cpu_seconds"] = round(time.process_time() - began, 1)
        row["curve"] = [score(at_checkpoint, fresh_at, pictures) for at_checkpoint in checkpoints(run)]
        row |= of_records(run.records())
    return row


def checkpoints(run: RunDirectory) -> list[Trained]:
    newest = stanley.load(run, device="cpu")
    return [at(newest, path) for path in checkpoint.saved(run.checkpoints)]


def score(model: Trained, fresh_at: Sequence[int], pictures: Path | None) -> Row:
    data = model.config.data
    row: Row = {"step": model.step, "n_bank": len(model.bank), "fd_bank": distance(model.bank, data)}
    row["gamma"] = gammas(model)
    if model.step in fresh_at:
        began = time.process_time()
        chains = model.sample(FRESH, seed=0)
        row |= {"n_fresh": FRESH, "fd_fresh": distance(chains.x, data)}
        row |= {"mmd2_bank": mmd(model.bank, data), "mmd2_fresh": mmd(chains.x, data)}
        if isinstance(data, CIFAR10):
            row |= {"fd_cifar_bank": distance(model.bank, data, CIFAR())}
            row |= {"fd_cifar_fresh": distance(chains.x, data, CIFAR())}
        row |= {"fresh_gradients": chains.info.num_gradients, "fresh_potentials": chains.info.num_potentials}
        row |= {"fresh_acceptance": float(chains.info.acceptance.mean())}
        row |= {"fresh_nonfinite": int(chains.info.nonfinite.sum()), "fresh_seconds": time.process_time() - began}
        if pictures is not None:
            pictures.parent.mkdir(parents=True, exist_ok=True)
            np.savez(pictures, bank=to_bytes(model.bank[:48]).numpy(), fresh=to_bytes(chains.x[:48]).numpy())
    return row


def of_records(records: list[Row]) -> Row:
    """What the training records say, as means over 20 iterations each."""
    names = ("gap", "acceptance", "scale", "step_size", "threshold", "spread", "chain_grad_norm")
    means: dict[str, list[float | None]] = {}
    for name in names:
        blocks = [[r[name] for r in records[k : k + 20] if r[name] is not None] for k in range(0, len(records), 20)]
        means[name] = [float(f"{statistics.fmean(b):.5g}") if b else None for b in blocks]
    largest = max((abs(r["gap"]) for r in records if r["gap"] is not None), default=None)
    return {"largest_gap": largest, "means_over_20": means}


def final(row: Row, name: str) -> float | None:
    """The last score of a run that reached its end; None for one that did not."""
    return row["curve"][-1].get(name) if "failure" not in row else None


def gradients(config: TrainConfig) -> int:
    """Of all chains over the run, the starts' included; of the random walk, values of E."""
    per_step = getattr(config.sampler, "num_leapfrog", 1)
    return config.steps * config.batch * (config.chain_steps * per_step + 1)


def best_step(rows: list[Row], name: str) -> float:
    """The step size of least Fréchet distance in the tuning runs of a row's sampler."""
    rows = [*rows, *read(RECORD)]
    tuned_on = f"cifar10-{name.split('-', 1)[1]}"
    tuned = {r["step_size"]: final(r, "fd_bank") for r in rows if r["row"] == tuned_on and r["stage"] == "tune"}
    finished = {h: fd for h, fd in tuned.items() if fd is not None}
    if not finished:
        raise SystemExit(f"{name}: no step size of the grid was tried on {tuned_on} without diverging; tune that first")
    return min(finished, key=finished.__getitem__)


def read(record: Path) -> list[Row]:
    return [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []


def jobs(names: list[str], seeds: int, others: int, iterations: int) -> list[tuple[str, str, int]]:
    """Tuning first, then seed after seed, so that what is there at any time is comparable."""
    tuned = iterations == ITERATIONS
    found = [("tune", name, TUNING_SEED) for name in names if tuned and name.startswith("cifar10-")]
    for seed in range(max(seeds, others)):
        wanted = (n for n in names if seed < (seeds if n.split("-", 1)[1] in MAIN else others))
        found += [("run", name, seed) for name in wanted]
    return found


def measure(arguments: argparse.Namespace) -> None:
    names = arguments.only or [f"{data}-{name}" for data in arguments.data for name in ROWS[data]]
    for stage, name, seed in jobs(names, arguments.seeds, arguments.other_seeds, arguments.iterations):
        rows = read(arguments.record)
        h = arguments.step_size
        grid = step_sizes(name) if stage == "tune" else (best_step(rows, name) if h is None else h,)
        for step_size in grid:
            key = {"stage": stage, "row": name, "seed": seed, "step_size": step_size}
            if any(key.items() <= row.items() for row in rows):
                continue
            n = arguments.iterations
            more = {"steps": TUNING_STEPS} if stage == "tune" else {"steps": n, "save_every": n // 5}
            config = config_of(name, step_size, seed, arguments.root, **more)
            pictures = None
            if stage == "run" and seed == 0 and arguments.pictures:
                pictures = Path(arguments.pictures) / f"{name}.npz"
            row = key | train_and_score(config, (n,) if stage == "run" else (), pictures)
            row |= {"gradients": gradients(config), "torch": torch.__version__, "machine": platform.machine()}
            with arguments.record.open("a") as file:
                file.write(json.dumps(row) + "\n")
            end = row["curve"][-1]
            told = {k: v for k, v in end.items() if k in ("fd_bank", "fd_fresh")}
            print(stage, name, seed, f"{step_size:.3g}", told, row["cpu_seconds"], row.get("failure", ""), flush=True)


def table(rows: list[Row], data: str) -> Iterable[str]:
    """Markdown: what is averaged is over the seeds that reached the end, the others are counted."""
    through = ("fd_bank", "fd_fresh", *(("fd_cifar_bank", "fd_cifar_fresh") if seen_by_classifier(rows, data) else ()))
    names = ("sampler", "h", "seeds", "failed", *(key.replace("_", " ") for key in through))
    names += ("10³·MMD² bank", "fresh", "noise sd", "acceptance", "CPU s")
    yield "| " + " | ".join(names) + " |"
    yield "|" + "---|" * len(names)
    found = [r for r in rows if r["stage"] == "run"]
    for name, h in dict.fromkeys((r["row"], r["step_size"]) for r in found):
        if not name.startswith(data):
            continue
        runs = [r for r in found if (r["row"], r["step_size"]) == (name, h)]
        done = [r for r in runs if "failure" not in r]
        cells = [name.split("-", 1)[1], f"{h:.3g}", f"{len(runs)}", f"{len(runs) - len(done)}"]
        cells += [spread([final(r, key) for r in done]) for key in through]
        cells += [spread([1e3 * final(r, key) for r in done], 1) for key in ("mmd2_bank", "mmd2_fresh")]  # type: ignore[operator]
        cells += [spread([noise_std(r) for r in done], 4), spread([ends(r, "acceptance") for r in done])]
        cells.append(spread([r["cpu_seconds"] for r in done], 0))
        yield "| " + " | ".join(cells) + " |"


def seen_by_classifier(rows: list[Row], data: str) -> bool:
    """Whether the record's runs on these data were scored in its features."""
    return any("fd_cifar_bank" in r["curve"][-1] for r in rows if r["row"].startswith(data) and r["stage"] == "run")


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
    """Root of the mean variance of the noise a step at the end: √(h·γ̄) where γ scales it; 0 for gradient descent."""
    name, h = row["row"].split("-", 1)[1], ends(row, "step_size") or 0.0
    if name == "gd":
        return 0.0
    if name == "hmc":
        return h  # of the momentum's part, a leapfrog step
    return (h * (ends(row, "scale") or 1.0 if name in ("stanley", "matched", "adjusted-stanley") else 1.0)) ** 0.5


def tuning(rows: list[Row]) -> Iterable[str]:
    yield "| row | " + " | ".join(f"h = {h:g}" for h in GRID) + " |"
    yield "|---|" + "---|" * len(GRID)
    for name in dict.fromkeys(r["row"] for r in rows if r["stage"] == "tune"):
        found = [r for r in rows if r["row"] == name and r["stage"] == "tune"]
        cells = [f"{v:.2f}" if (v := final(r, "fd_bank")) is not None else "diverged" for r in found]
        yield f"| {name} | " + " | ".join(cells) + " |"


TITLES = {"cifar10": "CIFAR-10, 16×16", "flowers102": "Flowers-102, 16×16"}
STYLES = dict(zip(ROWS["cifar10"], figures.CYCLE, strict=True))


def draw_curves(rows: list[Row], floors: dict[str, float], path: Path) -> None:
    """The bank's Fréchet distance over training: means thick, seeds thin, one-seed rows dashed."""
    figure = figures.new_figure(6.5 * len(floors), 4.6)
    for ax, data in zip(figure.subplots(1, len(floors), squeeze=False)[0], floors, strict=True):
        ax.set_yscale("log")
        figures.dress(ax, TITLES[data], "training iteration", "Fréchet distance, 8×8 pixels (not FID)")
        for name in ROWS[data]:
            runs = [r for r in rows if r["row"] == f"{data}-{name}" and r["stage"] == "run"]
            runs = [r["curve"] for r in runs if r["step_size"] == runs[0]["step_size"]]  # the tuned one
            runs = [[(p["step"], p["fd_bank"]) for p in curve] for curve in runs]
            if len(runs) > 1:
                for curve in runs:
                    ax.plot(*zip(*curve, strict=True), color=STYLES[name], linewidth=0.6, alpha=0.6)
            length = min(map(len, runs), default=0)
            means = [(runs[0][k][0], statistics.fmean(c[k][1] for c in runs)) for k in range(length)]
            if means:
                dashes = "-" if len(runs) > 1 else (0, (3, 1.5))
                label = f"{name} ({len(runs)})"
                ax.plot(*zip(*means, strict=True), color=STYLES[name], linewidth=1.8, linestyle=dashes, label=label)
        ax.axhline(floors[data], color=figures.MUTED, linewidth=1, linestyle=":")
        ax.annotate("held-out images", (0, floors[data]), xytext=(2, 3), textcoords="offset points", fontsize=8)
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
                for r in [r for r in rows if r["row"] == f"{data}-{name}" and r["stage"] == "run"]:
                    values = r["means_over_20"][key]
                    steps = [20 * k + 10 for k in range(len(values))]
                    first = name if r["seed"] == 0 else None
                    ax.plot(steps, values, color=STYLES[name], linewidth=1.2, alpha=0.8, label=first)
        axes[0, column].set_ylim(0, 1)
        axes[0, column].legend(frameon=False, fontsize=8)
    figures.save(figure, IMAGES / "paper-images-gamma.png")


def draw_grids(pictures: Path, root: str | None) -> None:
    """Data, then the bank and fresh chains of Langevin and STANLEY after the same iterations, seed 0."""
    for data in ROWS:
        train = config_of(f"{data}-langevin", 1e-4, 0, root).data.load().train
        groups: list[tuple[str, Any]] = [("Data", train[:48])]
        for name, said in (("langevin", "Langevin"), ("stanley", "STANLEY")):
            kept = np.load(pictures / f"{data}-{name}.npz")
            groups += [(f"{said}, bank", kept["bank"]), (f"{said}, fresh", kept["fresh"])]
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
        print(f"\n{TITLES[data]}; held-out images score {floors[data]:.2f}\n", *table(rows, data), sep="\n")
    print("", *tuning(rows), sep="\n")
    if arguments.iterations != ITERATIONS:
        draw_curves(rows, floors, IMAGES / f"paper-images-fd-{arguments.iterations}.png")
        return
    draw_curves(rows, floors, IMAGES / "paper-images-fd.png")
    draw_gamma(rows)
    if arguments.pictures:
        draw_grids(Path(arguments.pictures), arguments.root)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", help="folder with the official files of the data sets")
    parser.add_argument("--data", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--only", nargs="+", help="rows, such as cifar10-stanley")
    parser.add_argument("--seeds", type=int, default=3, help="of the four main samplers")
    parser.add_argument("--other-seeds", type=int, default=1, help="of the others")
    parser.add_argument("--step-size", type=float, help="of the rows, in place of the tuned one")
    parser.add_argument("--iterations", type=int, default=ITERATIONS, help="a multiple of five")
    parser.add_argument("--record", type=Path)
    parser.add_argument("--pictures", help="folder for the images of seed 0, which the figure is drawn from")
    parser.add_argument("--draw", action="store_true", help="print the tables and draw the figures")
    arguments = parser.parse_args()
    if arguments.record is None:
        n = arguments.iterations
        arguments.record = RECORD if n == ITERATIONS else RECORD.with_stem(f"{RECORD.stem}_{n}")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    (draw if arguments.draw else measure)(arguments)


if __name__ == "__main__":
    main()

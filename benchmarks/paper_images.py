"""The image experiment at the scale of one CPU core: the draft's samplers, one network, equal
gradients.

    python benchmarks/paper_images.py --root DIR                        # all rows, two CPU hours;
    resumes
    python benchmarks/paper_images.py --root DIR --only cifar10-stanley --step-size 9e-4    # in
    place of the tuned one
    python benchmarks/paper_images.py --root DIR --only cifar10-clipped --thresholds 100 500    # th
    tuned along with h
    python benchmarks/paper_images_report.py --root DIR                 # tables and figures of the
    record

A row is a recipe with benchmarks/paper_images.yaml: 1,000 iterations of 32 chains, 10 gradients
each, T the same for all. First the step size is tuned, at full length on the row's own data: every
sampler tries GRID on TUNING_SEEDS, and where an edge wins also the step BEYOND it; the least mean
Fréchet distance of the bank wins, a step size at which any of them diverges is out. Then the row is
trained with seeds 0, 1, … and scored every 200 iterations against all training images:
bank   the 1,000 persistent chains as they lie
fresh  256 chains from noise, 100 gradients each, of the averaged weights, at the end
Fréchet distances are of 8×8 pixel averages (192 features), not of Inception features: they are not
FID. CIFAR-10 is at the end also seen through the shipped classifier (`fd_cifar`, 128 features; the
16×16 pixels are enlarged to its 32×32). Several processes may share a record where each has --only
rows of its own.
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
from stanley.cli.config_file import read_config_file
from stanley.data import CIFAR10, Flowers102, centre, to_bytes
from stanley.errors import StanleyError
from stanley.features import Features, features_named
from stanley.metrics import FeatureStatistics, PixelFeatures, frechet, mmd2
from stanley.models.trained import Trained, trained_sampler
from stanley.runs import checkpoint
from stanley.runs.directory import RunDirectory
from stanley.samplers.base import evaluate
from stanley.samplers.scale import scale
from stanley.samplers.traits import with_threshold
from stanley.training.config import TrainConfig
from stanley.training.resolve import resolve
from stanley.types import Potential

HERE = Path(__file__).resolve().parent
SCALE = HERE / "paper_images.yaml"
RECORD = HERE / "paper_images.jsonl"

MAIN = ("langevin", "stanley", "gd", "adjusted-stanley")
ROWS = {
    "cifar10": (*MAIN, "clipped", "matched", "hmc", "random-walk"),
    "flowers102": (*MAIN, "clipped"),
}
# h: noise of 0.01 to 0.04 a step, that of the data is 0.03; HMC gets √h
GRID = (1e-4, 4e-4, 9e-4, 1.6e-3)
BEYOND = {1e-4: 2.5e-5, 1.6e-3: 3.6e-3}  # what a sampler tries besides whose best is at that edge
CUT = ("stanley", "adjusted-stanley", "clipped", "matched")  # those that have a threshold
TUNING_SEEDS = (101, 102)
FRESH = 256
HMC_FLAGS = {"objective.chain_steps": 2, "sampler.num_leapfrog": 5}
FEATURES = PixelFeatures(8)
CIFAR = functools.cache(lambda: features_named("cifar"))

Row = dict[str, Any]


def config_of(row: str, step_size: float, seed: int, root: str | None, **more: Any) -> TrainConfig:
    """What `stanley train ROW --config benchmarks/paper_images.yaml …` makes of the same flags."""
    flags: dict[str, Any] = {"seed": seed, "sampler.step_size": step_size, "data.root": root}
    flags |= HMC_FLAGS if row.endswith("hmc") else {}
    return resolve(row, read_config_file(SCALE), flags | more)


def step_size_of(row: str, h: float) -> float:
    return h**0.5 if row.endswith("hmc") else h


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
    """Fréchet distance of the finite points to the training images;
    None where there are too few.
    """
    x = x[x.flatten(1).isfinite().all(1)]
    if len(x) <= 192:
        return None
    return frechet(FeatureStatistics.of(x.split(1024), features), reference(data, features)).value


def mmd(x: Tensor, data: Any) -> float | None:
    """Gaussian-kernel MMD² of the same features, unbiased; one bandwidth for all rows of a data
    set.
    """
    x = x[x.flatten(1).isfinite().all(1)]
    f, bandwidth = some_data(data)
    return mmd2(FEATURES(x), f, bandwidth).value if len(x) > 1 else None


def at(model: Trained, path: Path) -> Trained:
    """The run as it was at an earlier checkpoint."""
    saved, energy = checkpoint.load(path), copy.deepcopy(model.energy)
    checkpoint.restore_weights(energy, saved.part("average"), path)
    bank, potential = saved.tensors["bank.positions"], Potential(energy, model.config.temperature)
    sampler = trained_sampler(
        model.config, saved.meta["step_size"] * saved.meta["slowdown"], potential, bank
    )
    return replace(model, step=saved.step, energy=energy, sampler=sampler, bank=bank)


def gammas(model: Trained) -> dict[str, float] | None:
    """Quantiles of γ over 64 chains of the bank, at the threshold of the samples."""
    sampler: Any = getattr(model.sampler, "proposal", model.sampler)
    if not hasattr(sampler, "threshold"):
        return None
    grad = evaluate(model.potential, model.bank[:64]).grad
    gamma = scale(grad, torch.tensor(sampler.threshold), sampler.scope).double()
    low, median, high = (
        gamma.flatten().quantile(torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)).tolist()
    )
    found = {"threshold": sampler.threshold, "mean": float(gamma.mean())}
    return found | {"q10": low, "median": median, "q90": high}


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
        row["curve"] = [
            score(at_checkpoint, fresh_at, pictures) for at_checkpoint in checkpoints(run)
        ]
        row |= of_records(run.records())
    return row


def checkpoints(run: RunDirectory) -> list[Trained]:
    paths = checkpoint.saved(run.checkpoints)
    newest = stanley.load(run, device="cpu") if paths else None
    return [at(newest, path) for path in paths if newest]


def score(model: Trained, fresh_at: Sequence[int], pictures: Path | None) -> Row:
    data = model.config.data
    row: Row = {
        "step": model.step,
        "n_bank": len(model.bank),
        "fd_bank": distance(model.bank, data),
    }
    row["gamma"] = gammas(model)
    if model.step in fresh_at:
        began = time.process_time()
        chains = model.sample(FRESH, seed=0)
        row |= {"n_fresh": FRESH, "fd_fresh": distance(chains.x, data)}
        row |= {"mmd2_bank": mmd(model.bank, data), "mmd2_fresh": mmd(chains.x, data)}
        if isinstance(data, CIFAR10):
            row |= {"fd_cifar_bank": distance(model.bank, data, CIFAR())}
            row |= {"fd_cifar_fresh": distance(chains.x, data, CIFAR())}
        row |= {
            "fresh_gradients": chains.info.num_gradients,
            "fresh_potentials": chains.info.num_potentials,
        }
        row |= {"fresh_acceptance": float(chains.info.acceptance.mean())}
        row |= {
            "fresh_nonfinite": int(chains.info.nonfinite.sum()),
            "fresh_seconds": time.process_time() - began,
        }
        if pictures is not None:
            pictures.parent.mkdir(parents=True, exist_ok=True)
            np.savez(
                pictures,
                bank=to_bytes(model.bank[:48]).numpy(),
                fresh=to_bytes(chains.x[:48]).numpy(),
            )
    return row


def of_records(records: list[Row]) -> Row:
    """What the training records say, as means over 20 iterations each."""
    names = ("gap", "acceptance", "scale", "step_size", "threshold", "spread", "chain_grad_norm")
    means: dict[str, list[float | None]] = {}
    for name in names:
        blocks = [
            [r[name] for r in records[k : k + 20] if r[name] is not None]
            for k in range(0, len(records), 20)
        ]
        means[name] = [float(f"{statistics.fmean(b):.5g}") if b else None for b in blocks]
    largest = max((abs(r["gap"]) for r in records if r["gap"] is not None), default=None)
    return {"largest_gap": largest, "means_over_20": means}


def final(row: Row, name: str) -> float | None:
    """The last score of a run that reached its end; None for one that did not."""
    return row["curve"][-1].get(name) if "failure" not in row else None


def gradients(config: TrainConfig) -> int:
    """Of all chains over the run, the starts' included; of the random walk, values of E."""
    per_step = getattr(config.sampler, "num_leapfrog", 1)
    return config.steps * config.batch * (config.chains.chain_steps * per_step + 1)


def tuned(
    rows: list[Row], name: str, threshold: float | None = None
) -> dict[float, list[float | None]]:
    """Final Fréchet distance of the bank by step size, one for each tuning seed;
    None for a run that failed.
    """
    mine = [
        r for r in rows if (r["stage"], r["row"], r.get("threshold")) == ("tune", name, threshold)
    ]
    grid = sorted({*GRID, *BEYOND.values()})
    return {
        h: [final(r, "fd_bank") for r in mine if r["step_size"] == step_size_of(name, h)]
        for h in grid
    }


def best(
    rows: list[Row], name: str, thresholds: Sequence[float | None] = (None,)
) -> tuple[float | None, float]:
    """The threshold and h of least mean Fréchet distance among those that no tuning seed failed
    at.
    """
    tried = {(th, h): found for th in thresholds for h, found in tuned(rows, name, th).items()}
    means = {key: mean(found) for key, found in tried.items() if found and None not in found}
    if not means:
        raise SystemExit(f"{name}: every step size failed on one of the seeds {TUNING_SEEDS}")
    return min(means, key=means.__getitem__)


def mean(values: Iterable[float | None]) -> float:
    return statistics.fmean(v for v in values if v is not None)


def read(record: Path) -> list[Row]:
    return [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []


def jobs(arguments: argparse.Namespace) -> Iterable[tuple[str, str, int, float, float | None]]:
    """(stage, row, seed, step size, fixed threshold): tuning before the runs that need it, then
    seed by seed.

    Lazy: what comes later depends on the record as it is by then.
    """
    names = arguments.only or [f"{data}-{name}" for data in arguments.data for name in ROWS[data]]
    tried: Sequence[float | None] = arguments.thresholds or (None,)
    for name in names:
        grid = [(th, h, seed) for th in tried for seed in TUNING_SEEDS for h in GRID]
        yield from (("tune", name, seed, step_size_of(name, h), th) for th, h, seed in grid)
        th, h = best(read(arguments.record), name, tried)
        if h in BEYOND:
            yield from (
                ("tune", name, seed, step_size_of(name, BEYOND[h]), th) for seed in TUNING_SEEDS
            )
    for seed in range(arguments.seeds):
        for name in names:
            th, h = best(read(arguments.record), name, tried)
            h, th = arguments.step_size or h, arguments.threshold or th
            yield "run", name, seed, step_size_of(name, h), th


def measure(arguments: argparse.Namespace) -> None:
    for stage, name, seed, step_size, threshold in jobs(arguments):
        key = {
            "stage": stage,
            "row": name,
            "seed": seed,
            "step_size": step_size,
            "threshold": threshold,
        }
        if any(key == {k: row.get(k) for k in key} for row in read(arguments.record)):
            continue
        config = config_of(name, step_size, seed, arguments.root)
        if threshold is not None:
            config = replace(
                config, sampler=with_threshold(config.sampler, torch.tensor(threshold))
            )
        pictures = None
        if stage == "run" and seed == 0 and arguments.pictures and not arguments.step_size:
            pictures = (
                Path(arguments.pictures)
                / f"{name}{'' if threshold is None else f'-th{threshold:g}'}.npz"
            )
        row = key | train_and_score(config, (config.steps,) if stage == "run" else (), pictures)
        row |= {
            "gradients": gradients(config),
            "torch": torch.__version__,
            "machine": platform.machine(),
        }
        with arguments.record.open("a") as file:
            file.write(json.dumps(row) + "\n")
        told = (
            {k: v for k, v in row["curve"][-1].items() if k in ("fd_bank", "fd_fresh")}
            if row["curve"]
            else {}
        )
        print(*key.values(), told, row["cpu_seconds"], row.get("failure", ""), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", help="folder with the official files of the data sets")
    parser.add_argument("--data", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--only", nargs="+", help="rows, such as cifar10-stanley")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--step-size", type=float, metavar="H", help="of the rows, in place of the tuned one"
    )
    parser.add_argument(
        "--threshold", type=float, metavar="TH", help="of the rows, in place of the median"
    )
    parser.add_argument(
        "--thresholds",
        type=float,
        nargs="+",
        metavar="TH",
        help="in place of the median; tuned along with h",
    )
    parser.add_argument("--record", type=Path, default=RECORD)
    parser.add_argument(
        "--pictures",
        help="folder for the images of seed 0 as tuned, which the figure is drawn from",
    )
    arguments = parser.parse_args()
    uncut = [name for name in arguments.only or ["every row"] if name.split("-", 1)[-1] not in CUT]
    if (arguments.threshold or arguments.thresholds) and uncut:
        parser.error(
            f"a threshold needs --only with rows that have one, {', '.join(CUT)}; got {uncut[0]}"
        )
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    measure(arguments)


if __name__ == "__main__":
    main()

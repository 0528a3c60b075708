"""Objectives side by side: the same network, and the same CPU seconds of training.

    python benchmarks/objectives.py --data-root DIR --out runs/objectives
    python benchmarks/objectives.py --table

Each arm trains for so many iterations as `SECONDS` of one core allow: 60 of the same arm are timed
first, and what the run took is in its row. Rows are added to benchmarks/objectives.jsonl as they
are done, and one that is there is not computed again; the runs lie under --out.

    chains, plain network   the contrastive recipe as it is, its own network without noise levels
    chains                  the same recipe on the network of the other arms, at its smallest level
    denoising               no chain runs in training
    warm start              70 % of the seconds denoising (in the plane 50 %), then chains at σ_min
    flow matching           in the plane; no density, so its samples alone are judged

Scores, of averaged weights: in the plane the exact KL(data‖model) in nats and 1000·MMD² of 2,000
fresh samples; of images Fréchet distances of 512 fresh samples from the held-out images.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stanley.data import CIFAR10
from stanley.data.base import Dataset
from stanley.errors import StanleyError
from stanley.judging.evaluate import evaluate, what_went_wrong
from stanley.networks import LevelConvNet, LevelMLP
from stanley.networks.levels import level_energy
from stanley.runs.directory import RunDirectory
from stanley.training.config import TrainConfig
from stanley.training.loop import train
from stanley.training.objectives import Contrastive, FlowMatching, WarmStart
from stanley.training.recipes import denoised, recipe

RECORD = Path(__file__).with_suffix(".jsonl")
SECONDS = {"rings": 30, "gmm": 30, "mnist": 120, "cifar10 16×16": 120, "cifar10 32×32": 120}
ARMS = ("chains, plain network", "chains", "denoising", "warm start", "flow matching")
TIMED = 60  # iterations
#: Of pictures: (iterations, share of them that denoise in a warm start) that take `SECONDS`, by
#: what a full run of each arm took. A short run was a third off on a busy machine.
ITERATIONS = {
    ("mnist", "chains, plain network"): (991, None),
    ("mnist", "chains"): (253, None),
    ("mnist", "denoising"): (1115, None),
    ("mnist", "warm start"): (784, 0.943),
    ("cifar10 16×16", "chains, plain network"): (1859, None),
    ("cifar10 16×16", "chains"): (470, None),
    ("cifar10 16×16", "denoising"): (2120, None),
    ("cifar10 16×16", "warm start"): (1549, 0.908),
}


@dataclass(frozen=True)
class AtSmallestLevel:
    """A network of noise levels as an energy without them, with the data's mean and spread."""

    network: LevelMLP | LevelConvNet
    data: Dataset

    def build(self, event_shape: tuple[int, ...]) -> nn.Module:
        levels = level_energy(self.network.build(event_shape))
        assert levels is not None
        levels.fit_data(self.data)
        return SmallestLevel(levels)


class SmallestLevel(nn.Module):
    def __init__(self, levels: nn.Module) -> None:
        super().__init__()
        self.levels = levels

    def forward(self, x: Tensor) -> Tensor:
        return self.levels(x)


@dataclass(frozen=True)
class Arm:
    """A configuration, whose number of steps is not set yet, and its network where handed over."""

    config: TrainConfig
    energy: Any = None


def arm_of(data: str, name: str, root: str | None) -> Arm:
    """The arm `name` of the comparison on `data`."""
    if data in ("rings", "gmm"):
        return plane(data, name)
    return images(data, name, root)


def plane(data: str, name: str) -> Arm:
    contrastive = recipe(f"{data}-contrastive")
    warm = recipe(f"{data}-warm-start")
    assert isinstance(warm.objective, WarmStart)
    assert isinstance(warm.network, LevelMLP)
    if name == "chains, plain network":
        return Arm(contrastive)
    if name == "chains":
        return Arm(contrastive, AtSmallestLevel(warm.network, contrastive.data.load()))
    if name == "denoising":
        return Arm(replace(warm, objective=warm.objective.denoising))
    if name == "warm start":
        return Arm(warm)
    undamped = replace(warm.network, damped=False)
    return Arm(replace(warm, network=undamped, objective=FlowMatching()))


def images(data: str, name: str, root: str | None) -> Arm:
    kind = "mnist" if data == "mnist" else "cifar10"
    chains = recipe(f"{kind}-small-contrastive")
    source = chains.data
    assert isinstance(chains.objective, Contrastive)
    if isinstance(source, CIFAR10):
        source = replace(source, size=int(data.split("×")[-1]))
    source = replace(source, root=root)
    level_mean = 0.2 if kind == "mnist" else -0.25
    denoising = denoised(source, 1, level_mean=level_mean)
    assert isinstance(denoising.network, LevelConvNet)
    if name == "chains, plain network":
        return Arm(replace(chains, data=source))
    if name == "chains":
        # the same recipe in units of U = E/T, since a network of noise levels is one of U
        t = chains.temperature
        objective = replace(
            chains.objective,
            energy_l2=chains.objective.energy_l2 * t,
            gap_limit=chains.objective.gap_limit / t,
        )
        config = replace(
            chains, data=source, temperature=1.0, objective=objective, precision="auto"
        )
        return Arm(config, AtSmallestLevel(denoising.network, source.load()))
    if name == "denoising":
        return Arm(denoising)
    finish = Contrastive(chain_steps=20, bank_size=256, gap_limit=1e5)
    objective = WarmStart(denoising=denoising.objective, contrastive=finish)
    return Arm(replace(denoising, objective=objective, batch=64))


@dataclass(frozen=True)
class Cost:
    """CPU seconds of an iteration, and of what comes once: data, network, a bank to be filled."""

    step: float
    once: float


def cost(config: TrainConfig, energy: Any, steps: int) -> Cost:
    """What `steps` iterations take, after as many that are not counted."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        began = time.process_time()
        train(replace(config, steps=steps, save_every=steps), out, energy=energy, device="cpu")
        between = time.process_time()
        both = replace(config, steps=2 * steps, save_every=2 * steps)
        train(both, out, energy=energy, device="cpu")
        second = time.process_time() - between
    return Cost(second / steps, max(0.0, between - began - second))


def planned(arm: Arm, seconds: float, timed: int) -> TrainConfig:
    """The arm with so many iterations as fit into the seconds."""
    objective = arm.config.objective
    if not isinstance(objective, WarmStart):
        found = cost(arm.config, arm.energy, timed)
        return replace(arm.config, steps=max(1, round((seconds - found.once) / found.step)))
    first = 0.5 if isinstance(arm.config.network, LevelMLP) else 0.7
    denoises = cost(replace(arm.config, objective=objective.denoising), None, timed)
    # with so small a share all iterations are chains
    follows = cost(replace(arm.config, objective=replace(objective, share=1e-6)), None, timed)
    left = seconds - follows.once
    before, after = first * left / denoises.step, (1 - first) * left / follows.step
    share = before / (before + after)
    return replace(
        arm.config, objective=replace(objective, share=share), steps=round(before + after)
    )


def row_of(data: str, name: str, seed: int, root: str | None, out: Path) -> dict[str, Any]:
    row: dict[str, Any] = {"data": data, "arm": name, "seed": seed}
    arm = arm_of(data, name, root)
    timed = TIMED if data in ("rings", "gmm") else TIMED // 4
    steps, share = ITERATIONS.get((data, name), (None, None))
    config = (
        planned(arm, SECONDS[data], timed) if steps is None else replace(arm.config, steps=steps)
    )
    if share is not None and isinstance(config.objective, WarmStart):
        config = replace(config, objective=replace(config.objective, share=share))
    config = replace(config, seed=seed, save_every=1_000)
    row["steps"] = config.steps
    folder = out / f"{data}-{name}-{seed}".replace(" ", "-").replace(",", "").replace("×", "x")
    began = time.process_time()
    try:
        run = train(config, folder, energy=arm.energy, device="cpu")
        row["cpu_seconds"] = round(time.process_time() - began, 1)
        row["went_wrong"] = [(event["kind"], event["step"]) for event in what_went_wrong(run)]
        began = time.process_time()
        row |= scores(run, arm, data)
        row["judged_in"] = round(time.process_time() - began, 1)
    except StanleyError as error:
        row["failure"] = str(error)
    return row


def scores(run: RunDirectory, arm: Arm, data: str) -> dict[str, Any]:
    if data in ("rings", "gmm"):
        found = evaluate(run, energy=arm.energy, num=2_000)
        return {"kl": found["kl"], "mmd2": 1_000 * found["fresh"]["mmd2"]["value"]}
    classifier = "mnist" if data == "mnist" else "cifar"
    found = evaluate(
        run,
        energy=arm.energy,
        num=512,
        features=(classifier, "pixels-8x8"),
        kid=False,
        neighbours=False,
    )
    names = (f"fd_{classifier}", "fd_pixels-8x8")
    judged = {n: found["fresh"][n]["value"] for n in names} | {"num": 512}
    judged |= {f"bank {n}": found["bank"][n]["value"] for n in names if "bank" in found}
    return judged


def rows() -> list[dict[str, Any]]:
    return [json.loads(line) for line in RECORD.read_text().splitlines()] if RECORD.exists() else []


def table(found: list[dict[str, Any]]) -> str:
    lines = [
        "| data | arm | n | CPU s | score of every seed | second score |",
        "|---|---|---|---|---|---|",
    ]
    for data in SECONDS:
        for arm in ARMS:
            own = [row for row in found if (row["data"], row["arm"]) == (data, arm)]
            if own:
                lines.append(line_of(data, arm, own))
    return "\n".join(lines)


def line_of(data: str, arm: str, own: list[dict[str, Any]]) -> str:
    def each(name: str, digits: int) -> str:
        values = [row.get(name) for row in own]
        text = " ".join("–" if v is None else f"{v:.{digits}f}" for v in values)
        known = [v for v in values if v is not None]
        return f"{name} {text}" + (
            f" (median {statistics.median(known):.{digits}f})" if known else ""
        )

    seconds = [row["cpu_seconds"] for row in own if "cpu_seconds" in row]
    took = f"{min(seconds):.0f} to {max(seconds):.0f}" if seconds else "–"
    if data in ("rings", "gmm"):
        first, second = each("kl", 4), each("mmd2", 2)
    else:
        first = each("fd_mnist" if data == "mnist" else "fd_cifar", 2)
        second = each("fd_pixels-8x8", 2)
    return f"| {data} | {arm} | {len(own)} | {took} | {first} | {second} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", default=list(SECONDS), choices=list(SECONDS))
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    parser.add_argument("--data-root", help="where MNIST and CIFAR-10 lie")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=3, help="how many, one after the other")
    parser.add_argument("--out", type=Path, default=Path("runs/objectives"), help="for the runs")
    parser.add_argument("--table", action="store_true", help="print the record and stop")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if not asked.table:
        done = {(row["data"], row["arm"], row["seed"]) for row in rows()}
        for seed in range(asked.first, asked.first + asked.seeds):
            for data in asked.data:
                for arm in asked.arms:
                    unknown = arm == "flow matching" and data not in ("rings", "gmm")
                    if unknown or (data, arm, seed) in done:
                        continue
                    row = row_of(data, arm, seed, asked.data_root, asked.out)
                    with RECORD.open("a") as file:
                        file.write(json.dumps(row) + "\n")
    print(table(rows()))


if __name__ == "__main__":
    main()

"""What a training step costs: with chains, K and width in one process, and what speaking costs on
several.

    python benchmarks/ranks.py                                              growth, in one process
    torchrun --nproc-per-node 2 benchmarks/ranks.py                         share of the time that
    is communication

Every number is a ratio of interleaved runs in the same process. On several processes each rank
alternates between training alone on its share of the batch and training together; all ranks do the
same at the same time, so that cores shared by several ranks weigh on both.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from dataclasses import replace

import torch

from stanley.data import Dataset, Rings
from stanley.networks import MLP, ConvNet
from stanley.ranks import World, joined
from stanley.torchrun import this_process
from stanley.training.config import TrainConfig
from stanley.training.recipes import recipe
from stanley.training.state import TrainState
from stanley.training.step import measure, train_step


def pixels() -> Dataset:
    images = torch.randint(
        0, 256, (1000, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    return Dataset(images, images[:10])


def cases() -> dict[str, tuple[TrainConfig, Dataset, int]]:
    """Configuration, data, and steps per turn."""
    rings, images = recipe("rings"), recipe("cifar10-contrastive")
    rings = replace(
        rings,
        network=MLP(width=128, depth=3),
        objective=replace(rings.objective, chain_steps=10, bank_size=1024),
        batch=256,
    )
    images = replace(
        images,
        network=ConvNet(width=8),
        objective=replace(images.objective, chain_steps=5, bank_size=64),
        batch=16,
    )
    return {"MLP, rings": (rings, Rings().load(), 10), "ConvNet, 3×32×32": (images, pixels(), 2)}


def turn(config: TrainConfig, state: TrainState, data: Dataset, steps: int) -> float:
    began = time.perf_counter()
    for _ in range(steps):
        measure(state, train_step(config, state, data))
    return (time.perf_counter() - began) / steps


def ratios(
    a: tuple[TrainConfig, TrainState],
    b: tuple[TrainConfig, TrainState],
    data: Dataset,
    steps: int,
    turns: int,
) -> tuple[list[float], float]:
    """time of a / time of b, turn by turn; median seconds of a."""
    for config, state in (a, b):
        turn(config, state, data, 1)
    times = [(turn(*a, data, steps), turn(*b, data, steps)) for _ in range(turns)]
    return [x / y for x, y in times], statistics.median(x for x, _ in times)


def told(name: str, values: list[float], seconds: float) -> str:
    low, middle, high = (statistics.quantiles(values, n=4)[i] for i in (0, 1, 2))
    return f"{name:<44} {middle:5.2f}   ({low:.2f} to {high:.2f})   {1000 * seconds:8.1f} ms"


def growth(turns: int) -> None:
    print(f"{'doubled':<44} ratio   (quartiles)       step")
    for name, (config, data, steps) in cases().items():
        base = config, TrainState(config, data, World())
        assert isinstance(config.network, MLP | ConvNet)
        network = replace(config.network, width=2 * config.network.width)
        objective = replace(config.objective, chain_steps=2 * config.chains.chain_steps)
        for what, larger in {
            "batch, that is chains": replace(config, batch=2 * config.batch),
            "chain_steps, K": replace(config, objective=objective),
            "network.width": replace(config, network=network),
        }.items():
            values, seconds = ratios(
                (larger, TrainState(larger, data, World())), base, data, steps, turns
            )
            print(told(f"{name}: {what}", values, seconds), flush=True)


def communication(turns: int) -> None:
    with joined("cpu") as world:
        if world.first:
            print(
                f"{'together / alone on the same share':<44} ratio   (quartiles)       step,"
                " together"
            )
        for name, (config, data, steps) in cases().items():
            slots = config.chains.bank_size // world.size
            alone = replace(
                config,
                objective=replace(config.objective, bank_size=slots),
                batch=config.batch // world.size,
            )
            together = config, TrainState(config, data, world)
            values, seconds = ratios(
                together, (alone, TrainState(alone, data, World())), data, steps, turns
            )
            weights = sum(p.numel() for p in together[1].energy.parameters())
            if world.first:
                print(told(f"{name}, {weights:,} weights", values, seconds), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=20)
    turns = parser.parse_args().turns
    torch.set_num_threads(1)
    ranks = this_process().size
    if this_process().rank == 0:
        print(
            f"torch {torch.__version__}, {platform.machine()}, {os.cpu_count()} cores, {ranks}"
            f" processes, n {turns}"
        )
    if ranks == 1:
        growth(turns)
    else:
        communication(turns)

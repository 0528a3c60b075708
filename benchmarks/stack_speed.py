"""Seconds of an iteration of one run: alone by `stanley.train`, and in stacks of S by
`stanley.train_stack`, on one thread of this CPU.

    OMP_NUM_THREADS=1 python benchmarks/stack_speed.py              # table and ratios
    OMP_NUM_THREADS=1 python benchmarks/stack_speed.py --json runs/stack_speed.json

Rounds are interleaved: each times every S once, in CPU seconds of the process over the iterations
of STEPS, less those of a quarter, so that what a run costs at its start and end falls out. A ratio
is that of two timings of the same round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

import stanley
from stanley import MLP, Langevin, Quantile, Stanley, TrainConfig

STEPS, ROUNDS = {0: 160, 1: 160, 5: 80, 20: 40}, 5  # 0: alone


def configurations() -> dict[str, TrainConfig]:
    rings = replace(stanley.recipe("rings"), save_every=100_000)
    plain = replace(rings, objective=replace(rings.objective, adapt=None))
    small = replace(rings, network=MLP(width=32, depth=2), batch=64)
    return {
        "rings": rings,
        "rings, langevin": replace(plain, sampler=Langevin(0.02)),
        "rings, stanley": replace(plain, sampler=Stanley(0.02, Quantile(0.9))),
        "32×2 units, 64 chains": small,
    }


def seconds(config: TrainConfig, num: int, steps: int) -> float:
    """CPU seconds of `num` runs side by side; of one by `train` where num is 0."""
    config = replace(config, steps=steps)
    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        if num == 0:
            stanley.train(config, f"{folder}/alone", device="cpu")
        else:
            configs = [replace(config, seed=seed) for seed in range(num)]
            stanley.train_stack(configs, [f"{folder}/{s}" for s in range(num)], device="cpu")
        return time.process_time() - began


def an_iteration(config: TrainConfig, num: int) -> float:
    """CPU milliseconds of one iteration of one run."""
    many, few = STEPS[num], STEPS[num] // 4
    spent = seconds(config, num, many) - seconds(config, num, few)
    return 1e3 * spent / (many - few) / max(1, num)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", type=Path)
    settings = parser.parse_args()
    torch.set_num_threads(1)
    record = {}
    for name, config in configurations().items():
        seconds(config, 0, 20)  # imports and first launches
        rounds = [{num: an_iteration(config, num) for num in STEPS} for _ in range(settings.rounds)]
        record[name] = rounds
        for num in STEPS:
            times = [found[num] for found in rounds]
            ratios = [found[0] / found[num] for found in rounds]
            print(
                f"{name:<24} {f'stack of {num}' if num else 'alone':<12}"
                f"{statistics.median(times):7.2f} ms ({min(times):.2f}-{max(times):.2f})"
                f"  {statistics.median(ratios):5.2f}x ({min(ratios):.2f}-{max(ratios):.2f})",
                flush=True,
            )
    if settings.json:
        settings.json.parent.mkdir(parents=True, exist_ok=True)
        settings.json.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()

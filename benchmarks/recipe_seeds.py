"""Whether the default recipes in the plane ever diverge, and how far they get, over 20 seeds.

    python benchmarks/recipe_seeds.py --seeds 20 --steps 2000 --jobs 2 >
    benchmarks/recipe_seeds.json

`--steps` shortens each run together with its learning-rate schedule, whose peak stays the recipe's:
a divergence shows where the rate is high. Score: exact KL(data‖model) in nats, and the largest
|gap| that was seen.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

RECIPES = ("rings", "gmm", "moons")


def score(job: tuple[str, int, int | None]) -> dict[str, Any]:
    import torch

    from stanley.errors import StanleyError
    from stanley.metrics import judge_density
    from stanley.models.trained import load
    from stanley.training.loop import train
    from stanley.training.recipes import recipe

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    name, seed, steps = job
    config = replace(recipe(name), seed=seed)
    config = config if steps is None else replace(config, steps=steps)
    row: dict[str, Any] = {"recipe": name, "seed": seed, "kl": None}
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        try:
            run = train(config, Path(folder) / "run", device="cpu")
            row["seconds"] = round(time.perf_counter() - began, 1)
            row["largest_gap"] = max(abs(record["gap"]) for record in run.records())
            row["kl"] = judge_density(load(run, device="cpu").potential, config.data.log_density).kl  # type: ignore[union-attr]
        except StanleyError as error:
            row["failure"] = str(error)
    print(row, file=sys.stderr)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipes", nargs="+", default=RECIPES)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--steps", type=int, help="the recipe's own unless given")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()

    jobs = [
        (name, seed, arguments.steps)
        for seed in range(arguments.seeds)
        for name in arguments.recipes
    ]
    with ProcessPoolExecutor(arguments.jobs) as pool:
        rows = list(pool.map(score, jobs))
    summary = {}
    for name in arguments.recipes:
        found = [row["kl"] for row in rows if row["recipe"] == name and row["kl"] is not None]
        failed = sum(row["kl"] is None for row in rows if row["recipe"] == name)
        summary[name] = {"n": len(found), "failed": failed}
        if found:
            summary[name] |= {
                "median_kl": statistics.median(found),
                "min": min(found),
                "max": max(found),
            }
    machine = f"{platform.machine()}, {platform.system()}, 1 thread a run"
    print(
        json.dumps(
            {"steps": arguments.steps, "machine": machine, "summary": summary, "rows": rows},
            indent=1,
        )
    )


if __name__ == "__main__":
    main()

"""Step sizes of the demonstration, tuned in the same way for each of its samplers.

    python benchmarks/demo_step_sizes.py --jobs 2 > benchmarks/demo_step_sizes.json

Every sampler, every step size of one grid, the same seeds, the demonstration's own budget; score:
exact KL(data‖model). A run that diverges is a row with a null. The tuning seeds are not the
demonstration's seed 0.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

GRID = (0.005, 0.01, 0.02, 0.04, 0.09, 0.16)
SEEDS = (101,)


def score(job: tuple[str, float, int]) -> dict[str, Any]:
    import torch

    from stanley.cli.demo import SAMPLERS, STEPS, demo_config
    from stanley.errors import StanleyError
    from stanley.metrics import judge_density
    from stanley.models.trained import load
    from stanley.samplers.traits import with_step_size
    from stanley.training.loop import train

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    name, step_size, seed = job
    config = demo_config(SAMPLERS[name], seed, STEPS)
    config = replace(config, sampler=with_step_size(config.sampler, step_size))
    row: dict[str, Any] = {"sampler": name, "step_size": step_size, "seed": seed, "kl": None}
    with tempfile.TemporaryDirectory() as folder:
        try:
            model = load(train(config, Path(folder) / "run"), device="cpu")
            row["kl"] = judge_density(model.potential, config.data.log_density).kl  # type: ignore[union-attr]
        except StanleyError as error:
            row["failure"] = str(error).partition(". ")[0]  # not its folder
    print(row, file=sys.stderr)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()

    from stanley.cli.demo import SAMPLERS, STEPS

    jobs = [(name, h, seed) for seed in SEEDS for h in GRID for name in SAMPLERS]
    with ProcessPoolExecutor(arguments.jobs) as pool:
        rows = list(pool.map(score, jobs))
    print(
        json.dumps(
            {"steps": STEPS, "machine": f"{platform.machine()}, {platform.system()}", "rows": rows},
            indent=1,
        )
    )


if __name__ == "__main__":
    main()

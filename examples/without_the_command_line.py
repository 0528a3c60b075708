"""Train on your own vectors, judge, sample and save: the library without its command line.

python examples/without_the_command_line.py [OUT]
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

import stanley


def main(out: Path, steps: int = 300) -> dict:
    out.mkdir(parents=True, exist_ok=True)
    angle = np.random.default_rng(0).uniform(0, 2 * np.pi, 5_000)
    spiral = np.stack([angle * np.cos(angle), angle * np.sin(angle)], 1) / 2
    np.save(out / "spiral.npy", spiral + np.random.default_rng(1).normal(0, 0.1, spiral.shape))

    # a recipe is a value: copy it, change fields
    recipe = stanley.recipe("array")
    config = replace(
        recipe,
        data=stanley.Array(path=str(out / "spiral.npy")),
        network=replace(recipe.network, width=48),
        steps=steps,
        save_every=steps,
    )
    run = stanley.train(config, out / "run")  # the same call again resumes
    scores = stanley.evaluate(run, num=500, steps=200)
    print(
        f"held-out NLL {scores['nll_held_out']['value']:.3f} nats, n ="
        f" {scores['nll_held_out']['n']}"
    )

    model = stanley.load(run)
    fresh = model.sample(500, steps=200, seed=1)
    print(f"{len(fresh.x)} samples, mean acceptance {fresh.info.acceptance.mean():.2f}")
    np.save(out / "samples.npy", fresh.x.numpy())
    return scores


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/spiral"))

"""One energy a class: draw each, tell the classes apart by the difference of their energies, and
draw their product.

python examples/classes.py [OUT]          trains two tiny energies first, of discs and of bars
python examples/classes.py OUT RUN1 RUN2  with runs of your own, such as mnist-small-contrastive
with --data.label 3 and 8

The two constants log Z are unknown, so U₁(x) and U₂(x) cannot be compared at one x. A threshold on
U₁ - U₂ can, and how well the best one could do does not depend on them: AUROC is the chance that an
image of class 2 has the higher U₁ - U₂.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import stanley
from stanley.data import centre, to_bytes
from stanley.features.classifier import classifier_features
from stanley.metrics import auroc
from stanley.plots import labelled_grids, save
from stanley.samplers.traits import with_step_size
from stanley.uses import Composed

SHOWN, HELD_OUT = 48, 1000


def shapes(kind: str, folder: Path, n: int = 200, size: int = 16) -> stanley.Folder:
    """Grey pictures of one bright disc or bar each."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    rows, columns = np.mgrid[:size, :size]
    for k in range(n):
        top, left, radius = *rng.uniform(5, size - 5, 2), rng.uniform(2, 4)
        down, right = abs(rows - top), abs(columns - left)
        inside = (
            np.hypot(down, right) if kind == "disc" else np.maximum(2 * down, right / 2)
        ) - radius
        Image.fromarray((255 / (1 + np.exp(2 * inside))).astype(np.uint8)).save(
            folder / f"{k:03d}.png"
        )
    return stanley.Folder(path=str(folder), size=size, channels=1)


def tiny_run(kind: str, out: Path) -> stanley.Trained:
    recipe = stanley.recipe("mnist-small-contrastive")
    config = replace(
        recipe,
        data=shapes(kind, out / kind),
        network=stanley.ConvNet(width=4),
        objective=replace(recipe.objective, chain_steps=10, bank_size=100, gap_limit=100.0),
        steps=120,
        batch=16,
        save_every=120,
    )
    return stanley.load(stanley.train(config, out / f"run-{kind}"), device="cpu")


def name(model: stanley.Trained) -> str:
    label = getattr(model.config.data, "label", None)
    return Path(getattr(model.config.data, "path", "") or "").name if label is None else str(label)


def recognised(model: stanley.Trained, x: torch.Tensor) -> float | None:
    """The share of x that the MNIST classifier of the library takes for the class of the model."""
    data = model.config.data
    if data.kind != "mnist" or data.label is None:
        return None
    return float(
        (classifier_features("mnist", device="cpu").probabilities(x).argmax(1) == data.label)
        .double()
        .mean()
    )


def product(models: list[stanley.Trained]) -> torch.Tensor:
    """Chains on U₁ + U₂ from noise; forces add up, so the step is half as long."""
    first = models[0]
    generator = torch.Generator(first.device).manual_seed(0)
    sampler = with_step_size(first.sampler, float(first.sampler.step_size) / 2)
    both = Composed(tuple(model.potential for model in models))
    x0, steps = first.starts(SHOWN, "noise", generator), first.default_steps("noise")
    return stanley.run_chains(sampler, both, x0, steps, generator=generator).x


def main(out: Path, models: list[stanley.Trained]) -> dict:
    out.mkdir(parents=True, exist_ok=True)
    chains = 256 if models else SHOWN
    models = models or [tiny_run(kind, out) for kind in ("disc", "bar")]
    held_out = [
        centre(model.config.data.load().test[:HELD_OUT]).to(model.device) for model in models
    ]
    fresh = [model.sample(chains, seed=0).x for model in models]
    # U₁ - U₂ on either class
    margins = [models[0].potential(x) - models[1].potential(x) for x in held_out]
    numbers = {
        "classes": [name(model) for model in models],
        "steps": [model.step for model in models],
        "n_held_out": [len(x) for x in held_out],
        "auroc": auroc(*margins),
        "n_fresh": chains,
        "recognised": [recognised(model, x) for model, x in zip(models, fresh, strict=True)],
    }
    groups = [
        (name(model), to_bytes(x[:SHOWN].cpu())) for model, x in zip(models, fresh, strict=True)
    ]
    groups.append((f"{name(models[0])} and {name(models[1])}", to_bytes(product(models).cpu())))
    save(labelled_grids(groups, columns=8), out / "classes.png")
    (out / "classes.json").write_text(json.dumps(numbers, indent=2) + "\n")
    print(json.dumps(numbers))
    return numbers


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", nargs="?", type=Path, default=Path("runs/classes"))
    parser.add_argument("runs", nargs="*", metavar="RUN", help="two runs, of one class each")
    asked = parser.parse_args()
    if len(asked.runs) not in (0, 2):
        parser.error(f"{len(asked.runs)} runs are given; give two, or none")
    main(asked.out, [stanley.load(run) for run in asked.runs])

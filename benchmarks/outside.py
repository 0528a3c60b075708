"""Does an energy know what it was not trained on? AUROC, AUPR and FPR95 of energy and gradient
norm, set by set, and of the profile of an energy that knows noise levels.

    python benchmarks/outside.py --pretrained mnist-contrastive --root DIR --json FILE
    python benchmarks/outside.py --run RUN --root DIR --arrays letters=FILE.npz:x

Inside are held-out images of the model's data; outside are synthetic sets made of them (noise,
constant, two images in one, pixels permuted), their mirror images upside down and their negatives,
and any arrays (n, H, W) or (n, H, W, C) of bytes that are named. A high score means outside. n of
each, and the standard error of AUROC (DeLong). A profile is compared with those of the held-out
images that follow, as many again.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import stanley
from stanley.data import centre
from stanley.metrics.detection import (
    energy_score,
    gradient_score,
    judge_detection,
    synthetic_out_sets,
)
from stanley.models.packing import pretrained
from stanley.uses.scoring import LEVELS, energies_at, unusual_profile


def array(text: str, shape: tuple[int, ...], num: int) -> tuple[str, Tensor]:
    """NAME=FILE.npz:KEY as images of the model's shape."""
    name, _, where = text.partition("=")
    path, _, key = where.rpartition(":")
    images = torch.from_numpy(np.load(path)[key][:num])
    images = images[:, None] if images.dim() == 3 else images.permute(0, 3, 1, 2)
    if tuple(images.shape[1:]) != shape:
        raise SystemExit(
            f"{name} has images of shape {tuple(images.shape[1:])}, the model knows {shape}"
        )
    return name, centre(images)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pretrained", help="a model that comes with the library")
    parser.add_argument("--run", help="a run directory or a packed model")
    parser.add_argument("--root", help="folder with the official files of the model's data")
    parser.add_argument("--arrays", nargs="*", default=[], metavar="NAME=FILE.npz:KEY")
    parser.add_argument("--num", type=int, default=2000, help="images of each set, at most")
    parser.add_argument("--json", type=Path, help="keep the numbers in this file")
    arguments = parser.parse_args()
    if (arguments.pretrained is None) == (arguments.run is None):
        raise SystemExit("give --pretrained NAME or --run RUN")
    model = (
        pretrained(arguments.pretrained) if arguments.pretrained else stanley.load(arguments.run)
    )
    data: Any = model.config.data
    if arguments.root:
        data = replace(data, root=arguments.root)
    held_out = centre(data.load().test[: 2 * arguments.num])
    inside, reference = held_out.tensor_split([min(arguments.num, len(held_out) // 2)])
    outside = {"upside down": inside.flip(-2), "negative": -inside}
    outside |= synthetic_out_sets(inside, torch.Generator().manual_seed(0))
    outside |= dict(array(text, model.event_shape, arguments.num) for text in arguments.arrays)

    scores = {
        "energy": lambda x: energy_score(model.potential, x),
        "gradient norm": lambda x: gradient_score(model.potential, x),
    }
    if levels := model.potentials_down(LEVELS):
        usual = energies_at(levels, reference)
        scores["profile"] = lambda x: unusual_profile(energies_at(levels, x), usual)
    rows: list[dict[str, Any]] = []
    print(
        "| outside | n | " + " | ".join(f"{kind}: AUROC | AUPR | FPR95" for kind in scores) + " |"
    )
    print("|---|---|" + "---|" * 3 * len(scores))
    of_inside = {kind: score(inside) for kind, score in scores.items()}
    for name, x in outside.items():
        cells = []
        for kind, score in scores.items():
            found = judge_detection(of_inside[kind], score(x))
            rows.append({"outside": name, "score": kind} | asdict(found))
            cells.append(
                f"{found.auroc:.3f} ± {found.auroc_error:.3f} | {found.aupr_out:.3f} |"
                f" {found.fpr95:.3f}"
            )
        print(f"| {name} | {len(x)} | " + " | ".join(cells) + " |", flush=True)
    if arguments.json:
        report = {
            "model": str(arguments.pretrained or arguments.run),
            "step": model.step,
            "n_inside": len(inside),
        }
        arguments.json.write_text(
            json.dumps(report | {"torch": torch.__version__, "rows": rows}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()

"""The picture of the README: four rings and what was learned of them, and digits from noise.

    python experiments/first_picture.py docs/images/first.png       a minute and a half of one core

The run is that of `stanley train rings`, kept under runs/first-picture; the digits are those of
`stanley sample --pretrained mnist --num 64`. Nothing was chosen: it is seed 0, and the first 64.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import stanley
from stanley.data import to_bytes
from stanley.metrics import density_on_grid
from stanley.plots import tile

BOX, POINTS = 4.9, 400
INK, MUTED = "#1f2328", "#59636e"


def main(out: Path) -> None:
    config = stanley.recipe("rings")
    run = stanley.train(config, "runs/first-picture", progress=True)
    kl = stanley.evaluate(run)["kl"]
    truth = config.data.load().log_density
    assert truth is not None
    learned = stanley.load(run).potential
    grids = [density_on_grid(u, BOX, POINTS).numpy() for u in (lambda x: -truth(x), learned)]
    digits = stanley.pretrained("mnist").sample(64, seed=0).x

    figure, axes = plt.subplots(1, 3, figsize=(12, 4.55), facecolor="white")
    figure.subplots_adjust(left=0.012, right=0.988, top=0.885, bottom=0.02, wspace=0.035)
    for ax, grid in zip(axes, grids, strict=False):
        # each ring has a quarter of the mass; the square root lets the outer ones, where it lies on
        # a longer circle, be seen
        ax.imshow(np.sqrt(grid), origin="lower", cmap="magma", vmin=0, vmax=grids[0].max() ** 0.5)
    axes[2].imshow(tile(to_bytes(digits).numpy(), columns=8), cmap="gray", vmin=0, vmax=255)
    about = [
        ("Four rings", "the true density"),
        ("Learned from points", f"exact KL to the truth: {kl:.4f} nats"),
        ("Digits from noise", "by the model that comes along"),
    ]
    for ax, (title, words) in zip(axes, about, strict=True):
        ax.axis("off")
        ax.set_title(title, loc="left", fontsize=14, fontweight="bold", color=INK, pad=22)
        ax.annotate(
            words,
            (0, 1),
            xytext=(0, 7),
            xycoords="axes fraction",
            textcoords="offset points",
            fontsize=11,
            color=MUTED,
        )
    figure.savefig(out, dpi=140, metadata={"Software": None})
    print(f"{out}: KL {kl:.4f}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/first.png"))

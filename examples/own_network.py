"""Your own network and data: trained step by step, loaded, sampled, judged.

    python examples/own_network.py [FOLDER]

On the command line the same network is `--network examples/own_network.py:Ripples`, and the data
`--data examples/own_network.py:spiral`.
"""

from __future__ import annotations

import math
import sys
from dataclasses import replace

import torch
from torch import Tensor, nn

import stanley


class Ripples(nn.Module):
    """E(x) = |x|²/8 + Σ_k a_k·cos(ω_k·x + b_k): random waves in a bowl, all of them trained."""

    def __init__(self, waves: int = 64) -> None:
        super().__init__()
        self.angle = nn.Linear(2, waves)
        self.height = nn.Parameter(torch.zeros(waves))

    def forward(self, x: Tensor) -> Tensor:  # (B, 2) -> (B,)
        return x.square().sum(1) / 8 + self.angle(2 * x).cos() @ self.height


def spiral(num: int = 4_000) -> Tensor:
    """Points (num, 2) about a spiral of one and a half turns."""
    generator = torch.Generator().manual_seed(0)
    t = 3 * math.pi * torch.rand(num, generator=generator).sqrt()
    curve = torch.stack([t.cos(), t.sin()], 1) * t[:, None] / 3
    return curve + 0.1 * torch.randn(num, 2, generator=generator)


def main(out: str = "runs/spiral", steps: int = 300) -> None:
    x = spiral()  # a tenth of the rows is held out
    config = replace(stanley.recipe("array-contrastive"), steps=steps, batch=128, save_every=100)
    for record in stanley.steps(config, out, energy=Ripples(), data=x):
        if record["step"] % 100 == 0:
            print(f"step {record['step']}  gap {record['gap']:+.3f}")
    model = stanley.load(out, energy=Ripples())  # its weights are filled from the run
    print("samples", model.sample(3, steps=200).x.tolist())
    scores = stanley.evaluate(out, energy=Ripples(), data=x, num=500, steps=200)
    print(f"held-out NLL {scores['nll_held_out']['value']:.3f} nats")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/spiral")

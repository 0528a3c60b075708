"""What a trained image energy is good for, one picture each; and all pictures of docs/uses.md.

python examples/uses.py [OUT]            trains a tiny energy on discs first
python examples/uses.py OUT RUN          with a run of your own, on its held-out images
python examples/uses.py OUT --pretrained mnist --data.root DIR
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import stanley
from stanley.data import centre, to_bytes
from stanley.models.packing import pretrained
from stanley.models.trained import Start, with_data_at
from stanley.plots import (
    Panel,
    chain_film,
    densities,
    energy_histograms,
    energy_path,
    picture_table,
    save,
)
from stanley.uses import (
    Composed,
    box_mask,
    denoise,
    half_mask,
    inpaint,
    percentile,
    posterior_mean,
    restoration_scores,
    score,
    string,
)

ROWS, CHAINS, NOISE = 6, 4, 0.4


def discs(folder: Path, n: int = 200, size: int = 16) -> stanley.Folder:
    """Grey pictures of one bright disc each."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    rows, columns = np.mgrid[:size, :size]
    for k in range(n):
        top, left, radius = *rng.uniform(5, size - 5, 2), rng.uniform(2, 4)
        inside = np.hypot(rows - top, columns - left) - radius
        Image.fromarray((255 / (1 + np.exp(2 * inside))).astype(np.uint8)).save(
            folder / f"{k:03d}.png"
        )
    return stanley.Folder(path=str(folder), size=size, channels=1)


def tiny_run(out: Path) -> stanley.Trained:
    recipe = stanley.recipe("mnist-contrastive")
    config = replace(
        recipe,
        data=discs(out / "discs"),
        network=stanley.ConvNet(width=4),
        optimizer=stanley.Adam(lr=1e-3),
        objective=replace(recipe.objective, chain_steps=10, bank_size=100),
        steps=30,
        batch=16,
        save_every=30,
        ema=0.9,
    )
    return stanley.load(stanley.train(config, out / "run"), device="cpu")


def pictures(x: Tensor) -> np.ndarray:
    return to_bytes(x.nan_to_num(0.0).cpu()).numpy()


def table(columns: dict[str, Tensor], path: Path) -> None:
    save(picture_table(pictures(torch.stack(list(columns.values()), 1)), list(columns)), path)


def inpainting(model: stanley.Trained, x: Tensor, out: Path) -> dict:
    generator = torch.Generator(x.device).manual_seed(0)
    height, width = x.shape[-2:]
    masks = {
        "right half": half_mask("right-half", (height, width)),
        "middle": box_mask(width // 4, height // 4, width // 2, height // 2, (height, width)),
    }
    scores = {}
    for name, mask in masks.items():
        if model.levels is not None:
            x0 = model.starts_beside(x.repeat_interleave(CHAINS, 0), mask, generator)
        else:
            x0 = model.starts(len(x) * CHAINS, "bank", generator)  # looked at under the mask only
        steps = model.default_steps("noise")
        found = inpaint(model.sampler, model.potential, x, mask, x0, steps, generator=generator)
        blank = torch.where(mask, model.noise.mean, x)
        estimates = {"mean": found.mean, "draw": found.draws[:, 0], "training_mean": blank}
        scores[name] = restoration_scores(estimates, x, mask)
        known = torch.where(mask, torch.zeros_like(x), x)
        draws = {f"draw {k + 1}": found.draws[:ROWS, k] for k in range(CHAINS)}
        columns = {"known": known[:ROWS], "mean": found.mean[:ROWS]} | draws | {"truth": x[:ROWS]}
        table(columns, out / f"inpainting-{name.replace(' ', '-')}.png")
    return scores


def denoising(model: stanley.Trained, x: Tensor, out: Path) -> dict:
    generator = torch.Generator(x.device).manual_seed(1)
    y = x + NOISE * torch.randn(x.shape, generator=generator, device=x.device)
    x0, steps = y.repeat_interleave(CHAINS, 0), model.default_steps("noise")
    below = model.starts_below(x0, NOISE, generator)
    x0 = x0 if below is None else below
    found = denoise(model.sampler, model.potential, y, NOISE, x0, steps, generator=generator)
    estimates = {"noisy": y, "mean": found.mean, "draw": found.draws[:, 0]}
    if model.levels is not None:  # the posterior mean by one gradient
        potential = model.config.potential(model.levels.at(NOISE))
        estimates["at once"] = posterior_mean(potential, y, NOISE)
    else:
        flow = stanley.GradientDescent(float(model.sampler.step_size))
        mode = denoise(flow, model.potential, y, NOISE, y, steps, generator=generator).mean
        estimates["mode"] = mode
    columns = {name: estimate[:ROWS] for name, estimate in estimates.items()} | {"truth": x[:ROWS]}
    table(columns, out / "denoising.png")
    return restoration_scores(estimates, x)


def interpolation(model: stanley.Trained, x: Tensor, out: Path) -> dict:
    paths = [
        string(model.potential, x[k], x[k + 1], 9, 200, float(model.sampler.step_size))
        for k in (0, 2)
    ]
    share = torch.linspace(0, 1, 9, device=x.device).view(-1, 1, 1, 1)
    rows = [
        r
        for k, path in zip((0, 2), paths, strict=True)
        for r in (path.points, torch.lerp(x[k], x[k + 1], share))
    ]
    labels = [f"{s:.2f}" for s in share.flatten()]
    save(
        picture_table(pictures(torch.stack(rows)), labels, ["relaxed", "straight"] * 2),
        out / "interpolation.png",
    )
    save(energy_path(paths[0].energy, paths[0].straight), out / "interpolation-energy.png")
    return {
        "barrier": [p.barrier for p in paths],
        "barrier_straight": [p.straight_barrier for p in paths],
    }


def long_run(model: stanley.Trained, out: Path, steps: int) -> dict:
    """Whether the steady state is still an image."""
    generator = torch.Generator(model.device).manual_seed(2)
    bank: Start = "bank" if len(model.bank) else "noise"
    kinds: tuple[Start, ...] = ("noise", "noise", "noise", bank, bank, bank)
    x = torch.cat([model.starts(1, kind, generator) for kind in kinds])
    states, at = [x], [0]
    for n in [s for s in (10, 100, 200, 500, 1000, 2000, 5000, 10000) if s <= steps]:
        x = stanley.run_chains(model.sampler, model.potential, x, n - at[-1], generator=generator).x
        states.append(x)
        at.append(n)
    save(chain_film(np.stack([pictures(s) for s in states]), at, names=kinds), out / "long-run.png")
    halves = {"noise": slice(0, 6 if bank == "noise" else 3)}
    halves |= {"bank": slice(3, 6)} if bank == "bank" else {}
    return {"steps": at} | {
        k: [float(model.energy(s[rows]).median()) for s in states] for k, rows in halves.items()
    }


def outside(model: stanley.Trained, x: Tensor, out: Path) -> dict:
    """Held-out images against three things that they are not."""
    generator = torch.Generator(x.device).manual_seed(3)
    kinds = {
        "held-out": x,
        "upside down": x.flip(-2),
        "negative": -x,
        "uniform noise": 2 * torch.rand(x.shape, generator=generator, device=x.device) - 1,
    }
    energies = {name: score(model.energy, points).energy.cpu() for name, points in kinds.items()}
    save(energy_histograms(energies), out / "outside.png")
    return {name: float(percentile(e, energies["held-out"]).mean()) for name, e in energies.items()}


def composition(out: Path) -> None:
    """In the plane, where the product can be drawn: a ring of Gaussians, a band,
    and what both agree on.
    """
    angle = torch.arange(8) * torch.pi / 4
    ring = stanley.targets.Mixture(2 * torch.stack([angle.cos(), angle.sin()], 1), 0.4)
    band = stanley.targets.Gaussian.from_std(torch.tensor([3.0, 0.7]))
    both = Composed((ring, band))
    generator = torch.Generator().manual_seed(4)
    x0 = 2 * torch.randn(400, 2, generator=generator, dtype=torch.float64)
    x = stanley.run_chains(stanley.MALA(0.15), both, x0, 500, generator=generator).x
    panels = []
    drawn = (ring.sample(400, generator), band.sample(400, generator), x)
    for name, u, points in zip(
        ("p₁", "p₂", "p₁·p₂ and 400 chains"), (ring, band, both), drawn, strict=True
    ):
        panels.append(
            Panel(name, stanley.metrics.density_on_grid(u, 4.0, 200).numpy(), points.numpy(), 4.0)
        )
    save(densities(panels), out / "composition.png")


def main(
    out: Path, model: stanley.Trained | None = None, num: int = 8, long_steps: int = 2000
) -> dict:
    out.mkdir(parents=True, exist_ok=True)
    if model is None:
        model, long_steps = tiny_run(out), 100
    x = centre(model.config.data.load().test[:num]).to(model.device)
    numbers = {
        "n": len(x),
        "step": model.step,
        "inpainting": inpainting(model, x, out),
        "denoising": denoising(model, x, out),
        "interpolation": interpolation(model, x, out),
        "long_run": long_run(model, out, long_steps),
        "mean_percentile": outside(model, x, out),
    }
    composition(out)
    (out / "uses.json").write_text(json.dumps(numbers, indent=2) + "\n")
    for name in ("inpainting", "denoising"):
        print(name, json.dumps(numbers[name]))
    return numbers


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", nargs="?", type=Path, default=Path("runs/uses"))
    parser.add_argument("run", nargs="?", metavar="RUN")
    parser.add_argument(
        "--pretrained",
        metavar="NAME",
        help="a model that comes with the library, in the place of RUN",
    )
    parser.add_argument("--data.root", dest="root", metavar="DIR", help="where its data lie")
    asked = parser.parse_args()
    if asked.pretrained and not asked.root:
        parser.error("--pretrained needs --data.root DIR, for held-out images")
    if asked.pretrained:
        main(asked.out, with_data_at(pretrained(asked.pretrained), asked.root))
    else:
        main(asked.out, stanley.load(asked.run) if asked.run else None)

"""The `array` recipes at full length on five shapes of one's own data, whose densities are known.

    python benchmarks/own_shapes.py --first 200 --seeds 2 --jobs 2

Each shape is drawn into a .npy file of 50,000 rows, and the recipe is trained on that file as
`stanley train array --data.path FILE.npy` does. Score: KL(data‖model) in nats of the averaged
weights; by quadrature in the plane, and by importance sampling from the data's law p elsewhere,

    KL = E_p[log p + U] + log E_p[exp(-U)/p].

Rows are added to benchmarks/own_shapes.jsonl as they are done, and a row that is there is not
computed again. `--table` prints the record as Markdown.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

RECORD = Path(__file__).with_suffix(".jsonl")
ROWS = 50_000
RECIPES = ("array", "array-contrastive")
NODES, WEIGHTS = np.polynomial.legendre.leggauss(600)


@dataclass(frozen=True)
class Law:
    """`sample(n, generator)` draws (n, d); `log_density` maps (B, d) -> (B,) in float64."""

    sample: Callable[[int, torch.Generator], Tensor]
    log_density: Callable[[Tensor], Tensor]


def blobs() -> Law:
    """0.9·N((-3, 0), 0.5²) + 0.1·N((3, 0), 0.5²): far apart and of unequal weight."""
    places, std = torch.tensor([[-3.0, 0.0], [3.0, 0.0]]), 0.5
    shares = torch.tensor([0.9, 0.1])

    def sample(n: int, g: torch.Generator) -> Tensor:
        chosen = torch.multinomial(shares, n, replacement=True, generator=g)
        return places[chosen] + std * torch.randn(n, 2, generator=g)

    def log_density(x: Tensor) -> Tensor:
        square = (x[:, None] - places.to(x)).square().sum(2) / (2 * std**2)
        return torch.logsumexp(shares.to(x).log() - square, 1) - math.log(2 * math.pi * std**2)

    return Law(sample, log_density)


def spiral() -> Law:
    """r·(cos t, sin t) with r = t/4, t ~ U[π, 5π], and noise N(0, 0.1²)."""
    low, high, std = math.pi, 5 * math.pi, 0.1

    def curve(t: Tensor) -> Tensor:
        return (t / 4)[..., None] * torch.stack([t.cos(), t.sin()], -1)

    def sample(n: int, g: torch.Generator) -> Tensor:
        t = low + (high - low) * torch.rand(n, generator=g)
        return curve(t) + std * torch.randn(n, 2, generator=g)

    def log_density(x: Tensor) -> Tensor:
        t = low + (high - low) / 2 * (torch.from_numpy(NODES).to(x) + 1)
        log_w = (torch.from_numpy(WEIGHTS).to(x) / 2).log()

        def part(x: Tensor) -> Tensor:
            square = (x[:, None] - curve(t)).square().sum(2) / (2 * std**2)
            return torch.logsumexp(log_w - square, 1) - math.log(2 * math.pi * std**2)

        return torch.cat([part(rows) for rows in x.split(4096)])

    return Law(sample, log_density)


def pinwheel() -> Law:
    """Five arms, each N((2, 0), diag(0.5², 0.15²)), turned by a fifth of a circle each, and then by
    the angle |x|, which keeps areas as they are."""
    arms, stds = 5, torch.tensor([0.5, 0.15])

    def turned(x: Tensor, angle: Tensor) -> Tensor:
        first, second = x.unbind(-1)
        c, s = angle.cos(), angle.sin()
        return torch.stack([c * first - s * second, s * first + c * second], -1)

    def sample(n: int, g: torch.Generator) -> Tensor:
        arm = torch.randint(arms, (n,), generator=g)
        x = torch.tensor([2.0, 0.0]) + stds * torch.randn(n, 2, generator=g)
        return turned(x, 2 * math.pi * arm / arms + torch.linalg.vector_norm(x, dim=1))

    def log_density(x: Tensor) -> Tensor:
        radius = torch.linalg.vector_norm(x, dim=1)
        straight = turned(x, -radius)
        parts = []
        for arm in range(arms):
            back = turned(straight, x.new_full((), -2 * math.pi * arm / arms))
            z = (back - x.new_tensor([2.0, 0.0])) / stds.to(x)
            parts.append(-z.square().sum(1) / 2)
        log_norm = math.log(arms * 2 * math.pi) + float(stds.log().sum())
        return torch.logsumexp(torch.stack(parts), 0) - log_norm

    return Law(sample, log_density)


def checkerboard() -> Law:
    """The eight black squares of a board of 4 × 4 with side 2, with noise N(0, 0.1²)."""
    std = 0.1
    squares = torch.tensor(
        [[2.0 * i - 4, 2.0 * j - 4] for i in range(4) for j in range(4) if (i + j) % 2 == 0]
    )

    def sample(n: int, g: torch.Generator) -> Tensor:
        corner = squares[torch.randint(len(squares), (n,), generator=g)]
        return corner + 2 * torch.rand(n, 2, generator=g) + std * torch.randn(n, 2, generator=g)

    def log_density(x: Tensor) -> Tensor:
        """A uniform coordinate with noise: log (Φ((x - a)/σ) - Φ((x - a - 2)/σ))/2."""
        low = (x[:, None] - squares.to(x)) / std  # (B, 8, 2)
        high = low - 2 / std
        # of the two tails, the one that does not cancel
        flip = low + high > 0
        a, b = torch.where(flip, -high, low), torch.where(flip, -low, high)
        log_cdf = torch.special.log_ndtr
        difference = log_cdf(a) + torch.log1p(-(log_cdf(b) - log_cdf(a)).exp())
        return torch.logsumexp(difference.sum(2), 1) - math.log(4 * len(squares))

    return Law(sample, log_density)


def gaussian() -> Law:
    """N(0, Σ) in 10 dimensions, Σ_ij = 0.8^|i-j|."""
    places = torch.arange(10.0, dtype=torch.float64)
    covariance = 0.8 ** (places[:, None] - places).abs()
    factor = torch.linalg.cholesky(covariance)

    def sample(n: int, g: torch.Generator) -> Tensor:
        return (torch.randn(n, 10, generator=g, dtype=torch.float64) @ factor.T).float()

    def log_density(x: Tensor) -> Tensor:
        z = torch.linalg.solve_triangular(factor.to(x), x.T, upper=False)
        return (
            -z.square().sum(0) / 2
            - float(factor.diagonal().log().sum())
            - 5 * math.log(2 * math.pi)
        )

    return Law(sample, log_density)


LAWS = {law.__name__: law for law in (spiral, checkerboard, pinwheel, blobs, gaussian)}


def kl(law: Law, potential: Any, d: int) -> float:
    from stanley.metrics import judge_density

    if d == 2:
        return judge_density(potential, law.log_density, 6.0).kl
    g = torch.Generator().manual_seed(0)
    differences = []
    for _ in range(20):
        x = law.sample(10_000, g)
        with torch.no_grad():
            differences.append(law.log_density(x.double()) + potential(x).double())
    log_ratio = torch.cat(differences)  # log p + U
    log_z = torch.logsumexp(-log_ratio, 0) - math.log(len(log_ratio))
    return float(log_ratio.mean() + log_z)


def score(job: tuple[str, str, int]) -> dict[str, Any]:
    from stanley.data import Array
    from stanley.errors import StanleyError
    from stanley.judging.evaluate import what_went_wrong
    from stanley.models.trained import load
    from stanley.training.loop import train
    from stanley.training.recipes import recipe

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    of, name, seed = job
    law = LAWS[name]()
    row: dict[str, Any] = {"recipe": of, "shape": name, "seed": seed, "kl": None}
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        x = law.sample(ROWS, torch.Generator().manual_seed(seed))
        np.save(Path(folder) / "data.npy", x.numpy())
        # as the record was made, before vectors were standardised by default
        data = Array(path=str(Path(folder) / "data.npy"), standardise=False)
        try:
            config = replace(recipe(of), data=data, seed=seed)
            run = train(config, Path(folder) / "run", device="cpu")
            row["cpu_seconds"] = round(time.process_time() - began)
            row["went_wrong"] = [(e["kind"], e["step"]) for e in what_went_wrong(run)]
            row["kl"] = kl(law, load(run, device="cpu").potential, x.shape[1])
        except StanleyError as error:
            row["failure"] = str(error)
    return row


def rows() -> list[dict[str, Any]]:
    return [json.loads(line) for line in RECORD.read_text().splitlines()] if RECORD.exists() else []


def table(found: list[dict[str, Any]]) -> str:
    lines = [
        "| recipe | shape | seeds | KL of every seed, nats | alarms |",
        "|---|---|---|---|---|",
    ]
    for of, name in itertools.product(RECIPES, LAWS):
        own = [row for row in found if (row["recipe"], row["shape"]) == (of, name)]
        own.sort(key=lambda row: row["seed"])
        if own:
            each = " ".join("failed" if row["kl"] is None else f"{row['kl']:.4f}" for row in own)
            wrong = sum(len(row.get("went_wrong", ())) for row in own)
            seeds = f"{own[0]['seed']} to {own[-1]['seed']}" if len(own) > 1 else own[0]["seed"]
            lines.append(f"| {of} | {name} | {seeds} | {each} | {wrong} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument("--shapes", nargs="+", default=list(LAWS), choices=list(LAWS))
    parser.add_argument("--first", type=int, default=200, help="the first seed")
    parser.add_argument("--seeds", type=int, default=2, help="how many, one after the other")
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time")
    parser.add_argument("--table", action="store_true", help="print the record and stop")
    asked = parser.parse_args()
    if asked.table:
        print(table(rows()))
        return
    done = {(row["recipe"], row["shape"], row["seed"]) for row in rows()}
    seeds = range(asked.first, asked.first + asked.seeds)
    wanted = itertools.product(asked.recipes, asked.shapes, seeds)
    jobs = [job for job in wanted if job not in done]
    with ProcessPoolExecutor(asked.jobs) as pool:
        for finished in as_completed([pool.submit(score, job) for job in jobs]):
            with RECORD.open("a") as file:
                file.write(json.dumps(finished.result()) + "\n")
    print(table(rows()))


if __name__ == "__main__":
    main()

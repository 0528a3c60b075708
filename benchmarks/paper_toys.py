"""Rings and a mixture in the plane: one budget, one network, and every sampler in its turn to train
it; exact scores.

    python benchmarks/paper_toys.py                      # runs what the record lacks; stop and go
                                                         on at any time
    python benchmarks/paper_toys.py --target rings --only Langevin MALA --seeds 3
    python benchmarks/paper_toys.py --network leaky-relu # the network of the published presets, all
    samplers tuned anew
    python benchmarks/paper_toys.py --sensitivity        # step size × threshold
    python benchmarks/paper_toys.py --again 1            # reruns reported stacks: must be the same
    numbers
    python benchmarks/paper_toys.py --library            # the loop below against stanley.train,
    step for step
    python benchmarks/paper_toys_report.py               # the tables and figures of docs/results.md

Stacks  Networks this small cost their bookkeeping, not their arithmetic, so runs of one sampler are
        trained side by
    side: S networks as one batch of matrix products, S·B chains, and h and th a column where runs
    differ in them. Runs share no weights, data order or chain; they share a stream of random
    numbers, and with it a stack is what can be rerun. Loss, update, bank, average and limits are
    those of `stanley.train`: `--library` holds a stack of one to it. Two samplers look across
    chains: noise-matched Langevin takes its γ̄ over the whole stack (of one h and th), and the last
    chain of a run borrows its lagged γ from the next run.
Targets  the rings of the recipe; four Gaussians 5.3 sd apart, so that chains can cross between
         them: nothing restarts.
Budget  ITERATIONS of BATCH chains, GRADIENTS gradient evaluations a chain in each, its start
        included: 6 Langevin
    steps, 3 midpoint steps (two gradients each), 2 trajectories of 3 leapfrog steps. A random walk
    takes no gradients; an evaluation of U alone counts as half of one, as in
    benchmarks/samplers.py, so it makes 13 steps. The update of the weights is the same for all and
    not counted.
Same for all  the first weights and the order of the data (by seed), network, optimiser, bank; no
              adapted step size.
Tuning  every sampler tries STEP_SIZES (for HMC ε = √h) at full length on seed TUNE_SEED, which is
        not reported. The
    best exact KL wins; where all diverge, the one that did so last. Where there is a threshold,
    each of THRESHOLDS, in units of |∇U|: 1 is the draft's (1.02 in them). `--sensitivity` says what
    others would have done.
As published  the draft's constants (h, th, T, learning rate, leaky ReLU of a guessed size), nothing
              tuned: with its
    K = 100 the budget is 89 iterations; besides with the K of the others, and with Langevin in
    STANLEY's place.
Scores  of the averaged weights: KL(data‖model) and total variation by quadrature; MMD² with one
        bandwidth for all of
    samples against held-out data (`data`) and against exact draws from the model's own density
    (`model`: the gap between what the chains deliver and what the energy says). `fresh` chains
    start from noise and make CALLS training calls of K steps, a frozen γ anew at each as in
    training; `bank` is the bank.
A run that training would stop (|gap| over GAP_LIMIT, chains that leave the data, a number that is
not finite) is a row with "failure": "diverged"; one whose energy has no finite Z within ±MAX_BOX,
"no finite Z". All are counted.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stanley import AMALA, HMC, MALA, Adjusted, Langevin, RandomWalk, Stanley, TrainConfig
from stanley.data import GMM, Dataset, Rings, positive_batch
from stanley.errors import StanleyError
from stanley.metrics import density_on_grid, judge_density, mmd2
from stanley.networks import MLP, build_energy
from stanley.samplers import ClippedLangevin, GradientDescent, MatchedLangevin, run_chains
from stanley.training.bank import Bank, StartNoise, restart
from stanley.training.objectives import Contrastive
from stanley.training.optim import Adam, schedule, update_average
from stanley.training.recipes import recipe
from stanley.types import Potential

RECORD = Path(__file__).with_suffix(".jsonl")
TARGETS: dict[str, Rings | GMM] = {"rings": Rings(), "gmm": GMM(modes=4, radius=1.5, std=0.4)}
#: The second is that of the published presets: the draft's is not stated, but for its leaky ReLU.
NETWORKS = {name: MLP(width=64, depth=3, activation=name) for name in ("silu", "leaky-relu")}  # type: ignore[arg-type]
ITERATIONS, BATCH, GRADIENTS, BANK = 1000, 128, 7, 1000
OPTIMIZER, EMA, DECAY = Adam(lr=5e-3), 0.98, 0.5
GAP_LIMIT, SPREAD_LIMIT = 50.0, 5.0
STEP_SIZES, THRESHOLDS = (0.01, 0.02, 0.04, 0.08, 0.16), (1.0, 3.0)
SENSITIVITY = (0.3, 1.0, 3.0, 10.0)  # thresholds
TUNE_SEED, SENSITIVITY_SEEDS = 101, (102,)
CALLS, CHAINS, BANDWIDTH, MAX_BOX, GRID = 30, 1000, 0.5, 30.0, 160
BOX = {"rings": 5.0, "gmm": 3.2}  # of pictures


@dataclass(frozen=True)
class Method:
    """A sampler given h and th, and how many of its steps cost GRADIENTS evaluations together with
    the start's.
    """

    build: Callable[[Any, Any], Any]
    chain_steps: int = GRADIENTS - 1
    threshold: bool = False
    alone: bool = False  # one h and th for a stack


def stanley(
    scope: str, refresh: str = "step", correction: str = "none"
) -> Callable[[Any, Any], Stanley]:
    return lambda h, th: Stanley(h, th, scope, refresh, correction)  # type: ignore[arg-type]


METHODS: dict[str, Method] = {
    "Langevin": Method(lambda h, th: Langevin(h)),
    "STANLEY element": Method(stanley("element"), threshold=True),
    "STANLEY sample": Method(stanley("sample"), threshold=True),
    "adjusted STANLEY element": Method(
        lambda h, th: Adjusted(stanley("element")(h, th)), threshold=True
    ),
    "adjusted STANLEY sample": Method(
        lambda h, th: Adjusted(stanley("sample")(h, th)), threshold=True
    ),
    "MALA": Method(lambda h, th: MALA(h)),
    "clipped Langevin": Method(lambda h, th: ClippedLangevin(h, th), threshold=True),
    "noise-matched Langevin": Method(
        lambda h, th: MatchedLangevin(h, th), threshold=True, alone=True
    ),
    "STANLEY element, midpoint": Method(stanley("element", "step", "midpoint"), 3, threshold=True),
    "STANLEY element, start": Method(stanley("element", "start"), threshold=True),
    "STANLEY element, lagged": Method(stanley("element", "lagged"), threshold=True),
    "STANLEY sample, midpoint": Method(stanley("sample", "step", "midpoint"), 3, threshold=True),
    "STANLEY sample, lagged": Method(stanley("sample", "lagged"), threshold=True),
    "HMC": Method(lambda h, th: HMC(h**0.5, 3, jitter=False), 2),
    "AMALA": Method(lambda h, th: AMALA(h, th), threshold=True, alone=True),
    "random walk": Method(lambda h, th: RandomWalk(h), 2 * GRADIENTS - 1),
    "gradient descent": Method(lambda h, th: GradientDescent(h)),
}
PUBLISHED = ("as published, K = 100", "as published, K = 6", "as published, K = 6, Langevin")
ORDER = tuple(METHODS)
SENSITIVE = ("STANLEY element", "adjusted STANLEY element", "clipped Langevin")


@dataclass(frozen=True)
class Run:
    seed: int
    step_size: float
    threshold: float | None = None


@dataclass(frozen=True)
class Job:
    """A stack of runs of one method; equal jobs give equal numbers."""

    target: str
    method: str
    runs: tuple[Run, ...]
    iterations: int = ITERATIONS
    network: str = "silu"

    @property
    def samples(self) -> bool:
        return all(run.seed < TUNE_SEED for run in self.runs)


Record = dict[Job, list[dict[str, Any]]]


def config_of(job: Job) -> TrainConfig:
    """What all runs of a stack have in common, with the first one's h, th and seed."""
    run, preset = job.runs[0], recipe("rings-as-published")
    if job.method in PUBLISHED:
        objective = replace(preset.objective, bank_size=BANK)
        config = replace(preset, data=TARGETS[job.target], seed=run.seed, objective=objective)
        if job.method == PUBLISHED[0]:
            return replace(
                config, steps=round(job.iterations * BATCH * GRADIENTS / (preset.batch * 101))
            )
        if job.method == PUBLISHED[2]:
            config = replace(config, sampler=Langevin(run.step_size))
        objective = replace(objective, chain_steps=GRADIENTS - 1)
        return replace(config, steps=job.iterations, batch=BATCH, objective=objective)
    return TrainConfig(
        data=TARGETS[job.target],
        network=NETWORKS[job.network],
        sampler=METHODS[job.method].build(run.step_size, run.threshold),
        optimizer=OPTIMIZER,
        objective=Contrastive(
            chain_steps=METHODS[job.method].chain_steps,
            bank_size=BANK,
            gap_limit=GAP_LIMIT,
            spread_limit=SPREAD_LIMIT,
        ),
        steps=job.iterations,
        batch=BATCH,
        decay=DECAY,
        ema=EMA,
        seed=run.seed,
    )


def sampler_of(job: Job, config: TrainConfig, rows: int) -> Any:
    """The sampler with a column of h and th where the runs differ in them,
    `rows` chains for each.
    """
    if len({(run.step_size, run.threshold) for run in job.runs}) == 1:
        return config.sampler

    def column(values: list[Any]) -> Any:
        return None if None in values else torch.tensor(values).repeat_interleave(rows)[:, None]

    h, th = column([run.step_size for run in job.runs]), column([run.threshold for run in job.runs])
    return METHODS[job.method].build(h, th)


class Stack(nn.Module):
    """S energies of one shape, (S·B, 2) -> (S·B,), rows of run s together; weights (S, fan in,
    fan out).
    """

    def __init__(self, config: TrainConfig, seeds: Sequence[int]) -> None:
        super().__init__()
        energies = [build_energy(config.network, (2,), seed=seed) for seed in seeds]
        linear = [[m for m in energy.modules() if isinstance(m, nn.Linear)] for energy in energies]
        self.template = [energies[0]]  # in a list: not a part of this module
        self.phi = nn.SiLU() if config.network.activation == "silu" else nn.LeakyReLU(0.2)  # type: ignore[union-attr]
        layers = list(zip(*linear, strict=True))
        self.weight = nn.ParameterList(
            torch.stack([m.weight.T for m in layer]).detach().clone() for layer in layers
        )
        self.bias = nn.ParameterList(
            torch.stack([m.bias[None] for m in layer]).detach().clone() for layer in layers
        )

    def forward(self, x: Tensor) -> Tensor:
        h = x.view(len(self.weight[0]), -1, 2)
        for k, (w, b) in enumerate(zip(self.weight, self.bias, strict=True)):
            h = torch.baddbmm(b, self.phi(h) if k else h, w)
        return h.reshape(-1)

    def energy(self, s: int) -> nn.Module:
        """Run s as the library's network."""
        energy = copy.deepcopy(self.template[0])
        linear = [m for m in energy.modules() if isinstance(m, nn.Linear)]
        with torch.no_grad():
            for m, w, b in zip(linear, self.weight, self.bias, strict=True):
                m.weight.copy_(w[s].T)
                m.bias.copy_(b[s, 0])
        return energy.eval().requires_grad_(False)


@dataclass
class Trained:
    """What a stack has become."""

    config: TrainConfig
    sampler: Any  # for BATCH chains a run
    raw: Stack
    average: Stack
    banks: list[Bank]
    noise: StartNoise
    data: Dataset
    rows: list[dict[str, Any]]  # one a run
    fresh: Tensor | None = None  # (S, CHAINS, 2)


def train_stack(job: Job) -> Trained:
    """`stanley.train` for S runs at once: positives, negatives, loss, update, average."""
    config, seeds = config_of(job), [run.seed for run in job.runs]
    S, B = len(seeds), config.batch
    data = config.data.load()
    stack = Stack(config, seeds)
    average = copy.deepcopy(stack).requires_grad_(False)
    optimizer = config.optimizer.build(stack.parameters())
    orders = [torch.Generator().manual_seed(2 * seed) for seed in seeds]
    generator = torch.Generator().manual_seed(2 * seeds[0] + 1)
    noise = StartNoise.of(data, torch.device("cpu"))
    banks = [Bank(noise.draw(config.chains.bank_size, generator)) for _ in seeds]
    sampler = sampler_of(job, config, B)
    potential = Potential(stack, config.temperature)
    rows: list[dict[str, Any]] = [{"failure": None, "largest_gap": 0.0} for _ in seeds]
    sums = torch.zeros(2, S, dtype=torch.float64)  # acceptance, γ
    quarters = {round(k * config.steps / 4) for k in (1, 2, 3, 4)}

    for step in range(config.steps):
        x_pos = torch.cat([positive_batch(data.train, B, order) for order in orders])
        slots, x0 = zip(*[bank.draw(B, generator) for bank in banks], strict=True)
        # restarts: none, but the same stream
        torch.rand(S * B, generator=generator), noise.draw(S * B, generator)
        stack.requires_grad_(False)
        chains = run_chains(
            sampler, potential, torch.cat(x0), config.chains.chain_steps, generator=generator
        )
        stack.requires_grad_(True)
        kept = restart(chains.x, chains.info.nonfinite, noise, generator).view(S, B, 2)
        for s, bank in enumerate(banks):
            bank.write(slots[s], kept[s])

        gap = stack(x_pos).view(S, B).mean(1) - stack(chains.x).view(S, B).mean(1)  # (S,)
        optimizer.zero_grad(set_to_none=True)
        gap.sum().backward()
        for group in optimizer.param_groups:
            group["lr"] = config.optimizer.lr * schedule(
                step, config.steps, config.warmup, config.decay
            )
        optimizer.step()
        update_average(average, stack, config.ema, step)

        sums += torch.stack([chains.info.acceptance, chains.info.step_scale]).view(2, S, B).mean(2)
        watch(rows, step + 1, gap.detach(), chains.x.view(S, B, 2), noise, config)
        heal(rows, step + 1, stack, average, banks, job, noise, generator)
        if step + 1 in quarters:
            for row, numbers in zip(
                rows, scale_statistics(sampler, potential, torch.cat(x0), S, config), strict=True
            ):
                row.setdefault("quarters", []).append({"step": step + 1} | numbers)
    for row, acceptance, gamma in zip(rows, *(sums / config.steps).tolist(), strict=True):
        if row["failure"] is None:
            row |= {"acceptance": acceptance, "gamma": gamma}
        elif "quarters" in row:
            row["quarters"] = [q for q in row["quarters"] if q["step"] < row["at"]]
    return Trained(config, sampler, stack, average, banks, noise, data, rows)


def watch(
    rows: list[dict[str, Any]],
    step: int,
    gap: Tensor,
    x: Tensor,
    noise: StartNoise,
    config: TrainConfig,
) -> None:
    """The limits of training: |gap|, the median chain's distance from the data,
    numbers that are not finite.
    """
    for row, g, chains in zip(rows, gap.tolist(), x, strict=True):
        if row["failure"] is None:
            spread = float(noise.spread(chains))
            finite = math.isfinite(g) and math.isfinite(spread)
            row["largest_gap"] = max(row["largest_gap"], abs(g)) if finite else row["largest_gap"]
            if (
                not finite
                or abs(g) > config.chains.gap_limit
                or spread > config.chains.spread_limit
            ):
                reason = (
                    "not finite"
                    if not finite
                    else "gap"
                    if abs(g) > config.chains.gap_limit
                    else "spread"
                )
                row |= {"failure": "diverged", "at": step, "reason": reason}


@torch.no_grad()
def heal(
    rows: list[dict[str, Any]],
    step: int,
    stack: Stack,
    average: Stack,
    banks: list[Bank],
    job: Job,
    noise: StartNoise,
    generator: torch.Generator,
) -> None:
    """A run that is over gets harmless weights and chains, so that γ̄ and lagged γ of its
    neighbours stay theirs.
    """
    for s, row in enumerate(rows):
        if row["failure"] and (
            row["at"] == step or not all(bool(w[s].isfinite().all()) for w in stack.weight)
        ):
            for p in (*stack.parameters(), *average.parameters()):
                p[s] = 0.01 * torch.nan_to_num(p[s]).clamp(-1, 1)
            banks[s].positions.copy_(noise.draw(len(banks[s].positions), generator))


@torch.no_grad()
def scale_statistics(
    sampler: Any, potential: Potential, x: Tensor, S: int, config: TrainConfig
) -> list[dict[str, float]]:
    """For STANLEY, at this moment and for each run: mean γ and share of γ = 1 along one training
    call of K steps.
    """
    proposal = getattr(sampler, "proposal", sampler)
    if not isinstance(proposal, Stanley):
        return [{}] * S
    state, gammas = sampler.init(potential, x), []
    generator = torch.Generator().manual_seed(config.seed)
    for _ in range(config.chains.chain_steps):
        gammas.append(proposal.scale(state).view(S, -1))
        state, _ = sampler.step(potential, state, generator)
    gamma = torch.cat(gammas, 1)
    pairs = zip(gamma.mean(1).tolist(), (gamma == 1).double().mean(1).tolist(), strict=True)
    return [{"gamma": mean, "full": full} for mean, full in pairs]


def judge(job: Job, result: Trained) -> None:
    """Exact scores of every run that was not stopped, into its row;
    sample scores where the job asks for them.
    """
    rows, config = result.rows, result.config
    for s, row in enumerate(rows):
        if row["failure"] is None:
            potential = Potential(result.average.energy(s), config.temperature)
            try:
                truth = config.data.log_density  # type: ignore[union-attr]
                exact = judge_density(potential, truth, rel_tol=1e-3, max_box=MAX_BOX)
                row |= {"kl": exact.kl, "tv": exact.tv, "kl_error": exact.error_estimate}
            except StanleyError as error:
                row |= {
                    "failure": "no finite Z",
                    "at": config.steps,
                    "reason": str(error).split(";")[0],
                }
    if job.samples:
        sample_scores(job, result)


def sample_scores(job: Job, result: Trained) -> None:
    """MMD² of fresh chains and of the bank, against held-out data and against exact draws from the
    model.
    """
    config, S = result.config, len(job.runs)
    generator = torch.Generator().manual_seed(2 * job.runs[0].seed + 1)
    x, potential = (
        result.noise.draw(S * CHAINS, generator),
        Potential(result.average, config.temperature),
    )
    lost = torch.zeros(S)
    for _ in range(CALLS):
        chains = run_chains(
            sampler_of(job, config, CHAINS),
            potential,
            x,
            config.chains.chain_steps,
            generator=generator,
        )
        x = restart(chains.x, chains.info.nonfinite, result.noise, generator)
        lost += chains.info.nonfinite.view(S, CHAINS).sum(1)
    result.fresh = x.view(S, CHAINS, 2)
    cost = chains.info.num_gradients + chains.info.num_potentials / 2
    data = result.data.test[:CHAINS]
    for s, row in enumerate(result.rows):
        row["cost"] = cost
        if row["failure"] is None:
            row["lost"] = int(lost[s])
            exact = exact_draws(
                Potential(result.average.energy(s), config.temperature), CHAINS, generator
            )
            row["mmd2_exact_data"] = mmd2(exact, data, BANDWIDTH).value
            for name, points in (("fresh", result.fresh[s]), ("bank", result.banks[s].positions)):
                row[f"mmd2_{name}_data"] = mmd2(points, data, BANDWIDTH).value
                row[f"mmd2_{name}_model"] = mmd2(points, exact, BANDWIDTH).value


def exact_draws(
    potential: Potential, n: int, generator: torch.Generator, box: float = 8.0, cells: int = 400
) -> Tensor:
    """n draws from exp(-U)/Z on ±box: a cell by its probability, then a uniform point in it."""
    density, width = density_on_grid(potential, box, cells), 2 * box / cells
    cell = torch.multinomial(density.flatten(), n, replacement=True, generator=generator)
    corner = torch.stack([cell % cells, cell // cells], -1) * width - box
    return (corner + width * torch.rand(n, 2, generator=generator)).float()


def carry_out(job: Job) -> tuple[list[dict[str, Any]], Trained]:
    began = time.process_time()
    result = train_stack(job)
    judge(job, result)
    seconds = (time.process_time() - began) / len(job.runs)
    rows = [row | {"cpu_seconds": round(seconds, 2)} for row in result.rows]
    for run, row in zip(job.runs, rows, strict=True):
        what = (
            f"KL {row['kl']:.4f}"
            if row["failure"] is None
            else f"{row['failure']} at {row['at']} ({row['reason']})"
        )
        print(
            f"{job.target} {job.method} {tuple(asdict(run).values())} {what} {seconds:.1f} s",
            file=sys.stderr,
        )
    return rows, result


def keep_picture(job: Job, result: Trained) -> Path:
    """What the figure of densities needs of the first run: plain arrays, under runs/."""
    path = picture(job)
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {}
    if result.rows[0]["failure"] is None and result.fresh is not None:
        potential = Potential(result.average.energy(0), result.config.temperature)
        arrays = {
            "density": density_on_grid(potential, BOX[job.target], GRID).numpy(),
            "fresh": result.fresh[0].numpy(),
        }
    np.savez_compressed(path, **arrays)
    return path


def picture(job: Job) -> Path:
    network = "" if job.network == "silu" else f"-{job.network}"
    return (
        Path("runs/paper_toys")
        / f"{job.target}{network}-{label(job).replace(', ', '-').replace(' ', '-')}.npz"
    )


def label(job: Job) -> str:
    threshold = job.runs[0].threshold
    return job.method if threshold is None else f"{job.method}, th {threshold:g}"


def tuning_jobs(target: str, name: str, network: str = "silu") -> list[Job]:
    method = METHODS[name]
    thresholds = THRESHOLDS if method.threshold else (None,)
    grids = [[Run(TUNE_SEED, h, th) for h in STEP_SIZES] for th in thresholds]
    if method.alone:
        return [Job(target, name, (run,), network=network) for grid in grids for run in grid]
    return [Job(target, name, tuple(grid), network=network) for grid in grids]


def chosen(record: Record, target: str, name: str, network: str) -> list[Run]:
    """The tuning run that won at each threshold, the best of them first."""
    tried = [
        pair
        for job in tuning_jobs(target, name, network)
        for pair in zip(job.runs, record[job], strict=True)
    ]
    ranked = [
        run
        for run, _ in sorted(
            tried, key=lambda pair: (pair[1].get("kl", math.inf), -pair[1].get("at", 0))
        )
    ]
    return [
        next(r for r in ranked if r.threshold == th)
        for th in dict.fromkeys(r.threshold for r in ranked)
    ]


def plan(record: Record, target: str, name: str, settings: argparse.Namespace) -> Iterator[Job]:
    """Tuning, then the reported runs of what won it."""
    if name in PUBLISHED:
        best = [Run(0, float(recipe("rings-as-published").sampler.step_size))]
    else:
        yield from tuning_jobs(target, name, settings.network)
        best = chosen(record, target, name, settings.network)
    for run in best if settings.every_threshold else best[:1]:
        seeds = range(settings.first_seed, settings.first_seed + settings.seeds)
        runs = tuple(replace(run, seed=seed) for seed in seeds)
        yield Job(target, name, runs, network=settings.network)


def sensitivity_jobs(target: str, name: str) -> Iterator[Job]:
    if name in SENSITIVE:
        for seed in SENSITIVITY_SEEDS:
            yield Job(
                target, name, tuple(Run(seed, h, th) for th in SENSITIVITY for h in STEP_SIZES)
            )


def read(path: Path) -> Record:
    record: Record = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        saved = json.loads(line)
        runs = tuple(Run(**run) for run in saved["job"].pop("runs"))
        record[Job(**saved["job"], runs=runs)] = saved["rows"]
    return record


def append(path: Path, job: Job, rows: list[dict[str, Any]]) -> None:
    with path.open("a") as file:
        file.write(json.dumps({"job": asdict(job), "rows": rows}) + "\n")


def rerun(record: Record, num: int) -> None:
    """The first reported stacks once more: what is not the recorded number, but for the time,
    and by how much.
    """
    for job in [job for job in record if job.samples][:num]:
        rows, _ = carry_out(job)
        for run, old, new in zip(job.runs, record[job], rows, strict=True):
            off = [
                f"{k}: {v}, now {new.get(k)}"
                for k, v in old.items()
                if k != "cpu_seconds" and v != new.get(k)
            ]
            print(f"{job.target} {job.method} {run}: {'; '.join(off) or 'the same'}")


def against_library(names: Sequence[str], iterations: int = 120) -> None:
    """A stack of one against `stanley.train` on the same configuration: the largest difference of
    any weight. And the energies and gradients of a stack of three against its networks one by
    one."""
    from stanley.models.trained import load
    from stanley.training.loop import train

    stack = Stack(config_of(Job("rings", "Langevin", (Run(0, 0.02),))), (0, 1, 2))
    x = torch.randn(3 * BATCH, 2, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    alone = torch.cat([stack.energy(s)(rows) for s, rows in enumerate(x.view(3, BATCH, 2))])
    slopes = [torch.autograd.grad(energy.sum(), x)[0] for energy in (stack(x), alone)]
    off = (float((stack(x) - alone).abs().max()), float((slopes[0] - slopes[1]).abs().max()))
    print(
        f"stack of three against its networks: energies off by {off[0]:.1e}, gradients by"
        f" {off[1]:.1e}"
    )

    for name in [name for name in names if name in METHODS]:
        job = Job(
            "rings", name, (Run(0, 0.02, 1.0 if METHODS[name].threshold else None),), iterations
        )
        ours = train_stack(job)
        with tempfile.TemporaryDirectory() as folder:
            theirs = load(train(config_of(job), Path(folder) / "run", device="cpu"), device="cpu")
        pairs = zip(ours.average.energy(0).parameters(), theirs.energy.parameters(), strict=True)
        start = build_energy(NETWORKS["silu"], (2,), seed=0).parameters()
        moved = max(
            float((b - c).abs().max())
            for b, c in zip(theirs.energy.parameters(), start, strict=True)
        )
        off = max(float((a - b).abs().max()) for a, b in pairs)
        chains = float((ours.banks[0].positions - theirs.bank).abs().max())
        print(
            f"{name:<28} weights off by {off:.1e}, moved by {moved:.1e}; chains off by {chains:.1e}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    everything = (*ORDER[:8], *PUBLISHED, *ORDER[8:])
    parser.add_argument("--target", nargs="+", default=list(TARGETS), choices=TARGETS)
    parser.add_argument("--only", nargs="+", choices=everything, metavar="METHOD")
    parser.add_argument("--network", default="silu", choices=NETWORKS, help="by its activation")
    parser.add_argument("--seeds", type=int, default=5, help="how many reported seeds")
    parser.add_argument(
        "--first-seed", type=int, default=0, help="of the reported; not 0: a table of their own"
    )
    parser.add_argument(
        "--every-threshold", action="store_true", help="report the best of each, not of all alone"
    )
    parser.add_argument("--sensitivity", action="store_true", help="step size × threshold instead")
    parser.add_argument(
        "--again", type=int, metavar="N", help="rerun the first N reported stacks and compare"
    )
    parser.add_argument(
        "--library", action="store_true", help="compare the loop with stanley.train"
    )
    parser.add_argument("--record", type=Path, default=RECORD)
    settings = parser.parse_args()
    names = settings.only or (everything if settings.network == "silu" else ORDER)
    if settings.network != "silu" and (settings.sensitivity or set(names) & {*PUBLISHED}):
        parser.error(
            f"--network {settings.network}: presets have a network of their own; --sensitivity is"
            " with silu"
        )

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    record = read(settings.record)
    if settings.again:
        rerun(record, settings.again)
    elif settings.library:
        against_library(names)
    else:
        for name, target in product(names, settings.target):
            jobs = (
                sensitivity_jobs(target, name)
                if settings.sensitivity
                else plan(record, target, name, settings)
            )
            for job in jobs:
                if job not in record:
                    record[job], result = carry_out(job)
                    append(settings.record, job, record[job])
                    if job.samples and job.runs[0].seed == 0:
                        keep_picture(job, result)


if __name__ == "__main__":
    main()

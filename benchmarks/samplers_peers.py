"""The same samplers in other libraries: do they accept as often and get as close, and what does a
gradient cost there.

    python benchmarks/samplers_peers.py --out benchmarks/samplers_peers.json

torchebm, ebmkit and blackjax (the `bench` extra) where they are installed; those that are not are
named. One step size for everyone, adapted here, in each library's own convention: h is the variance
of the noise in this library, torchebm, ebmkit and blackjax write x - ε·∇U + √(2ε)·ξ, so ε = h/2;
the leapfrog ε is the same in all. HMC runs without jitter, which the others do not have. Everyone
starts where the adaptation ended and spends 500 gradients a chain; b² is that of
`stanley compare --target` (`comparing/moments.py`), at the end. Acceptance is the share of steps
that moved. Langevin takes a tenth of MALA's step size.

Gradients are counted where the energy is called, per chain and step, so that a library that
computes the gradient of the state anew shows as 2 for MALA. Time is CPU time per step, as a ratio
to this library, median of interleaved rounds in one process; blackjax is compiled, one program for
all steps, and timed after compilation.

NUTS of blackjax, the usual reference outside this library, runs on seven targets with step size and
diagonal mass matrix of its own window adaptation (500 steps of one chain), in chains that start and
are judged in the same way. Its cost is the mean number of leapfrog steps over chains; warm-up
is not in it.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from stanley import HMC, MALA, Langevin, adapt, run_chains
from stanley.comparing.moments import LIMIT, Moments, exact_moments, functions
from stanley.comparing.sampled import reference
from stanley.comparing.sampling import SamplingConfig, density_of
from stanley.targets import LogisticRegression, Target, named

CHAINS, GRADIENTS, LEAPFROGS, GROUPS, ROUNDS = 64, 500, 10, 5, 5
WARM_UP = 300
TARGETS = ("banana", "student-t", "funnel", "ill-conditioned", "logistic")
NUTS = ("banana", "ring-mixture", "quartic", "student-t", "funnel", "ill-conditioned", "logistic")

#: (x0, steps, seed) -> draws (steps, B, d)
Run = Callable[[Tensor, int, int], Tensor]


@dataclass(frozen=True)
class Case:
    """A target, with what is known of its test functions."""

    target: Target
    moments: Moments

    def functions(self, x: Tensor) -> Tensor:  # (n, B, d) -> (n, B, 2d)
        return functions(self.target, x)


def case_of(name: str) -> Case:
    """With exact moments, or for logistic regression those of a long reference run."""
    target = named(name)
    config = SamplingConfig(name, start_std=1.0)
    return Case(target, exact_moments(target) or reference(config, density_of(config)))


def start(case: Case, chains: int, seed: int) -> Tensor:
    """x ~ N(2, 2²)."""
    generator = Generator().manual_seed(seed)
    return 2 + 2 * torch.randn(chains, *case.target.event_shape, generator=generator)


def tuned(candidate: Any, case: Case, chains: int, seed: int) -> tuple[Any, Tensor]:
    generator = Generator().manual_seed(seed)
    x0 = start(case, chains, seed)
    return adapt(candidate, case.target, x0, WARM_UP, generator=generator)


def squared_error(means: Tensor, case: Case) -> Tensor:
    """b²(t) of means of f at every step (steps, groups, 2d): (steps, groups)."""
    total = torch.cat([torch.zeros_like(means[:1]), means.cumsum(0)])
    t = torch.arange(1, len(total))
    half = t // 2
    estimate = (total[t] - total[half]) / (t - half)[:, None, None]
    return ((estimate - case.moments.mean) ** 2 / case.moments.variance).amax(2)


def last_above(b2: Tensor, costs: list[float]) -> float:
    """What had been spent at the first step after which b² is below the limit to the end;
    ∞ if it is not at the end.
    """
    above = (~(b2 < LIMIT)).nonzero()
    index = int(above[-1]) + 1 if len(above) else 0
    return costs[index] if index < len(costs) else math.inf


def machine() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
        platform.machine(),
    )
    return (
        f"{model}, {torch.get_num_threads()} thread, torch {torch.__version__},"
        f" {platform.system()}, float32"
    )


class Counted:
    """The energy, and how often it was called with and without a gradient to follow."""

    def __init__(self, energy: Any) -> None:
        self.energy, self.gradients, self.potentials = energy, 0, 0

    def __call__(self, x: Tensor) -> Tensor:
        wanted = x.requires_grad and torch.is_grad_enabled()
        self.gradients, self.potentials = self.gradients + wanted, self.potentials + (not wanted)
        return self.energy(x)


def ours(method: str, energy: Any, step: float) -> Run:
    sampler = {
        "Langevin": Langevin(step),
        "MALA": MALA(step),
        "HMC": HMC(step, LEAPFROGS, jitter=False),
    }[method]

    def run(x0: Tensor, steps: int, seed: int) -> Tensor:
        draws = run_chains(
            sampler, energy, x0, steps, generator=Generator().manual_seed(seed), keep_every=1
        ).draws
        assert draws is not None
        return draws

    return run


def ebmkit(method: str, energy: Any, step: float) -> Run | None:
    import ebm.samplers as ebm

    if method == "HMC":
        sampler: Any = ebm.HMC(step, LEAPFROGS)
    else:
        sampler = {"Langevin": ebm.LangevinDynamics, "MALA": ebm.MALA}[method](step_size=step / 2)

    def run(x0: Tensor, steps: int, seed: int) -> Tensor:
        torch.manual_seed(seed)  # it draws from the global generator
        return sampler.sample(energy, x0, steps=steps, return_trajectory=True)[1:]

    return run


def torchebm(method: str, energy: Any, step: float) -> Run | None:
    from torchebm.core import BaseModel
    from torchebm.samplers import HamiltonianMonteCarlo, LangevinDynamics

    class Model(BaseModel):
        def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
            return energy(x)

    if method == "MALA":
        return None
    if method == "HMC":
        sampler: Any = HamiltonianMonteCarlo(Model(), step_size=step, n_leapfrog_steps=LEAPFROGS)
    else:
        sampler = LangevinDynamics(Model(), step_size=step / 2)

    def run(x0: Tensor, steps: int, seed: int) -> Tensor:
        generator = Generator().manual_seed(seed)
        return sampler.sample(
            x=x0, n_steps=steps, return_trajectory=True, generator=generator
        ).transpose(0, 1)

    return run


def log_density(column: str, target: Any) -> Callable[[Any], Any]:
    """The targets once more, in jax: one point (d,) to -U."""
    import jax
    import jax.numpy as jnp

    if isinstance(target, LogisticRegression):
        design, sign = (
            jnp.asarray(target.design.numpy()),
            jnp.asarray(2 * target.labels.numpy() - 1),
        )
        design, sign, s = design.astype("float32"), sign.astype("float32"), target.prior_std
        return lambda w: jax.nn.log_sigmoid(sign * (design @ w)).sum() - (w @ w) / (2 * s**2)
    if column == "banana":
        b, s = target.curvature, target.std
        return lambda x: -(x[0] ** 2) / (2 * s**2) - (x[1] - b * (x[0] ** 2 - s**2)) ** 2 / 2
    if column == "student-t":
        nu, d, s = target.dof, target.d, target.scale
        return lambda x: -(nu + d) / 2 * jnp.log1p((x @ x) / (nu * s**2))
    if column == "quartic":
        return lambda x: -(x**4).sum()
    if column == "double-well":
        return lambda x: -target.barrier * ((x**2 - 1) ** 2).sum()
    if column == "exp-skew":
        return lambda x: (x - jnp.exp(x)).sum()
    if column == "funnel":
        s, d = target.std, target.d
        return lambda x: (
            -(x[0] ** 2) / (2 * s**2) - jnp.exp(-x[0]) * (x[1:] @ x[1:]) / 2 - (d - 1) / 2 * x[0]
        )
    if column == "ring-mixture":
        means, std = jnp.asarray(target.means.numpy()).astype("float32"), float(target.std[0])
        return lambda x: jax.nn.logsumexp(-((x - means) ** 2).sum(1) / (2 * std**2))
    precision = jnp.asarray(target.precision.numpy()).astype("float32")
    return lambda x: -(precision * x) @ x / 2


def blackjax_kernel(method: str, logdensity: Any, step: float, dimension: int) -> tuple[Any, Any]:
    """init and kernel(key, state) -> (state, info) of one chain."""
    import blackjax
    import jax
    import jax.numpy as jnp

    if method == "Langevin":
        sgld: Any = blackjax.sgld(lambda x, _: jax.grad(logdensity)(x))
        return (lambda x: x), lambda key, x: (sgld.step(key, x, 0, step / 2), None)
    if method == "MALA":
        algorithm: Any = blackjax.mala(logdensity, step / 2)
    else:
        algorithm = blackjax.hmc(logdensity, step, jnp.ones(dimension), LEAPFROGS)
    return algorithm.init, algorithm.step


def compiled(init: Any, kernel: Any) -> Callable[[Tensor, int, int], tuple[Tensor, Tensor | None]]:
    """All steps of all chains in one program: draws, and the leapfrog steps of each draw where the
    kernel has them.
    """
    from functools import partial

    import jax
    import jax.numpy as jnp
    import numpy as np

    @partial(jax.jit, static_argnums=1)
    def program(x0: Any, steps: int, key: Any) -> Any:
        def step(states: Any, key: Any) -> Any:
            states, info = jax.vmap(kernel)(jax.random.split(key, len(x0)), states)
            return states, (
                getattr(states, "position", states),
                getattr(info, "num_integration_steps", None),
            )

        return jax.lax.scan(step, jax.vmap(init)(x0), jax.random.split(key, steps))[1]

    def run(x0: Tensor, steps: int, seed: int) -> tuple[Tensor, Tensor | None]:
        x, spent = program(jnp.asarray(x0.numpy()), steps, jax.random.key(seed))
        return torch.from_numpy(np.array(x)), None if spent is None else torch.from_numpy(
            np.array(spent)
        )

    return run


def blackjax(method: str, column: str, case: Case, step: float) -> Run:
    run = compiled(
        *blackjax_kernel(method, log_density(column, case.target), step, *case.target.event_shape)
    )
    return lambda x0, steps, seed: run(x0, steps, seed)[0]


def runs_of(
    method: str, column: str, case: Case, step: float, absent: set[str]
) -> dict[str, tuple[Run, Counted | None]]:
    """Each library's run of a method, and the counter of its energy;
    torch libraries share nothing but the target.
    """
    found: dict[str, tuple[Run, Counted | None]] = {}
    for name, build in {"stanley": ours, "ebmkit": ebmkit, "torchebm": torchebm}.items():
        if name not in absent:
            energy = Counted(case.target)
            run = build(method, energy, step)
            if run is not None:
                found[name] = run, energy
    if "blackjax" not in absent:
        found["blackjax"] = blackjax(method, column, case, step), None
    return found


def compare(column: str, absent: set[str]) -> list[dict[str, Any]]:
    """Each method at one step size in every library, on one target."""
    case, rows = case_of(column), []
    sizes: dict[str, float] = {}
    for method in ("MALA", "HMC", "Langevin"):
        candidate = MALA(0.1) if method != "HMC" else HMC(0.1, LEAPFROGS, jitter=False)
        sampler, x0 = tuned(candidate, case, CHAINS, seed=1002)
        sizes[method] = float(sampler.step_size) / (10 if method == "Langevin" else 1)
        steps = GRADIENTS // (LEAPFROGS if method == "HMC" else 1)
        runs = runs_of(method, column, case, sizes[method], absent)
        times: dict[str, list[float]] = {name: [] for name in runs}
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
        for seed in range(-1, ROUNDS):  # -1 warms up, and compiles
            for name, (run, _) in runs.items():
                began = time.process_time()
                draws = run(x0, steps, seed + 1)
                if seed >= 0:
                    times[name].append(time.process_time() - began)
                    found[name].append(judged(draws, x0, case))
        for name, (_, energy) in runs.items():
            accepted, b2 = zip(*found[name], strict=True)
            ratio = [t / own for t, own in zip(times[name], times["stanley"], strict=True)]
            row = {
                "target": column,
                "method": method,
                "library": name,
                "step_size": sizes[method],
                "steps": steps,
            }
            row |= {
                "moved": mean_sd(accepted),
                "b2": mean_sd(b2),
                "time": statistics.median(ratio),
                "times": ratio,
            }
            if energy is not None:
                calls = (ROUNDS + 1) * steps
                row |= {
                    "gradients": energy.gradients / calls,
                    "potentials": energy.potentials / calls,
                }
            rows.append(row)
            print(*row.values(), file=sys.stderr, flush=True)
    return rows


def judged(draws: Tensor, x0: Tensor, case: Case) -> tuple[float, float]:
    """Share of steps that moved, and b² over the second half of the run."""
    moved = (
        (torch.cat([x0[None], draws])[1:] != torch.cat([x0[None], draws])[:-1])
        .any(-1)
        .double()
        .mean()
    )
    means = case.functions(draws).mean(1, keepdim=True)
    return float(moved), float(squared_error(means, case)[-1, 0])


def mean_sd(values: Any) -> list[float]:
    return [statistics.mean(values), statistics.stdev(values)]


def nuts(column: str, chains: int, budget: float) -> dict[str, Any]:
    """Gradients to b² < 0.01 by blackjax's NUTS, with the start,
    until it was small for three times as long.
    """
    import blackjax
    import jax
    import jax.numpy as jnp

    case = case_of(column)
    density = log_density(column, case.target)
    first = jnp.asarray(start(case, 1, seed=1002)[0].numpy())
    adaptation: Any = blackjax.window_adaptation(blackjax.nuts, density)
    warmed, _ = adaptation.run(jax.random.key(0), first, 500)
    algorithm = blackjax.nuts(density, **warmed.parameters)
    run, x0 = (
        compiled(algorithm.init, algorithm.step),
        torch.cat([start(case, chains, s) for s in range(GROUPS)]),
    )
    for steps in (64, 256, 1024):
        draws, spent = run(x0, steps, 1)
        assert spent is not None
        costs = (1 + spent.double().mean(1).cumsum(0)).tolist()
        b2 = squared_error(case.functions(draws).unflatten(1, (GROUPS, -1)).mean(2), case)
        last = [last_above(b2[:, g], costs) for g in range(GROUPS)]
        if costs[-1] >= min(budget, 3 * max(last)):
            break
    reached = [cost if cost <= budget else None for cost in last]
    row = {
        "target": column,
        "sampler": "NUTS (blackjax)",
        "step_size": float(warmed.parameters["step_size"]),
    }
    row |= {
        "gradients": reached,
        "final_b2": b2[-1].tolist(),
        "ran": costs[-1],
        "draws": len(draws),
    }
    print(*row.values(), file=sys.stderr, flush=True)
    return row


def missing() -> set[str]:
    found = set()
    for name, module in {"torchebm": "torchebm", "ebmkit": "ebm", "blackjax": "blackjax"}.items():
        try:
            __import__(module)
        except ImportError:
            found.add(name)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--targets", nargs="+", default=TARGETS, choices=TARGETS, metavar="TARGET")
    parser.add_argument("--nuts", nargs="*", default=NUTS, metavar="TARGET")
    parser.add_argument(
        "--budget", type=int, default=5_000, help="gradient evaluations of a chain of NUTS"
    )
    parser.add_argument("--out", default="benchmarks/samplers_peers.json")
    settings = parser.parse_args()
    absent = missing()
    print(f"absent: {', '.join(sorted(absent)) or 'none'}", file=sys.stderr)
    versions = {
        name: version(name) for name in ("torchebm", "ebmkit", "blackjax") if name not in absent
    }
    result = {
        "command": "python benchmarks/samplers_peers.py",
        "machine": machine(),
        "versions": versions,
    }
    result |= {
        "chains": CHAINS,
        "rounds": ROUNDS,
        "gradients": GRADIENTS,
        "budget": settings.budget,
        "limit": LIMIT,
    }
    result |= {"rows": [], "nuts": []}
    for column in settings.targets:
        result["rows"] += compare(column, absent)
        Path(settings.out).write_text(json.dumps(result, indent=1) + "\n")
    for column in settings.nuts if "blackjax" not in absent else []:
        result["nuts"].append(nuts(column, CHAINS, settings.budget))
        Path(settings.out).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

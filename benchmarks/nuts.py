"""ChEES-HMC as `stanley.draw` warms it up, and NUTS of blackjax and numpyro, on four densities.

    python benchmarks/nuts.py --out benchmarks/nuts.json

logistic    logistic regression, 500 rows, 25 correlated columns, prior N(0, 1)
gaussian    100 coordinates, condition number 1,000, axes in random directions
schools     eight schools, not centred, 10 parameters
volatility  a random walk of 100 log-volatilities, not centred, with its scale and level

Everyone samples the same unconstrained coordinates in float64, from the same starts N(0, I), with
500 steps of warm-up and then 1,000 draws of 4 chains or 250 of 64. NUTS adapts each chain by
itself, with a diagonal mass matrix, the default of both; on the Gaussian with a dense one, too.
Where there are few chains ours is told as it is: it learns from all chains together.

Each contender is a process of its own, which compiles once for each number of chains; the processes
take turns, one request at a time. ESS is the smallest bulk ESS over coordinates, of
`stanley.diagnostics` for all of them. A gradient is one of one chain: a leapfrog step of its own
trajectory, whatever other chains of the batch wait for. Seconds are CPU seconds of the process, on
one thread; compilation, ahead of the first run, is told apart.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

WARM_UP, DRAWS = 500, {4: 1000, 64: 250}
TARGETS = ("logistic", "gaussian", "schools", "volatility")
CONTENDERS = ("stanley", "blackjax", "numpyro")
DENSE = ("blackjax-dense", "numpyro-dense")  # on the Gaussian


def data_of(target: str) -> tuple[int, dict[str, np.ndarray]]:
    """The number of coordinates, and the data."""
    rng = np.random.default_rng(1)
    if target == "logistic":
        x = rng.normal(size=(500, 25)) + rng.normal(size=(500, 1))
        p = 1 / (1 + np.exp(-x @ rng.normal(size=25) / 2))
        return 25, {"x": x, "sign": np.where(rng.random(500) < p, 1.0, -1.0)}
    if target == "gaussian":
        axes = np.linalg.qr(rng.normal(size=(100, 100)))[0]
        return 100, {"precision": axes * np.logspace(0, 3, 100) @ axes.T}
    if target == "schools":
        y = [28.0, 8, -3, 7, -1, 1, 18, 12]
        return 10, {"y": np.array(y), "error": np.array([15.0, 10, 16, 11, 9, 11, 10, 18])}
    walk = -1 + np.cumsum(0.2 * rng.normal(size=100))
    return 102, {"y": np.exp(walk / 2) * rng.normal(size=100)}


def potential_of(target: str, m: Any, d: Any) -> Callable[[Any], Any]:
    """U of points (..., n), written once for torch and jax.numpy, `m`, with data `d`."""

    def softplus(t: Any) -> Any:
        return m.logaddexp(t, m.zeros_like(t))

    def logistic(z: Any) -> Any:
        return softplus(-d["sign"] * (z @ d["x"].T)).sum(-1) + (z**2).sum(-1) / 2

    def gaussian(z: Any) -> Any:
        return ((z @ d["precision"]) * z).sum(-1) / 2

    def schools(z: Any) -> Any:
        mu, log_tau, eta = 5 * z[..., 0], z[..., 1], z[..., 2:]
        tau = m.exp(log_tau)
        r = (d["y"] - mu[..., None] - tau[..., None] * eta) / d["error"]
        prior = (z[..., 0] ** 2 + (eta**2).sum(-1)) / 2
        return (r**2).sum(-1) / 2 + prior + m.log1p((tau / 5) ** 2) - log_tau

    def volatility(z: Any) -> Any:
        level, log_scale, steps = z[..., 0], z[..., 1] - 1.5, z[..., 2:]
        h = level[..., None] + m.cumsum(m.exp(log_scale)[..., None] * steps, -1)
        return (z**2).sum(-1) / 2 + (h + d["y"] ** 2 * m.exp(-h)).sum(-1) / 2

    known = {f.__name__: f for f in (logistic, gaussian, schools, volatility)}
    return known[target]


def starts(n: int, chains: int, seed: int) -> np.ndarray:
    return np.random.default_rng([2, seed]).normal(size=(chains, n))


class Timed:
    """CPU seconds since the last look."""

    def __init__(self) -> None:
        self.last = time.process_time()

    def lap(self) -> float:
        last, self.last = self.last, time.process_time()
        return self.last - last


# A contender takes (x0, seed) and gives the draws (draws, chains, n), gradients a chain and seconds
# of the warm-up and of the draws, and the seconds of compilation.
Contender = Callable[[np.ndarray, int], dict[str, Any]]


def stanley(target: str, chains: int) -> Contender:
    import torch

    from stanley.judging.draw import FIRST_STEP, Counted
    from stanley.samplers import ChEES, adapt, run_chains

    torch.set_num_threads(1)
    _, data = data_of(target)
    u = potential_of(target, torch, {key: torch.from_numpy(v) for key, v in data.items()})

    def run(x0: np.ndarray, seed: int) -> dict[str, Any]:
        clock, counted = Timed(), Counted(u)
        sampler, x = adapt(ChEES(FIRST_STEP), counted, x0, WARM_UP, seed=seed, precondition="dense")
        warm = clock.lap()
        out = run_chains(sampler, u, x, DRAWS[chains], seed=seed, keep_every=1)
        assert out.draws is not None
        return {
            "draws": out.draws.numpy(),
            "gradients": (counted.points / chains, out.info.num_gradients),
            "seconds": (warm, clock.lap()),
            "compile": 0.0,
        }

    return run


def in_jax(target: str) -> Callable[[Any], Any]:
    import jax

    jax.config.update("jax_enable_x64", True)
    _, data = data_of(target)
    return potential_of(target, jax.numpy, {k: jax.numpy.asarray(v) for k, v in data.items()})


def compiled(warm_up: Any, draw: Any, chains: int) -> Contender:
    """Two programs, both compiled ahead: (keys, x0) to a state and steps, from there to draws."""
    import jax

    programs: list[Any] = []

    def run(x0: np.ndarray, seed: int) -> dict[str, Any]:
        keys = jax.random.split(jax.random.key(seed), 2 * chains).reshape(2, chains)
        clock, spent = Timed(), 0.0
        if not programs:
            programs.append(jax.jit(warm_up).lower(keys[0], x0).compile())
            spent += clock.lap()
        state, before = jax.block_until_ready(programs[0](keys[0], x0))
        warm = clock.lap()
        if len(programs) == 1:
            programs.append(jax.jit(draw).lower(keys[1], state).compile())
            spent += clock.lap()
        draws, steps = jax.block_until_ready(programs[1](keys[1], state))
        return {
            "seconds": (warm, clock.lap()),
            "draws": np.asarray(draws),
            "gradients": (float(before.mean()), float(steps.sum(0).mean())),
            "compile": spent,
        }

    return run


def blackjax(target: str, chains: int, dense: bool = False) -> Contender:
    u = in_jax(target)
    import blackjax as bj
    import jax

    def warm_up(key: Any, z: Any) -> Any:
        kind = bj.window_adaptation(bj.nuts, lambda z: -u(z), is_mass_matrix_diagonal=not dense)
        adapted, info = kind.run(key, z, WARM_UP)
        return tuple(adapted), info.info.num_integration_steps.sum()

    def draw(key: Any, adapted: Any) -> Any:
        kernel = bj.nuts(lambda z: -u(z), **adapted[1])

        def step(state: Any, key: Any) -> Any:
            state, info = kernel.step(key, state)
            return state, (state.position, info.num_integration_steps)

        return jax.lax.scan(step, adapted[0], jax.random.split(key, DRAWS[chains]))[1]

    return compiled(jax.vmap(warm_up), jax.vmap(draw, out_axes=1), chains)


def numpyro(target: str, chains: int, dense: bool = False) -> Contender:
    u = in_jax(target)
    import jax
    from numpyro.infer import NUTS

    kernel = NUTS(potential_fn=u, dense_mass=dense)

    def steps(state: Any, num: int) -> Any:
        def step(state: Any, _: Any) -> Any:
            state = kernel.sample(state, (), {})
            return state, (state.z, state.num_steps)

        return jax.lax.scan(step, state, None, length=num)

    def warm_up(keys: Any, x0: Any) -> Any:
        state = kernel.init(keys, WARM_UP, init_params=x0, model_args=(), model_kwargs={})
        state, (_, num) = steps(state, WARM_UP)
        return state, num.sum(0)

    return compiled(warm_up, lambda _, state: steps(state, DRAWS[chains])[1], chains)


def work(contender: str, target: str, folder: Path) -> None:
    """Answer requests "chains seed" on the standard input, a line each."""
    name, _, dense = contender.partition("-")
    made: dict[int, Contender] = {}
    build: Any = {"stanley": stanley, "blackjax": blackjax, "numpyro": numpyro}[name]
    for line in sys.stdin:
        chains, seed = map(int, line.split())
        if chains not in made:
            made[chains] = build(target, chains, True) if dense else build(target, chains)
        found = made[chains](starts(data_of(target)[0], chains, seed), seed)
        np.save(folder / f"{contender}.npy", found.pop("draws"))
        print(json.dumps(found), flush=True)


def numbers(found: dict[str, Any], draws: np.ndarray, chains: int) -> dict[str, Any]:
    import torch

    from stanley.diagnostics import summarise

    s = summarise(torch.from_numpy(draws))
    ess, (warm, drew), (warm_s, drew_s) = s.worst_ess_bulk, found["gradients"], found["seconds"]
    return found | {
        "ess": ess,
        "rhat": s.worst_rhat,
        "ess_per_gradient": ess / (chains * drew),
        "ess_per_gradient_with_warm_up": ess / (chains * (warm + drew)),
        "ess_per_second": ess / drew_s,
        "ess_per_second_with_warm_up": ess / (warm_s + drew_s),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--targets", nargs="+", default=TARGETS, choices=TARGETS)
    parser.add_argument("--chains", nargs="+", type=int, default=(4, 64), choices=DRAWS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", default="benchmarks/nuts.json")
    parser.add_argument("--work", nargs=3, metavar=("CONTENDER", "TARGET", "FOLDER"))
    settings = parser.parse_args()
    if settings.work:
        contender, target, folder = settings.work
        return work(contender, target, Path(folder))
    versions = {name: version(name) for name in ("torch", "jax", "blackjax", "numpyro")}
    result: dict[str, Any] = {"seeds": settings.seeds, "versions": versions, "rows": []}
    one = {"OMP_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu", "NPROC": "1"}
    one["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    for target in settings.targets:
        with tempfile.TemporaryDirectory() as folder:
            workers = {
                name: subprocess.Popen(
                    [sys.executable, __file__, "--work", name, target, folder],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env=os.environ | one,
                )
                for name in (*CONTENDERS, *(DENSE if target == "gaussian" else ()))
            }
            for chains in settings.chains:
                rows: dict[str, list[dict[str, Any]]] = {name: [] for name in workers}
                for seed in range(settings.seeds):
                    for name, worker in workers.items():  # in turn
                        assert worker.stdin is not None
                        assert worker.stdout is not None
                        worker.stdin.write(f"{chains} {seed}\n")
                        worker.stdin.flush()
                        found = json.loads(worker.stdout.readline())
                        draws = np.load(Path(folder) / f"{name}.npy")
                        rows[name].append(numbers(found, draws, chains))
                for name, runs in rows.items():
                    row = {"target": target, "chains": chains, "contender": name, "runs": runs}
                    result["rows"].append(row)
                    Path(settings.out).write_text(json.dumps(result, indent=1) + "\n")
                    shown = [key for key in runs[0] if key.startswith("ess")]
                    told = [f"{key} {median(run[key] for run in runs):.3g}" for key in shown]
                    compiled = max(run["compile"] for run in runs)
                    worst = max(run["rhat"] for run in runs)
                    print(target, chains, name, *told, f"compile {compiled:.1f} R̂ {worst:.3f}")
            for worker in workers.values():
                worker.communicate()
    return None


if __name__ == "__main__":
    main()

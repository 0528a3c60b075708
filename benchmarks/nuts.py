"""ChEES-HMC as `stanley.draw` warms it up, and NUTS of blackjax and numpyro, on four densities.

    python benchmarks/nuts.py --out benchmarks/nuts.json

Everyone samples the same unconstrained coordinates in float64, from the same starts N(0, I), with
500 steps of warm-up and then 1,000 draws of 4 chains or 250 of 64. NUTS adapts each chain by
itself, with a diagonal mass matrix, the default of both; on the Gaussian with a dense one, too.

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
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from time import process_time as cpu
from typing import Any

import numpy as np

WARM_UP, DRAWS = 500, {4: 1000, 64: 250}
TARGETS = ("logistic", "gaussian", "schools", "volatility")
CONTENDERS = ("stanley", "stanley-compiled", "blackjax", "numpyro")
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

    def logistic(z: Any) -> Any:
        t = -d["sign"] * (z @ d["x"].T)
        return m.logaddexp(t, m.zeros_like(t)).sum(-1) + (z**2).sum(-1) / 2

    def gaussian(z: Any) -> Any:
        return ((z @ d["precision"]) * z).sum(-1) / 2

    def schools(z: Any) -> Any:
        log_tau, tau, eta = z[..., 1], m.exp(z[..., 1]), z[..., 2:]
        r = (d["y"] - 5 * z[..., :1] - tau[..., None] * eta) / d["error"]
        prior = (z[..., 0] ** 2 + (eta**2).sum(-1)) / 2
        return (r**2).sum(-1) / 2 + prior + m.log1p((tau / 5) ** 2) - log_tau

    def volatility(z: Any) -> Any:
        h = z[..., :1] + m.cumsum(m.exp(z[..., 1:2] - 1.5) * z[..., 2:], -1)
        return (z**2).sum(-1) / 2 + (h + d["y"] ** 2 * m.exp(-h)).sum(-1) / 2

    return {f.__name__: f for f in (logistic, gaussian, schools, volatility)}[target]


def starts(n: int, chains: int, seed: int) -> np.ndarray:
    return np.random.default_rng([2, seed]).normal(size=(chains, n))


#: (x0, seed) -> draws (draws, chains, n); gradients a chain and seconds of warm-up and of draws; …
Contender = Callable[[np.ndarray, int], dict[str, Any]]


def stanley(target: str, chains: int, compiled: bool = False) -> Contender:
    import torch

    from stanley.judging.draw import FIRST_STEP
    from stanley.samplers import ChEES, adapt, run_chains
    from stanley.samplers.trajectories import Counted

    torch.set_num_threads(1)
    _, data = data_of(target)
    u = potential_of(target, torch, {key: torch.from_numpy(v) for key, v in data.items()})
    how = "compile" if compiled else "eager"
    seen: set[int] = set()  # seeds whose functions are compiled

    def once(x0: np.ndarray, seed: int) -> dict[str, Any]:
        began, counted = cpu(), Counted(u)
        sampler, x = adapt(
            ChEES(FIRST_STEP),
            counted,
            x0,
            WARM_UP,
            seed=seed,
            precondition="dense",
            execution=how,
        )
        warm = cpu()
        out = run_chains(sampler, u, x, DRAWS[chains], seed=seed, keep_every=1, execution=how)
        return {
            "draws": out.draws.numpy(),
            "gradients": (counted.points / chains, out.info.num_gradients),
            "seconds": (warm - began, cpu() - warm),
        }

    def run(x0: np.ndarray, seed: int) -> dict[str, Any]:
        """The same twice where something is compiled on the way, whose time is told apart."""
        first = sum(once(x0, seed)["seconds"]) if compiled and seed not in seen else None
        seen.add(seed)
        found = once(x0, seed)
        return found | {"compile": 0.0 if first is None else first - sum(found["seconds"])}

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
        times, first = [cpu()], not programs
        if first:
            programs.append(jax.jit(warm_up).lower(keys[0], x0).compile())
        times.append(cpu())
        state, before = jax.block_until_ready(programs[0](keys[0], x0))
        times.append(cpu())
        if first:
            programs.append(jax.jit(draw).lower(keys[1], state).compile())
        times.append(cpu())
        draws, steps = jax.block_until_ready(programs[1](keys[1], state))
        compile_1, warm, compile_2, drew = np.diff([*times, cpu()]).tolist()
        return {
            "seconds": (warm, drew),
            "draws": np.asarray(draws),
            "gradients": (float(before.mean()), float(steps.sum(0).mean())),
            "compile": compile_1 + compile_2,
        }

    return run


def blackjax(target: str, chains: int, dense: bool = False) -> Contender:
    u = in_jax(target)
    import blackjax as bj
    import jax

    def warm_up(key: Any, z: Any) -> Any:
        kind: Any = bj.window_adaptation(
            bj.nuts, lambda z: -u(z), is_mass_matrix_diagonal=not dense
        )
        adapted, info = kind.run(key, z, WARM_UP)
        return tuple(adapted), info.info.num_integration_steps.sum()

    def draw(key: Any, adapted: Any) -> Any:
        kernel: Any = bj.nuts(lambda z: -u(z), **adapted[1])

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


MADE: dict[int, Contender] = {}  # of this process, by the number of chains


def answer(contender: str, target: str, chains: int, seed: int) -> dict[str, Any]:
    name, _, other = contender.partition("-")  # dense, or compiled
    if chains not in MADE:
        build: Any = {"stanley": stanley, "blackjax": blackjax, "numpyro": numpyro}[name]
        MADE[chains] = build(target, chains, True) if other else build(target, chains)
    return MADE[chains](starts(data_of(target)[0], chains, seed), seed)


def numbers(found: dict[str, Any], chains: int) -> dict[str, Any]:
    import torch

    from stanley.diagnostics import summarise

    s = summarise(torch.from_numpy(found.pop("draws")))
    ess, (warm, drew), (warm_s, drew_s) = s.worst_ess_bulk, found["gradients"], found["seconds"]
    return found | {
        "ess": ess,
        "rhat": s.worst_rhat,
        "ess_per_gradient": ess / (chains * drew),
        "ess_per_gradient_with_warm_up": ess / (chains * (warm + drew)),
        "ess_per_second": ess / drew_s,
        "ess_per_second_with_warm_up": ess / (warm_s + drew_s),
    }


def told_against(rows: list[dict[str, Any]]) -> None:
    """Effective draws a second with warm-up, compilation left out, in terms of blackjax's."""
    by_name = {
        row["contender"]: median(r["ess_per_second_with_warm_up"] for r in row["runs"])
        for row in rows
    }
    for name in ("stanley", "stanley-compiled"):
        wanted = 0.5 if rows[0]["chains"] == 4 else 2.0
        speed = by_name[name] / by_name["blackjax"]
        print(
            f"{name}: {speed:.2f} of blackjax's effective draws a second with warm-up; aimed at"
            f" {wanted:g}: {'reached' if speed >= wanted else 'missed'}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--targets", nargs="+", default=TARGETS, choices=TARGETS)
    parser.add_argument("--chains", nargs="+", type=int, default=(4, 64), choices=DRAWS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", default="benchmarks/nuts.json")
    settings = parser.parse_args()
    versions = {name: version(name) for name in ("torch", "jax", "blackjax", "numpyro")}
    Path(settings.out).parent.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"seeds": settings.seeds, "versions": versions, "rows": []}
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    for target in settings.targets:
        names = (*CONTENDERS, *(DENSE if target == "gaussian" else ()))
        processes = {name: ProcessPoolExecutor(1, get_context("spawn")) for name in names}
        for chains in settings.chains:
            rows: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
            for seed in range(settings.seeds):
                for name, process in processes.items():  # in turn
                    found = process.submit(answer, name, target, chains, seed).result()
                    rows[name].append(numbers(found, chains))
            for name, runs in rows.items():
                row = {"target": target, "chains": chains, "contender": name, "runs": runs}
                result["rows"].append(row)
                Path(settings.out).write_text(json.dumps(result, indent=1) + "\n")
                told = [f"{k} {median(r[k] for r in runs):.3g}" for k in runs[0] if "ess" in k]
                print(target, chains, name, *told, flush=True)
            told_against(result["rows"][-len(rows) :])
        for process in processes.values():
            process.shutdown()


if __name__ == "__main__":
    main()

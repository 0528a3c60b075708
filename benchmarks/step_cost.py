"""What one chain step costs, as ratios of interleaved runs, and whether memory grows with the number of steps.

    python benchmarks/step_cost.py                 # prints a table; --json FILE keeps the numbers

Reference ("bare"): network forward and autograd.grad to the input, nothing else. Each round times every contender
once, in a shuffled order; a ratio is the median over rounds of contender / bare of the same round, with its
quartiles. Peers (the `bench` extra) are timed where they are installed.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import stanley

STEPS = 10  # chain steps per timing


def cases() -> dict[str, tuple[Any, Tensor]]:
    """Energy and start of each case, weights frozen as they are while chains run."""
    g = torch.Generator().manual_seed(0)
    image, plane = torch.rand(64, 3, 32, 32, generator=g) * 2 - 1, torch.randn(256, 2, generator=g)
    built = {
        "convnet, 64 × 3×32×32": (stanley.ConvNet(width=32), image),
        "mlp, 256 × 2": (stanley.MLP(width=128, depth=3), plane),
    }
    return {
        name: (stanley.networks.build_energy(spec, tuple(x.shape[1:]), seed=0).eval().requires_grad_(False), x)
        for name, (spec, x) in built.items()
    }


def bare(energy: Any, x0: Tensor) -> None:
    for _ in range(STEPS + 1):  # run_chains evaluates the start as well
        x = x0.detach().requires_grad_(True)
        torch.autograd.grad(energy(x).sum(), x)


def chains(sampler: Any) -> Callable[[Any, Tensor], None]:
    def run(energy: Any, x0: Tensor) -> None:
        stanley.run_chains(sampler, energy, x0, STEPS, generator=torch.Generator().manual_seed(0))

    return run


def contenders() -> dict[str, Callable[[Any, Tensor], None]]:
    h = 1e-4
    ours: dict[str, Callable[[Any, Tensor], None]] = {
        "bare": bare,
        "Langevin": chains(stanley.Langevin(h)),
        "Stanley element": chains(stanley.Stanley(h, 1.0)),
        "Stanley sample": chains(stanley.Stanley(h, 1.0, "sample")),
        "MALA": chains(stanley.MALA(h)),
        "Adjusted(Stanley)": chains(stanley.Adjusted(stanley.Stanley(h, 1.0))),
    }
    return ours | peers(h)


def peers(h: float) -> dict[str, Callable[[Any, Tensor], None]]:
    """The same Langevin chain by the libraries that are installed, for the same number of gradients."""
    found: dict[str, Callable[[Any, Tensor], None]] = {}
    try:
        import ebm

        def with_ebmkit(energy: Any, x0: Tensor) -> None:
            ebm.LangevinDynamics(step_size=h / 2, steps=STEPS + 1).sample(energy, x0)

        found["ebmkit Langevin"] = with_ebmkit
    except ImportError:
        pass
    try:
        from torchebm.core import BaseModel
        from torchebm.samplers import LangevinDynamics

        class Model(BaseModel):
            def __init__(self, energy: Any) -> None:
                super().__init__()
                self.energy = energy

            def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
                return self.energy(x)

        def with_torchebm(energy: Any, x0: Tensor) -> None:
            LangevinDynamics(Model(energy), step_size=h / 2).sample(x=x0, n_steps=STEPS + 1)

        found["torchebm Langevin"] = with_torchebm
    except ImportError:
        pass
    return found


def timed(run: Callable[[Any, Tensor], None], energy: Any, x0: Tensor) -> float:
    """CPU seconds of the process: what else the machine is doing does not count."""
    began = time.process_time()
    run(energy, x0)
    return time.process_time() - began


def ratios(rounds: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for case, (energy, x0) in cases().items():
        runs = contenders()
        for run in runs.values():
            run(energy, x0)  # warm up
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(rounds):
            for name in random.sample(list(runs), len(runs)):
                times[name].append(timed(runs[name], energy, x0))
        for name, found in times.items():
            low, median, high = statistics.quantiles([t / b for t, b in zip(found, times["bare"], strict=True)])
            versus = statistics.median([t / v for t, v in zip(found, times["Langevin"], strict=True)])
            per_step = 1e3 * statistics.median(found) / (STEPS + 1)
            row = {"case": case, "run": name, "ratio": median, "q1": low, "q3": high, "to_langevin": versus}
            rows.append(row | {"ms_per_step": per_step, "rounds": rounds})
    return rows


MEMORY = """
import resource, sys, torch, stanley
energy = stanley.networks.build_energy(stanley.ConvNet(width=32), (3, 32, 32), seed=0).requires_grad_(False)
x = torch.rand(64, 3, 32, 32) * 2 - 1
steps = int(sys.argv[1])
stanley.run_chains(stanley.Langevin(1e-4), energy, x, steps, generator=torch.Generator().manual_seed(0))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def memory() -> list[dict[str, float]]:
    """Peak resident MiB of a process that runs K chain steps of 64 images."""
    found = []
    for k in (1, 10, 100):
        done = subprocess.run([sys.executable, "-c", MEMORY, str(k)], capture_output=True, text=True, check=True)
        found.append({"chain_steps": k, "peak_mib": round(float(done.stdout), 1)})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", help="keep the numbers in this file")
    arguments = parser.parse_args()
    threads, machine = torch.get_num_threads(), f"{platform.machine()}, {platform.system()}"
    print(f"torch {torch.__version__}, {threads} thread(s), {machine}, {arguments.rounds} rounds of {STEPS} steps\n")
    rows = ratios(arguments.rounds)
    print(f"{'case':<24}{'run':<20}{'ms/step':>9}{'/ bare (quartiles)':>24}{'/ Langevin':>12}")
    for r in rows:
        spread = f"{r['ratio']:.3f} ({r['q1']:.3f}-{r['q3']:.3f})"
        print(f"{r['case']:<24}{r['run']:<20}{r['ms_per_step']:>9.3f}{spread:>24}{r['to_langevin']:>12.3f}")
    peaks = memory()
    print("\npeak memory: " + ", ".join(f"K = {p['chain_steps']}: {p['peak_mib']:.0f} MiB" for p in peaks))
    if arguments.json:
        report = {"torch": torch.__version__, "threads": threads, "machine": machine, "rows": rows, "memory": peaks}
        Path(arguments.json).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()

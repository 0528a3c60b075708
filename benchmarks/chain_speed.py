"""What one chain step costs, as ratios of interleaved runs: here, in other libraries, and the floor
below both.

    make bench                                              # prints the tables, keeps
                                                            runs/chain_speed.json
    python benchmarks/chain_speed.py --json FILE --quick    # fewer cases; keeps the numbers

floor       network forward and torch.autograd.grad to the input, nothing else: what no eager
            sampler can beat
script      the loop of common training scripts: E.sum().backward() with the weights' gradients left
            on
Each round times every contender once, in a shuffled order, in CPU seconds of this process; a ratio
is the median over rounds of contender / floor of the same round, with its quartiles. Peers (the
`bench` extra) are timed where they are installed, at the same number of gradients. Compilation is
timed apart: before each case every contender makes one chain of the length that is timed. blackjax
runs the same weights in jax, all steps in one program.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import random
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import stanley
from stanley.data.base import Dataset
from stanley.ranks import World
from stanley.training.state import TrainState
from stanley.training.step import measure, train_step

H = 1e-4
Run = Callable[[Any, Tensor, int], Any]  # (energy, x0, gradients)

#: name -> network, event shape, chains, gradients per timing, rounds as a share of --rounds
CASES = {
    "MLP, 128 chains": (stanley.MLP(width=128, depth=3), (2,), 128, 100, 1.0),
    "MLP, 1,024 chains": (stanley.MLP(width=128, depth=3), (2,), 1024, 30, 1.0),
    "MLP, 16,384 chains": (stanley.MLP(width=128, depth=3), (2,), 16_384, 5, 0.7),
    "ConvNet, 100 × 3×32×32": (stanley.ConvNet(width=32), (3, 32, 32), 100, 6, 0.7),
    "ResNet, 128 × 3×32×32": (stanley.ResNet(width=16), (3, 32, 32), 128, 4, 0.5),
}
QUICK = ("MLP, 128 chains", "MLP, 1,024 chains")


def floor(energy: Any, x0: Tensor, gradients: int) -> None:
    for _ in range(gradients):
        x = x0.detach().requires_grad_(True)
        torch.autograd.grad(energy(x).sum(), x)


def script(energy: Any, x0: Tensor, gradients: int) -> None:
    energy.requires_grad_(True)
    x = x0.clone()
    for _ in range(gradients):
        x = x.detach().requires_grad_(True)
        energy(x).sum().backward()
        x = x - H / 2 * x.grad + H**0.5 * torch.randn_like(x)
    energy.zero_grad(set_to_none=True)
    energy.requires_grad_(False)


def chains(sampler: Any, execution: str = "eager") -> Run:
    def run(energy: Any, x0: Tensor, gradients: int) -> None:
        generator = torch.Generator().manual_seed(0)
        stanley.run_chains(
            sampler, energy, x0, gradients - 1, generator=generator, execution=execution
        )

    return run


def contenders() -> dict[str, Run]:
    ours: dict[str, Run] = {
        "floor": floor,
        "script": script,
        "Langevin": chains(stanley.Langevin(H)),
        "Langevin, compiled": chains(stanley.Langevin(H), "compile"),
        "Stanley": chains(stanley.Stanley(H, 1.0)),
        "Stanley, compiled": chains(stanley.Stanley(H, 1.0), "compile"),
        "MALA": chains(stanley.MALA(H)),
        "Adjusted(Stanley)": chains(stanley.Adjusted(stanley.Stanley(H, 1.0))),
    }
    return ours | peers()


def peers() -> dict[str, Run]:
    """The same Langevin chain by the libraries that are installed; their step size is h/2."""
    found: dict[str, Run] = {}
    try:
        import ebm

        def with_ebmkit(energy: Any, x0: Tensor, gradients: int) -> None:
            ebm.LangevinDynamics(step_size=H / 2, steps=gradients).sample(energy, x0)

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

        def with_torchebm(energy: Any, x0: Tensor, gradients: int) -> None:
            LangevinDynamics(Model(energy), step_size=H / 2).sample(x=x0, n_steps=gradients)

        found["torchebm Langevin"] = with_torchebm
    except ImportError:
        pass
    try:
        import blackjax
        import jax

        programs: dict[int, Any] = {}  # one a network, all steps in it

        def program_of(energy: Any) -> Any:
            potential = in_jax(energy)
            sgld = blackjax.sgld(lambda x, _: -jax.grad(lambda x: potential(x).sum())(x))
            step = lambda x, key: (sgld.step(key, x, None, H / 2), None)  # noqa: E731
            return jax.jit(lambda x, keys: jax.lax.scan(step, x, keys)[0])

        def with_blackjax(energy: Any, x0: Tensor, gradients: int) -> None:
            program = programs.get(id(energy)) or programs.setdefault(
                id(energy), program_of(energy)
            )
            keys = jax.random.split(jax.random.key(0), gradients)
            program(jax.numpy.asarray(x0.numpy()), keys).block_until_ready()

        found["blackjax SGLD"] = with_blackjax
    except ImportError:
        pass
    return found


def in_jax(energy: Any) -> Callable[[Any], Any]:
    """The same network with the same weights in jax: linear layers and SiLU,
    one after the other.
    """
    import jax

    def array(t: Tensor) -> Any:
        return jax.numpy.asarray(t.detach().contiguous().numpy())

    def one(layer: Any) -> Callable[[Any], Any]:
        if isinstance(layer, torch.nn.SiLU):
            return jax.nn.silu
        weight, bias = array(layer.weight), array(layer.bias)
        return lambda x: x @ weight.T + bias

    layers = [one(layer) for layer in energy.layers]

    def potential(x: Any) -> Any:  # (B, d) -> (B,)
        for layer in layers:
            x = layer(x)
        return x[:, 0]

    return potential


def built(case: str) -> tuple[Any, Tensor]:
    """The energy with its weights frozen, as they are while chains run, and the chains' start."""
    network, shape, chains_, *_ = CASES[case]
    g = torch.Generator().manual_seed(0)
    energy = stanley.networks.build_energy(network, shape, seed=0).eval().requires_grad_(False)
    return energy, torch.randn(chains_, *shape, generator=g)


def timed(run: Run, *arguments: Any) -> float:
    """CPU seconds of the process: what else the machine is doing does not count."""
    began = time.process_time()
    run(*arguments)
    return time.process_time() - began


def ratios(names: list[str], rounds: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for case in names:
        (energy, x0), (*_, gradients, share) = built(case), CASES[case]
        runs, first = contenders(), {}
        if x0.dim() > 2:
            # convolutions in a compiled loop: 51 times the floor on a CPU
            runs.pop("blackjax SGLD", None)
        for name, run in runs.items():  # warm up; the first compiled step compiles
            began = time.perf_counter()
            run(energy, x0, gradients)
            first[name] = time.perf_counter() - began
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(max(3, round(share * rounds))):
            for name in random.sample(list(runs), len(runs)):
                times[name].append(timed(runs[name], energy, x0, gradients))
        for name, found in times.items():
            low, median, high = statistics.quantiles(
                [t / b for t, b in zip(found, times["floor"], strict=True)]
            )
            row = {
                "case": case,
                "run": name,
                "ratio": median,
                "q1": low,
                "q3": high,
                "rounds": len(found),
            }
            row |= {
                "ms_per_gradient": 1e3 * statistics.median(found) / gradients,
                "first_call_s": first[name],
            }
            rows.append(row)
            show(row)
        print()
    return rows


def show(row: dict[str, Any]) -> None:
    spread = f"{row['ratio']:.2f} ({row['q1']:.2f}-{row['q3']:.2f})"
    first = f"   first call {row['first_call_s']:.0f} s" if "compiled" in row["run"] else ""
    print(
        f"{row['case']:<24}{row['run']:<22}{row['ms_per_gradient']:>9.3f}{spread:>22}{first}",
        flush=True,
    )


CHAINS = """
import sys, time, torch, stanley
from stanley.device import peak_memory
width, chains, steps, chunk = map(int, sys.argv[1:])
network = stanley.ConvNet(width=width)
energy = stanley.networks.build_energy(network, (3, 32, 32), seed=0).requires_grad_(False)
x = torch.rand(chains, 3, 32, 32) * 2 - 1
potential = stanley.Chunked(energy, chunk) if chunk else energy
began = time.process_time()
generator = torch.Generator().manual_seed(0)
stanley.run_chains(stanley.Langevin(1e-4), potential, x, steps, generator=generator)
print(time.process_time() - began, peak_memory(x.device))
"""


def growth() -> list[dict[str, float]]:
    """CPU seconds and peak resident MiB of a process of its own: against K, chains, width,
    and in chunks.
    """
    found = []
    base = {"width": 32, "chains": 64, "steps": 10, "chunk": 0}
    changes = [
        {},
        {"steps": 1},
        {"steps": 50},
        {"chains": 16},
        {"chains": 256},
        {"width": 16},
        {"width": 64},
    ]
    changes += [{"chains": 256, "chunk": 64}, {"chains": 256, "chunk": 16}]
    for change in changes:
        case = base | change
        command = [sys.executable, "-c", CHAINS, *(str(v) for v in case.values())]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds, mib = map(float, done.stdout.split())
        found.append(case | {"seconds": round(seconds, 2), "peak_mib": round(mib)})
        print("  ".join(f"{k} {v}" for k, v in found[-1].items()), flush=True)
    return found


#: Chunk sizes to try in a case, beside all chains at once.
CHUNKS = {
    "ConvNet, 100 × 3×32×32": (16, 25, 50),
    "ResNet, 128 × 3×32×32": (16, 32, 64),
    "MLP, 16,384 chains": (1024, 4096),
    "MLP, 1,024 chains": (256, 512),
}


def in_chunks(rounds: int = 6) -> list[dict[str, Any]]:
    """Langevin with its gradients taken for some chains at a time, and with weights in plain order
    of memory: median ratio to the floor of the same round."""
    found = []
    for case, sizes in CHUNKS.items():
        (energy, x0), gradients = built(case), CASES[case][3]
        potentials = {"floor": energy, "all": energy} | {
            str(n): stanley.Chunked(energy, n) for n in sizes
        }
        if x0.dim() > 2:
            potentials["plain"] = copy.deepcopy(energy).to(memory_format=torch.contiguous_format)
        runs = {
            name: floor if name == "floor" else chains(stanley.Langevin(H)) for name in potentials
        }
        for name, run in runs.items():
            run(potentials[name], x0, 2)  # warm up
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(rounds):
            for name in random.sample(list(runs), len(runs)):
                times[name].append(timed(runs[name], potentials[name], x0, gradients))
        for name, took in times.items():
            ratio = statistics.median([t / b for t, b in zip(took, times["floor"], strict=True)])
            found.append({"case": case, "chunk": name, "ratio": ratio, "rounds": rounds})
            print(f"{case:<24}chunk {name:<8}{ratio:>6.2f}", flush=True)
    return found


def training(iterations: int = 3) -> dict[str, float]:
    """CPU seconds an iteration of the published CIFAR-10 setting, K = 50 and batch 100,
    on made images.
    """
    images = torch.randint(
        0, 256, (500, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    config = stanley.recipe("cifar10-contrastive")
    objective = replace(config.objective, chain_steps=50, bank_size=1000)
    config = replace(config, objective=objective, batch=100)
    data = Dataset(train=images, test=images[:100], flip=True)
    state = TrainState(config, data, World())
    seconds = []
    for _ in range(iterations):
        began = time.process_time()
        measure(state, train_step(config, state, data))
        seconds.append(time.process_time() - began)
    return {"iterations": iterations, "seconds": statistics.median(seconds)}


def machine() -> str:
    """The processor's name where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    cpu = next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )
    return f"{cpu} ({platform.machine()}, {platform.system()})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="the small cases alone")
    parser.add_argument(
        "--chunks", action="store_true", help="gradients in chunks, and plain memory order, alone"
    )
    parser.add_argument("--json", help="keep the numbers in this file")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.chunks:
        in_chunks()
        return
    report: dict[str, Any] = {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": machine(),
        "command": "python benchmarks/chain_speed.py " + " ".join(sys.argv[1:]),
    }
    print(f"torch {report['torch']}, {report['threads']} thread(s), {report['machine']}\n")
    print(f"{'case':<24}{'run':<22}{'ms/step':>9}{'/ floor (quartiles)':>22}")
    report["rows"] = ratios(
        [c for c in CASES if not arguments.quick or c in QUICK], arguments.rounds
    )
    if not arguments.quick:
        report["growth"] = growth()
        report["training"] = training()
        print(
            f"\ncifar10 as published (K = 50, batch 100): {report['training']['seconds']:.1f} s an"
            " iteration"
        )
    if arguments.json:
        Path(arguments.json).parent.mkdir(parents=True, exist_ok=True)
        Path(arguments.json).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()

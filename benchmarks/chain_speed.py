"""What one chain step and one training iteration cost, as ratios of interleaved rounds: here, in
other libraries, and the floor below all.

    make bench                                              # prints the tables, keeps
                                                            # runs/chain_speed.json, runs/nuts.json
    python benchmarks/chain_speed.py --json FILE --quick    # the two small cases alone

Every contender of every case is a process of its own, since what glibc gives back to the kernel
depends on what the process freed before. The processes take turns: each round asks every one of
them once, in a shuffled order, and a ratio is the median over rounds of contender / floor of the
same round, with its quartiles. Seconds are CPU seconds of that process on one thread; page faults
are the minor ones of the timed calls alone. Each runs as it comes: with the C library's allocator
as it is, but for rows with "kept", which keep freed memory as the command line does
(`stanley.memory`). Peers (the `bench` extra) are timed where they are installed, at the same number
of gradients, on networks in the memory order that this library gives them. What is compiled is
compiled by a first call, whose time is told apart.

chains      floor    network forward and torch.autograd.grad to the input, nothing else
            script   the loop of common training scripts: E.sum().backward() with the weights'
                     gradients left on
training    iterations of persistent contrastive divergence with Langevin: `train_step` with its
            record here, ebmkit's `Trainer.fit`, and torchebm's `ContrastiveDivergence` with Adam;
            same network, batch, K, bank, share of restarts and penalty; one after the other, as
            in training, 40 of them where one takes a few ms. The floor is K + 3 gradients of a
            batch: K + 1 of the chains and two for the loss.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import stanley
from stanley.data.base import Dataset
from stanley.memory import keep_freed_memory
from stanley.ranks import World
from stanley.training.state import TrainState
from stanley.training.step import measure, train_step

H = 1e-4
Run = Callable[[Any, Tensor, int], Any]  # (energy, x0, gradients)
KEPT = ", kept"  # of a contender's name: freed memory is kept

#: name -> network, event shape, chains, gradients per timing, rounds as a share of --rounds
CASES = {
    "MLP, 128 chains": (stanley.MLP(width=128, depth=3), (2,), 128, 100, 1.0),
    "MLP, 1,024 chains": (stanley.MLP(width=128, depth=3), (2,), 1024, 30, 1.0),
    "MLP, 4,096 chains": (stanley.MLP(width=128, depth=3), (2,), 4096, 10, 1.0),
    "ConvNet, 32 × 3×32×32": (stanley.ConvNet(width=32), (3, 32, 32), 32, 6, 0.7),
    "ResNet, 32 × 3×32×32": (stanley.ResNet(width=16), (3, 32, 32), 32, 4, 0.7),
}
QUICK = ("MLP, 128 chains", "MLP, 1,024 chains")

#: name -> network, event shape, batch, K, bank, iterations per timing
TRAININGS = {
    "rings": (stanley.MLP(width=64, depth=3), (2,), 256, 10, 1000, 40),
    "MNIST-small": (
        stanley.recipe("mnist-small-contrastive").network,
        (1, 28, 28),
        64,
        10,
        1000,
        2,
    ),
    "paper ConvNet": (stanley.ConvNet(width=32), (3, 32, 32), 50, 10, 1000, 1),
}
RESTART, PENALTY, RATE = 0.05, 0.1, 1e-4


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
    langevin = chains(stanley.Langevin(H))
    ours: dict[str, Run] = {
        "floor": floor,
        "script": script,
        "Langevin": langevin,
        "Langevin" + KEPT: langevin,
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
        from torchebm.samplers import LangevinDynamics

        def with_torchebm(energy: Any, x0: Tensor, gradients: int) -> None:
            sampler = LangevinDynamics(in_torchebm(energy), step_size=H / 2)
            sampler.sample(x=x0, n_steps=gradients)

        found["torchebm Langevin"] = with_torchebm
    except ImportError:
        pass
    try:
        import blackjax
        import jax

        programs: dict[int, Any] = {}  # one a network, all steps in it

        def program_of(energy: Any) -> Any:
            potential = in_jax(energy)
            sgld: Any = blackjax.sgld(lambda x, _: -jax.grad(lambda x: potential(x).sum())(x))
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


def in_torchebm(energy: Any) -> Any:
    from torchebm.core import BaseModel

    class Model(BaseModel):
        def __init__(self) -> None:
            super().__init__()
            self.energy = energy

        def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
            return self.energy(x)

    return Model()


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


def trainings() -> dict[str, Callable[[str], Callable[[], Any]]]:
    """The contenders of one training iteration: of a case, a call for one iteration."""
    found: dict[str, Any] = {"floor": k_and_three, "stanley": ours, "stanley" + KEPT: ours}
    found["stanley, compiled"] = lambda case: ours(case, "compile")
    try:
        import ebm

        def with_ebmkit(case: str) -> Callable[[], Any]:
            network, shape, batch, k, slots, times = TRAININGS[case]
            energy = stanley.networks.build_energy(network, shape, seed=0)
            bank = ebm.ReplayBuffer(slots, shape, reinit_prob=RESTART)
            loss = ebm.ContrastiveDivergence(
                ebm.LangevinDynamics(step_size=H / 2, steps=k), bank, energy_reg=PENALTY
            )
            trainer = ebm.Trainer(energy, loss, lr=RATE, device="cpu", ema_decay=0.995)
            data = torch.randn(1000, *shape)
            return lambda: trainer.fit(data, steps=times, batch_size=batch, verbose=False)

        found["ebmkit"] = with_ebmkit
    except ImportError:
        pass
    try:
        from torchebm.losses import ContrastiveDivergence
        from torchebm.samplers import LangevinDynamics

        def with_torchebm(case: str) -> Callable[[], Any]:
            network, shape, batch, k, slots, times = TRAININGS[case]
            energy = in_torchebm(stanley.networks.build_energy(network, shape, seed=0))
            loss = ContrastiveDivergence(
                energy,
                LangevinDynamics(energy, step_size=H / 2),
                k_steps=k,
                persistent=True,
                buffer_size=slots,
                init_steps=0,
                new_sample_ratio=RESTART,
                energy_reg_weight=PENALTY,
            )
            optimizer = torch.optim.Adam(energy.parameters(), lr=RATE)
            data = torch.randn(1000, *shape)

            def iterations() -> None:
                for _ in range(times):
                    value, _ = loss(data[torch.randint(len(data), (batch,))])
                    optimizer.zero_grad(set_to_none=True)
                    value.backward()
                    optimizer.step()

            return iterations

        found["torchebm"] = with_torchebm
    except ImportError:
        pass
    return found


def k_and_three(case: str) -> Callable[[], Any]:
    network, shape, batch, k, _, times = TRAININGS[case]
    energy = stanley.networks.build_energy(network, shape, seed=0).requires_grad_(False)
    x = torch.randn(batch, *shape)
    return lambda: floor(energy, x, times * (k + 3))


def ours(case: str, execution: Any = "auto") -> Callable[[], Any]:
    network, shape, batch, k, slots, times = TRAININGS[case]
    objective = stanley.Contrastive(
        chain_steps=k, bank_size=slots, restart=RESTART, energy_l2=PENALTY
    )
    config = replace(
        stanley.recipe("rings"),
        network=network,
        sampler=stanley.Langevin(H),
        optimizer=stanley.Adam(lr=RATE),
        objective=objective,
        batch=batch,
    )
    made = torch.randn(1000, *shape)
    data = Dataset(train=made, test=made[:100])
    state = TrainState(config, data, World(), execution=execution)
    return lambda: [measure(state, train_step(config, state, data)) for _ in range(times)]


MADE: dict[tuple[str, str], Callable[[], Any]] = {}  # of this process


def answer(of: str, contender: str, case: str) -> tuple[float, int, float]:
    """CPU seconds of one timing, its page faults, and what its first call took, if this is it."""
    first, key = 0.0, (of, case)
    if key not in MADE:
        torch.set_num_threads(1)
        warnings.simplefilter("ignore")
        if contender.endswith(KEPT) and not keep_freed_memory():
            raise RuntimeError("freed memory is not kept: no glibc, or told otherwise")
        MADE[key] = call_of(of, contender, case)
        began = time.perf_counter()
        MADE[key]()
        first = time.perf_counter() - began
    faults, began = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.process_time()
    MADE[key]()
    seconds = time.process_time() - began
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults, first


def call_of(of: str, contender: str, case: str) -> Callable[[], Any]:
    if of == "training":
        return trainings()[contender](case)
    run, (energy, x0), gradients = contenders()[contender], built(case), CASES[case][3]
    return lambda: run(energy, x0, gradients)


def ratios(of: str, cases: dict[str, float], names: list[str], rounds: int) -> list[dict[str, Any]]:
    """A row for each contender of each case, which has its share of the rounds."""
    rows: list[dict[str, Any]] = []
    for case, share in cases.items():
        # new ones for each case: what glibc gives back depends on what was freed before
        processes = {name: ProcessPoolExecutor(1, get_context("spawn")) for name in names}
        # convolutions in a compiled loop: 51 times the floor on a CPU
        runs = [name for name in names if "MLP" in case or "blackjax" not in name]
        found = {name: [processes[name].submit(answer, of, name, case).result()] for name in runs}
        for _ in range(max(3, round(share * rounds))):
            for name in random.sample(runs, len(runs)):
                found[name].append(processes[name].submit(answer, of, name, case).result())
        gradients = CASES[case][3] if of == "chains" else 0
        if of == "training":
            *_, k, _, times = TRAININGS[case]
            gradients = times * (k + 3)
        for name, timings in found.items():
            seconds, faults, first = zip(*timings, strict=True)
            floors = [timing[0] for timing in found["floor"]]
            each = [t / b for t, b in zip(seconds[1:], floors[1:], strict=True)]
            low, median, high = statistics.quantiles(each)
            rows.append(
                {
                    "of": of,
                    "case": case,
                    "run": name,
                    "ratio": median,
                    "q1": low,
                    "q3": high,
                    "rounds": len(each),
                    "ms_per_gradient": 1e3 * statistics.median(seconds[1:]) / gradients,
                    "faults_per_gradient": statistics.median(faults[1:]) / gradients,
                    "first_call_s": first[0],
                    "ratios": each,
                }
            )
            show(rows[-1])
        print()
        for process in processes.values():
            process.shutdown()
    return rows


def show(row: dict[str, Any]) -> None:
    spread = f"{row['ratio']:.2f} ({row['q1']:.2f}-{row['q3']:.2f})"
    first = f"   first call {row['first_call_s']:.0f} s" if "compiled" in row["run"] else ""
    print(
        f"{row['case']:<24}{row['run']:<22}{row['ms_per_gradient']:>9.3f}{spread:>20}"
        f"{row['faults_per_gradient']:>9.0f}{first}",
        flush=True,
    )


#: (what, rows of, case, this against the fastest of those, at least) unless at most
PEERS = ("ebmkit Langevin", "torchebm Langevin")
TARGETS = (
    ("chains", "MLP, 128 chains", "Langevin", PEERS, 1.25),
    ("chains", "MLP, 1,024 chains", "Langevin", PEERS, 1.1),
    ("chains", "MLP, 4,096 chains", "Langevin", PEERS, 1.1),
    ("chains", "ConvNet, 32 × 3×32×32", "Langevin", PEERS, 1.15),
    ("chains", "ResNet, 32 × 3×32×32", "Langevin", PEERS, 1.4),
    ("chains", "MLP, 128 chains", "Langevin, compiled", PEERS, 1.9),
    ("chains", "MLP, 1,024 chains", "Langevin, compiled", PEERS, 1.2),
    ("chains", "MLP, 4,096 chains", "Langevin, compiled", PEERS, 1.2),
    ("chains", "MLP, 128 chains", "Stanley", ("Langevin",), 1 / 1.15),
    ("chains", "ConvNet, 32 × 3×32×32", "Stanley", ("Langevin",), 1 / 1.03),
    ("training", "rings", "stanley", ("ebmkit", "torchebm"), 1.15),
    ("training", "MNIST-small", "stanley", ("ebmkit", "torchebm"), 1.1),
    ("training", "paper ConvNet", "stanley", ("ebmkit", "torchebm"), 1.1),
)


def against(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Speed of one contender in terms of the fastest of others, round by round: median, quartiles,
    and whether it is what was aimed at. Also of the same contender with memory kept.
    """
    found = []
    by_name = {(row["of"], row["case"], row["run"]): row for row in rows}
    for of, case, name, others, least in TARGETS:
        rivals = [by_name[of, case, o] for o in others if (of, case, o) in by_name]
        for run in (name, name + KEPT):
            mine = by_name.get((of, case, run))
            if mine is None or not rivals:
                continue
            rival = min(rivals, key=lambda row: row["ratio"])
            speeds = [b / a for a, b in zip(mine["ratios"], rival["ratios"], strict=True)]
            low, median, high = statistics.quantiles(speeds)
            found.append(
                {"of": of, "case": case, "run": run, "against": rival["run"], "speed": median}
                | {"q1": low, "q3": high, "wanted": least, "reached": median >= least}
            )
            print(
                f"{of:<10}{case:<24}{run:<20} {median:.2f} ({low:.2f}-{high:.2f}) of the speed of"
                f" {rival['run']}; aimed at {least:.2f}:"
                f" {'reached' if median >= least else 'missed'}",
                flush=True,
            )
    return found


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
    "ConvNet, 32 × 3×32×32": (8, 16),
    "ResNet, 32 × 3×32×32": (8, 16),
    "MLP, 4,096 chains": (512, 1024),
    "MLP, 1,024 chains": (256, 512),
}


def in_chunks(rounds: int = 6) -> list[dict[str, Any]]:
    """Langevin with its gradients taken for some chains at a time, and with weights in plain order
    of memory: median ratio to the floor of the same round."""
    found = []
    keep_freed_memory()  # else chunks gain what they only save of clean pages
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
                began = time.process_time()
                runs[name](potentials[name], x0, gradients)
                times[name].append(time.process_time() - began)
        for name, took in times.items():
            ratio = statistics.median([t / b for t, b in zip(took, times["floor"], strict=True)])
            found.append({"case": case, "chunk": name, "ratio": ratio, "rounds": rounds})
            print(f"{case:<24}chunk {name:<8}{ratio:>6.2f}", flush=True)
    return found


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
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="the small cases alone")
    parser.add_argument(
        "--chunks", action="store_true", help="gradients in chunks, and plain memory order, alone"
    )
    parser.add_argument("--json", help="keep the numbers in this file")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    if arguments.chunks:
        in_chunks()
        return
    report: dict[str, Any] = {
        "torch": torch.__version__,
        "machine": machine(),
        "load": os.getloadavg()[0],
        "command": "python benchmarks/chain_speed.py " + " ".join(sys.argv[1:]),
    }
    print(f"torch {report['torch']}, one thread, {report['machine']}, load {report['load']:.1f}\n")
    print(f"{'case':<24}{'run':<22}{'ms/grad':>9}{'/ floor (quartiles)':>20}{'faults':>9}")
    cases = {c: CASES[c][4] for c in CASES if not arguments.quick or c in QUICK}
    report["rows"] = ratios("chains", cases, list(contenders()), arguments.rounds)
    shares = {"rings": 2.0, "MNIST-small": 1.0, "paper ConvNet": 0.7}
    shares = {case: shares[case] for case in shares if not arguments.quick or case == "rings"}
    report["rows"] += ratios("training", shares, list(trainings()), arguments.rounds)
    report["against"] = against(report["rows"])
    if not arguments.quick:
        report["growth"] = growth()
    if arguments.json:
        Path(arguments.json).parent.mkdir(parents=True, exist_ok=True)
        Path(arguments.json).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""A run in a stack is the run alone, to rounding; nothing that happens to one reaches another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stanley.data import Moons, Rings, next_batch
from stanley.errors import StanleyError
from stanley.networks import MLP, ResNet, build_energy
from stanley.networks.side_by_side import Networks, Rows, side_by_side
from stanley.runs import checkpoint
from stanley.runs.directory import RunDirectory
from stanley.samplers import (
    HMC,
    MALA,
    Adjusted,
    ClippedLangevin,
    Langevin,
    MALAWithJumps,
    Quantile,
    RobbinsMonro,
    Stanley,
)
from stanley.samplers.base import evaluate
from stanley.samplers.joint import joint
from stanley.samplers.noise import Generators, normal_like, uniform_like
from stanley.samplers.scale import QuantileOfEach, follow_threshold, resolve_threshold
from stanley.training import opening, stack_step, step
from stanley.training.config import TrainConfig
from stanley.training.interrupts import Interrupts
from stanley.training.loop import train
from stanley.training.objectives import Contrastive, Growth, ScoreMatching
from stanley.training.optim import SGD, Adam
from stanley.training.stack import train_stack, why_not_stackable
from stanley.types import Potential
from tests.conftest import changed, without_time
from tests.seeds import fresh, fresh_seed

ROUNDING = 1e-9  # after eight steps in float64; another draw of noise changes the first digits

#: For each kind of sampler the first, and how the numbers of the others differ from it.
SAMPLERS: dict[str, tuple[Any, ...]] = {
    "langevin": (Langevin(0.02), Langevin(0.05), Langevin(0.01)),
    "clipped": (ClippedLangevin(0.02, 1.0), ClippedLangevin(0.03, 0.3), ClippedLangevin(0.02, 2.0)),
    "stanley": (Stanley(0.05, 1.0), Stanley(0.02, 0.2), Stanley(0.05, 0.5)),
    "stanley-quantile": tuple(Stanley(0.05, Quantile(q)) for q in (0.9, 0.3, 0.7)),
    "stanley-sample": tuple(Stanley(0.05, th, "sample") for th in (0.2, 1.0, 0.1)),
    "stanley-sample-quantile": tuple(
        Stanley(h, Quantile(0.6), "sample", floor=0.1) for h in (0.05, 0.02, 0.09)
    ),
    "stanley-start": tuple(Stanley(0.05, th, refresh="start") for th in (0.2, 1.0, 0.1)),
    "stanley-drift": tuple(Stanley(0.05, th, correction="drift") for th in (0.2, 1.0, 0.1)),
    "stanley-midpoint": tuple(
        Stanley(0.05, Quantile(q), correction="midpoint") for q in (0.5, 0.9, 0.8)
    ),
    "adjusted": tuple(Adjusted(Stanley(0.2, th)) for th in (0.2, 1.0, 0.1)),
    "adjusted-quantile": tuple(Adjusted(Stanley(h, Quantile(0.7))) for h in (0.2, 0.1, 0.4)),
    "adjusted-langevin": tuple(Adjusted(Langevin(h)) for h in (0.2, 0.1, 0.4)),
    "mala": (MALA(0.1), MALA(0.3), MALA(0.2)),
    "jumps": tuple(
        MALAWithJumps(h, s, p) for h, s, p in ((0.1, 1.0, 0.1), (0.3, 2.0, 0.4), (0.2, 0.5, 0.2))
    ),
    "jumps-by-spread": tuple(MALAWithJumps(h, None) for h in (0.1, 0.3, 0.2)),
}


@pytest.fixture(autouse=True)
def without_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda file: None)


@pytest.fixture
def exact() -> Iterator[None]:
    """Networks and chains in float64."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def three(small: TrainConfig, samplers: Sequence[Any], adapt: bool = False) -> list[TrainConfig]:
    """Runs that differ in all that may differ."""
    small = changed(small, steps=8, save_every=4, adapt=None, spread_limit=1e9)
    rates = [
        RobbinsMonro(rate=r, target_acceptance=a) for r, a in ((0.5, None), (0.9, 0.3), (0.2, 0.8))
    ]
    return [
        changed(
            small,
            seed=fresh_seed(),
            sampler=samplers[s],
            optimizer=Adam((2e-3, 1e-3, 4e-3)[s], (0.0, 0.9, 0.5)[s], (0.99, 0.9, 0.999)[s]),
            ema=(0.9, 0.5, 0.0)[s],
            warmup=(0, 5, 3)[s],
            decay=(1.0, 0.5, 0.0)[s],
            clip_norm=(0.0, 0.05, 1.0)[s],
            data_noise=(0.0, 0.05, 0.1)[s],
            bank_size=(64, 40, 50)[s],
            restart=(0.1, 0.0, 0.5)[s],
            adapt=rates[s] if adapt else None,
        )
        for s in range(3)
    ]


def newest(run: RunDirectory) -> checkpoint.Checkpoint:
    found = checkpoint.newest(run.checkpoints)
    assert found is not None
    return found


def distance(a: RunDirectory, b: RunDirectory) -> float:
    """Between two runs' last states and records, relative to 1; they hold the same things."""
    one, two = newest(a), newest(b)
    assert set(one.tensors) == set(two.tensors)
    far = [0.0]
    for name, tensor in one.tensors.items():
        other = two.tensors[name]
        assert (tensor.dtype, tensor.shape) == (other.dtype, other.shape), name
        if name.startswith("generator"):
            assert torch.equal(tensor, other), name
        else:
            off = (tensor - other).abs() / (1 + other.abs())
            far += off.flatten().tolist()
    numbers = ("step_size", "slowdown")
    far += [abs(one.meta[k] - two.meta[k]) for k in numbers]
    assert {k: v for k, v in one.meta.items() if k not in numbers} == {
        k: v for k, v in two.meta.items() if k not in numbers
    }
    records = zip(without_time(a.records()), without_time(b.records()), strict=True)
    for mine, theirs in records:
        assert mine.keys() == theirs.keys()
        assert [k for k in mine if mine[k] is None] == [k for k in mine if theirs[k] is None]
        # records hold float32
        told = [(mine[k], theirs[k]) for k in mine if mine[k] is not None]
        off = max(abs(x - y) / (1 + abs(y)) for x, y in told)
        far.append(0.0 if off < 1e-6 else off)
    return max(far)


def outs(folder: Path, num: int = 3) -> list[Path]:
    return [folder / str(s) for s in range(num)]


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.usefixtures("exact")
def test_each_is_the_run_alone(small: TrainConfig, tmp_path: Path, name: str) -> None:
    samplers = SAMPLERS[name]
    configs = three(small, samplers, adapt=name.startswith(("adjusted", "mala", "jumps")))
    runs = train_stack(configs, outs(tmp_path / "stack"), device="cpu")
    for config, run, out in zip(configs, runs, outs(tmp_path / "alone"), strict=True):
        assert distance(run, train(config, out, device="cpu")) < ROUNDING


@pytest.mark.parametrize("name", ["langevin", "jumps"])
@pytest.mark.usefixtures("exact")
def test_with_the_numbers_of_another_it_is_not(
    small: TrainConfig, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: as little as one generator in the place of another is seen."""
    configs = three(small, SAMPLERS[name])
    monkeypatch.setattr(stack_step, "Generators", lambda own: Generators([*own][::-1]))
    configs = [replace(config, objective=configs[0].objective) for config in configs]
    runs = train_stack(configs, outs(tmp_path / "stack"), device="cpu")
    monkeypatch.undo()
    middle, *others = (1, 0, 2)
    alone = [train(c, o, device="cpu") for c, o in zip(configs, outs(tmp_path / "a"), strict=True)]
    assert distance(runs[middle], alone[middle]) < ROUNDING
    for s in others:
        pair = newest(runs[s]).tensors, newest(alone[s]).tensors
        far = [(x["bank.positions"]) for x in pair]
        assert float((far[0] - far[1]).abs().max()) > 1e-2


CHANGES: dict[str, dict[str, Any]] = {
    "data": {"start": "data"},
    "noise": {"start": "noise"},
    "growth": {"growth": Growth(6)},
    "reference": {"reference_std": 2.0},
    "temperature": {"temperature": 0.5},
    "features": {"network": MLP(width=16, fourier=4)},
    "deep": {"network": MLP(width=12, depth=3, activation="leaky-relu"), "data": Moons(num=2000)},
    "reference and features": {"network": MLP(16, fourier=4), "reference_std": 2.0},
    "stuck": {"free_stuck": 1.0},
    "odd": {"batch": 13},
    "momentum": {"optimizer": SGD(1e-2, 0.9)},
    "no momentum": {"optimizer": SGD(1e-2)},
    "no penalty": {"energy_l2": 0.0},
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.usefixtures("exact")
def test_with_each_setting(
    small: TrainConfig, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = [changed(c, **CHANGES[name]) for c in three(small, SAMPLERS["mala"], adapt=True)]
    for module in (step, stack_step):  # chains that start from data are of their type
        monkeypatch.setattr(module, "next_batch", lambda *given: next_batch(*given).double())
    runs = train_stack(configs, outs(tmp_path / "stack"), device="cpu")
    for config, run, out in zip(configs, runs, outs(tmp_path / "alone"), strict=True):
        assert distance(run, train(config, out, device="cpu")) < ROUNDING


class Own(nn.Module):
    """A network of a user, with weights that it uses twice and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.twice, self.last = nn.Linear(2, 8), nn.Linear(8, 8), nn.Linear(8, 1)
        self.register_buffer("shift", torch.ones(2))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.first(x - self.shift))
        return self.last(torch.tanh(self.twice(torch.tanh(self.twice(h))))).squeeze(1)


@pytest.mark.usefixtures("exact")
def test_a_network_of_ones_own(
    small: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "probe", lambda *given: None)  # which asks for float32
    configs, energy = three(small, SAMPLERS["stanley-drift"]), Own()
    runs = train_stack(configs, outs(tmp_path / "stack"), device="cpu", energy=energy)
    for config, run, out in zip(configs, runs, outs(tmp_path / "alone"), strict=True):
        assert distance(run, train(config, out, device="cpu", energy=energy)) < ROUNDING


class TestOneThatGoesWrong:
    def configs(self, small: TrainConfig, **changes: Any) -> list[TrainConfig]:
        configs = three(small, SAMPLERS["langevin"])
        configs = [changed(config, save_every=3) for config in configs]
        # first gaps are about 0.1, and steps of 10 in every weight make them 1e4 and more
        bad = replace(configs[1], optimizer=Adam(lr=10.0), warmup=0)
        configs[1] = changed(bad, gap_limit=5.0, **changes)
        return configs

    def test_stops_alone_and_the_others_do_not_notice(
        self, small: TrainConfig, tmp_path: Path
    ) -> None:
        """Bit for bit, with batch and widths multiples of 16, on one thread."""
        configs, paths = self.configs(small), outs(tmp_path / "three")
        with pytest.warns(UserWarning, match=r"three/1: training diverged at step \d+: \|gap\|"):
            runs = train_stack(configs, paths, device="cpu")
        event = runs[1].events()[-1]
        assert event["kind"] == "diverged"
        assert len(runs[1].records()) == event["step"] - 1
        assert newest(runs[1]).step == event["checkpoint"] < event["step"] <= 8
        two = train_stack(configs[::2], outs(tmp_path / "two", 2), device="cpu")
        for with_it, without in zip(runs[::2], two, strict=True):
            a, b = newest(with_it), newest(without)
            assert a.step == b.step == 8
            if torch.backends.mkl.is_available():
                assert all(torch.equal(a.tensors[k], b.tensors[k]) for k in a.tensors)
                assert without_time(with_it.records()) == without_time(without.records())

    @pytest.mark.usefixtures("exact")
    def test_goes_back_alone(self, small: TrainConfig, tmp_path: Path) -> None:
        configs = self.configs(small, on_divergence="rollback", max_rollbacks=40)
        with pytest.warns(UserWarning, match="goes back to step"):
            runs = train_stack(configs, outs(tmp_path / "stack"), device="cpu")
        with pytest.warns(UserWarning, match="goes back to step"):
            alone = train(configs[1], tmp_path / "alone", device="cpu")
        assert distance(runs[1], alone) < ROUNDING
        told = ("kind", "step", "checkpoint", "slowdown")
        events = [[[e[k] for k in told] for e in run.events()] for run in (runs[1], alone)]
        assert events[0] == events[1] != []
        for s in (0, 2):
            assert runs[s].events() == []
            other = train(configs[s], tmp_path / f"alone{s}", device="cpu")
            assert distance(runs[s], other) < ROUNDING


def test_records_read_together_and_a_bar_change_nothing(
    small: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configs = three(small, SAMPLERS["langevin"])
    one = train_stack(configs, outs(tmp_path / "one"), device="cpu")
    five = train_stack(
        configs, outs(tmp_path / "five"), device="cpu", read_every=5, progress=True, title="three"
    )
    for a, b in zip(one, five, strict=True):
        first, second = newest(a).tensors, newest(b).tensors
        assert all(torch.equal(first[k], second[k]) for k in first)
        assert without_time(a.records()) == without_time(b.records())
    said = capsys.readouterr().err
    assert "three" in said
    assert "8/8" in said
    assert "3 runs" in said


class TestResumed:
    def test_equals_unbroken(self, small: TrainConfig, tmp_path: Path) -> None:
        """Also where it was killed between the checkpoints of two runs: bit for bit, as above."""
        configs = three(small, SAMPLERS["jumps"], adapt=True)
        unbroken = train_stack(configs, outs(tmp_path / "unbroken"), device="cpu")
        for lost in ((0, 1, 2), (1,), (0, 2)):
            paths = outs(tmp_path / f"{lost}")
            broken = train_stack(configs, paths, device="cpu")
            for s in lost:
                checkpoint.saved(broken[s].checkpoints)[-1].unlink()
                assert newest(broken[s]).step == 4
            resumed = train_stack(configs, paths, device="cpu")
            for a, b in zip(unbroken, resumed, strict=True):
                assert [r["step"] for r in b.records()] == list(range(1, 9))
                if torch.backends.mkl.is_available():
                    one, two = newest(a), newest(b)
                    assert all(torch.equal(one.tensors[k], two.tensors[k]) for k in one.tensors)
                    assert one.meta == two.meta
                    assert without_time(a.records()) == without_time(b.records())

    @pytest.mark.parametrize("saves", [1, 2, 3, 4, 5, 7])
    def test_wherever_it_ends(
        self, small: TrainConfig, tmp_path: Path, saves: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """After the first checkpoint, between those of two runs, and so on; as above."""
        configs = [changed(c, steps=6, save_every=3) for c in three(small, SAMPLERS["stanley"])]
        unbroken = train_stack(configs, outs(tmp_path / "unbroken"), device="cpu")
        told, save = [0], opening.save

        def saved(*given: Any) -> None:
            save(*given)
            told[0] += 1
            if told[0] == saves:
                raise SystemExit

        monkeypatch.setattr(opening, "save", saved)
        with pytest.raises(SystemExit):
            train_stack(configs, outs(tmp_path / "broken"), device="cpu")
        monkeypatch.undo()
        resumed = train_stack(configs, outs(tmp_path / "broken"), device="cpu")
        for a, b in zip(unbroken, resumed, strict=True):
            assert newest(a).step == newest(b).step == 6
            if torch.backends.mkl.is_available():
                one, two = newest(a).tensors, newest(b).tensors
                assert all(torch.equal(one[k], two[k]) for k in one)
                assert without_time(a.records()) == without_time(b.records())

    @pytest.mark.usefixtures("exact")
    def test_alone_or_begun_alone(self, small: TrainConfig, tmp_path: Path) -> None:
        configs = three(small, SAMPLERS["adjusted"], adapt=True)
        paths = outs(tmp_path)
        alone = [
            train(c, o, device="cpu")
            for c, o in zip(configs, outs(tmp_path / "alone"), strict=True)
        ]
        begun = [
            *train_stack(configs[:2], paths[:2], device="cpu"),
            train(configs[2], paths[2], device="cpu"),
        ]
        for run in begun:
            checkpoint.saved(run.checkpoints)[-1].unlink()
        train(configs[0], paths[0], device="cpu")
        train_stack(configs[1:], paths[1:], device="cpu")
        for run, other in zip(begun, alone, strict=True):
            assert newest(run).step == 8
            assert distance(run, other) < ROUNDING

    def test_finished_runs_are_left_as_they_are(self, small: TrainConfig, tmp_path: Path) -> None:
        configs, paths = three(small, SAMPLERS["mala"]), outs(tmp_path)
        runs = train_stack(configs, paths, device="cpu")
        before = [path.read_bytes() for run in runs for path in checkpoint.saved(run.checkpoints)]
        train_stack(configs, paths, device="cpu")
        after = [path.read_bytes() for run in runs for path in checkpoint.saved(run.checkpoints)]
        assert before == after

    def test_after_ctrl_c(
        self, small: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        configs, paths = three(small, SAMPLERS["mala"], adapt=True), outs(tmp_path / "broken")
        whole = train_stack(configs, outs(tmp_path / "whole"), device="cpu")
        monkeypatch.setattr(Interrupts, "__enter__", lambda self: [self.note(2, None), self][1])  # type: ignore[arg-type]
        for num in (1, 2):
            with pytest.raises(KeyboardInterrupt, match=f"interrupted at step {num}"):
                train_stack(configs, paths, device="cpu")
            assert {newest(RunDirectory(path)).step for path in paths} == {num}
        monkeypatch.undo()
        for a, b in zip(whole, train_stack(configs, paths, device="cpu"), strict=True):
            one, two = newest(a), newest(b)
            assert all(torch.equal(one.tensors[k], two.tensors[k]) for k in one.tensors)


KILLED = """
import sys
from dataclasses import replace
from stanley import Contrastive, MALA, MLP, Rings, TrainConfig, train_stack
from stanley.samplers import RobbinsMonro
objective = Contrastive(chain_steps=2, bank_size=32, adapt=RobbinsMonro())
config = TrainConfig(Rings(num=200), MLP(width=16), MALA(0.09), objective=objective, batch=16,
                     steps=int(sys.argv[1]), save_every=5)
train_stack([replace(config, seed=s) for s in range(3)],
            [f"{sys.argv[2]}/{s}" for s in range(3)], device="cpu")
"""


@pytest.mark.slow
def test_killed_and_resumed_equals_unbroken(tmp_path: Path) -> None:
    """SIGKILL wherever it comes, twice; bit for bit, as above."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def begin(name: str) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-c", KILLED, "400", str(tmp_path / name)]
        return subprocess.Popen(words, env=environment)

    unbroken = begin("unbroken")
    for steps in (20, 60):
        process, records = begin("broken"), tmp_path / "broken/1/records.jsonl"
        end = time.monotonic() + 120
        while not records.exists() or records.read_bytes().count(b"\n") < steps:
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert begin("broken").wait(120) == 0
    assert unbroken.wait(120) == 0
    for s in range(3):
        a, b = (RunDirectory(tmp_path / name / str(s)) for name in ("unbroken", "broken"))
        assert newest(a).step == newest(b).step == 400
        assert [event["kind"] for event in b.events()] == ["resumed", "resumed"]
        if torch.backends.mkl.is_available():
            one, two = newest(a).tensors, newest(b).tensors
            assert all(torch.equal(one[k], two[k]) for k in one)
            assert without_time(a.records()) == without_time(b.records())


REASONS: dict[str, tuple[dict[str, Any], str]] = {
    "kind": ({"sampler": Langevin(0.1), "adapt": None}, "sampler is 'mala' in one and 'langevin'"),
    "network": ({"network": MLP(width=8)}, "network is .* in one and .* in another"),
    "data": ({"data": Rings(num=1000)}, "data is"),
    "steps": ({"steps": 30}, "steps is 24 in one and 30 in another"),
    "batch": ({"batch": 16}, "batch is 32 in one and 16 in another"),
    "chain steps": ({"chain_steps": 5}, "objective.chain_steps is 3 in one and 5 in another"),
    "penalty": ({"energy_l2": 0.0}, "objective.energy_l2 is 0.01 in one and 0.0 in another"),
    "optimiser": ({"optimizer": SGD()}, "optimizer is 'adam' in one and 'sgd' in another"),
    "objective": ({"objective": ScoreMatching()}, "objective is 'score-matching', and must be"),
    "chunks": ({"chunk_size": 8}, "chunk_size is 8, and must be null"),
    "KL": (
        {"sampler": Langevin(0.1), "adapt": None, "kl_weight": 0.5},
        "objective.kl_weight is 0.5, and must be 0",
    ),
    "HMC": ({"sampler": HMC(0.1)}, "sampler 'hmc' is none of langevin, stanley"),
    "lagged": (
        {"sampler": Stanley(0.1, refresh="lagged"), "adapt": None},
        "sampler.refresh is 'lagged', by which chains look at each other",
    ),
    "spectral": (
        {"network": ResNet(spectral_norm=True)},
        "network.spectral_norm is set: weights that are computed from others",
    ),
}


class TestRefused:
    @pytest.mark.parametrize("name", REASONS)
    def test_with_the_reason(self, small: TrainConfig, tmp_path: Path, name: str) -> None:
        changes, reason = REASONS[name]
        objective = {"objective": changes["objective"]} if "objective" in changes else {}
        rest = {k: v for k, v in changes.items() if k != "objective"}
        other = replace(changed(small, **rest), **objective)
        assert why_not_stackable([small, replace(small, seed=9)]) is None
        with pytest.raises(StanleyError, match=f"cannot be trained as one: {reason}") as error:
            train_stack([small, other], outs(tmp_path, 2))
        assert "\n" not in str(error.value)
        assert str(error.value).endswith("train each alone")
        assert not (tmp_path / "0").exists()

    def test_numbers_of_a_sampler_that_all_chains_share(self, small: TrainConfig) -> None:
        one, two = (
            changed(small, sampler=Stanley(0.1, 1.0, floor=floor), adapt=None)
            for floor in (0.0, 0.1)
        )
        assert why_not_stackable([one, two]) == "sampler.floor is 0.0 in one and 0.1 in another"
        mixed = changed(small, sampler=Stanley(0.1, Quantile(0.5)), adapt=None)
        assert (why_not_stackable([one, mixed]) or "").startswith("sampler.threshold is 1.0 in one")

    def test_networks_that_are_not_a_function_of_weights_and_x(self, small: TrainConfig) -> None:
        for part, reason in (
            (nn.Dropout(), "has a Dropout, which is another function at each call"),
            (nn.BatchNorm1d(2), "has a BatchNorm1d"),
            (nn.utils.parametrizations.spectral_norm(nn.Linear(2, 2)), "computed from others"),
            (nn.Linear(2, 2).requires_grad_(False), "weights that are not trained"),
            (nn.Linear(2, 2).double(), "weights of several types"),
        ):
            energy = nn.Sequential(nn.Linear(2, 2), part, nn.Linear(2, 1), nn.Flatten(0))
            assert reason in (why_not_stackable([small], energy=energy) or "")

    @pytest.mark.parametrize(
        ("paths", "more", "reason"),
        [
            (["a"], {}, "2 configurations and 1 run directories"),
            (["a", "./a"], {}, r"a is given for two runs"),
            (["a", "b"], {"track": "wandb"}, "'wandb', which follows one run of a process"),
            (["a", "b"], {"data": iter([torch.zeros(64, 2)])}, "the data are an iterable"),
        ],
        ids=["lengths", "twice", "wandb", "iterable"],
    )
    @pytest.mark.filterwarnings("ignore:the data")
    def test_requests(
        self,
        small: TrainConfig,
        tmp_path: Path,
        paths: list[str],
        more: Any,
        reason: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(StanleyError, match=reason):
            train_stack([small, small], paths, **more)

    def test_networks_that_look_at_numbers(self, small: TrainConfig, tmp_path: Path) -> None:
        class Looks(nn.Linear):
            def forward(self, x: Tensor) -> Tensor:
                y = super().forward(x).squeeze(1)
                return y if float(x.sum().detach()) < 1e9 else -y

        reason = r"trained as one: Looks is no function for torch.vmap \(.*\); train each alone"
        with pytest.raises(StanleyError, match=reason):
            train_stack([small], [tmp_path / "a"], energy=Looks(2, 1), device="cpu")

    def test_no_runs(self) -> None:
        with pytest.raises(StanleyError, match="there are no runs to train"):
            train_stack([], [])


def test_what_may_differ(small: TrainConfig) -> None:
    configs = three(small, SAMPLERS["jumps"], adapt=True)
    configs += [changed(c, gap_limit=5.0, keep=1, save_every=4, max_rollbacks=9) for c in configs]
    assert isinstance(configs[0].objective, Contrastive)
    assert why_not_stackable(configs) is None


class TestPieces:
    def test_generators_give_each_run_what_it_would_draw_alone(self) -> None:
        seeds = [fresh_seed() for _ in range(3)]
        own = [torch.Generator().manual_seed(seed) for seed in seeds]
        together, x = Generators(own), torch.zeros(12, 5)
        drawn = [normal_like(x, together), uniform_like(x[:, 0], together)]
        for s, seed in enumerate(seeds):
            alone, rows = torch.Generator().manual_seed(seed), slice(4 * s, 4 * s + 4)
            assert torch.equal(drawn[0][rows], normal_like(x[rows], alone))
            assert torch.equal(drawn[1][rows], uniform_like(x[rows, 0], alone))

    @pytest.mark.parametrize("scope", ["element", "sample", "pixel"])
    def test_quantiles_of_each_are_those_of_its_chains(self, scope: Any) -> None:
        shares, g = [0.9, 0.2, 0.5], fresh()
        grad = torch.randn(3 * 400, 3, 2, 2, generator=g) * torch.rand(1200, 1, 1, 1, generator=g)
        grad[::97] = torch.inf
        each = QuantileOfEach(torch.tensor(shares))
        together = resolve_threshold(each, grad, scope)
        later = follow_threshold(together / 3, each, grad, scope)
        assert later is not None
        for s, share in enumerate(shares):
            rows = slice(400 * s, 400 * s + 400)
            alone = resolve_threshold(Quantile(share), grad[rows], scope)
            after = follow_threshold(alone / 3, Quantile(share), grad[rows], scope)
            assert (together[rows] == alone).all()
            assert (later[rows] == after).all()

    @pytest.mark.parametrize("fourier", [0, 3])
    @pytest.mark.parametrize("reference_std", [None, 2.0])
    def test_energies_side_by_side(self, fourier: int, reference_std: float | None) -> None:
        """By hand, by autograd, by vmap and one by one: values and both gradients."""
        spec = MLP(width=16, depth=2, fourier=fourier, activation="gelu")
        energies = [
            build_energy(spec, (2,), seed=fresh_seed(), reference_std=reference_std).double()
            for _ in range(3)
        ]
        x = torch.randn(3 * 32, 2, generator=fresh(), dtype=torch.float64)
        rows = Rows([p.shape for p in energies[0].parameters()], 3, x)
        for s, energy in enumerate(energies):
            for own, parameter in zip(rows.of(s), energy.parameters(), strict=True):
                own.copy_(parameter.detach())
        alone = [evaluate(e, part) for e, part in zip(energies, x.chunk(3), strict=True)]
        of_weights = [
            torch.autograd.grad(e(part).sum(), [*e.parameters()])
            for e, part in zip(energies, x.chunk(3), strict=True)
        ]
        by_hand = side_by_side(energies, rows)
        of_each = list(by_hand.parameters())
        by_vmap = Networks(energies, of_each)
        for stack in (by_hand, joint(Potential(by_hand), x), by_vmap):
            state = evaluate(stack, x)
            for name in ("potential", "grad"):
                wanted = torch.cat([getattr(a, name) for a in alone])
                torch.testing.assert_close(getattr(state, name), wanted)
        for stack in (by_hand, by_vmap):
            found = torch.autograd.grad(stack(x).sum(), of_each)
            for s, wanted in enumerate(of_weights):
                for mine, theirs in zip(found, wanted, strict=True):
                    torch.testing.assert_close(mine[s], theirs)

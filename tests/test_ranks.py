"""Two processes compute what one would: the same data order, gradients and bank;
none waits for one that failed.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from stanley import cli
from stanley.data import Array, Dataset
from stanley.errors import DivergenceError, StanleyError
from stanley.networks import MLP, ConvNet, LevelEnergy, LevelMLP, ResNet
from stanley.ranks import Parallel, World, gather_weights, joined, unsharded
from stanley.runs import checkpoint
from stanley.runs.directory import RunDirectory
from stanley.samplers import GradientDescent, Langevin, Quantile, Stanley
from stanley.torchrun import Process, this_process
from stanley.training import state as train_state
from stanley.training.config import TrainConfig
from stanley.training.frozen import frozen
from stanley.training.kl_term import LastStep
from stanley.training.loop import train
from stanley.training.objectives import Denoising, WarmStart
from stanley.training.objectives import contrastive as iteration
from stanley.training.objectives.contrastive import backward
from stanley.training.objectives.denoising import denoising_loss
from stanley.training.opening import open_run
from stanley.training.optim import SGD, Adam
from stanley.training.state import TrainState
from tests.conftest import changed, without_time
from tests.rank_processes import on_ranks
from tests.training.test_loop import newest, same_state

#: Relative to the largest entry. Sums in another order are off by some units in the last place,
#: 2e-16 in float64 and 1e-7 in float32; a gradient that is not averaged is off by its own size.
EXACT, ROUNDING = 1e-12, 1e-6
LEVELS = LevelMLP(width=8, depth=1, fourier=2)


# what the ranks do; at the top level, so that another process can import it


def trained(config: TrainConfig, out: Path, parallel: Parallel = "ddp") -> Path:
    return train(config, out, device="cpu", parallel=parallel).path


def wrongly_trained(config: TrainConfig, out: Path) -> Path:
    """The negative control: the loss of the raw energy, around DDP."""
    right = train_state.parallel_model
    train_state.parallel_model = lambda energy, world, parallel: (
        right(energy, world, parallel),
        energy,
    )[1]
    return trained(config, out)


def gradients(
    config: TrainConfig, parallel: Parallel, shape: tuple[int, ...], raw: bool
) -> dict[str, Tensor]:
    """∇_θ L of a whole batch as this rank has it after `backward`, in float64;
    chains end one step from `before`.
    """
    torch.set_default_dtype(torch.float64)
    try:
        with joined("cpu") as world:
            x_pos, x_neg, before = torch.randn(
                (3, *shape), generator=torch.Generator().manual_seed(0)
            )
            state = TrainState(config, Dataset(x_pos, x_pos), world, parallel)
            if raw:
                state.model = state.energy
            gather_weights(state.model)
            with frozen(state.energy):  # as the chains do before
                state.energy(x_pos)
            last = LastStep(
                config.sampler, world.part(before), torch.tensor(0.1), config.temperature
            )
            backward(
                config.objective,
                state,
                world.part(x_pos),
                world.part(x_neg),
                last if config.objective.kl_weight > 0 else None,
            )
            parameters = state.energy.named_parameters()
            return {name: unsharded(p.grad) for name, p in parameters if p.grad is not None}
    finally:
        torch.set_default_dtype(torch.float32)


def denoised_gradients(config: TrainConfig, raw: bool) -> dict[str, Tensor]:
    """∇_θ of the denoising loss of a whole batch as this rank has it, in float64."""
    torch.set_default_dtype(torch.float64)
    try:
        with joined("cpu") as world:
            generator = torch.Generator().manual_seed(0)
            x, xi = torch.randn((2, 32, 2), generator=generator)
            log_ratio = torch.randn(32, generator=generator)
            state = TrainState(config, Dataset(x, x), world)
            energy = state.energy
            assert isinstance(energy, LevelEnergy)
            model = energy if raw else state.model
            parts = denoising_loss(model, energy.std, *map(world.part, (x, log_ratio, xi)))
            (parts.score + 0.5 * parts.level).backward()
            parameters = energy.named_parameters()
            return {name: p.grad.clone() for name, p in parameters if p.grad is not None}
    finally:
        torch.set_default_dtype(torch.float32)


def failing(config: TrainConfig, out: Path, kind: str, rank: int = 1) -> Path:
    """At step 4 one rank meets an error of its own."""
    real = iteration.negative_batch

    def failing_batch(objective: Any, config: Any, state: TrainState, x_pos: Tensor) -> Any:
        if state.step == 3 and state.world.rank == rank:
            if kind == "death":
                os._exit(3)
            if kind == "interrupt":
                os.kill(os.getpid(), signal.SIGTERM)
            else:
                raise {"request": StanleyError, "bug": ZeroDivisionError}[kind]("too steep")
        return real(objective, config, state, x_pos)

    iteration.negative_batch = failing_batch
    return trained(config, out)


def own_weights(config: TrainConfig, out: Path) -> list[Tensor]:
    """Weights and averages of a module that each rank has drawn for itself."""
    torch.manual_seed(this_process().rank)
    x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    net = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.Tanh(), torch.nn.Flatten(0))
    with open_run(config, out, energy=net, data=x, device="cpu") as opened:
        state = opened.state
        return [t.clone() for e in (state.energy, state.average) for t in e.state_dict().values()]


def own_stream(config: TrainConfig, out: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train(config, out, data=iter([torch.randn(50, 2)]), device="cpu")


def restored(config: TrainConfig, out: Path) -> tuple[Tensor, Tensor, Tensor]:
    """The bank slots of this rank, its chain generator and the data generator,
    as they are after a restore.
    """
    with joined("cpu") as world:
        state = TrainState(config, config.data.load(), world)
        state.restore(newest(RunDirectory(out)))
        return (
            state.bank.positions,
            state.chain_generator.get_state(),
            state.data_generator.get_state(),
        )


def held(config: TrainConfig, parallel: Parallel) -> tuple[int, int]:
    """How many numbers of weights and their average lie on this rank, and how many there are."""
    with joined("cpu") as world:
        state = TrainState(config, config.data.load(), world, parallel)
        tensors: list[Any] = [*state.energy.parameters(), *state.average.parameters()]
        local = sum(t.to_local().numel() if hasattr(t, "to_local") else t.numel() for t in tensors)
        return local, sum(t.numel() for t in tensors)


def told(out: Path, config: TrainConfig) -> tuple[int, int, str]:
    """What `world` says: a sum, a broadcast, and the rows of all on rank 0."""
    with joined("cpu") as world:
        rows = world.gather_rows(torch.tensor([[world.rank, 10]]))
        return (
            int(world.sum(torch.tensor(world.rank + 1))),
            world.broadcast(world.rank + 7),
            str(rows.tolist()),
        )


# the tests


@pytest.fixture
def still(small: TrainConfig) -> TrainConfig:
    """No randomness but that of the data: then any number of ranks computes the same run."""
    return changed(
        small,
        start="data",
        sampler=GradientDescent(0.05),
        adapt=None,
        optimizer=SGD(lr=0.5),
        warmup=0,
        steps=6,
    )


CASES = {
    "mlp": (MLP(width=16), (16, 2)),
    "convnet": (ConvNet(width=4), (8, 3, 8, 8)),
    "resnet": (ResNet(width=4), (8, 3, 8, 8)),
    "spectral": (ResNet(width=4, spectral_norm=True), (8, 3, 8, 8)),
}


def largest(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """max |a - b| relative to max |b|."""
    assert a.keys() == b.keys()
    assert a
    return max(float((a[n] - b[n]).abs().max()) for n in b) / max(
        float(t.abs().max()) for t in b.values()
    )


class TestGradients:
    """∇_θ L of a batch split over two ranks is that of the batch in one process."""

    @pytest.mark.parametrize("case", CASES)
    @pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
    def test_equal_those_of_one_process(
        self, small: TrainConfig, case: str, parallel: Parallel
    ) -> None:
        network, shape = CASES[case]
        config = replace(small, network=network)
        alone = gradients(config, "ddp", shape, False)
        for ours in on_ranks(2, gradients, config, parallel, shape, False):
            assert largest(ours, alone) < EXACT

    def test_past_the_wrapper_they_do_not(self, small: TrainConfig) -> None:
        """Negative control: the loss of the raw energy raises nothing,
        and leaves each rank with its own gradient.
        """
        network, shape = CASES["mlp"]
        config = replace(small, network=network)
        alone = gradients(config, "ddp", shape, False)
        first, second = on_ranks(2, gradients, config, "ddp", shape, True)
        assert (
            min(largest(first, alone), largest(second, alone), largest(first, second))
            > 1000 * ROUNDING
        )
        mean = {name: (first[name] + second[name]) / 2 for name in alone}
        # what was left out is the average over the ranks, and only that
        assert largest(mean, alone) < EXACT

    @pytest.mark.parametrize("sampler", [Langevin(0.1), Stanley(0.1)], ids=lambda s: s.kind)
    @pytest.mark.parametrize("case", ["convnet", "spectral"])
    def test_of_the_kl_term_too(
        self, small: TrainConfig, case: str, sampler: Langevin | Stanley
    ) -> None:
        """It is differentiated twice. Negative control: without the term it is another gradient."""
        network, shape = CASES[case]
        config = changed(small, network=network, sampler=sampler, adapt=None, kl_weight=1.0)
        alone = gradients(config, "ddp", shape, False)
        for ours in on_ranks(2, gradients, config, "ddp", shape, False):
            assert largest(ours, alone) < EXACT
        assert largest(gradients(changed(config, kl_weight=0.0), "ddp", shape, False), alone) > 1e-6

    def test_of_the_denoising_loss_too(self, small: TrainConfig) -> None:
        """It goes through the wrapper with a second argument, and is differentiated twice."""
        config = replace(small, network=LEVELS, objective=Denoising())
        alone = denoised_gradients(config, False)
        for ours in on_ranks(2, denoised_gradients, config, False):
            assert largest(ours, alone) < EXACT
        first, second = on_ranks(2, denoised_gradients, config, True)  # the control
        assert min(largest(first, alone), largest(first, second)) > 1000 * ROUNDING


class TestWholeRuns:
    def weights(self, out: Path) -> dict[str, Tensor]:
        saved = newest(RunDirectory(out))
        return saved.part("energy") | {
            f"average.{name}": t for name, t in saved.part("average").items()
        }

    @pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
    def test_without_chain_noise_two_ranks_are_one(
        self, still: TrainConfig, tmp_path: Path, parallel: Parallel
    ) -> None:
        """Weights, average, data order and records; `spread`, a mean of two medians,
        is not the median of all.
        """
        trained(still, tmp_path / "one")
        on_ranks(2, trained, still, tmp_path / "two", parallel)
        assert largest(self.weights(tmp_path / "two"), self.weights(tmp_path / "one")) < ROUNDING
        one, two = (newest(RunDirectory(tmp_path / name)) for name in ("one", "two"))
        assert torch.equal(one.tensors["generator.data"], two.tensors["generator.data"])
        for a, b in zip(
            *(RunDirectory(tmp_path / n).records() for n in ("one", "two")), strict=True
        ):
            for name in a.keys() - {"seconds", "spread", "peak_mib"}:
                assert a[name] == (
                    None if b[name] is None else pytest.approx(b[name], rel=1e-4, abs=1e-5)
                ), name
            assert a["spread"] == pytest.approx(b["spread"], rel=0.5)

    def test_past_the_wrapper_they_are_not(self, still: TrainConfig, tmp_path: Path) -> None:
        """Negative control of the test above."""
        trained(still, tmp_path / "one")
        assert on_ranks(2, wrongly_trained, still, tmp_path / "two") == [tmp_path / "two"] * 2
        assert (
            largest(self.weights(tmp_path / "two"), self.weights(tmp_path / "one")) > 100 * ROUNDING
        )

    def test_shards_after_three_steps_are_the_weights_of_ddp(
        self, small: TrainConfig, tmp_path: Path
    ) -> None:
        """Chains, adaptation, clipping and Adam included: the same ranks draw the same numbers
        either way.
        """
        config = replace(small, steps=3)
        for parallel in ("ddp", "fsdp"):
            on_ranks(2, trained, config, tmp_path / parallel, parallel)
        assert largest(self.weights(tmp_path / "fsdp"), self.weights(tmp_path / "ddp")) < ROUNDING

    def test_a_rank_holds_its_shard_of_the_weights(self, small: TrainConfig) -> None:
        """16 rows and 1 row over 2 ranks: half of what can be halved."""
        (first, all_), (second, _) = on_ranks(2, held, small, "fsdp")
        assert first + second == all_
        assert second < all_ / 2 <= first < 0.6 * all_
        assert on_ranks(2, held, small, "ddp") == [(all_, all_)] * 2


class TestResume:
    @pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
    def test_on_as_many_ranks_equals_unbroken(
        self, small: TrainConfig, tmp_path: Path, parallel: Parallel
    ) -> None:
        config = replace(small, steps=12)
        on_ranks(2, trained, config, tmp_path / "unbroken", parallel)
        on_ranks(2, trained, config, tmp_path / "broken", parallel)
        checkpoint.saved(tmp_path / "broken" / "checkpoints")[-1].unlink()
        on_ranks(2, trained, config, tmp_path / "broken", parallel)
        unbroken, broken = RunDirectory(tmp_path / "unbroken"), RunDirectory(tmp_path / "broken")
        same_state(newest(unbroken), newest(broken))
        assert without_time(unbroken.records()) == without_time(broken.records())
        assert broken.events() == [{"kind": "resumed", "step": 6}]

    def test_a_warm_start_on_as_many_ranks_equals_unbroken(
        self, small: TrainConfig, tmp_path: Path
    ) -> None:
        """The bank is filled at step 6, after which the broken one goes on."""
        objective = WarmStart(share=0.5, contrastive=small.objective)
        config = replace(small, network=LEVELS, objective=objective, steps=12)
        on_ranks(2, trained, config, tmp_path / "unbroken")
        on_ranks(2, trained, config, tmp_path / "broken")
        checkpoint.saved(tmp_path / "broken" / "checkpoints")[-1].unlink()
        on_ranks(2, trained, config, tmp_path / "broken")
        unbroken, broken = RunDirectory(tmp_path / "unbroken"), RunDirectory(tmp_path / "broken")
        same_state(newest(unbroken), newest(broken))
        assert without_time(unbroken.records()) == without_time(broken.records())

    @pytest.mark.filterwarnings("ignore:resuming with changed steps")
    @pytest.mark.parametrize(("before", "now"), [(2, 1), (1, 2), (2, 4)])
    def test_on_another_number_keeps_the_bank(
        self, small: TrainConfig, tmp_path: Path, before: int, now: int
    ) -> None:
        out, config = tmp_path / "run", replace(small, steps=6)
        for size, steps in ((before, 6), (now, 12)):
            if steps == 12:
                saved = newest(RunDirectory(out))
                banks, chains, data = zip(*self.on(now, restored, config, out), strict=True)
                assert torch.equal(torch.cat(banks), saved.tensors["bank.positions"])
                assert all(
                    torch.equal(generator, saved.tensors["generator.data"]) for generator in data
                )
                old = [t for name, t in saved.part("generator").items() if name != "data"]
                assert len(old) == before
                # no stream twice
                assert len({bytes(t.numpy()) for t in (*old, *chains)}) == before + now
            assert self.on(size, trained, replace(config, steps=steps), out) == [out] * size
        run = RunDirectory(out)
        assert [r["step"] for r in run.records()] == list(range(1, 13))
        assert run.events()[-1] == {
            "kind": "resumed",
            "step": 6,
            "ranks": {"before": before, "now": now},
        }
        assert newest(run).ranks == now

    def on(self, size: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        return on_ranks(size, function, *arguments) if size > 1 else [function(*arguments)]

    def test_a_checkpoint_that_does_not_say_its_ranks_is_of_one(
        self, small: TrainConfig, tmp_path: Path
    ) -> None:
        run = train(replace(small, steps=6), tmp_path / "run")
        saved = newest(run)
        assert saved.ranks == 1
        del saved.meta["ranks"], saved.meta["format"]
        checkpoint.save(saved, run.checkpoints, 1)
        with pytest.warns(UserWarning, match="steps: 6 → 12"):
            resumed = train(replace(small, steps=12), run.path)
        assert [e for e in resumed.events() if e["kind"] == "resumed"] == [
            {"kind": "resumed", "step": 6}
        ]


class TestBank:
    def test_is_drawn_and_kept_in_parts(self, small: TrainConfig, tmp_path: Path) -> None:
        """One step without restarts: each rank moves batch/2 slots of its own half at most,
        and not those of a copy.
        """
        config = changed(small, restart=0.0, steps=1, sampler=Langevin(0.05), adapt=None)
        on_ranks(2, trained, config, tmp_path / "run")
        first, last = (
            checkpoint.load(p) for p in checkpoint.saved(tmp_path / "run" / "checkpoints")
        )
        before, after = first.tensors["bank.positions"], last.tensors["bank.positions"]
        assert before.shape == (64, 2)
        assert len({tuple(row) for row in before.tolist()}) == 64
        moved = (before != after).any(1)
        assert moved[:32].sum() == moved[32:].sum() == 16
        assert len({tuple(row) for row in after[moved].tolist()}) == 32

    def test_shards_are_refused_where_the_loss_differentiates_twice(
        self, small: TrainConfig, tmp_path: Path
    ) -> None:
        config = replace(small, network=LEVELS, objective=Denoising())
        for error in on_ranks(2, trained, config, tmp_path / "run", "fsdp"):
            assert type(error) is StanleyError
            assert "objective is 'denoising' but parallel is 'fsdp'" in str(error)

    def test_a_split_that_leaves_a_rest_is_refused(
        self, small: TrainConfig, tmp_path: Path
    ) -> None:
        for config, line in (
            (
                replace(small, batch=33),
                "batch is 33, which cannot be split evenly over 2 processes; use 32 or 34",
            ),
            (
                changed(small, bank_size=65),
                "objective.bank_size is 65, which cannot be split evenly over 2 processes; use 64"
                " or 66",
            ),
        ):
            errors = on_ranks(2, trained, config, tmp_path / "run")
            assert all(type(error) is StanleyError and line in str(error) for error in errors), (
                errors
            )
        assert not (tmp_path / "run").exists()

    def test_a_quantile_is_of_the_chains_of_a_rank(
        self, small: TrainConfig, tmp_path: Path
    ) -> None:
        config = changed(small, sampler=Stanley(0.05, Quantile(0.8)), adapt=None, steps=2)
        on_ranks(2, trained, config, tmp_path / "run")
        assert all(r["threshold"] > 0 for r in RunDirectory(tmp_path / "run").records())


class TestEndTogether:
    def test_an_error_of_one_rank_is_raised_on_all(
        self, small: TrainConfig, tmp_path: Path
    ) -> None:
        first, second = on_ranks(2, failing, small, tmp_path / "a", "request")
        assert isinstance(first, StanleyError)
        assert (str(first), str(second)) == ("rank 1: too steep", "too steep")
        first, second = on_ranks(2, failing, small, tmp_path / "b", "bug")
        assert isinstance(second, ZeroDivisionError)
        assert str(first) == "rank 1 failed with ZeroDivisionError: too steep"

    def test_a_rank_that_dies_ends_the_others(self, small: TrainConfig, tmp_path: Path) -> None:
        for rank in (0, 1):
            results = on_ranks(2, failing, small, tmp_path / str(rank), "death", rank)
            assert results[rank] is None
            assert isinstance(results[1 - rank], StanleyError)
            assert f"rank {1 - rank} lost another process" in str(results[1 - rank])
            assert "\n" not in str(results[1 - rank])

    def test_an_interrupt_of_one_rank_stops_all_after_the_same_step(
        self, small: TrainConfig, tmp_path: Path
    ) -> None:
        results = on_ranks(2, failing, small, tmp_path / "run", "interrupt")
        assert [str(r) for r in results] == [
            "interrupted at step 4; the same command resumes there"
        ] * 2
        assert all(isinstance(r, KeyboardInterrupt) for r in results)
        run = RunDirectory(tmp_path / "run")
        assert newest(run).step == len(run.records()) == 4

    def test_a_divergence_is_one_on_all_ranks(self, small: TrainConfig, tmp_path: Path) -> None:
        config = changed(
            small,
            sampler=Langevin(4.0),
            adapt=None,
            optimizer=Adam(lr=0.5),
            energy_l2=0.0,
            clip_norm=0.0,
            steps=400,
            gap_limit=20.0,
            on_divergence="rollback",
            max_rollbacks=2,
        )
        first, second = on_ranks(2, trained, config, tmp_path / "run")
        assert isinstance(first, DivergenceError)
        assert isinstance(second, DivergenceError)
        assert str(first) == str(second)
        events = RunDirectory(tmp_path / "run").events()
        # after the last rollback a collapse may be told on the way to the divergence
        told = [e for e in events if e["kind"] != "collapsed"]
        assert [e.get("slowdown") for e in told] == [0.5, 0.25, None]

    def test_what_only_rank_0_sees_is_told_to_all(self, small: TrainConfig, tmp_path: Path) -> None:
        run = RunDirectory(tmp_path / "run")
        run.create()
        run.lock()
        try:
            errors = on_ranks(2, trained, small, tmp_path / "run")
        finally:
            run.release()
        assert all("in use by another training process" in str(error) for error in errors)
        config = replace(small, data=Array(path=str(tmp_path / "nowhere.npy")))
        assert all(
            "nowhere.npy" in str(error)
            for error in on_ranks(2, trained, config, tmp_path / "other")
        )


class TestWorld:
    def test_meetings(self, small: TrainConfig, tmp_path: Path) -> None:
        assert on_ranks(2, told, tmp_path, small) == [
            (3, 7, "[[0, 10], [1, 10]]"),
            (3, 7, "[[1, 10]]"),
        ]
        assert told(tmp_path, small) == (1, 7, "[[0, 10]]")

    def test_parts_are_the_whole(self) -> None:
        x = torch.arange(12).view(6, 2)
        assert torch.equal(torch.cat([World(rank, 3).part(x) for rank in range(3)]), x)
        assert World(0, 3).share(6, "batch") == 2

    def test_one_process_has_no_group(self) -> None:
        with joined("cpu") as world:
            assert world == World()
            assert not torch.distributed.is_initialized()

    def test_shards_of_one_process_are_refused(self, small: TrainConfig, tmp_path: Path) -> None:
        with pytest.raises(
            StanleyError, match=r"parallel is 'fsdp', but one process has nothing to shard"
        ):
            train(small, tmp_path / "run", parallel="fsdp")
        with pytest.raises(StanleyError, match=r"parallel is 'none', but must be 'ddp' or 'fsdp'"):
            train(small, tmp_path / "run", parallel="none")  # type: ignore[arg-type]

    def test_only_the_numbers_of_torchrun_count(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RANK", "1")
        monkeypatch.setenv("WORLD_SIZE", "4")
        monkeypatch.delenv("LOCAL_RANK", raising=False)
        assert this_process() == Process()  # some clusters set the first two for every job
        monkeypatch.setenv("LOCAL_RANK", "1")
        assert this_process() == Process(1, 4, 1)


SMALL = [
    *(
        "--batch",
        "32",
        "--objective.chain-steps",
        "3",
        "--save-every",
        "6",
        "--network.width",
        "16",
        "--objective.bank-size",
        "64",
    ),
    *("--data.num", "2000", "--device", "cpu"),
]


def commanded(*words: str) -> tuple[int, str, float]:
    """Exit code, what is told, and after how many seconds, of one process of the command line."""
    cli.PATIENCE = 0.5
    began, heard = time.monotonic(), io.StringIO()
    with redirect_stderr(heard), pytest.raises(SystemExit) as end:
        cli.main(words)
    return int(end.value.code or 0), heard.getvalue(), time.monotonic() - began


def test_an_error_of_all_is_told_by_the_first() -> None:
    """The others wait, for torchrun to end them; one that is still there speaks after all."""
    line = "stanley: error: unknown recipe 'ringz': did you mean 'rings'?\n"
    first, second = on_ranks(2, commanded, "train", "ringz", *SMALL)
    assert (first[:2], second[:2]) == ((2, line), (2, line))
    assert second[2] > 0.5
    told = on_ranks(2, commanded, "evaluate", "run")
    assert {words for _, words, _ in told} == {
        "stanley: error: evaluate runs in one process, torchrun started 2; leave torchrun out\n"
    }


@pytest.mark.filterwarnings("ignore:resuming with changed steps")
def test_torchrun_trains_and_one_process_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command line as a person uses it: one report, and the run goes on in one process."""
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    done = subprocess.run(
        [*launch, "-m", "stanley", "train", "rings", "--out", "run", "--steps", "6", *SMALL],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    first, quality, following, page = done.stdout.splitlines()
    assert first.startswith("done: step 6")
    assert quality.startswith(("KL(data", "128 fresh chains", "warning: the energy"))
    assert following.startswith("next: ")
    assert page == "page: run/index.html"
    with pytest.raises(SystemExit) as end:
        cli.main(["train", "rings", "--out", str(tmp_path / "run"), "--steps", "9", *SMALL])
    assert not end.value.code
    assert "done: step 9" in capsys.readouterr().out
    assert newest(RunDirectory(tmp_path / "run")).step == 9


#: The thread of gloo waits for the global lock, to free a tensor, when the command ends.
FREED_LATE = """
import ctypes, sys
import torch, torch.distributed as dist
from stanley import __main__, cli

def command():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    sys.setswitchinterval(1000)  # seconds: nobody else gets the lock
    dist.all_reduce(torch.zeros(2), async_op=True)
    ctypes.PyDLL(None).usleep(300_000)  # the lock is held

cli.main = command
__main__.main()
"""


def ends_with(size: int) -> int:
    done = subprocess.run(
        [sys.executable, "-c", FREED_LATE],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": f"{size}"},
    )
    return done.returncode


def test_a_process_of_torchrun_ends_whatever_its_threads_are_at() -> None:
    assert ends_with(2) == 0


def test_negative_control_a_process_that_ends_as_usual_aborts() -> None:
    """Not each time: the thread may get the lock. Where it never aborts, torch has mended it, and
    `leave` is no longer needed there.
    """
    assert any(ends_with(1) == -signal.SIGABRT for _ in range(12))

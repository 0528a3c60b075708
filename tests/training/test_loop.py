"""Training as a whole: resumed equals unbroken, divergence is seen,
a changed configuration is refused.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import warnings
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from stanley.config import to_dict
from stanley.data import Array, Folder, Rings
from stanley.errors import DivergenceError, StanleyError
from stanley.files import PART
from stanley.models.trained import load
from stanley.networks import MLP, ConvNet, build_energy
from stanley.runs import checkpoint
from stanley.runs.directory import RunDirectory
from stanley.samplers import MALA, Adjusted, Langevin, Quantile, Stanley, run_chains
from stanley.training import divergence
from stanley.training.config import TrainConfig
from stanley.training.loop import train
from stanley.training.optim import Adam
from tests.conftest import changed, without_time
from tests.seeds import RNG


def newest(run: RunDirectory) -> checkpoint.Checkpoint:
    found = checkpoint.newest(run.checkpoints)
    assert found is not None
    return found


def same_state(
    a: checkpoint.Checkpoint, b: checkpoint.Checkpoint, *, ignore: tuple[str, ...] = ()
) -> None:
    """Every tensor bit for bit, every number equal."""
    assert set(a.tensors) == set(b.tensors)
    for name in a.tensors:
        assert torch.equal(a.tensors[name], b.tensors[name]), name
    drop = {"config", *ignore}
    assert {k: v for k, v in a.meta.items() if k not in drop} == {
        k: v for k, v in b.meta.items() if k not in drop
    }


SAMPLERS = [
    MALA(0.09),
    Langevin(0.02),
    Stanley(0.05, threshold=1.0),
    Stanley(0.05, Quantile(0.8), scope="sample", refresh="lagged"),
    Adjusted(Stanley(0.05, threshold=1.0)),
]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: s.kind)
@pytest.mark.parametrize("start", ["bank", "data", "noise"])
def test_resumed_equals_unbroken(
    small: TrainConfig, tmp_path: Path, sampler: object, start: str
) -> None:
    adapt = small.objective.adapt if sampler.kind in ("mala", "adjusted") else None  # type: ignore[attr-defined]
    config = changed(small, sampler=sampler, adapt=adapt, start=start, steps=12)  # type: ignore[arg-type]
    unbroken = train(config, tmp_path / "unbroken")

    # stop where the run stands at step 6: the same configuration, so the same schedule
    broken = train(config, tmp_path / "broken")
    checkpoint.saved(broken.checkpoints)[-1].unlink()
    assert newest(broken).step == 6
    resumed = train(config, tmp_path / "broken")

    same_state(newest(unbroken), newest(resumed))
    assert without_time(unbroken.records()) == without_time(resumed.records())
    assert [r["step"] for r in resumed.records()] == list(range(1, 13))


def test_images_too_and_memory_order_with_them(small: TrainConfig, tmp_path: Path) -> None:
    """Weights and moments of convolutions lie channels-last, those in files do not;
    another order of sums would tell
    """
    images = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 3), dtype=np.uint8)
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    config = changed(
        small,
        data=Folder(path=str(tmp_path), size=8, cache=str(tmp_path / "cache")),
        network=ConvNet(width=4),
        sampler=Langevin(1e-4),
        adapt=None,
        temperature=5e-5,
        batch=8,
        bank_size=16,
        steps=12,
        chain_steps=2,
    )
    unbroken, broken = train(config, tmp_path / "a"), train(config, tmp_path / "b")
    checkpoint.saved(broken.checkpoints)[-1].unlink()
    resumed = train(config, tmp_path / "b")
    same_state(newest(unbroken), newest(resumed))
    convolution = build_energy(config.network, (3, 8, 8), seed=0).get_parameter("layers.2.weight")
    assert convolution.is_contiguous(memory_format=torch.channels_last)
    assert not convolution.is_contiguous()
    assert (
        checkpoint.sharded_like(torch.rand(convolution.shape), convolution).stride()
        == convolution.stride()
    )


class TestRecordsReadTogether:
    def test_change_nothing_but_their_times(self, small: TrainConfig, tmp_path: Path) -> None:
        """7 is no divisor of save_every: the last reading before a checkpoint is of fewer."""
        config = changed(small, adapt=None)
        one, seven = (
            train(config, tmp_path / "one"),
            train(config, tmp_path / "seven", read_every=7),
        )
        same_state(newest(one), newest(seven))
        assert without_time(one.records()) == without_time(seven.records())

    def test_a_divergence_between_two_readings_is_that_of_its_step(
        self, small: TrainConfig, tmp_path: Path
    ) -> None:
        config = TestDivergence().diverging(small)
        for name, read_every in (("one", 1), ("many", config.save_every)):
            with pytest.raises(DivergenceError, match="diverged at step"):
                train(config, tmp_path / name, read_every=read_every)
        one, many = RunDirectory(tmp_path / "one"), RunDirectory(tmp_path / "many")
        told = ("kind", "step", "reason", "checkpoint")
        assert [one.events()[-1][k] for k in told] == [many.events()[-1][k] for k in told]
        assert without_time(one.records()) == without_time(many.records())
        same_state(newest(one), newest(many))

    @pytest.mark.parametrize(("read_every", "message"), [(0, "at least 1"), (5, "adapt")])
    def test_refused(
        self, small: TrainConfig, tmp_path: Path, read_every: int, message: str
    ) -> None:
        with pytest.raises(StanleyError, match=f"read_every is {read_every}.*{message}"):
            train(small, tmp_path / "run", read_every=read_every)


def test_another_seed_is_another_run(small: TrainConfig, tmp_path: Path) -> None:
    """Negative control of the test above: equality of runs is not a matter of course."""
    a, b = train(small, tmp_path / "a"), train(replace(small, seed=4), tmp_path / "b")
    assert without_time(a.records()) != without_time(b.records())
    assert not torch.equal(newest(a).tensors["bank.positions"], newest(b).tensors["bank.positions"])


def test_the_order_of_the_data_does_not_depend_on_the_sampler(
    small: TrainConfig, tmp_path: Path
) -> None:
    a = train(small, tmp_path / "a")
    b = train(changed(small, sampler=Langevin(0.01), adapt=None), tmp_path / "b")
    assert torch.equal(newest(a).tensors["generator.data"], newest(b).tensors["generator.data"])


def test_global_randomness_is_untouched(small: TrainConfig, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    train(small, tmp_path / "run")
    assert torch.equal(before, torch.get_rng_state())


SCRIPT = """
import sys, json, torch
torch.set_num_threads(1)
from stanley.config import from_dict
from stanley.training.config import TrainConfig
from stanley.training.loop import train
train(from_dict(TrainConfig, json.loads(sys.argv[1])), sys.argv[2])
"""


def start_process(config: TrainConfig, out: Path) -> subprocess.Popen[bytes]:
    arguments = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        SCRIPT,
        json.dumps(to_dict(config)),
        str(out),
    ]
    return subprocess.Popen(
        arguments, stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


def lines(out: Path) -> int:
    file = out / "records.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def wait_for(condition: object, process: subprocess.Popen[bytes], limit: float = 120) -> None:
    began = time.monotonic()
    while not condition():  # type: ignore[operator]
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() - began < limit
        time.sleep(0.002)


def test_killed_at_any_moment_resumes_unbroken(small: TrainConfig, tmp_path: Path) -> None:
    """kill -9 three times, each after a random number of further records; then to the end."""
    config = replace(small, steps=400, save_every=7)
    unbroken = train(config, tmp_path / "unbroken")
    out = tmp_path / "killed"
    for more in torch.randint(1, 60, (3,)).tolist():
        process, goal = start_process(config, out), lines(out) + more
        wait_for(lambda goal=goal: lines(out) >= goal, process)
        process.kill()
        process.communicate()
    with (out / "records.jsonl").open("a") as file:
        file.write('{"step": 99')  # a line torn by the death of its writer
    resumed = train(config, out)
    same_state(newest(unbroken), newest(resumed))
    assert without_time(unbroken.records()) == without_time(resumed.records())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_leaves_a_checkpoint_of_the_last_step(
    small: TrainConfig, tmp_path: Path, number: int
) -> None:
    config = replace(small, steps=100_000, save_every=50_000)
    out = tmp_path / "run"
    process = start_process(config, out)
    wait_for(lambda: lines(out) >= 5, process)
    process.send_signal(number)
    error = process.communicate(timeout=60)[1].decode()
    assert "KeyboardInterrupt" in error
    run = RunDirectory(out)
    assert newest(run).step == len(run.records()) >= 5


def test_two_processes_cannot_share_a_run(small: TrainConfig, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start_process(replace(small, steps=100_000), out)
    wait_for(lambda: lines(out) >= 1, process)
    try:
        with pytest.raises(StanleyError, match="in use by another training process"):
            train(replace(small, steps=100_000), out)
    finally:
        process.kill()
        process.communicate()


class TestDivergence:
    def diverging(self, small: TrainConfig) -> TrainConfig:
        """Langevin with a step far beyond the stability limit of a quartic-free but steep energy,
        and a huge rate.
        """
        return changed(
            small,
            sampler=Langevin(4.0),
            adapt=None,
            optimizer=Adam(lr=0.5),
            energy_l2=0.0,
            clip_norm=0.0,
            steps=400,
            gap_limit=20.0,
        )

    def test_stops_with_the_cause_and_the_last_good_checkpoint(
        self, small: TrainConfig, tmp_path: Path
    ) -> None:
        with pytest.raises(
            DivergenceError,
            match=r"diverged at step \d+: .*(gap_limit|spread_limit|not finite).*another --out"
            r".*kept as .*step-.*rollback",
        ) as error:
            train(self.diverging(small), tmp_path / "run")
        assert "\n" not in str(error.value)
        run = RunDirectory(tmp_path / "run")
        kept = newest(run)
        assert all(
            t.isfinite().all()
            for name, t in kept.tensors.items()
            if not name.startswith("generator")
        )
        event = run.events()[-1]
        assert event["kind"] == "diverged"
        assert event["step"] > kept.step
        assert len(run.records()) == event["step"] - 1  # the step that went wrong is in the event

    def test_rollback_goes_back_with_half_the_steps_and_a_bound(
        self, small: TrainConfig, tmp_path: Path
    ) -> None:
        config = replace(self.diverging(small), on_divergence="rollback", max_rollbacks=2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(DivergenceError, match="after 2 rollbacks"):
                train(config, tmp_path / "run")
        run = RunDirectory(tmp_path / "run")
        rollbacks = [e for e in run.events() if e["kind"] == "rollback"]
        assert [e["slowdown"] for e in rollbacks] == [0.5, 0.25]
        assert [r["step"] for r in run.records()] == list(range(1, len(run.records()) + 1))

    def test_rollback_can_save_a_run(self, small: TrainConfig, tmp_path: Path) -> None:
        """A limit that only the first try exceeds: afterwards the run ends as planned."""
        config = replace(
            self.diverging(small), on_divergence="rollback", max_rollbacks=30, steps=60
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run = train(config, tmp_path / "run")
        assert [r["step"] for r in run.records()] == list(range(1, 61))
        assert newest(run).meta["slowdown"] < 1
        assert newest(run).meta["rollbacks"] == len(
            [e for e in run.events() if e["kind"] == "rollback"]
        )

    def test_rollback_goes_further_back_where_the_same_checkpoint_led_here_before(
        self, small: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Step 7 diverges whatever is tried: 6, 3, 6 anew, and then not 3 again."""
        monkeypatch.setattr(
            divergence, "find_divergence", lambda config, r: "seven" if r["step"] == 7 else None
        )
        config = replace(small, on_divergence="rollback", max_rollbacks=7, save_every=3)
        with pytest.warns(UserWarning, match="seven"), pytest.raises(DivergenceError):
            train(config, tmp_path / "run")
        rollbacks = RunDirectory(tmp_path / "run").events()[:-1]
        assert [e["checkpoint"] for e in rollbacks] == [6, 3, 6, 0, 6, 3, 6]

    def test_a_healthy_run_is_left_alone(self, small: TrainConfig, tmp_path: Path) -> None:
        run = train(small, tmp_path / "run")
        assert not [e for e in run.events() if e["kind"] in ("diverged", "rollback")]


class TestResumeWithAnotherConfiguration:
    def test_is_refused_field_by_field(self, small: TrainConfig, tmp_path: Path) -> None:
        train(small, tmp_path / "run")
        changed = replace(small, batch=16, network=MLP(width=8))
        with pytest.raises(StanleyError, match=r"batch: 32 → 16; network.width: 16 → 8"):
            train(changed, tmp_path / "run")

    def test_more_steps_are_accepted_and_told(self, small: TrainConfig, tmp_path: Path) -> None:
        train(small, tmp_path / "run")
        with pytest.warns(UserWarning, match="steps: 24 → 30"):
            run = train(replace(small, steps=30), tmp_path / "run")
        assert [r["step"] for r in run.records()] == list(range(1, 31))

    def test_an_end_between_telling_and_writing_is_told_once(
        self, small: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        train(small, tmp_path / "run")
        with monkeypatch.context() as patch:

            def interrupted(*args: object) -> None:
                raise KeyboardInterrupt

            patch.setattr(RunDirectory, "write_config", interrupted)
            with pytest.warns(UserWarning, match="24 → 30"), pytest.raises(KeyboardInterrupt):
                train(replace(small, steps=30), tmp_path / "run")
        with pytest.warns(UserWarning, match="24 → 30"):
            run = train(replace(small, steps=30), tmp_path / "run")
        assert [event["kind"] for event in run.events()] == ["reconfigured", "resumed"]

    def test_an_end_before_old_checkpoints_are_removed_leaves_none_for_good(
        self, small: TrainConfig, tmp_path: Path
    ) -> None:
        """Such an end leaves the newest checkpoint and one too many."""
        run = train(replace(small, keep=1), tmp_path / "run")
        (kept,) = checkpoint.saved(run.checkpoints)
        (run.checkpoints / "step-00000001.safetensors").write_bytes(kept.read_bytes())
        run = train(replace(small, keep=1), tmp_path / "run")
        assert checkpoint.saved(run.checkpoints) == [kept]

    def test_data_that_moved_after_the_last_step_are_found(
        self, small: TrainConfig, tmp_path: Path
    ) -> None:
        """The last checkpoint knows the old place; the run that was told of the new one goes by
        that.
        """
        np.save(tmp_path / "old.npy", np.random.default_rng(0).normal(size=(100, 2)))
        train(replace(small, data=Array(path=str(tmp_path / "old.npy"))), tmp_path / "run")
        moved = (tmp_path / "old.npy").rename(tmp_path / "new.npy")
        with pytest.warns(UserWarning, match=r"data\.path"):
            run = train(replace(small, data=Array(path=str(moved))), tmp_path / "run")
        assert len(load(run).config.data.load().train) == 90

    def test_a_finished_run_is_left_as_it_is(self, small: TrainConfig, tmp_path: Path) -> None:
        run = train(small, tmp_path / "run")
        before = run.records_file.read_bytes()
        assert train(small, tmp_path / "run").records_file.read_bytes() == before

    def test_a_folder_with_other_files_is_refused(self, small: TrainConfig, tmp_path: Path) -> None:
        (tmp_path / "thesis.tex").write_text("years of work")
        with pytest.raises(StanleyError, match="holds other files"):
            train(small, tmp_path)
        assert sorted(p.name for p in tmp_path.iterdir() if p.name != "checkpoints") == [
            "thesis.tex"
        ]


class TestBrokenCheckpoints:
    @pytest.mark.parametrize("damage", ["truncate", "flip", "empty"])
    def test_the_newest_is_named_and_the_previous_used(
        self, small: TrainConfig, tmp_path: Path, damage: str
    ) -> None:
        unbroken = train(small, tmp_path / "unbroken")
        run = train(small, tmp_path / "run")
        last = checkpoint.saved(run.checkpoints)[-1]
        content = bytearray(last.read_bytes())
        if damage == "flip":
            content[-3] ^= 1  # one bit of one weight
        last.write_bytes(
            {"truncate": content[: len(content) // 2], "flip": content, "empty": b""}[damage]
        )
        with pytest.warns(UserWarning, match=f"{last.name}.*(corrupt|truncated).*previous"):
            resumed = train(small, tmp_path / "run")
        same_state(newest(unbroken), newest(resumed))
        assert without_time(unbroken.records()) == without_time(resumed.records())

    def test_a_damaged_header_is_told_like_damaged_weights(
        self, small: TrainConfig, tmp_path: Path
    ) -> None:
        """Every byte of the metadata in turn: one line that names the file,
        whatever JSON makes of it.
        """
        run = train(replace(small, steps=1), tmp_path / "run")
        path = checkpoint.saved(run.checkpoints)[-1]
        whole = path.read_bytes()
        start = whole.index(b'"stanley"')
        for at in range(start, min(start + 400, whole.index(b"{", start + 400))):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 2]) + whole[at + 1 :])
            with pytest.raises(StanleyError, match=path.name) as error:
                checkpoint.load(path)
            assert "\n" not in str(error.value)

    def test_all_broken_is_an_error(self, small: TrainConfig, tmp_path: Path) -> None:
        run = train(small, tmp_path / "run")
        for path in checkpoint.saved(run.checkpoints):
            path.write_bytes(b"x")
        with (
            pytest.warns(UserWarning, match="corrupt"),
            pytest.raises(StanleyError, match="none of the 3 checkpoints"),
        ):
            train(small, tmp_path / "run")

    def test_a_newer_format_is_refused_not_skipped(
        self, small: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = train(small, tmp_path / "run")
        monkeypatch.setattr(checkpoint, "FORMAT", 0)
        with pytest.raises(StanleyError, match="update stanley"):
            checkpoint.newest(run.checkpoints)

    def test_only_the_last_few_are_kept(self, small: TrainConfig, tmp_path: Path) -> None:
        run = train(replace(small, keep=2), tmp_path / "run")
        assert [p.name for p in checkpoint.saved(run.checkpoints)] == [
            "step-00000018.safetensors",
            "step-00000024.safetensors",
        ]
        assert not list(run.checkpoints.glob(".*tmp"))


class TestBadValues:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("steps", 0), ("batch", 0), ("chain_steps", 0), ("restart", 1.5), ("temperature", 0.0),
            ("data_noise", -1.0), ("ema", 1.0), ("gap_limit", 0.0), ("seed", -1), ("bank_size", 10),
            ("save_every", 0), ("decay", 2.0),
        ],
    )  # fmt: skip
    def test_names_field_and_value(self, small: TrainConfig, field: str, value: float) -> None:
        with pytest.raises(StanleyError, match=f"{field} is {value}"):
            changed(small, **{field: value})

    def test_adaptation_of_a_sampler_that_never_rejects(self, small: TrainConfig) -> None:
        with pytest.raises(StanleyError, match="never rejects"):
            replace(small, sampler=Langevin(0.1))

    def test_drift_correction_of_a_kinked_network(self, small: TrainConfig, tmp_path: Path) -> None:
        config = changed(
            small,
            network=MLP(width=8, activation="leaky-relu"),
            adapt=None,
            sampler=Stanley(0.05, 1.0, correction="drift"),
        )
        with pytest.raises(StanleyError, match=r"LeakyReLU.*midpoint"):
            train(config, tmp_path / "run")

    def test_a_device_that_is_not_there(self, small: TrainConfig, tmp_path: Path) -> None:
        with pytest.raises(StanleyError, match=r"device 'cuda:99' is not there"):
            train(small, tmp_path / "run", device="cuda:99")
        assert not (tmp_path / "run").exists()

    def test_data_that_cannot_be_loaded_leave_no_checkpoint(
        self, small: TrainConfig, tmp_path: Path
    ) -> None:
        with pytest.raises(StanleyError, match=r"nowhere\.npy"):
            train(replace(small, data=Array(path=str(tmp_path / "nowhere.npy"))), tmp_path / "run")


class Tracked(torch.autograd.Function):
    """The identity, with a token in its graph node that dies with the graph."""

    @staticmethod
    def forward(ctx: Any, u: torch.Tensor, tokens: list[weakref.ref[object]]) -> torch.Tensor:
        ctx.token = Token()
        tokens.append(weakref.ref(ctx.token))
        return u.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradients[0], None


class Token:
    pass


def test_no_graph_outlives_its_chain_step() -> None:
    """Memory that does not grow with K: whenever the potential is called,
    the graph of at most the last call lives.
    """
    tokens: list[weakref.ref[object]] = []
    energy = build_energy(MLP(width=8), (2,), seed=0)

    def potential(x: torch.Tensor) -> torch.Tensor:
        assert sum(ref() is not None for ref in tokens) <= 1
        return Tracked.apply(energy(x), tokens)

    out = run_chains(
        Langevin(0.1), potential, torch.zeros(4, 2), 20, generator=torch.Generator().manual_seed(0)
    )
    assert len(tokens) == 21
    assert out.x.grad_fn is None


def test_bank_start_needs_no_more_than_the_bank(small: TrainConfig, tmp_path: Path) -> None:
    """With restarts off, every chain position of the bank after training came from a chain or is
    still its first.
    """
    config = changed(small, restart=0.0, steps=1, bank_size=64, batch=32)
    run = train(config, tmp_path / "run")
    first = checkpoint.load(checkpoint.saved(run.checkpoints)[0]).tensors["bank.positions"]
    last = newest(run).tensors["bank.positions"]
    moved = (first != last).any(1).sum()
    assert 1 <= int(moved) <= 32


def test_data_spec_is_part_of_the_run(tmp_path: Path, small: TrainConfig) -> None:
    train(small, tmp_path / "run")
    with pytest.raises(StanleyError, match=r"data\.std"):
        train(replace(small, data=Rings(num=2000, std=0.2)), tmp_path / "run")


class TestRecords:
    def steps(self, folder: Path) -> list[int]:
        return [r["step"] for r in RunDirectory(folder).records()]

    def write(self, folder: Path, *lines: str) -> RunDirectory:
        run = RunDirectory(folder)
        run.create()
        run.records_file.write_text("".join(line + "\n" for line in lines))
        return run

    def test_damage_after_the_checkpoint_is_dropped(self, tmp_path: Path) -> None:
        run = self.write(tmp_path, '{"step": 1}', '{"step": 2}', "\0\0\0", '{"step": 4}')
        run.truncate_records(2)
        assert self.steps(tmp_path) == [1, 2]

    @pytest.mark.parametrize(
        "lines",
        [
            ('{"step": 1}', '{"step": 3}', '{"step": 4}'),
            ('{"step": 1}', '{"step": 1}', '{"step": 2}'),
            ('{"step": 1}', "\0\0\0", '{"step": 3}'),
            ('{"step": 1}',),
        ],
    )
    def test_a_missing_doubled_or_damaged_step_before_it_is_an_error(
        self, tmp_path: Path, lines: tuple[str, ...]
    ) -> None:
        run = self.write(tmp_path, *lines)
        before = run.records_file.read_bytes()
        with pytest.raises(
            StanleyError, match=r"records\.jsonl has no record of step 2 in line 2.*step 3"
        ):
            run.truncate_records(3)
        assert run.records_file.read_bytes() == before

    def test_a_damaged_line_is_named_where_all_are_read(self, tmp_path: Path) -> None:
        run = self.write(tmp_path, '{"step": 1}', '{"step": ')
        with pytest.raises(StanleyError, match=r"records\.jsonl line 2 is damaged"):
            run.records()

    def test_an_event_after_a_torn_one(self, tmp_path: Path) -> None:
        run = self.write(tmp_path)
        run.event(kind="resumed", step=1)
        with run.events_file.open("a") as file:
            file.write('{"kind": "resu')
        run.event(kind="resumed", step=2)
        assert [e["step"] for e in run.events()] == [1, 2]

    def test_what_a_killed_writer_left_is_removed_and_no_reason_to_refuse(
        self, small: TrainConfig, tmp_path: Path
    ) -> None:
        out = tmp_path / "run"
        (out / "checkpoints").mkdir(parents=True)
        left = [
            out / f".config.json.abc{PART}",
            out / "checkpoints" / f".step-00000006.safetensors.abc{PART}",
        ]
        for path in left:
            path.write_bytes(b"half")
        train(replace(small, steps=1), out)
        assert not any(path.exists() for path in left)

    def test_a_full_disk_is_one_line(self, small: TrainConfig, tmp_path: Path) -> None:
        if not Path("/dev/full").exists():
            pytest.skip("needs /dev/full")
        run = self.write(tmp_path)
        run.records_file.unlink()
        run.records_file.symlink_to("/dev/full")
        with pytest.raises(StanleyError, match=r"cannot write .*records\.jsonl: No space left"):
            run.append({"step": 1})
        run.close()  # what the failed write left in the buffer is not reported a second time


class TestSecondTry:
    """A run that failed before its first step can be asked for again with another configuration."""

    def test_a_configuration_that_cannot_start_may_be_corrected(
        self, small: TrainConfig, tmp_path: Path
    ) -> None:
        wrong = changed(
            small,
            sampler=Stanley(0.01, 1.0, correction="drift"),
            network=MLP(8, 1, "relu"),
            adapt=None,
        )
        with pytest.raises(StanleyError, match="drift"):
            train(wrong, tmp_path / "run")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            run = train(replace(small, steps=2), tmp_path / "run")
        again = train(replace(small, steps=2), tmp_path / "other")
        a, b = checkpoint.newest(run.checkpoints), checkpoint.newest(again.checkpoints)
        assert a is not None
        assert b is not None
        assert a.step == b.step == 2
        assert all(torch.equal(a.tensors[name], b.tensors[name]) for name in b.tensors)

    def test_after_one_step_it_may_not(self, small: TrainConfig, tmp_path: Path) -> None:
        train(replace(small, steps=1, save_every=1), tmp_path / "run")
        with pytest.raises(StanleyError, match="another configuration"):
            train(replace(small, steps=1, save_every=1, batch=small.batch // 2), tmp_path / "run")

    def test_records_without_a_checkpoint_are_not_thrown_away(
        self, small: TrainConfig, tmp_path: Path
    ) -> None:
        run = train(replace(small, steps=2), tmp_path / "run")
        for file in run.checkpoints.iterdir():
            file.unlink()
        before = run.records_file.read_bytes()
        with pytest.raises(StanleyError, match="records but no checkpoint"):
            train(replace(small, steps=2), tmp_path / "run")
        assert run.records_file.read_bytes() == before

    @pytest.mark.parametrize("device", ["meta", "cuda:99", "nonsense"])
    def test_a_device_that_cannot_compute(
        self, small: TrainConfig, tmp_path: Path, device: str
    ) -> None:
        with pytest.raises(StanleyError, match="is not there"):
            train(small, tmp_path / "run", device=device)

    def test_a_reference_that_is_no_width(self, small: TrainConfig) -> None:
        with pytest.raises(StanleyError, match="reference_std is 0"):
            replace(small, reference_std=0.0)


class TestScalesOfTheData:
    """One step size and one start suit columns of one scale, near 0; else a line says so."""

    def train_on(self, x: np.ndarray, small: TrainConfig, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", x)
        data = Array(path=str(tmp_path / "x.npy"), standardise=False)
        train(changed(small, data=data, steps=1, gap_limit=1e9, spread_limit=1e9), tmp_path / "run")

    def test_columns_of_very_different_scale(self, small: TrainConfig, tmp_path: Path) -> None:
        x = RNG.normal(0.0, (1.0, 1000.0), size=(500, 2))
        with pytest.warns(UserWarning, match=r"standard deviations from 0\.9\d* to |standardise"):
            self.train_on(x, small, tmp_path)

    def test_a_mean_far_from_0(self, small: TrainConfig, tmp_path: Path) -> None:
        x = RNG.normal((50.0, -20.0), size=(500, 2))
        with pytest.warns(UserWarning, match="subtract the mean"):
            self.train_on(x, small, tmp_path)

    def test_common_data_are_not_warned_of(self, small: TrainConfig, tmp_path: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            self.train_on(RNG.normal(2.0, (1.0, 3.0), size=(500, 2)), small, tmp_path)

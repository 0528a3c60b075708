"""What a run restores, what it refuses, and in which order it reaches the disk."""

from __future__ import annotations

import errno
import json
import os
import signal
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

from stanley.errors import StanleyError
from stanley.runs import checkpoint
from stanley.training.config import MAY_CHANGE, TrainConfig
from stanley.training.interrupts import Interrupts
from stanley.training.loop import train


def test_a_second_interrupt_does_not_wait_for_the_step() -> None:
    with Interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupts.seen
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_rollbacks_changed_is_restored(tmp_path: Path, small: TrainConfig) -> None:
    """A run that went back, was saved, and was started again goes on with the halved step sizes."""
    config = replace(small, steps=6, save_every=2)
    run = train(config, tmp_path / "run", device="cpu")
    saved = checkpoint.newest(run.checkpoints)
    assert saved is not None
    halved = checkpoint.Checkpoint(saved.tensors, saved.meta | {"slowdown": 0.25, "rollbacks": 2})
    checkpoint.save(halved, run.checkpoints, keep=3)
    with pytest.warns(UserWarning, match="resuming with changed steps"):
        train(replace(config, steps=8), tmp_path / "run", device="cpu")
    after = checkpoint.newest(run.checkpoints)
    assert after is not None
    assert (after.step, after.meta["slowdown"], after.meta["rollbacks"]) == (8, 0.25, 2)
    records = run.records()
    assert records[6]["step_size"] < 0.5 * records[5]["step_size"]


def test_the_seed_of_a_run_cannot_be_changed(tmp_path: Path, small: TrainConfig) -> None:
    assert "seed" not in MAY_CHANGE
    train(replace(small, steps=2), tmp_path / "run", device="cpu")
    with pytest.raises(
        StanleyError, match=r"holds a run with another configuration \(seed: 3 → 4\)"
    ):
        train(replace(small, steps=2, seed=4), tmp_path / "run", device="cpu")


def test_records_reach_the_disk_before_the_checkpoint_that_stands_for_them(
    tmp_path: Path, small: TrainConfig, monkeypatch
) -> None:
    """Of every checkpoint but that of step 0: its last record was synced before it was named."""
    done: list[str] = []
    fsync, replaced = os.fsync, os.replace

    def synced(handle: int) -> None:
        name = Path(f"/proc/self/fd/{handle}").readlink().name
        if name == "records.jsonl":
            lines = (tmp_path / "run/records.jsonl").read_bytes().splitlines()
            done.append(f"record {json.loads(lines[-1])['step']}")
        fsync(handle)

    def renamed(source: object, target: object) -> None:
        done.append(Path(str(target)).name)
        replaced(source, target)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    monkeypatch.setattr(os, "rename", renamed)
    train(replace(small, steps=6, save_every=2), tmp_path / "run", device="cpu")
    order = [word for word in done if word.startswith(("record ", "step-"))]
    assert order[1:] == [w for n in (2, 4, 6) for w in (f"record {n}", f"step-{n:08d}.safetensors")]


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.EINVAL])
def test_a_file_system_without_locks(
    tmp_path: Path, small: TrainConfig, monkeypatch, code: int
) -> None:
    """NFS without its lock daemon, FAT, CIFS: training runs, with one warning of what is not
    watched there.
    """
    import fcntl

    def unsupported(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        run = train(replace(small, steps=2), tmp_path / "run", device="cpu")
    assert (run.last_record() or {})["step"] == 2
    assert len(told) == 1
    assert "has no locks" in str(told[0].message)

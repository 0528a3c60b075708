"""What a training run survives, and what it leaves: signals, closed pipes, rollbacks, and losses of power."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

from stanley.errors import StanleyError
from stanley.runs import checkpoint
from stanley.runs.directory import RunDirectory
from stanley.training.config import MAY_CHANGE, TrainConfig
from stanley.training.interrupts import Interrupts
from stanley.training.loop import train

COMMAND = (
    *(
        "train",
        "rings",
        "--out",
        "run",
        "--data.num",
        "60",
        "--batch",
        "8",
        "--chain-steps",
        "1",
        "--save-every",
        "50",
    ),
    *("--bank-size", "8", "--network.width", "4", "--network.depth", "1", "--device", "cpu"),
)
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def started(folder: Path, *more: str, **pipes: object) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "stanley", *COMMAND, *more]
    return subprocess.Popen(words, cwd=folder, env=ENVIRONMENT, **pipes)  # type: ignore[call-overload]


def wait_for_steps(folder: Path, process: subprocess.Popen[bytes], steps: int = 3) -> None:
    end = time.monotonic() + 120
    records = folder / "run/records.jsonl"
    while not records.exists() or records.read_bytes().count(b"\n") < steps:
        assert process.poll() is None, "it ended before a step was taken"
        assert time.monotonic() < end, "no step was taken"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_at_the_last_step(tmp_path: Path, number: int) -> None:
    """Also the one that a terminal sends when it is closed."""
    process = started(
        tmp_path, "--steps", "100000", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    wait_for_steps(tmp_path, process)
    process.send_signal(number)
    said = process.communicate(timeout=120)[1].decode()
    assert process.returncode == 130, said
    assert "Traceback" not in said
    run = RunDirectory(tmp_path / "run")
    saved = checkpoint.newest(run.checkpoints)
    assert saved is not None
    assert saved.step == (run.last_record() or {})["step"]
    assert f"interrupted at step {saved.step}" in said


def test_a_second_interrupt_does_not_wait_for_the_step() -> None:
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupts.seen
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("the second one was swallowed")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_training_goes_on_without_the_reader_of_its_bar(tmp_path: Path) -> None:
    """`2>&1 | head` closes the pipe: the run is trained to its end all the same, and says so by its exit code."""
    read, write = os.pipe()
    process = started(tmp_path, "--steps", "40", stdout=write, stderr=write)
    os.close(write)
    os.close(read)
    assert process.wait(timeout=240) == 0
    assert (RunDirectory(tmp_path / "run").last_record() or {})["step"] == 40


BAR = """
import io, sys
from dataclasses import replace
from stanley.progress import Bar

class Closed(io.TextIOBase):
    def write(self, text): raise BrokenPipeError
    def flush(self): raise BrokenPipeError
    def isatty(self): return True

sys.stderr = Closed()
with Bar("training", 10) as bar:
    for k in range(1, 11):
        bar.drawn = 0
        if bar.due(k):
            bar.draw(k, "note")
print("done")
"""


def test_a_bar_that_nobody_reads_is_no_error() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BAR], capture_output=True, text=True, env=ENVIRONMENT, check=False
    )
    assert done.stdout == "done\n", done.stderr


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_full_disk_behind_a_stream(tmp_path: Path, stream: str) -> None:
    """Results that cannot be written are an error; words on stderr that cannot be written are not."""
    with Path("/dev/full").open("w") as full:
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, stream: full}
        process = started(tmp_path, "--steps", "4", **pipes)
        said = (process.communicate(timeout=240)[1] or b"").decode()
    assert process.returncode == (2 if stream == "stdout" else 0), said
    assert "Traceback" not in said
    assert stream == "stderr" or said.count("\n") == said.count("stanley: ") == 1 + said.count(
        "warning"
    )


def test_an_unfinished_run_never_ends_with_0(
    tmp_path: Path, small: TrainConfig, monkeypatch
) -> None:
    """A broken pipe that is not that of the result is no way to end."""
    import stanley.training.loop as loop
    from stanley.cli import main

    def broken(*_: object, **__: object) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(loop, "train", broken)
    with pytest.raises(SystemExit) as end:
        main([*COMMAND, "--out", str(tmp_path / "run")])
    assert end.value.code == 2


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
        name = Path(os.readlink(f"/proc/self/fd/{handle}")).name
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
    """NFS without its lock daemon, FAT, CIFS: training runs, with one warning of what is not watched there."""
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

"""What a training run survives, and what it leaves: signals, closed pipes, rollbacks, and losses of
power.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stanley.runs import checkpoint
from stanley.runs.directory import RunDirectory
from stanley.training.config import TrainConfig

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
        "--objective.chain-steps",
        "1",
        "--save-every",
        "50",
    ),
    *(
        "--objective.bank-size",
        "8",
        "--network.width",
        "4",
        "--network.depth",
        "1",
        "--device",
        "cpu",
    ),
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


def test_training_goes_on_without_the_reader_of_its_bar(tmp_path: Path) -> None:
    """`2>&1 | head` closes the pipe: the run is trained to its end all the same, and says so by its
    exit code.
    """
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
    """Results that cannot be written are an error; words on stderr that cannot be written are
    not.
    """
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

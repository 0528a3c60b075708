"""Trainings that were started in a terminal: who holds a run, and when it is not certain."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the extra studio is not installed")

from starlette.testclient import TestClient

import stanley
from stanley.comparing.task import RECORD
from stanley.errors import StanleyError
from stanley.files import is_locked
from stanley.studio.elsewhere import interrupt, why_not_stoppable

from .test_runs import QUICK, entries, wait

pytestmark = pytest.mark.skipif(
    not (hasattr(os, "pidfd_open") and Path("/proc/self/fdinfo").is_dir()),
    reason="this system does not say which process holds a lock",
)

#: Holds the lock of a run until it is ended; with `ignore` it does not answer Ctrl-C.
HOLDER = """
import signal, sys, time
from stanley.runs.directory import RunDirectory
if "ignore" in sys.argv:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
run = RunDirectory(sys.argv[1])
run.create()
run.lock()
print("held", flush=True)
time.sleep(600)
"""


@contextmanager
def process(*words: str) -> Iterator[subprocess.Popen[str]]:
    started = subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield started
    finally:
        with suppress(ProcessLookupError):
            started.kill()
        started.communicate()


@contextmanager
def held(run: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    with process("-c", HOLDER, str(run), *words) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield holder


def test_a_training_of_a_terminal_is_stopped_with_a_checkpoint(client: TestClient, folder: Path):
    fields = [f"--{field}" for field in QUICK.split()]
    out = ["--out", str(folder / "new"), "--steps", "100000", "--quiet"]
    with process("-m", "stanley", "train", "rings", *fields, *out) as training:
        wait(lambda: entries(client).get("new", {}).get("step", 0) > 5)
        running = entries(client)["new"]
        assert (running["status"], running["stoppable"]) == ("running", True)
        assert running["elsewhere"] == ""
        for _ in range(2):  # a second signal would end it without a checkpoint
            assert client.post("/api/stop", json={"name": "new"}).status_code == 200
        assert training.wait(60) == 130
    assert entries(client)["new"]["status"] == "interrupted"
    run = stanley.RunDirectory(folder / "new")
    assert entries(client)["new"]["checkpoint"] == run.last_step()
    assert "is not training" in client.post("/api/stop", json={"name": "new"}).json()["error"]


def test_the_holder_of_a_lock_gets_the_signal_and_nobody_else(tmp_path: Path):
    with held(tmp_path / "run") as holder, held(tmp_path / "other") as other:
        assert why_not_stoppable(tmp_path / "run") == ""
        assert interrupt(tmp_path / "run") == holder.pid
        assert holder.wait(30) == -signal.SIGINT
        assert other.poll() is None
    assert not is_locked(tmp_path / "run" / ".lock")


@pytest.mark.parametrize("why", ["another", "nobody", "empty", "this", "no-number", "no-file"])
def test_a_number_alone_proves_nothing(tmp_path: Path, why: str):
    """Not one of a process that does not hold this lock, of none, or of the studio itself."""
    (tmp_path / "run").mkdir()
    with held(tmp_path / "other") as other:
        number = {
            "another": f"{other.pid}",
            "nobody": "2147483646",
            "this": f"{os.getpid()}",
            "no-number": "-1",
        }.get(why, "")
        if why != "no-file":
            (tmp_path / "run" / ".lock").write_text(number)
        assert "Ctrl-C" in why_not_stoppable(tmp_path / "run")
        with pytest.raises(StanleyError, match="Ctrl-C"):
            interrupt(tmp_path / "run")
        assert other.poll() is None


def test_one_that_has_the_file_open_without_its_lock_is_not_the_holder(tmp_path: Path):
    opens = "import sys, time; f = open(sys.argv[1], 'a'); print('held', flush=True); time.sleep(9)"
    (tmp_path / ".lock").touch()
    with process("-c", opens, str(tmp_path / ".lock")) as other:
        assert other.stdout is not None
        other.stdout.readline()
        (tmp_path / ".lock").write_text(str(other.pid))
        assert "not certain" in why_not_stoppable(tmp_path)


def test_what_does_not_answer_is_told_how_to_end_it(tmp_path: Path):
    with held(tmp_path / "run", "ignore") as holder:
        assert f"`kill {holder.pid}`" in why_not_stoppable(tmp_path / "run")


def test_a_run_of_a_comparison_is_not_stopped_by_itself(tmp_path: Path):
    (tmp_path / RECORD).write_text("{}")
    run = tmp_path / "runs" / "mala" / "0" / "run"
    run.parent.mkdir(parents=True)
    with held(run) as holder:
        assert "comparison" in why_not_stoppable(run)
        assert holder.poll() is None


def test_one_who_finds_a_run_locked_leaves_the_number_of_its_holder(tmp_path: Path):
    with held(tmp_path / "run") as holder:
        with pytest.raises(StanleyError, match="in use"):
            stanley.RunDirectory(tmp_path / "run").lock()
        assert (tmp_path / "run" / ".lock").read_text() == f"{holder.pid}\n"

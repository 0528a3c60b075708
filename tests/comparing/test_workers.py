"""Where runs are computed: Dask, submitit, workers that die, and folders that are not seen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from stanley.comparing import Comparison, carry_out, compare
from stanley.comparing.task import RECORD
from stanley.comparing.workers import elsewhere, workers_on
from stanley.errors import StanleyError
from stanley.overwriting import json_object
from tests.comparing.here import Here
from tests.comparing.test_carry_out import TINY, asked, failures, values

ENGINES = {"dask": "distributed", "submitit-local": "submitit"}
DEADLINE = 180.0


def in_this_process(
    comparison: Comparison, out: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, object]:
    """The serial answer."""
    with monkeypatch.context() as patched:
        patched.setattr(carry_out, "workers_on", lambda *_: nullcontext(Here()))
        return values(compare(comparison, out))


@contextmanager
def cluster(folder: Path, workers: int):
    """A Dask scheduler on loopback and its workers, each a process without a nanny, which begins in
    a folder of its own: its address and the processes.
    """
    folder.mkdir()
    file, begun = folder / "scheduler.json", []

    def begin(kind: str, *words: str, cwd: Path = folder) -> None:
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *words, "--no-dashboard"]
        with (folder / f"{kind}-{len(begun)}.log").open("w") as log:
            begun.append(subprocess.Popen(command, cwd=cwd, stdout=log, stderr=log))

    try:
        begin("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file))
        wait_for(lambda: "address" in json_object(file))
        for k in range(workers):
            (folder / f"{k}").mkdir()
            words = ("--nthreads", "1", "--no-nanny", "--host", "127.0.0.1")
            begin("worker", json_object(file)["address"], *words, cwd=folder / f"{k}")
        logs = list(folder.glob("worker-*.log"))
        wait_for(lambda: all("Registered to" in log.read_text() for log in logs))
        yield json_object(file)["address"], begun[1:]
    finally:
        for process in begun:
            process.kill()
            process.wait()


def wait_for(condition: object) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "nothing came of it"
        time.sleep(0.02)


@pytest.mark.parametrize("where", ENGINES)
def test_other_engines_give_the_bits_of_one_process(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip(ENGINES[where], reason=f"{where} is an extra")
    comparison = asked(seeds=1)
    serial = in_this_process(comparison, tmp_path / "serial", monkeypatch)
    assert values(compare(comparison, tmp_path / "c", workers=2, on=where)) == serial


def test_a_dask_cluster_one_of_whose_workers_is_killed_gives_the_bits_of_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Both workers train when one of them is killed with −9, and it does not come back; the other
    goes on from the checkpoint of its run.
    """
    pytest.importorskip("distributed", reason="dask is an extra")
    comparison = asked(fields=TINY | {"steps": 400}, along=10, stacks=False, seeds=2)
    serial = in_this_process(comparison, tmp_path / "serial", monkeypatch)
    out, at_the_kill = tmp_path / "c", {}

    def far() -> bool:
        """Whether two runs are in work, and past their first checkpoint, at step 40."""
        records = [file.read_bytes().count(b"\n") for file in out.rglob("records.jsonl")]
        return sum(50 < lines < 390 for lines in records) == 2

    def kill() -> None:
        wait_for(far)
        processes[0].send_signal(signal.SIGKILL)
        at_the_kill.update(json_object(out / RECORD))

    monkeypatch.chdir(tmp_path)  # a relative folder, and workers that begin in others
    with cluster(tmp_path / "dask", 2) as (address, processes):
        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        found = compare(comparison, "c", on=f"dask:{address}")
        killer.join(DEADLINE)
        assert processes[0].wait() == -signal.SIGKILL
        assert processes[1].poll() is None
    assert at_the_kill["unfinished"]
    assert not failures(found)
    assert not found["lost"]
    assert values(found) == serial
    begun = [p.read_text() for p in out.rglob("events.jsonl")]
    assert any('"resumed"' in text for text in begun)


@pytest.mark.parametrize(
    ("where", "message"),
    [("moon", "must be local"), ("dask:tcp://127.0.0.1:9", "no Dask scheduler answers")],
    ids=["unknown", "silent"],
)
def test_an_engine_that_is_not_there_is_one_line(tmp_path: Path, where: str, message: str):
    if where.startswith("dask"):
        pytest.importorskip("distributed", reason="dask is an extra")
    with pytest.raises(StanleyError, match=message), workers_on(where, 1, tmp_path):
        pass


def test_a_scheduler_without_workers_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("distributed", reason="dask is an extra")
    monkeypatch.setattr("stanley.comparing.workers.PATIENCE", 2.0)
    with (
        cluster(tmp_path / "dask", 0) as (address, _),
        pytest.raises(StanleyError, match=f"{address} has no workers; start some with"),
        workers_on(f"dask:{address}", 1, tmp_path),
    ):
        pass


@pytest.mark.parametrize("where", ENGINES)
def test_a_worker_that_does_not_see_the_folder_says_so_in_one_line(tmp_path: Path, where: str):
    pytest.importorskip(ENGINES[where], reason=f"{where} is an extra")
    with workers_on(where, 1, tmp_path) as pool:
        task = pool.submit(abs, -3)
        wait_for(task.done)
        with pytest.raises(StanleyError, match=r"^the worker on \S+ does not see \S+json; choose"):
            task.result()
        (tmp_path / RECORD).write_text("{}")
        assert pool.submit(abs, -3).result() == 3


def test_what_is_refused_elsewhere_is_one_line_with_the_place(tmp_path: Path):
    (tmp_path / RECORD).write_text("{}")

    def refused(_: object) -> None:
        raise StanleyError("no such file; give another")

    found, why = elsewhere(refused, None, str(tmp_path))
    assert found is None
    assert why == f"no such file; give another (on {os.uname().nodename})"

"""Where the runs of a comparison are computed: processes here, Dask, or SLURM.

Each is somebody else's engine with `submit(function, argument)`, whose result has `done()` and
`result()`. What travels is the name of a function of this library and plain values.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from stanley.comparing.task import RECORD
from stanley.errors import StanleyError, in_one_line, require

PATIENCE = 10.0  # seconds in which a Dask scheduler has to answer
WATCH = 0.5  # seconds between two looks whether the parent is alive


class Running(Protocol):
    """A task that was handed to an engine."""

    def done(self) -> bool: ...

    def result(self) -> Any: ...


class Workers(Protocol):
    """An engine: how many tasks it takes at a time, and one more task."""

    @property
    def at_once(self) -> int: ...

    def submit(self, function: Callable[..., Any], argument: Any) -> Running: ...


class LocalWorkers:
    """Processes of this machine, one thread each. A process that dies takes one task with it and is
    replaced: each is a pool of its own, since in a pool of several nobody knows whose task it was.
    """

    def __init__(self, count: int) -> None:
        self.at_once = count
        self.pools: list[ProcessPoolExecutor | None] = [None] * count
        self.busy: list[Future[Any] | None] = [None] * count
        self.pids: list[Future[int] | None] = [None] * count

    def submit(self, function: Callable[..., Any], argument: Any) -> Running:
        free = next(k for k, future in enumerate(self.busy) if future is None or future.done())
        before = self.busy[free]
        pool = self.pools[free]
        if pool is None or (before is not None and before.exception() is not None):
            if pool is not None:
                pool.shutdown(wait=False, cancel_futures=True)
            pool = self.pools[free] = ProcessPoolExecutor(
                1, multiprocessing.get_context("spawn"), initializer=begin, initargs=(os.getpid(),)
            )
            self.pids[free] = pool.submit(os.getpid)
        self.busy[free] = future = pool.submit(function, argument)
        return future

    def close(self) -> None:
        """End them; one that trains finishes its step and saves a checkpoint first."""
        for pool, future, pid in zip(self.pools, self.busy, self.pids, strict=True):
            if pool is None:
                continue
            at_work = future is not None and not future.done()
            if at_work and pid is not None and pid.done() and pid.exception() is None:
                with suppress(ProcessLookupError):
                    os.kill(pid.result(), signal.SIGTERM)
            pool.shutdown(wait=True, cancel_futures=True)


def begin(parent: int) -> None:
    """A worker of this machine: one thread, and no longer there than who asked for its work."""
    os.environ["OMP_NUM_THREADS"] = "1"
    threading.Thread(target=leave_with, args=(parent,), daemon=True).start()


def leave_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH)
    os._exit(1)


class OfExecutor:
    """An engine of somebody else's, which queues what it cannot take yet, and whose workers may be
    on other machines: they have to see the folder of the comparison, under the same path.
    """

    def __init__(self, executor: Any, at_once: int, folder: Path, **how: Any) -> None:
        self.executor, self.at_once, self.how = executor, at_once, how
        self.folder = str(folder.absolute())

    def submit(self, function: Callable[..., Any], argument: Any) -> Running:
        return Elsewhere(
            self.executor.submit(elsewhere, function, argument, self.folder, **self.how)
        )


class Elsewhere:
    """A task on a worker that may be on another machine. Why it was refused comes back as a value:
    engines make errors of their own of what is raised.
    """

    def __init__(self, running: Running) -> None:
        self.running = running

    def done(self) -> bool:
        return self.running.done()

    def result(self) -> Any:
        found, refused = self.running.result()
        if refused is not None:
            raise StanleyError(refused)
        return found


def elsewhere(function: Callable[..., Any], argument: Any, folder: str) -> tuple[Any, str | None]:
    """What such a worker does: (the result, None), or (None, why it is refused and where)."""
    host = socket.gethostname()
    if not (Path(folder) / RECORD).is_file():
        return None, (
            f"the worker on {host} does not see {folder}/{RECORD}; choose an --out on a file "
            "system that all workers share, under the same path"
        )
    try:
        return function(argument), None
    except StanleyError as error:
        return None, f"{error} (on {host})"


@contextmanager
def workers_on(where: str, count: int, folder: Path) -> Iterator[Workers]:
    """The engine that `where` names, with `count` workers: 'local', 'dask' for a cluster of this
    machine, 'dask:tcp://HOST:PORT' for one that is there, 'slurm' for jobs of one core each, or
    'submitit-local' for the same jobs as processes here.

    Raises StanleyError where an engine is unknown, is not installed, or does not answer.
    """
    require(count >= 1, f"workers is {count}, but must be at least 1")
    kind, _, address = where.partition(":")
    if kind == "local":
        local = LocalWorkers(count)
        try:
            yield local
        finally:
            local.close()
    elif kind == "dask":
        with dask_client(address, count) as client:
            there = len(client.scheduler_info()["workers"])
            yield OfExecutor(client, max(count, there), folder, pure=False)
    elif kind in ("slurm", "submitit-local"):
        yield OfExecutor(submitit_executor(kind, folder), count, folder)
    else:
        raise StanleyError(
            f"on is {where!r}, but must be local, dask, dask:tcp://HOST:PORT, slurm or "
            "submitit-local"
        )


@contextmanager
def dask_client(address: str, count: int) -> Iterator[Any]:
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise StanleyError(
            "on is dask, which is not installed; pip install 'stanley[dask]'"
        ) from error
    if address:
        try:
            client = Client(address, timeout=PATIENCE)
        except (OSError, ValueError, TimeoutError) as error:
            raise StanleyError(
                f"no Dask scheduler answers at {address} ({in_one_line(error)}); start one with "
                "`dask scheduler`, and pass its address"
            ) from error
        with client:
            try:
                client.wait_for_workers(1, timeout=PATIENCE)
            except TimeoutError as error:
                raise StanleyError(
                    f"the Dask scheduler at {address} has no workers; start some with `dask worker "
                    f"{address} --nthreads 1`"
                ) from error
            yield client
        return
    with (
        LocalCluster(  # processes, since each run takes one core
            n_workers=count, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def submitit_executor(kind: str, folder: Path) -> Any:
    try:
        import submitit
    except ImportError as error:
        raise StanleyError(
            f"on is {kind}, which needs submitit; pip install 'stanley[slurm]'"
        ) from error
    logs = folder / "jobs"
    if kind == "submitit-local":
        executor = submitit.LocalExecutor(folder=logs)
        executor.update_parameters(timeout_min=60 * 24)
        return executor
    executor = submitit.AutoExecutor(folder=logs, cluster="slurm")
    executor.update_parameters(
        timeout_min=60 * 24, cpus_per_task=1, slurm_job_name="stanley-compare"
    )
    return executor

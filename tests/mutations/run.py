"""Whether the tests notice: deliberate breakages of the mathematics, one at a time, each of which a
test must catch.

    python -m tests.mutations [--only SUBSTRING] [--jobs 2] [--list]

A copy of src and tests is broken, never the tree itself. First the named test files run on the
untouched copy and must pass, else a failure would say nothing. Then each mutation replaces one
piece of text, and its test files must fail. Caught means that a test failed, or that it ran beyond
the time limit; a module that no longer imports, or a name or a type that does not fit, is no
breakage of the mathematics and counts as missed. Not true: that what is caught was caught for the
right reason, nor that a suite which catches all of these catches every error.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import queue
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from tests.mutations import MUTATIONS
from tests.mutations.mutation import ROOT, Mutation, source

CRASHES = (
    "NameError",
    "TypeError",
    "AttributeError",
    "SyntaxError",
    "ImportError",
    "UnboundLocalError",
)
SAID = "said.txt"
WARM = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
LEAST_LIMIT = 60.0


# Running them.


@dataclass(frozen=True)
class Outcome:
    """What pytest said: the first test that failed, and by which exception."""

    code: int | None  # None: out of time
    test: str
    error: str
    seconds: float

    @property
    def caught(self) -> bool:
        return self.code is None or (
            self.code == 1 and bool(self.test) and self.error not in CRASHES
        )

    def words(self) -> str:
        if self.code is None:
            return f"by the time limit  ({self.seconds:.1f} s)"
        if self.caught:
            return f"by {self.test}  ({self.seconds:.1f} s)"
        if self.code == 0:
            return f"all tests passed  ({self.seconds:.1f} s)"
        return f"no test failed, the code broke: {self.test or 'collection'} {self.error}"


def copied(folder: Path) -> Path:
    """The tree that is broken."""
    for name in ("src", "tests", "experiments", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def run_tests(folder: Path, tests: Sequence[str], limit: float | None = None) -> Outcome:
    started = time.monotonic()
    # not a daemon, which may have no processes of its own, as the workers of a comparison are
    process = WARM.Process(target=pytest_in, args=(folder, tests))
    process.start()
    process.join(limit)
    seconds = time.monotonic() - started
    if process.exitcode is None:
        process.kill()
        process.join()
        return Outcome(None, "", "", seconds)
    said = (folder / SAID).read_text(encoding="utf-8")
    found = re.search(r"^(?:FAILED|ERROR) \S+?::(.+?)(?: - (\w+).*)?$", said, re.MULTILINE)
    test, error = (found[1], found[2] or "") if found else ("", said[-300:])
    return Outcome(process.exitcode, test, error, seconds)


def pytest_in(folder: Path, tests: Sequence[str]) -> None:
    """pytest in a process of its own, with proof that the copy is what it imports;
    what it says goes to a file.
    """
    os.chdir(folder)
    said = os.open(SAID, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)
    sys.dont_write_bytecode = True  # its check by size and second would not see every change
    for name in [name for name in sys.modules if name.split(".")[0] == "tests"]:
        del sys.modules[name]  # this file's package: the tests that run are those of the copy
    sys.path[:] = [str(folder / "src"), *(p for p in sys.path if Path(p).resolve() != ROOT)]
    os.environ["PYTHONPATH"] = sys.path[0]
    import pytest

    import stanley

    if stanley.__file__ != str(folder / "src" / "stanley" / "__init__.py"):
        sys.exit(f"the tests would import {stanley.__file__}, not the copy in {folder}")
    options = ["-x", "-q", "--tb=no", "-p", "no:cacheprovider", "-m", "not slow"]
    sys.exit(int(pytest.main([*options, *(f"tests/{test}" for test in tests)])))


def run_mutation(folder: Path, mutation: Mutation, limit: float) -> Outcome:
    path = folder / "src" / "stanley" / mutation.file
    clean = path.read_text(encoding="utf-8")
    path.write_text(mutation.applied(clean), encoding="utf-8")
    try:
        return run_tests(folder, mutation.tests, limit)
    finally:
        path.write_text(clean, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Break the mathematics, one piece at a time, and see the tests fail."
    )
    parser.add_argument("--only", default="", metavar="SUBSTRING", help="those whose name holds it")
    parser.add_argument("--jobs", type=int, default=1, help="copies broken at the same time")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    asked = parser.parse_args()
    chosen = [m for m in MUTATIONS if asked.only in m.name]
    for mutation in MUTATIONS:
        mutation.applied(source(mutation))
    if asked.list:
        print("\n".join(m.name for m in chosen))
        return 0
    if not chosen or asked.jobs < 1:
        sys.exit(
            f"{len(chosen)} mutations hold {asked.only!r} in their name and jobs is {asked.jobs}:"
            " need one of each"
        )
    os.environ.update(OMP_NUM_THREADS="1", COLUMNS="999")  # lines of pytest's summary whole
    if sys.platform != "win32":
        WARM.set_forkserver_preload(["torch", "scipy.stats", "torch.distributions"])
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(asked.jobs) as pool:
        folders: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for n in range(asked.jobs):
            folders.put(copied(Path(temporary).resolve() / str(n)))

        def in_a_copy(run, *arguments) -> Outcome:
            folder = folders.get()
            try:
                return run(folder, *arguments)
            finally:
                folders.put(folder)

        files = sorted({test for m in chosen for test in m.tests})
        control = dict(
            zip(files, pool.map(lambda test: in_a_copy(run_tests, [test]), files), strict=True)
        )
        for test, outcome in control.items():
            if outcome.code != 0:
                sys.exit(
                    f"{test} fails on the untouched copy: {outcome.test} {outcome.error}; nothing"
                    " was tried"
                )
        print(
            f"control: {len(files)} test files pass "
            f" ({sum(o.seconds for o in control.values()):.0f} s)",
            flush=True,
        )

        waiting = {}
        for m in chosen:
            limit = max(LEAST_LIMIT, 5 * sum(control[test].seconds for test in m.tests))
            waiting[pool.submit(in_a_copy, run_mutation, m, limit)] = m
        caught = 0
        try:
            for done in as_completed(waiting):
                outcome = done.result()
                caught += outcome.caught
                print(
                    f"{'caught' if outcome.caught else 'MISSED'}  {waiting[done].name} "
                    f" {outcome.words()}",
                    flush=True,
                )
        except BaseException:  # Ctrl-C or a stale mutation: not the other two hundred first
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    print(f"{caught} of {len(chosen)} caught")
    return 0 if caught == len(chosen) else 1

"""Freed memory is kept by the command line, and by nobody who did not ask."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from stanley.memory import OFF, keep_freed_memory

SET = ("PATH", "PYTHONPATH", "OMP_NUM_THREADS")
GLIBC = platform.libc_ver()[0] == "glibc"
#: MiB that a process gives back when it frees so many tensors of 4 MiB.
FREES = """
from pathlib import Path
import torch
torch.set_num_threads(1)
{first}
def resident():
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) / 2**10
parts = [torch.ones(2**20) for _ in range({tensors})]
before = resident()
del parts
print(before - resident())
"""


def given_back(first: str, tensors: int = 20, env: dict[str, str] | None = None) -> float:
    done = subprocess.run(
        [sys.executable, "-c", FREES.format(first=first, tensors=tensors)],
        capture_output=True,
        text=True,
        check=True,
        env={name: value for name, value in os.environ.items() if name in SET} | (env or {}),
    )
    return float(done.stdout)


@pytest.mark.skipif(not GLIBC, reason="another C library")
def test_freed_memory_stays_with_the_process_that_asks_for_it() -> None:
    """The control: importing the library alone leaves glibc as it is, which gives it back."""
    assert given_back("from stanley.memory import keep_freed_memory; keep_freed_memory()") < 30
    assert given_back("import stanley") > 50


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES", OFF])
def test_who_says_otherwise_is_obeyed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    assert keep_freed_memory() is False


CHAINS = (
    "import stanley; stanley.run_chains('langevin', stanley.targets.Banana(), torch.zeros(2, 2), 1,"
    " seed=0)"
)


@pytest.mark.skipif(not GLIBC, reason="another C library")
def test_chains_keep_up_to_64_mib() -> None:
    """48 MiB that are freed stay. The controls: not before any chain has run, nor where it is
    turned off.
    """
    assert given_back(CHAINS, 12) < 20
    assert given_back("import stanley", 12) > 30
    assert given_back(CHAINS, 12, {OFF: "1"}) > 30

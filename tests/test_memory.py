"""Freed memory is kept by the command line, and by nobody who did not ask."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from stanley.memory import OFF, keep_freed_memory

GLIBC = platform.libc_ver()[0] == "glibc"
#: MiB that a process gives back when it frees twenty tensors of 4 MiB.
FREES = """
from pathlib import Path
import torch
torch.set_num_threads(1)
{first}
def resident():
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) / 2**10
parts = [torch.ones(2**20) for _ in range(20)]
before = resident()
del parts
print(before - resident())
"""


def given_back(first: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", FREES.format(first=first)],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
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

"""Freed memory is kept by the command line, and by nobody who did not ask."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from stanley.memory import OFF, keep_freed_memory

GLIBC = platform.libc_ver()[0] == "glibc"
#: Page faults of a process that frees 8 MB and asks for them again, 200 times.
FAULTS = """
import resource, torch
torch.set_num_threads(1)
{first}
def turn():
    parts = [torch.ones(2**20) for _ in range(2)]
for _ in range(5):
    turn()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(200):
    turn()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(first: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS.format(first=first)],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
    )
    return int(done.stdout)


@pytest.mark.skipif(not GLIBC, reason="another C library")
def test_freed_memory_is_used_again_without_new_pages() -> None:
    """Kept, the pages are there. The control: importing the library alone asks the kernel for
    them again each time, 2 × 1,024 of 4 KiB a turn, or 2 of 2 MiB where it deals in huge ones."""
    kept = faults("from stanley.memory import keep_freed_memory; assert keep_freed_memory()")
    given_back = faults("import stanley")
    assert given_back > 10 * max(kept, 20)  # a busy kernel may take some pages back by itself


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES", OFF])
def test_who_says_otherwise_is_obeyed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    assert keep_freed_memory() is False

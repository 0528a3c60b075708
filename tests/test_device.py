"""Peak memory is that of this process, and sees what it took."""

from __future__ import annotations

import subprocess
import sys

import torch

from stanley.device import peak_memory


def test_peak_memory_sees_an_array_and_not_the_parent():
    """100 MiB more after 100 MiB were written; a child of a process with 400 MiB starts from its
    own.
    """
    held = torch.ones(100 * 2**20 // 4 * 4)
    code = (
        "import torch; from stanley.device import peak_memory; cpu = torch.device('cpu'); before ="
        " peak_memory(cpu); x = torch.ones(100 * 2**18); print(before, peak_memory(cpu))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(float, done.stdout.split())
    assert 90 < after - before < 150
    mine = peak_memory(held.device)
    assert mine is not None
    assert mine > 400
    assert before < mine

"""Ctrl-C at any moment from the first import on: exit code 130, one line, no traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

BEGIN = "import sys; print('up', flush=True); from stanley.__main__ import main; main()"
SAMPLE = ("sample", "--target", "banana", "--num", "8", "--steps", "1000000")


@pytest.mark.parametrize("moment", range(6))
def test_an_early_interrupt(tmp_path: Path, moment: int) -> None:
    """While packages are loaded, of which numpy and torch run C code that an exception would break,
    and after.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN, *SAMPLE], cwd=tmp_path, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.15 + 0.35 * moment)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=120)[1]
    assert (process.returncode, said) == (130, "stanley: interrupted\n")

"""The suites of which `make test` runs a slice, in full: a seed that is printed, and how much was
tried.
"""

from __future__ import annotations

import argparse
import os
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main(room: str, what: str, times: float) -> int:
    parser = argparse.ArgumentParser(prog=f"python -m tests.{room}")
    parser.add_argument("--times", type=float, default=times, help="how many; see above")
    parser.add_argument("--seed", type=int, help="of all inputs; none: a new one")
    parser.add_argument("--jobs", default="auto", help="processes")
    asked, more = parser.parse_known_args()
    seed = secrets.randbelow(2**31) if asked.seed is None else asked.seed
    print(f"seed {seed}: make {room} SEED={seed} is the same once more", flush=True)
    with tempfile.TemporaryDirectory() as counts:
        name = f"STANLEY_{room.upper()}"
        own = {
            name: f"{asked.times:g}",
            f"{name}_SEED": str(seed),
            f"{name}_COUNTS": counts,
            "OMP_NUM_THREADS": "1",
        }
        words = [
            "-m",
            "pytest",
            f"tests/{room}",
            "-q",
            "-n",
            asked.jobs,
            "--seed",
            str(seed),
            *more,
        ]
        began = time.monotonic()
        code = subprocess.run(
            [sys.executable, *words], cwd=ROOT, env=os.environ | own, check=False
        ).returncode
        tried = sum(int(file.read_text()) for file in Path(counts).iterdir())
        minutes = (time.monotonic() - began) / 60
    print(
        f"{tried:,} {what} in {minutes:.1f} minutes, seed {seed}:"
        f" {'no fault' if code == 0 else 'FAULTS, see above'}"
    )
    return code

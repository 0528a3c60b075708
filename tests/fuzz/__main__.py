"""make fuzz: many inputs, from a new seed that is printed; a failing one is kept and printed as a
command to repeat.

    python -m tests.fuzz [--times 2.5] [--seed N] [--jobs 2]

`--times` 1 is about 2,100 inputs; the slice in `make test` is 0.15 of them.
"""

from __future__ import annotations

from tests.suite import main

if __name__ == "__main__":
    raise SystemExit(main("fuzz", "inputs", times=2.5))

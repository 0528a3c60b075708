"""make fuzz: many inputs, from a new seed that is printed; a failing one is kept and printed as a command to repeat.

    python -m tests.fuzz [--times 4] [--seed N] [--jobs 2]

`--times` is how often the inputs of the slice in `make test`, about 1,500 of them.
"""

from __future__ import annotations

from tests.suite import main

if __name__ == "__main__":
    raise SystemExit(main("fuzz", "inputs", times=4))

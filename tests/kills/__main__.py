"""make kills: every command is stopped at some of its file operations, from a new seed that is
printed.

    python -m tests.kills [--times 4] [--seed N] [--jobs 2]

`--times` is at how many operations, in each of the four ways; 0 stands for all of them, which takes
hours.
"""

from __future__ import annotations

from tests.suite import main

if __name__ == "__main__":
    raise SystemExit(main("kills", "stops", times=4))

"""python -m tests.mutations"""

from __future__ import annotations

import sys

from tests.mutations.run import main

if __name__ == "__main__":  # processes that try a breakage import this file, too
    sys.exit(main())

"""Where the suite's randomness comes from: every test draws from a seed of its own, told when the
test fails.

`pytest --seed N` runs the same tests on the same draws; without it every run of the suite is a new
one.
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import torch

#: Any number of draws in NumPy; begun anew before each test.
RNG = np.random.default_rng()


#: Of the test that runs.
CURRENT = [0]


def fresh_seed() -> int:
    return int(torch.randint(2**62, ()))


def fresh() -> torch.Generator:
    """A generator that no other call gives, in this test or another."""
    return torch.Generator().manual_seed(fresh_seed())


def stream(number: int = 0) -> torch.Generator:
    """The test's generator of this number: the same whenever the test asks for it,
    another in every test and run.
    """
    return torch.Generator().manual_seed(CURRENT[0] + number)


def begin(suite: int, test: str) -> None:
    """PyTorch's global generator and RNG, from the suite's seed and the name of the test.

    A hash of both: of a seed PyTorch's generator on the CPU takes the last 32 bits alone.
    """
    CURRENT[0] = int.from_bytes(blake2b(f"{suite} {test}".encode(), digest_size=7).digest(), "big")
    torch.manual_seed(CURRENT[0])
    RNG.bit_generator.state = np.random.PCG64(fresh_seed()).state

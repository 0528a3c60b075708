"""Where the suite's randomness comes from: every test draws from a seed of its own, told when the test fails.

`pytest --seed N` runs the same tests on the same draws; without it every run of the suite is a new one.
"""

from __future__ import annotations

import zlib

import numpy as np
import torch

#: Any number of draws in NumPy; begun anew before each test.
RNG = np.random.default_rng()


def fresh_seed() -> int:
    return int(torch.randint(2**62, ()))


def fresh() -> torch.Generator:
    """A generator that no other call gives, in this test or another."""
    return torch.Generator().manual_seed(fresh_seed())


def begin(suite: int, test: str) -> None:
    """PyTorch's global generator and RNG, from the suite's seed and the name of the test."""
    torch.manual_seed((suite << 32 | zlib.crc32(test.encode())) % 2**63)
    RNG.bit_generator.state = np.random.PCG64(fresh_seed()).state

"""Where randomness comes from: a named stream for each purpose, all of them from one seed.

The rule: a purpose has a name, and the stream `stream(seed, *name)` is a generator that starts at

    seed_of(seed, *name) = the first 63 bits of BLAKE2b(JSON of [seed, *name]),

so that two purposes never share their numbers, and neither do two seeds, two ranks, or two steps
where these are part of the name (but for a chance of 2⁻³²: of a starting point torch's generator on
the CPU takes the last 32 bits). It rests on bytes alone: the same on every platform and with every
version of Python and torch. What a generator makes of its starting point is torch's: another on a
GPU than on a CPU.

Two things are not drawn by this rule. A resumed run goes on with the states of its generators,
which its checkpoint holds. And a data set keeps the derivation it has always had, `data_stream`:
which points it draws and which of them it holds out are part of what an energy was trained on, and
a run of an earlier version that is evaluated today must find its own held-out points and not some
that it has seen.
"""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from stanley.errors import StanleyError, require


def stream(seed: int, *name: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """The generator of a purpose, at its beginning."""
    return torch.Generator(device).manual_seed(seed_of(seed, *name))


def seed_of(seed: int, *name: str | int) -> int:
    """The starting point of a named stream, in [0, 2^63)."""
    require(0 <= seed < 2**63, f"seed is {seed}, must lie in [0, 2^63)")
    told = json.dumps([int(seed), *name])
    return int.from_bytes(hashlib.blake2b(told.encode(), digest_size=8).digest(), "big") >> 1


def as_generator(
    generator: Any, seed: Any, *name: str | int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """The randomness that a caller gave: a generator as it is, or of a seed the stream of that
    name, whose first part is what the caller called.

    Raises StanleyError for neither, for both, and for what is neither.
    """
    what = name[0]
    if generator is None and seed is None:
        raise StanleyError(
            f"{what} draws random numbers: give seed=0, or a torch.Generator as generator="
        )
    if generator is not None:
        require(
            isinstance(generator, torch.Generator),
            f"generator is {shown(generator)}, must be a torch.Generator; for a number use seed=",
        )
        require(
            seed is None,
            f"{what} was given a generator and seed={seed}, but takes its numbers from one of them;"
            " leave the other out",
        )
        return generator
    return stream(whole(seed), *name, device=device)


def whole(seed: Any) -> int:
    try:
        return operator.index(seed)  # whole numbers of numpy and torch as well
    except TypeError:
        raise StanleyError(f"seed is {shown(seed)}, must be a whole number from 0") from None


def shown(value: Any) -> str:
    """A value in a message: short, and with the name of its type where that is news."""
    told = " ".join(repr(value).split())
    told = told if len(told) <= 40 else f"{told[:39]}…"
    return told if isinstance(value, int | float | str) else f"{told} ({type(value).__name__})"


def data_stream(seed: int) -> torch.Generator:
    """The generator that the points of a data set, or their split, are drawn with: it starts at the
    seed itself, but for seeds of more than 32 bits, of which torch's generator on the CPU would
    take the last 32 alone.
    """
    start = seed if 0 <= seed < 2**32 else seed_of(seed, "data")
    return torch.Generator().manual_seed(start)


@contextmanager
def global_stream(seed: int, *name: str | int) -> Iterator[None]:
    """The same for torch's global generator on the CPU, which is the only one that `torch.nn`
    initialises from; it is put back afterwards, and those of other devices are not touched."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed_of(seed, *name))
        yield

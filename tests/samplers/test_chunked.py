"""Chains whose gradients are taken in chunks are the same chains."""

from __future__ import annotations

import pytest
import torch

from stanley.errors import StanleyError
from stanley.samplers import (
    MALA,
    Adjusted,
    Preconditioned,
    RandomWalk,
    ReplicaExchange,
    Stanley,
    run_chains,
)
from stanley.types import Chunked, Potential

from . import targets
from .invariants import generator, identical, starts

SAMPLERS = {
    "mala": MALA(0.1),
    "stanley": Stanley(0.1, 1.0),
    "drift": Adjusted(Stanley(0.1, 1.0, correction="drift")),
    "random walk": RandomWalk(0.1),
    "preconditioned": Preconditioned(MALA(0.1), torch.full((2, 3, 2), 0.5, dtype=torch.float64)),
    "replicas": ReplicaExchange(MALA(0.1)),
}


class Widest:
    """The most rows that were ever asked for at once."""

    def __init__(self):
        self.rows = 0

    def __call__(self, x):
        self.rows = max(self.rows, len(x))
        return targets.coupled(x)


@pytest.mark.parametrize("size", [1, 2, 5, 100])
@pytest.mark.parametrize("name", SAMPLERS)
def test_chunks_change_nothing_but_the_memory(name, size):
    """Sums over the event of one chain alone: the same bits, whichever rows stand beside it."""
    widest = Widest()
    whole = run_chains(
        SAMPLERS[name], targets.coupled, starts(), 4, generator=generator(), keep_every=1
    )
    parts = run_chains(
        SAMPLERS[name],
        Potential(Chunked(widest, size)),
        starts(),
        4,
        generator=generator(),
        keep_every=1,
    )
    assert identical(whole.draws, parts.draws)
    assert whole.info.num_gradients == parts.info.num_gradients
    assert widest.rows == min(size, 5)


@pytest.mark.parametrize("size", [0, -1, 2.5])
def test_bad_sizes(size):
    with pytest.raises(StanleyError, match="chunk_size is"):
        Chunked(targets.coupled, size)

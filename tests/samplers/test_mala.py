"""MALA."""

from __future__ import annotations

from typing import ClassVar

from stanley.samplers import MALA, Adjusted, Langevin, run_chains

from . import targets
from .balance import DetailedBalance
from .invariants import generator, identical, starts


class TestMALA(DetailedBalance):
    cases: ClassVar[dict] = {"h=0.1": MALA(0.1), "h=0.3": MALA(0.3)}


def test_mala_is_adjusted_langevin():
    a = run_chains(MALA(0.3), targets.coupled, starts(), 10, generator=generator())
    b = run_chains(Adjusted(Langevin(0.3)), targets.coupled, starts(), 10, generator=generator())
    assert identical(a.x, b.x)
    assert identical(a.info.acceptance, b.info.acceptance)
    assert a.info.num_gradients == b.info.num_gradients == 11

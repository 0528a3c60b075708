"""The generic Metropolis step around every proposal that has a log-ratio."""

from __future__ import annotations

from typing import ClassVar

import pytest

from stanley.errors import StanleyError
from stanley.samplers import (
    AMALA,
    HMC,
    MALA,
    Adjusted,
    Barker,
    GradientDescent,
    Langevin,
    MatchedLangevin,
    RandomWalk,
    Stanley,
)

from .balance import DetailedBalance
from .cases import ADJUSTED


class TestAdjusted(DetailedBalance):
    cases: ClassVar[dict] = {name: s for name, s in ADJUSTED.items() if name != "mala"}


@pytest.mark.parametrize(
    "sampler",
    [
        Stanley(0.1, correction="midpoint"),
        GradientDescent(0.1),
        MatchedLangevin(0.1),
    ],
    ids=lambda s: s.kind,
)
def test_refuses_what_has_no_density(sampler):
    with pytest.raises(StanleyError, match=rf"Adjusted\({type(sampler).__name__}\): ") as error:
        Adjusted(sampler)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "sampler",
    [MALA(0.1), HMC(0.1), RandomWalk(0.1), Barker(0.1), AMALA(0.1), Adjusted(Langevin(0.1))],
    ids=lambda s: s.kind,
)
def test_refuses_what_is_adjusted_already(sampler):
    name = type(sampler).__name__
    with pytest.raises(StanleyError) as error:
        Adjusted(sampler)
    assert str(error.value) == f"Adjusted({name}): {name} is adjusted already; use it as it is"

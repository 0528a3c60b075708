"""Random-walk Metropolis: no gradients."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch

from stanley.errors import StanleyError
from stanley.samplers import RandomWalk, run_chains

from . import targets
from .balance import DetailedBalance
from .invariants import generator, identical, starts


class TestRandomWalk(DetailedBalance):
    cases: ClassVar[dict] = {"h=0.1": RandomWalk(0.1), "h=1": RandomWalk(1.0)}


def test_always_moves_on_a_flat_potential():
    """log α = 0: every step is accepted, and x - x0 is the sum of the noise."""
    x0, rng = starts((50, 3)), generator()
    result = run_chains(
        RandomWalk(0.3), lambda x: torch.zeros(len(x)), x0, 4, generator=generator()
    )
    expected = x0
    for _ in range(4):
        expected = expected + 0.3**0.5 * torch.randn(x0.shape, generator=rng, dtype=x0.dtype)
        torch.rand(50, generator=rng, dtype=torch.float64)  # the coins
    torch.testing.assert_close(result.x, expected, rtol=1e-12, atol=1e-12)
    assert (result.info.acceptance == 1).all()


def test_takes_a_potential_that_autograd_cannot_see():
    """Detached, through numpy, with jumps: the same numbers as in torch."""

    def blind(x):
        return torch.from_numpy((x.detach().numpy() ** 2).sum(1) / 2)

    a = run_chains(RandomWalk(0.5), blind, starts((6, 3)), 8, generator=generator())
    b = run_chains(RandomWalk(0.5), targets.gaussian, starts((6, 3)), 8, generator=generator())
    torch.testing.assert_close(a.x, b.x, rtol=1e-12, atol=1e-12)
    stairs = run_chains(
        RandomWalk(0.5), lambda x: x.abs().floor().sum(1), starts((6, 3)), 8, generator=generator()
    )
    assert stairs.x.isfinite().all()


def test_evaluates_the_potential_once_per_step_and_records_no_graph():
    calls = []

    def watched(x):
        calls.append((x.requires_grad, torch.is_grad_enabled()))
        return targets.gaussian(x)

    result = run_chains(
        RandomWalk(0.5), watched, starts().requires_grad_(), 5, generator=generator()
    )
    assert calls == [(False, False)] * 6
    assert (result.info.num_gradients, result.info.num_potentials) == (0, 6)
    assert result.info.grad_norm.isnan().all()
    sampler = RandomWalk(0.5)  # and by hand, outside of the chain loop
    state, _ = sampler.step(watched, sampler.init(watched, starts()), generator())
    assert calls[6:] == [(False, False)] * 2
    assert state.grad.shape == state.x.shape


@pytest.mark.parametrize(
    "wrong", [lambda x: x.sum(), lambda x: x.sum(1, keepdim=True), lambda x: x]
)
def test_still_wants_one_number_per_chain(wrong):
    with pytest.raises(StanleyError, match=r"must be \(4,\)") as error:
        run_chains(RandomWalk(0.1), wrong, starts((4, 3)), 1, generator=generator())
    assert "\n" not in str(error.value)


def test_a_rejected_chain_stays_bit_for_bit():
    x0 = starts((20, 3))
    result = run_chains(RandomWalk(1e6), targets.quartic, x0, 3, generator=generator())
    assert identical(result.x, x0)

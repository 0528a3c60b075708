"""MALA with jumps: two exact moves and a coin."""

from __future__ import annotations

import math
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from stanley.errors import StanleyError
from stanley.samplers import MALA, MALAWithJumps, adapt, run_chains

from .bounds import SIGMAS
from .invariants import Invariants, generator, starts


class TestMALAWithJumps(Invariants):
    cases: ClassVar[dict] = {
        "a tenth": MALAWithJumps(0.1, 1.0),
        "half, long": MALAWithJumps(0.3, 3.0, 0.5),
    }


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_jumps_as_wide_as_the_chains_have_no_unit(scale: float) -> None:
    """The same run in other units, and that of the number itself. Rounding of 1e-16 a step may grow
    by |1 - h·3x²/2| < 10 in a few of 20 steps, before a steep place is left."""
    x = torch.randn(300, 2, generator=generator(), dtype=torch.float64)
    x = x * torch.tensor([1.0, 3.0])

    def run(jump_std: float | None, unit: float) -> Tensor:
        sampler = MALAWithJumps(0.1 * unit**2, jump_std, 0.5)
        out = run_chains(sampler, lambda y: quartic(y / unit), unit * x, 20, generator=generator(1))
        return out.x / unit

    own = run(None, 1.0)
    torch.testing.assert_close(run(None, scale), own, rtol=1e-9, atol=1e-9)
    number = 2 * float(x.var(0).mean().sqrt())
    torch.testing.assert_close(run(number, 1.0), own, rtol=1e-9, atol=1e-9)
    with pytest.raises(StanleyError, match="all start at one point"):
        run_chains(MALAWithJumps(0.1, None), quartic, 0 * x, 1, generator=generator())
    with pytest.raises(StanleyError, match="there is one chain"):
        run_chains(MALAWithJumps(0.1, None), quartic, x[:1], 1, generator=generator())


def two_modes(x: Tensor) -> Tensor:
    """Weights 0.9 and 0.1, ten standard deviations apart."""
    d = (x + 5).square().sum(1) / 2, (x - 5).square().sum(1) / 2
    return -torch.logaddexp(math.log(0.9) - d[0], math.log(0.1) - d[1])


def test_jumps_find_the_shares_of_far_modes_and_mala_does_not() -> None:
    """All chains start in the lighter mode; the share p of n chains has the error √(p(1-p)/n)."""
    n = 2000
    x = 5 + torch.randn(n, 1, generator=generator(), dtype=torch.float64)
    jumps = run_chains(MALAWithJumps(0.5, 10.0, 0.3), two_modes, x, 600, generator=generator(1))
    share = float((jumps.x < 0).double().mean())
    assert abs(share - 0.9) < SIGMAS * math.sqrt(0.9 * 0.1 / n)
    stuck = run_chains(MALA(0.5), two_modes, x, 600, generator=generator(1))
    assert float((stuck.x < 0).double().mean()) < 0.01


def test_each_move_balances_by_its_own_ratio() -> None:
    """Pointwise in float64, of the moves that were made: α(x→y)·q(x→y)·π(x) is symmetric in x and
    y, with q the density of the move that the coin chose.
    """
    sampler = MALAWithJumps(0.3, 2.0, 0.5)
    x = 2 * torch.randn(500, 2, generator=generator(), dtype=torch.float64)
    state = sampler.init(quartic, x)
    noise = torch.randn(500, 2, generator=generator(1), dtype=torch.float64)
    y = sampler.init(quartic, x - 0.15 * state.grad + 0.3**0.5 * noise)
    ratio = sampler.langevin_log_ratio(state, y, noise)

    def log_q(a: Tensor, grad: Tensor, b: Tensor) -> Tensor:
        return -(b - a + 0.15 * grad).square().sum(1) / 0.6

    expected = log_q(y.x, y.grad, x) - log_q(x, state.grad, y.x)
    torch.testing.assert_close(ratio, expected, rtol=1e-9, atol=1e-9)


def quartic(x: Tensor) -> Tensor:
    return (x**4).sum(1) / 4


def test_a_step_size_is_found_as_for_mala_where_no_jump_is_accepted() -> None:
    x = torch.randn(400, 5, generator=generator(), dtype=torch.float64)

    def normal(x: Tensor) -> Tensor:
        return x.square().sum(1) / 2

    with_jumps, _ = adapt(MALAWithJumps(0.5, 50.0, 0.3), normal, x, 400, generator=generator(1))
    without, _ = adapt(MALA(0.5), normal, x, 400, generator=generator(2))
    assert float(with_jumps.step_size) == pytest.approx(float(without.step_size), rel=0.15)


def test_one_gradient_a_step() -> None:
    out = run_chains(
        MALAWithJumps(0.1), lambda x: x.square().sum(1), starts((8, 2)), 7, generator=generator()
    )
    assert out.info.num_gradients == 8


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_bad_shares(share: float) -> None:
    with pytest.raises(StanleyError, match=r"jump_share is .* must lie between 0 and 1"):
        MALAWithJumps(0.1, 1.0, share)

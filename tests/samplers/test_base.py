"""What all samplers share, by itself: the Metropolis test and the sum of a log-ratio."""

from __future__ import annotations

import math

import pytest
import torch

from stanley.metrics import density_on_grid
from stanley.samplers.base import ChainState, StepInfo, metropolis, per_chain, values

from .bounds import hoeffding
from .invariants import generator

N = 50_000


def share_accepted(log_alpha: float) -> float:
    """Of N chains at 0 with candidates at 1, log α in equal parts of the energies and of the
    ratio.
    """
    half = torch.full((N,), log_alpha / 2, dtype=torch.float64)
    x = torch.zeros(N, 1, dtype=torch.float64)
    state, candidate = ChainState(x, half, x), ChainState(x + 1, 0 * half, x)
    after, info = metropolis(state, candidate, half, generator(2), StepInfo())
    torch.testing.assert_close(info.acceptance, (2 * half).clamp(max=0).exp())
    return float(after.x.mean())


@pytest.mark.parametrize("log_alpha", [-5.0, -1.0, -0.3, 0.0, 2.0])
def test_accepts_as_often_as_it_says(log_alpha):
    """The share of N coins within Hoeffding's bound at 1e-7, 0.013, of min(1, α)."""
    assert abs(share_accepted(log_alpha) - min(1.0, math.exp(log_alpha))) <= hoeffding(N)


@pytest.mark.parametrize("log_alpha", [-5.0, -1.0, -0.3])
def test_negative_control_the_root_of_the_ratio(log_alpha):
    """A coin tossed for √α, which a sampler that accepts nearly everything hides,
    is more than the bound away.
    """
    assert abs(share_accepted(log_alpha) - math.exp(log_alpha / 2)) > hoeffding(N)


def test_log_ratios_are_summed_in_float64():
    """10⁸ + 1 - 10⁸ is 1, and in float32, whose spacing there is 8, it is 0 or 8."""
    values = torch.tensor([[1e8, 1.0, -1e8], [1.0, 2.0, 3.0]], dtype=torch.float32)
    assert per_chain(values).tolist() == [1.0, 6.0]
    assert per_chain(values).dtype == torch.float64


def test_values_carry_no_gradient_even_where_u_switches_it_on():
    """So that they can become arrays: `sample --target` draws them."""
    x = torch.randn(3, 2, dtype=torch.float64)
    u = values(lambda x: x.square().sum(1).requires_grad_(), x)
    assert not u.requires_grad
    assert density_on_grid(lambda x: x.square().sum(1).requires_grad_(), 2.0, 8).numpy().sum() > 0

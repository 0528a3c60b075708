"""Gradient descent: Langevin without its noise."""

from __future__ import annotations

from typing import ClassVar

import torch

from stanley.samplers import GradientDescent, Langevin, evaluate, run_chains

from . import targets
from .invariants import Invariants, generator, starts


class TestDescent(Invariants):
    cases: ClassVar[dict] = {"h=0.1": GradientDescent(0.1)}


def test_is_langevin_without_its_noise():
    state = evaluate(targets.coupled, starts())
    y, noise, _ = Langevin(0.1).propose(targets.coupled, state, generator())
    x, _ = GradientDescent(0.1).step(targets.coupled, state, generator())
    torch.testing.assert_close(x.x, y.x - 0.1**0.5 * noise, rtol=1e-12, atol=1e-12)


def test_draws_no_random_number():
    rng = generator()
    before = rng.get_state()
    run_chains(GradientDescent(0.1), targets.coupled, starts(), 3, generator=rng)
    assert torch.equal(rng.get_state(), before)


def test_contracts_on_a_gaussian():
    """x_n = (1 - h/2)ⁿ·x_0."""
    x = run_chains(GradientDescent(0.2), targets.gaussian, starts(), 7, generator=generator()).x
    torch.testing.assert_close(x, 0.9**7 * starts(), rtol=1e-12, atol=0)

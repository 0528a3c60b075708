"""Underdamped Langevin against the exact law of its linear map on Gaussians."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy.linalg import solve_discrete_lyapunov

from stanley.errors import StanleyError
from stanley.samplers import HMC, Adjusted, Underdamped, run_chains
from stanley.samplers.hmc import leapfrog
from tests.seeds import RNG

from . import targets
from .bounds import assert_mean
from .invariants import Invariants, generator, identical, starts


class TestUnderdamped(Invariants):
    cases: ClassVar[dict] = {
        "η=1": Underdamped(0.3),
        "η=0": Underdamped(0.2, friction=0.0),
        "η=50": Underdamped(0.2, friction=50.0),
    }


def baoab(dt: float, friction: float, precision: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(M, Q) with (x, p)' = M·(x, p) + N(0, Q) for U = ½xᵀΛx: the five moves as matrices,
    one after the other.
    """
    d = len(precision)
    zero, one = np.zeros((d, d)), np.eye(d)
    keep = math.exp(-friction * dt)
    kick = np.block([[one, zero], [-dt / 2 * precision, one]])
    drift = np.block([[one, dt / 2 * one], [zero, one]])
    forget = np.block([[one, zero], [zero, keep * one]])
    noise = np.block([[zero, zero], [zero, (1 - keep**2) * one]])
    after = kick @ drift
    return after @ forget @ drift @ kick, after @ noise @ after.T


UNIT = np.eye(1)
COUPLED = np.array([[2.0, 1.2], [1.2, 1.5]])  # the precision of `targets.anisotropic`


@pytest.mark.parametrize("friction", [0.1, 1.0, 20.0])
@pytest.mark.parametrize("dt", [0.1, 0.5, 1.0, 1.9])
def test_positions_are_exact_on_a_gaussian(dt, friction):
    """Σ = MΣMᵀ + Q has position block 1 and momentum block 1 - Δt²/4, uncorrelated.
    Rounding over 1 - |λ|² > 1e-3.
    """
    transition, noise = baoab(dt, friction, UNIT)
    stationary = solve_discrete_lyapunov(transition, noise)
    np.testing.assert_allclose(stationary, np.diag([1.0, 1 - dt**2 / 4]), rtol=0, atol=1e-11)


def test_the_lyapunov_equation_sees_a_wrong_splitting():
    """Negative control: O, then velocity Verlet (OBAB) has variance 1/(1 - Δt²/4),
    1.067 at Δt = ½.
    """
    dt, friction = 0.5, 1.0
    keep = math.exp(-friction * dt)
    kick, drift = np.array([[1, 0], [-dt / 2, 1]]), np.array([[1, dt], [0, 1]])
    forget, noise = np.diag([1, keep]), np.diag([0, 1 - keep**2])
    after = kick @ drift @ kick  # O then velocity Verlet, OBAB
    wrong = solve_discrete_lyapunov(after @ forget, after @ noise @ after.T)
    assert abs(wrong[0, 0] - 1) > 0.05


@pytest.mark.parametrize(
    ("potential", "precision", "start"),
    [(targets.gaussian, UNIT, [2.0]), (targets.anisotropic, COUPLED, [2.0, -1.0])],
    ids=["unit", "coupled"],
)
@pytest.mark.parametrize(("dt", "friction"), [(0.3, 1.0), (0.8, 0.2), (0.5, 0.0), (0.5, 30.0)])
def test_finite_time_law_on_a_gaussian(potential, precision, start, dt, friction):
    """From a point and p ~ N(0, I), n steps: mean Mⁿm₀, covariance by its recursion; of x and of p.

    100,000 chains, six standard errors for each of at most 4 means and 10 second moments.
    """
    transition, noise = baoab(dt, friction, precision)
    d, chains, steps = len(start), 100_000, 5
    mean, covariance = np.append(start, np.zeros(d)), np.diag([0.0] * d + [1.0] * d)
    sampler, rng = Underdamped(dt, friction), generator(1)
    state = sampler.init(potential, torch.tensor(start, dtype=torch.float64).repeat(chains, 1))
    for _ in range(steps):
        state, _ = sampler.step(potential, state, rng)
        mean, covariance = transition @ mean, transition @ covariance @ transition.T + noise
    both = torch.cat([state.x, state.memory], 1).numpy()
    assert_mean(both, mean)
    deviation = both - mean
    assert_mean(deviation[:, :, None] * deviation[:, None], covariance)


def test_keeps_a_gaussian_from_exact_starts():
    """x ~ N(0, 1) and fresh p: E x² = 1 needs p at its own variance; one step from (1, 1) moves E
    x² by O(Δt⁴).

    So the oracle's recursion from covariance I is the reference, not 1; at Δt = 1.5 they differ by
    more than 0.1.
    """
    dt, n = 1.5, 200_000
    transition, noise = baoab(dt, 1.0, UNIT)
    covariance, distance = np.eye(2), 0.0
    sampler, rng = Underdamped(dt), generator(3)
    state = sampler.init(
        targets.gaussian, torch.randn(n, 1, generator=generator(2), dtype=torch.float64)
    )
    for _ in range(6):
        state, _ = sampler.step(targets.gaussian, state, rng)
        covariance = transition @ covariance @ transition.T + noise
        distance = max(distance, abs(covariance[0, 0] - 1))
        assert_mean(state.x.numpy() ** 2, covariance[0, 0])
    assert distance > 0.1


def test_no_friction_is_velocity_verlet():
    """The same arithmetic up to the order of x + ½Δt·p + ½Δt·p: 1e-12."""
    sampler, rng = Underdamped(0.2, friction=0.0), generator()
    state = sampler.init(targets.coupled, starts())
    momentum = torch.randn(state.x.shape, generator=generator(), dtype=torch.float64)
    expected = state
    for _ in range(10):
        state, _ = sampler.step(targets.coupled, state, rng)
        expected, momentum = leapfrog(targets.coupled, expected, momentum, 0.2, 1)
        torch.testing.assert_close(state.x, expected.x, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(state.memory, momentum, rtol=1e-12, atol=1e-12)


def test_high_friction_is_langevin_with_noise_shared_by_two_steps():
    """c = 0: x' = x - (h/2)·∇U + √h·(ξ_{n-1} + ξ_n)/2, h = Δt²;
    the fresh p of the first step has h/4 there.
    """
    dt, h = 0.2, 0.04
    sampler, rng, again = Underdamped(dt, friction=1e4), generator(), generator()
    state = sampler.init(targets.coupled, starts())
    x, before = state.x, torch.randn(state.x.shape, generator=again, dtype=torch.float64)
    for n in range(6):
        noise = torch.randn(x.shape, generator=again, dtype=torch.float64)
        x = x - (h / 4 if n == 0 else h / 2) * state.grad + h**0.5 * (before + noise) / 2
        before = noise
        state, _ = sampler.step(targets.coupled, state, rng)
        torch.testing.assert_close(state.x, x, rtol=1e-12, atol=1e-12)


def test_momenta_are_drawn_once_a_run():
    sampler, rng = Underdamped(0.1), generator()
    state = sampler.init(targets.coupled, starts())
    assert state.memory is None
    state, _ = sampler.step(targets.coupled, state, rng)
    frozen = Underdamped(0.1, friction=0.0)
    a, _ = frozen.step(targets.coupled, state, generator(1))
    b, _ = frozen.step(targets.coupled, state, generator(2))
    assert identical(a.x, b.x)  # the momentum is the state's; without friction nothing is random


@pytest.mark.parametrize("friction", [-0.1, float("nan"), float("inf")])
def test_refuses_a_bad_friction(friction):
    with pytest.raises(StanleyError, match="friction is") as error:
        Underdamped(0.1, friction=friction)
    assert "\n" not in str(error.value)


def test_is_not_adjustable_and_says_why():
    with pytest.raises(
        StanleyError, match=r"Adjusted\(Underdamped\): its step moves position and momentum"
    ):
        Adjusted(Underdamped(0.1))


def test_is_unadjusted_off_the_gaussian_and_hmc_is_not():
    """U = eˣ - x, Δt = 1, from π, where eˣ is exponential: E
    (eˣ - 1)² = 1 stays with HMC and not here.
    """
    x0 = torch.from_numpy(targets.SKEW.draw(RNG, 200_000))[:, None]
    rough = (
        run_chains(Underdamped(1.0), targets.skewed, x0, 10, generator=generator()).x.exp().numpy()
    )
    good = run_chains(HMC(0.5, 2), targets.skewed, x0, 10, generator=generator()).x.exp().numpy()
    assert_mean((good - 1) ** 2, 1.0)
    with pytest.raises(AssertionError, match="error"):
        assert_mean((rough - 1) ** 2, 1.0)

"""On a Gaussian target each step is linear: mean and covariance after n steps are known,
in numpy.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stanley.samplers import Langevin, evaluate, run_chains
from stanley.samplers.hmc import leapfrog

from . import targets
from .bounds import assert_mean
from .invariants import generator

PRECISION = np.array([[2.0, 1.2], [1.2, 1.5]])  # of `targets.anisotropic`
START = np.array([2.0, -1.0])
N, STEPS, EYE = 100_000, 4, np.eye(2)


def langevin_law(h: float, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """m ← Fm, S ← FSFᵀ + hI with F = I - (h/2)A."""
    flow, mean, covariance = EYE - h / 2 * PRECISION, START, np.zeros((2, 2))
    for _ in range(steps):
        mean, covariance = flow @ mean, flow @ covariance @ flow.T + h * EYE
    return mean, covariance


def hamiltonian_law(eps: float, num: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """(x, p) ← Mx, M = (kick·drift·kick)^num; with [F G] its upper half m ← Fm, S ← FSFᵀ + GGᵀ,
    p fresh each time.
    """
    zero = np.zeros((2, 2))
    kick = np.block([[EYE, zero], [-eps / 2 * PRECISION, EYE]])
    drift = np.block([[EYE, eps * EYE], [zero, EYE]])
    flow, noise = np.hsplit(np.linalg.matrix_power(kick @ drift @ kick, num)[:2], 2)
    mean, covariance = START, zero
    for _ in range(steps):
        mean, covariance = flow @ mean, flow @ covariance @ flow.T + noise @ noise.T
    return mean, covariance


def has_law(x: torch.Tensor, mean: np.ndarray, covariance: np.ndarray) -> None:
    """N draws: mean and covariance about the known mean within six standard errors."""
    draws = x.numpy()
    centred = draws - mean
    assert_mean(draws, mean)
    assert_mean(centred[:, :, None] * centred[:, None], covariance)


def starts() -> torch.Tensor:
    return torch.from_numpy(np.tile(START, (N, 1)))


def hamiltonian_chain(eps: float, num: int) -> torch.Tensor:
    """HMC without its Metropolis test."""
    state, rng = evaluate(targets.anisotropic, starts()), generator()
    for _ in range(STEPS):
        momentum = torch.randn(N, 2, generator=rng, dtype=torch.float64)
        state, _ = leapfrog(targets.anisotropic, state, momentum, eps, num)
    return state.x


@pytest.mark.parametrize("h", [0.1, 0.8])
def test_langevin_has_its_finite_time_law(h):
    has_law(
        run_chains(Langevin(h), targets.anisotropic, starts(), STEPS, generator=generator()).x,
        *langevin_law(h, STEPS),
    )


@pytest.mark.parametrize(("eps", "num"), [(0.3, 1), (0.3, 3), (0.8, 2)])
def test_hamiltonian_flow_has_its_finite_time_law(eps, num):
    has_law(hamiltonian_chain(eps, num), *hamiltonian_law(eps, num, STEPS))


def test_the_two_oracles_are_one_where_they_must_be():
    """One leapfrog step with ε = √h is one Langevin step."""
    for mine, theirs in zip(hamiltonian_law(0.5, 1, STEPS), langevin_law(0.25, STEPS), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12)


@pytest.mark.parametrize(
    ("mean", "covariance"),
    [
        langevin_law(0.8, STEPS - 1),
        langevin_law(0.76, STEPS),
        (np.zeros(2), np.linalg.inv(PRECISION)),
    ],
    ids=["a step less", "a step 5 % smaller", "the target"],
)
def test_negative_control_another_law(mean, covariance):
    x = run_chains(Langevin(0.8), targets.anisotropic, starts(), STEPS, generator=generator()).x
    with pytest.raises(AssertionError):
        has_law(x, mean, covariance)

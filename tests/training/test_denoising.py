"""The denoising loss against data whose density under noise is known in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from stanley.errors import StanleyError
from stanley.training.objectives.denoising import Denoising, denoising_loss
from stanley.training.objectives.without_chains import draw_log_ratio

from ..samplers.bounds import assert_mean, cdf_distance, dkw
from ..samplers.invariants import generator
from .level_laws import Bent, Mixture

MODES = Mixture((0.7, 0.2, 0.1), ((-2.0, 0.5), (1.5, 1.5), (2.0, -2.0)), (0.3, 0.6, 0.15))
NORMAL = Mixture((1.0,), ((0.5, -1.0, 2.0),), (0.8,))
BATCHES, ROWS = 100, 400


def batch(law: Mixture, n: int, g: torch.Generator, log_ratio: float | None = None):
    x = law.sample(n, g)
    xi = torch.randn(x.shape, generator=g, dtype=x.dtype)
    if log_ratio is None:
        return x, draw_log_ratio(law.levels, -0.5, 1.0, n, g).double(), xi
    return x, x.new_full((n,), log_ratio), xi


def bends(x: Tensor, log_ratio: Tensor) -> dict[str, Tensor]:
    return {
        "a constant": x.sum(1) * 0 + 1,
        "the level": log_ratio,
        "a width": x.square().sum(1) / (1 + (2 * log_ratio).exp()),
        "a slope": x[:, 0],
        "a wave": (2 * x[:, 0] - x[:, 1]).sin() * (-log_ratio).exp().clamp(max=5),
        "a mode": (-(x - MODES.centres[2]).square().sum(1)).exp() * (1 + log_ratio**2),
    }


def slopes(law: Mixture, name: str, term: str, of=lambda law: law) -> np.ndarray:
    """d/dε of a term of the loss at ε = 0, of the exact energy bent by ε·f: one number a batch."""
    g, found = generator(), []
    for _ in range(BATCHES):
        epsilon = torch.zeros((), dtype=torch.float64, requires_grad=True)
        energy = Bent(of(law), lambda x, r: bends(x, r)[name], epsilon)
        loss = getattr(denoising_loss(energy, law.std, *batch(law, ROWS, g)), term)
        found.append(float(torch.autograd.grad(loss, epsilon, allow_unused=True)[0] or 0))
    return np.array(found)


@pytest.mark.parametrize("term", ["score", "level"])
@pytest.mark.parametrize(
    "name", ["a constant", "the level", "a width", "a slope", "a wave", "a mode"]
)
def test_the_true_energy_is_stationary(name: str, term: str) -> None:
    assert_mean(slopes(MODES, name, term), 0.0)


class Wider:
    """The exact energy of data that are wider than these by a ninth."""

    def __init__(self, law: Mixture) -> None:
        self.energy, self.levels, self.std = law, law.levels, law.std

    def __call__(self, x: Tensor, log_ratio: Tensor) -> Tensor:
        return self.energy(0.9 * x, log_ratio)


@pytest.mark.parametrize(("name", "term"), [("a width", "score"), ("the level", "level")])
def test_another_energy_is_not(name: str, term: str) -> None:
    with pytest.raises(AssertionError):
        assert_mean(slopes(MODES, name, term, of=Wider), 0.0)


@pytest.mark.parametrize("log_ratio", [-2.5, -0.5, 0.0, 2.0])
def test_both_terms_on_a_gaussian(log_ratio: float) -> None:
    """With E exact, σ·∇E - ξ has variance s²/(σ² + s²) and ∂E/∂ln σ - (d - |ξ|²) has 2d(1 - ρ⁴),
    ρ² = σ²/(σ² + s²).
    """
    g = generator()
    parts = [
        denoising_loss(NORMAL, NORMAL.std, *batch(NORMAL, ROWS, g, log_ratio))
        for _ in range(BATCHES)
    ]
    score, level = (np.array([float(part[i].detach()) for part in parts]) for i in (0, 1))
    correlation = 1 / (1 + math.exp(-2 * log_ratio))
    assert_mean(score, 1.0)
    assert_mean(level, 2 * (1 - correlation**2))


def test_the_derivatives_of_a_mixture() -> None:
    """σ·∇E = E[ξ | y] and ∂E/∂ln σ = E[d - |ξ|² | y], from the posterior of each component."""
    g = generator()
    x, log_ratio, xi = batch(MODES, ROWS, g)
    sigma = (MODES.std * log_ratio.exp())[:, None]
    y = (x + sigma * xi).requires_grad_()
    log_ratio = log_ratio.requires_grad_()
    grad, slope = torch.autograd.grad(MODES(y, log_ratio).sum(), [y, log_ratio])
    with torch.no_grad():
        shares = MODES.log_parts(y, log_ratio).softmax(1)  # (B, K)
        rho2 = sigma**2 / (sigma**2 + MODES.stds**2)
        mean = (y[:, None] - MODES.centres) * (rho2 / sigma)[:, :, None]  # of ξ in a component
        square = mean.square().sum(2) + 2 * (1 - rho2)
        expected = (shares[:, :, None] * mean).sum(1), (shares * (2 - square)).sum(1)
    assert torch.allclose(sigma * grad, expected[0], atol=1e-5)
    assert torch.allclose(slope, expected[1], atol=1e-5)


@pytest.mark.parametrize("log_ratio", [-2.5, 0.0, 1.5])
def test_a_mixture_is_normalised_at_every_level(log_ratio: float) -> None:
    sigma = float(MODES.std) * math.exp(log_ratio)
    half, n = 4 + 8 * (sigma + 0.6), 1200
    axis = (torch.arange(n, dtype=torch.float64) + 0.5) * (2 * half / n) - half
    total = 0.0
    for first in axis:
        x = torch.stack([first.expand(n), axis], 1)
        total += float((-MODES(x, x.new_full((n,), log_ratio))).exp().sum())
    assert total * (2 * half / n) ** 2 == pytest.approx(1, abs=1e-5)


def test_the_levels_are_a_normal_law_cut_off_at_its_ends() -> None:
    low, high = math.log(0.05), math.log(20)
    drawn = draw_log_ratio(MODES.levels, -1.0, 1.5, 20_000, generator()).numpy()
    law = stats.truncnorm((low + 1) / 1.5, (high + 1) / 1.5, -1, 1.5)
    assert low <= drawn.min()
    assert drawn.max() <= high
    assert cdf_distance(drawn, law.cdf) < dkw(len(drawn))


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"level_mean": math.nan}, "level_mean is nan"),
        ({"level_std": 0.0}, "level_std is 0.0"),
        ({"level_weight": -1.0}, "level_weight is -1.0"),
    ],
)
def test_values_that_are_refused(wrong, what: str) -> None:
    with pytest.raises(StanleyError, match=what):
        Denoising(**wrong)

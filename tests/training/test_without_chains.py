"""Score matching and noise-contrastive estimation against closed forms on Gaussians."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from stanley.errors import StanleyError
from stanley.training.bank import StartNoise
from stanley.training.objectives.noise_contrastive import GaussianNoise, noise_contrastive_loss
from stanley.training.objectives.score_matching import one_level_loss, sliced_loss

from ..samplers.bounds import assert_mean
from ..samplers.invariants import generator

D, S = 3, 0.7  # the data are N(MEAN, S²) in D dimensions
MEAN = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
SIGMA = 0.4
NOISE = GaussianNoise(MEAN + 0.2, torch.full((D,), 1.1, dtype=torch.float64))
BATCHES, ROWS = 200, 500


def normal(x: Tensor, var: float) -> Tensor:
    """-log N(x; MEAN, var·I)."""
    return (x - MEAN).square().sum(1) / (2 * var) + D / 2 * math.log(2 * math.pi * var)


def data(g: torch.Generator, n: int = ROWS) -> Tensor:
    return MEAN + S * torch.randn(n, D, generator=g, dtype=torch.float64)


def like(x: Tensor, g: torch.Generator) -> Tensor:
    return torch.randn(x.shape, generator=g, dtype=x.dtype)


BENDS: dict[str, Callable[[Tensor], Tensor]] = {
    "a constant": lambda x: 0 * x.sum(1) + 1,
    "a slope": lambda x: x[:, 0],
    "a width": lambda x: x.square().sum(1),
    "a wave": lambda x: (2 * x[:, 0] - x[:, 1]).sin(),
}


def sliced(u: Callable[[Tensor], Tensor], g: torch.Generator) -> Tensor:
    x = data(g)
    return sliced_loss(u, x, like(x, g))


def one_level(u: Callable[[Tensor], Tensor], g: torch.Generator) -> Tensor:
    x = data(g)
    return one_level_loss(u, x, like(x, g), SIGMA)


def against_noise(u: Callable[[Tensor], Tensor], g: torch.Generator) -> Tensor:
    x = data(g)
    return noise_contrastive_loss(u, NOISE, x, NOISE.draw(x.repeat(3, 1), g))


#: A loss, and the variance of the law whose energy is its minimum.
LOSSES = {"sliced": (sliced, S**2), "one level": (one_level, S**2 + SIGMA**2)}
LOSSES |= {"noise-contrastive": (against_noise, S**2)}


def slopes(name: str, bend: str, scale: float = 1.0) -> np.ndarray:
    """d/dε of the loss at ε = 0, of the energy of variance scale·(the true one) bent by ε·f."""
    (loss, var), g, found = LOSSES[name], generator(), []
    for _ in range(BATCHES):
        epsilon = torch.zeros((), dtype=torch.float64, requires_grad=True)
        value = loss(lambda x, e=epsilon: normal(x, scale * var) + e * BENDS[bend](x), g)
        (slope,) = torch.autograd.grad(value, epsilon, allow_unused=True)
        found.append(0.0 if slope is None else float(slope))
    return np.array(found)


@pytest.mark.parametrize("bend", BENDS)
@pytest.mark.parametrize("name", LOSSES)
def test_the_true_energy_is_stationary(name: str, bend: str) -> None:
    assert_mean(slopes(name, bend), 0.0)


@pytest.mark.parametrize("name", LOSSES)
def test_a_wider_one_is_not(name: str) -> None:
    with pytest.raises(AssertionError):
        assert_mean(slopes(name, "a width", scale=1.2), 0.0)


def test_only_noise_contrastive_estimation_sees_the_constant() -> None:
    """An energy that is not normalised is stationary for the others alone."""
    for name, (loss, var) in LOSSES.items():
        g, found = generator(), []
        for _ in range(BATCHES):
            epsilon = torch.zeros((), dtype=torch.float64, requires_grad=True)
            value = loss(lambda x, e=epsilon, v=var: normal(x, v) + 0.5 + e, g)
            (slope,) = torch.autograd.grad(value, epsilon, allow_unused=True)
            found.append(0.0 if slope is None else float(slope))
        away = abs(np.mean(found)) > 10 * np.std(found) / math.sqrt(BATCHES)
        assert away == (name == "noise-contrastive")


def test_sliced_score_matching_of_a_bowl() -> None:
    """U = λ|x|²/2: L = mean of λ²|x|²/2 - λ|v|², for every x and v."""
    g, scale = generator(), 1.7
    x, v = data(g, 50), data(g, 50)
    value = sliced_loss(lambda x: scale * x.square().sum(1) / 2, x, v).detach()
    expected = (scale**2 * x.square() / 2 - scale * v.square()).sum(1).mean()
    assert float(value) == pytest.approx(float(expected), rel=1e-12)


def test_denoising_at_one_level_of_a_bowl() -> None:
    """U = λ|x|²/2: L = mean of |σλ(x + σξ) - ξ|²/2; at the truth the mean is d/2·s²/(s² + σ²)."""
    g, scale = generator(), 1.7
    x, xi = data(g, 50), data(g, 50)
    value = one_level_loss(lambda x: scale * x.square().sum(1) / 2, x, xi, SIGMA).detach()
    expected = (SIGMA * scale * (x + SIGMA * xi) - xi).square().sum(1).mean() / 2
    assert float(value) == pytest.approx(float(expected), rel=1e-12)
    var = S**2 + SIGMA**2
    found = [float(one_level(lambda x: normal(x, var), g).detach()) for _ in range(BATCHES)]
    assert_mean(np.array(found), D / 2 * S**2 / var)


@pytest.mark.parametrize("share", [1, 4])
def test_noise_that_is_the_model_cannot_be_told_from_it(share: int) -> None:
    """With exp(-U) = q each point is noise with chance ν/(1 + ν), and the loss is the entropy."""
    g = generator()
    x = NOISE.draw(torch.zeros(100, D, dtype=torch.float64), g)
    y = NOISE.draw(torch.zeros(100 * share, D, dtype=torch.float64), g)
    value = noise_contrastive_loss(lambda x: -NOISE.log_density(x), NOISE, x, y)
    expected = math.log(1 + share) + share * math.log((1 + share) / share)
    assert float(value) == pytest.approx(expected, rel=1e-12)


def test_the_noise_has_the_density_it_states() -> None:
    law = torch.distributions.Independent(torch.distributions.Normal(NOISE.mean, NOISE.std), 1)
    x = data(generator())
    assert torch.allclose(NOISE.log_density(x), law.log_prob(x), rtol=1e-12)
    images = GaussianNoise(torch.zeros(1, 4, 4).double(), torch.tensor(0.3).double())
    z = like(torch.zeros(5, 1, 4, 4).double(), generator())
    law = torch.distributions.Normal(0.0, torch.tensor(0.3).double())
    assert torch.allclose(images.log_density(z), law.log_prob(z).flatten(1).sum(1), rtol=1e-12)


def test_it_lies_around_the_data() -> None:
    vectors = StartNoise(torch.tensor([1.0, 2.0]), torch.tensor([0.1, 10.0]), False)
    noise = GaussianNoise.around(vectors, 1.5)
    assert torch.equal(noise.std, torch.tensor([0.15, 15.0]))
    assert noise.mean is vectors.mean
    images = StartNoise(torch.zeros(1, 2, 2), torch.tensor([[[0.0, 1.0], [1.0, 0.0]]]), True)
    assert float(GaussianNoise.around(images, 2.0).std) == pytest.approx(2 * 0.5**0.5)
    flat = StartNoise(torch.zeros(2), torch.tensor([1.0, 0.0]), False)
    with pytest.raises(StanleyError, match="coordinate 1 of the data is constant"):
        GaussianNoise.around(flat, 1.0)

"""log Z down a ladder of noise levels, against mixtures whose density under noise is known.

E w = Z forward and E 1/w = 1/Z in reverse hold exactly for every number of levels and whatever the
energies between are: the mean of w·exp(-log Z) is 1 up to its standard error, 6 of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from stanley.errors import StanleyError
from stanley.metrics import GaussianReference, bracket_down_levels, level_likelihood
from stanley.metrics.level_likelihood import forward_pass, reverse_pass, step_spreads
from stanley.samplers import ladder
from stanley.types import Energy
from tests.seeds import stream
from tests.training.level_laws import Mixture

FAR = Mixture((0.9, 0.1), ((-3.0, 0.0), (3.0, 0.0)), (0.3, 0.3))
NORMAL = Mixture((1.0,), ((0.5, -1.0, 2.0),), (0.8,))


@pytest.fixture
def generator() -> torch.Generator:
    return stream()


def levels_of(law: Mixture, num: int, low: float = 0.1) -> list[float]:
    std = float(law.std)
    return list(ladder(10 * std, low * std, num, power=100.0))


def energies(law: Mixture, shift: float, sigma_min: float, bend: float = 0.0):
    """The exact energies under noise; the last one raised by `shift`, the others bent."""

    def at(sigma: float) -> Energy:
        ratio = math.log(sigma / float(law.std))
        last = sigma == sigma_min

        def energy(x: Tensor) -> Tensor:
            wrong = shift if last else bend * (5 + (x / sigma).sin().sum(1))
            return law(x, x.new_full((len(x),), ratio)) + wrong

        return energy

    return at


def reference_of(law: Mixture) -> GaussianReference:
    return GaussianReference(law.weights @ law.centres, float(law.std) * math.hypot(10, 1))


def exact(law: Mixture, sigma: float, num: int, g: torch.Generator) -> Tensor:
    x = law.sample(num, g)
    return x + sigma * torch.randn(x.shape, generator=g, dtype=x.dtype)


def standard_errors(log_w: Tensor, log_z: float) -> float:
    ratio = (log_w - log_z).exp()
    return float((ratio.mean() - 1) / ratio.std()) * len(ratio) ** 0.5


@pytest.mark.parametrize("bend", [0.0, 0.3])
def test_weights_have_their_exact_means_in_both_directions(
    bend: float, generator: torch.Generator
) -> None:
    """Modes 20 standard deviations apart; also where the energies between are wrong."""
    sigmas = levels_of(FAR, 40)
    found = bracket_down_levels(
        energies(FAR, 2.5, sigmas[-1], bend),
        sigmas,
        reference_of(FAR),
        num_chains=4000,
        generator=generator,
        target_samples=exact(FAR, sigmas[-1], 4000, generator),
    )
    assert found.reverse is not None
    for one, log_z in ((found.forward, -2.5), (found.reverse, 2.5)):
        assert abs(standard_errors(one.log_weights, log_z)) <= 6
        assert 6 * one.standard_error < 0.5  # it could fail
        assert one.acceptance is None
    assert found.num_levels == 40


def test_negative_control_a_ratio_that_is_off_by_a_hundredth_a_step_is_seen(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """39 steps make 0.39 nats of it, some seventy standard errors of 4,000 weights."""
    sigmas = levels_of(FAR, 40)
    x = exact(FAR, sigmas[-1], 4000, generator)
    at, reference = energies(FAR, 0.0, sigmas[-1]), reference_of(FAR)
    spreads = step_spreads(at, sigmas, reference.draw(64, generator), generator)
    real = level_likelihood.log_ratio
    monkeypatch.setattr(level_likelihood, "log_ratio", lambda *of: real(*of) + 0.01)
    found = reverse_pass(at, sigmas, spreads, reference, x, generator)
    assert abs(standard_errors(found.log_weights, 0.0)) > 20


@pytest.mark.parametrize("num", [2, 5, 30])
def test_on_a_gaussian_the_step_is_exact(num: int, generator: torch.Generator) -> None:
    """T is the law of x_k given x_{k-1}: with its variance v·(σ_k² + s²)/(σ_{k-1}² + s²) every
    weight is Z, for any number of levels."""
    sigmas, s2 = levels_of(NORMAL, num), 0.8**2
    at = energies(NORMAL, 1.25, sigmas[-1])
    spreads = [((a**2 - b**2) * (b**2 + s2) / (a**2 + s2)) ** 0.5 for a, b in pairwise(sigmas)]
    reference = GaussianReference(NORMAL.centres[0], math.hypot(sigmas[0], 0.8))
    forward = forward_pass(at, sigmas, spreads, reference, 50, generator)
    x = exact(NORMAL, sigmas[-1], 50, generator)
    reverse = reverse_pass(at, sigmas, spreads, reference, x, generator)
    for one in (forward, reverse):
        assert one.log_z == pytest.approx(-1.25, abs=1e-9)
        assert one.ess == pytest.approx(50)
    if num == 30:  # of few levels the variances left over are small differences
        found = step_spreads(at, sigmas, reference.draw(20_000, generator), generator)
        assert found == pytest.approx(spreads, rel=0.05)


def test_the_spread_lies_between_its_bounds(generator: torch.Generator) -> None:
    sigmas = levels_of(FAR, 10)
    v = [a**2 - b**2 for a, b in pairwise(sigmas)]

    def bowl(height: float) -> Callable[[float], Energy]:
        return lambda sigma: lambda x: height * x.square().sum(1)

    steep, flat = bowl(1e3), bowl(0.0)
    x = reference_of(FAR).draw(9, generator)
    least = [(v[0] * sigmas[1] ** 2 / sigmas[0] ** 2) ** 0.5]
    assert step_spreads(steep, sigmas[:2], x, generator) == pytest.approx(least)
    assert step_spreads(flat, sigmas, x, generator) == pytest.approx([w**0.5 for w in v])


@pytest.mark.parametrize("sigmas", [(1.0,), (1.0, 2.0), (2.0, 1.0, 0.0), (2.0, 2.0, 1.0)])
def test_noise_levels_descend(sigmas: tuple[float, ...], generator: torch.Generator) -> None:
    at = energies(FAR, 0.0, 1.0)
    with pytest.raises(StanleyError, match="must be two or more, descending"):
        bracket_down_levels(at, sigmas, reference_of(FAR), num_chains=2, generator=generator)
    with pytest.raises(StanleyError, match="num_chains is 1"):
        bracket_down_levels(at, (2.0, 1.0), reference_of(FAR), num_chains=1, generator=generator)

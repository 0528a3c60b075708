"""Energies that know the noise level."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from stanley.data.base import Dataset
from stanley.errors import StanleyError
from stanley.networks import LevelConvNet, LevelMLP, build_energy
from stanley.networks.levels import LevelEnergy
from stanley.types import Potential, networks_in

PLANE, IMAGE = (2,), (1, 16, 16)
SPECS = {PLANE: LevelMLP(width=16, depth=2, fourier=5), IMAGE: LevelConvNet(width=4, blocks=1)}


def data_of(event: tuple[int, ...]) -> Dataset:
    if len(event) == 3:
        x = torch.randint(0, 256, (50, *event), dtype=torch.uint8)
    else:
        x = 3 + 2 * torch.randn(50, *event)
    return Dataset(x, x)


def energy_of(event: tuple[int, ...], *, awake: bool = True) -> LevelEnergy:
    """With `awake`, weights that begin at zero are not: every part of the network counts."""
    energy = build_energy(SPECS[event], event, seed=1)
    assert isinstance(energy, LevelEnergy)
    energy.fit_data(data_of(event))
    for weight in energy.parameters():
        if awake and not weight.any():
            nn.init.normal_(weight, std=0.2)
    return energy.double()


@pytest.fixture(params=[PLANE, IMAGE], ids=["mlp", "convnet"])
def event(request: pytest.FixtureRequest) -> tuple[int, ...]:
    return request.param


def points(event: tuple[int, ...], n: int = 4) -> torch.Tensor:
    return torch.randn(n, *event, dtype=torch.float64)


def test_without_the_network_it_is_the_normalised_gaussian_of_the_data(event) -> None:
    energy = energy_of(event)
    energy.net.forward = lambda u, log_ratio: 0 * log_ratio  # type: ignore[method-assign]
    x, ratio = points(event), torch.tensor([0.05, 0.5, 1.0, 9.0]).double()
    scale = energy.std * (1 + ratio**2).sqrt().view(-1, *[1] * len(event))
    law = torch.distributions.Normal(energy.mean, scale)
    expected = -law.log_prob(x).flatten(1).sum(1)
    assert torch.allclose(energy(x, ratio.log()), expected, rtol=1e-9)


def test_mean_and_spread_are_those_of_the_data() -> None:
    energy, data = energy_of(PLANE), data_of(PLANE)
    energy.fit_data(data)
    x = data.train
    assert torch.allclose(energy.mean, x.mean(0).double())
    assert float(energy.std) == pytest.approx(float(x.var(0, unbiased=False).mean().sqrt()))


def test_alone_it_is_the_smallest_level(event) -> None:
    energy, x = energy_of(event), points(event)
    assert torch.allclose(energy(x), energy.at(energy.sigma_min)(x), rtol=1e-9)
    other = energy.at(2 * energy.sigma_min)(x)
    assert not torch.allclose(energy(x), other, rtol=1e-3)


def test_each_row_has_its_own_level_and_depends_on_no_other(event) -> None:
    energy, x = energy_of(event), points(event)
    ratios = torch.tensor([0.05, 0.3, 1.0, 4.0]).double().log()
    together = energy(x, ratios)
    alone = [energy(x[i : i + 1], ratios[i : i + 1]) for i in range(4)]
    assert torch.allclose(together, torch.cat(alone), rtol=1e-9)


def test_the_second_derivatives_that_the_loss_takes(event) -> None:
    energy = energy_of(event)
    x = points(event, 1).requires_grad_()
    log_ratio = torch.tensor([-0.7], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(energy, (x, log_ratio))
    if event == PLANE:  # 256 pixels would take minutes
        assert torch.autograd.gradgradcheck(energy, (x, log_ratio))


def test_a_damped_sine_is_the_mean_of_a_sine_under_noise() -> None:
    """E[sin ω(z + r·ξ)] = e^{-ω²r²/2}·sin ωz, by Gauss-Hermite quadrature."""
    import numpy as np

    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    mean = (weights * np.sin(1.3 * (0.4 + 0.8 * nodes))).sum() / weights.sum()
    assert math.exp(-((1.3 * 0.8) ** 2) / 2) * math.sin(1.3 * 0.4) == pytest.approx(mean)
    energy = energy_of(PLANE)
    seen: list[torch.Tensor] = []
    energy.net.layers.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))  # type: ignore[union-attr]
    x, r = points(PLANE), 0.8
    energy(x, torch.full((4,), math.log(r)).double())
    omega = energy.net.frequencies  # type: ignore[union-attr]
    z = (x - energy.mean) / energy.std
    damped = (-(r**2) * omega.square().sum(1) / 2).exp() * (z @ omega.T).sin()  # type: ignore[operator]
    assert torch.allclose(seen[0][:, 7:12], damped)


def test_a_level_keeps_the_network_in_sight(event) -> None:
    energy = energy_of(event)
    assert networks_in(Potential(energy.at(energy.sigma_max))) == (energy,)


@pytest.mark.parametrize("factor", [0.5, 1e4])
def test_a_level_that_it_does_not_know(factor: float) -> None:
    energy = energy_of(PLANE)
    with pytest.raises(StanleyError, match="was made for noise levels from"):
        energy.at(factor * energy.sigma_min)


def test_constant_data_are_refused() -> None:
    x = torch.full((20, 2), 5.0)
    with pytest.raises(StanleyError, match="the data are constant"):
        energy_of(PLANE).fit_data(Dataset(x, x))


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: LevelMLP(smallest_level=1.0), "smallest_level is 1.0"),
        (lambda: LevelConvNet(smallest_level=1e-9), "rounding"),
        (lambda: LevelMLP(largest_level=0.5), "largest_level is 0.5"),
        (lambda: LevelMLP(activation="relu"), "must be one of silu, gelu, softplus"),  # type: ignore[arg-type]
        (lambda: LevelConvNet(activation="leaky-relu"), "twice"),  # type: ignore[arg-type]
        (lambda: LevelMLP(floor=0.0), "floor is 0.0"),
        (lambda: LevelMLP(fourier=-1), "fourier is -1"),
        (lambda: LevelConvNet(blocks=-1), "blocks is -1"),
        (lambda: LevelConvNet().build((2,)), "level-mlp"),
        (lambda: LevelConvNet().build((1, 18, 18)), "divisible by 4"),
    ],
)
def test_values_that_are_refused(make, what: str) -> None:
    with pytest.raises(StanleyError, match=what):
        make()


@pytest.mark.parametrize(("d", "num"), [(1, 24), (3, 24), (4, 0), (10, 0)])
def test_frequencies_are_for_few_coordinates(d: int, num: int) -> None:
    net = build_energy(LevelMLP(width=8, depth=1), (d,), seed=0).net
    assert net.get_buffer("frequencies").shape == (num, d)
    assert (
        build_energy(LevelMLP(width=8, depth=1, fourier=2), (d,), seed=0).net.layers[0].in_features
        == d + 9
    )

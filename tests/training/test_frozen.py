"""The energy of a training run as its chains see it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from stanley.networks import MLP, ResNet, build_energy
from stanley.samplers.base import value_and_gradient
from stanley.samplers.joint import Joint
from stanley.training.frozen import Frozen, frozen
from stanley.types import Potential

from ..seeds import fresh


def autograd(energy: nn.Module, temperature: float, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    x = x.clone().requires_grad_()
    u = energy(x) / temperature
    return u.detach(), torch.autograd.grad(u.sum(), x)[0]


@pytest.fixture
def energy() -> nn.Module:
    return build_energy(MLP(width=16, depth=2), (3,), seed=0)


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(5, 3, generator=fresh())


def test_weights_are_seen_where_they_have_moved(energy, x):
    """Looked up once: the same object each time, and bit for bit autograd's numbers each time."""
    seen_by = Frozen(energy, "auto")
    found = []
    for _ in range(3):
        with seen_by(Potential(energy, 0.5), x) as seen:
            assert isinstance(seen, Joint)
            u, grad = value_and_gradient(seen, x)
        expected = autograd(energy, 0.5, x)
        assert torch.equal(u, expected[0])
        assert torch.equal(grad, expected[1])
        found.append(seen)
        with torch.no_grad():
            for weight in energy.parameters():
                weight.mul_(1.1)
    assert found[0] is found[1] is found[2]


def test_weights_that_lie_elsewhere_are_looked_up_anew(energy, x):
    """As those of runs that are trained side by side for a while."""
    seen_by = Frozen(energy, "auto")
    for _ in range(2):
        with seen_by(Potential(energy), x) as seen:
            assert torch.equal(value_and_gradient(seen, x)[1], autograd(energy, 1.0, x)[1])
        for weight in energy.parameters():
            weight.data = 1.5 * weight.data


def test_another_temperature_is_another_potential(energy, x):
    seen_by = Frozen(energy, "eager")
    for temperature in (1.0, 2.0):
        with seen_by(Potential(energy, temperature), x) as seen:
            assert torch.equal(value_and_gradient(seen, x)[1], autograd(energy, temperature, x)[1])


def test_what_watches_is_not_passed_by(energy, x):
    """Under autocast the gradient is that of autocast, and the weights are frozen for it."""
    seen_by, potential = Frozen(energy, "auto"), Potential(energy)
    with seen_by(potential, x) as seen:
        assert seen is not potential
    with torch.autocast("cpu", torch.bfloat16), seen_by(potential, x) as seen:
        assert seen is potential
        assert not any(p.requires_grad for p in energy.parameters())


@pytest.mark.parametrize("how", ["compile", "eager"])
def test_where_autograd_is_needed_the_energy_is_frozen(how, energy):
    """For a compiler, which traces autograd, and for a network whose gradient is not known."""
    energy = energy if how == "compile" else build_energy(ResNet(width=4), (3, 8, 8), seed=0)
    potential, x = Potential(energy), torch.zeros(2, *((3,) if how == "compile" else (3, 8, 8)))
    with Frozen(energy, how)(potential, x) as seen:
        assert seen is potential
        assert not energy.training
        assert not any(p.requires_grad for p in energy.parameters())
    assert energy.training
    assert all(p.requires_grad for p in energy.parameters())


def test_weights_that_are_not_trained_stay_so(energy):
    first = next(energy.parameters()).requires_grad_(False)
    with frozen(energy):
        pass
    assert [p.requires_grad for p in energy.parameters()].count(False) == 1
    assert not first.requires_grad

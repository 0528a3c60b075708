"""The multilayer perceptron and its random Fourier features."""

from __future__ import annotations

import math

import pytest
import torch

from stanley.errors import StanleyError
from stanley.networks import MLP, build_energy
from stanley.networks.mlp import FourierFeatures
from tests.seeds import fresh_seed


def test_features_are_their_formula() -> None:
    features = FourierFeatures(3, 5, std=2.0, scale=0.1).double()
    x = torch.randn(7, 3, dtype=torch.float64)
    phase = x @ features.frequencies.T
    expected = torch.cat([x, 0.1 * torch.sin(phase), 0.1 * torch.cos(phase)], 1)
    torch.testing.assert_close(features(x), expected, rtol=0, atol=0)


def test_frequencies_have_the_stated_spread() -> None:
    """Of n = 20,000 numbers the standard deviation is known to 1/√(2n), 0.5 %: six of these."""
    drawn = FourierFeatures(2, 10_000, std=3.0, scale=0.1).frequencies
    assert float(drawn.std()) == pytest.approx(3.0, rel=6 / math.sqrt(2 * drawn.numel()))


def test_the_seed_alone_decides_frequencies_and_they_are_kept_but_not_trained() -> None:
    network, seed = MLP(width=8, depth=1, fourier=4), fresh_seed()
    a, b, other = (build_energy(network, (2,), seed=s) for s in (seed, seed, seed + 1))
    assert torch.equal(a.state_dict()["features.frequencies"], b.features.frequencies)
    assert not torch.equal(a.features.frequencies, other.features.frequencies)
    assert "features.frequencies" not in dict(a.named_parameters())
    x = torch.randn(5, 2)
    assert torch.equal(a(x), b(x))


def test_without_features_the_network_is_the_plain_one() -> None:
    energy = build_energy(MLP(width=8, depth=2), (2,), seed=fresh_seed())
    x = torch.randn(5, 2)
    assert isinstance(energy.layers, torch.nn.Module)
    assert torch.equal(energy(x), energy.layers(x).squeeze(1))
    assert set(energy.state_dict()) == {
        f"layers.{i}.{n}" for i in (0, 2, 4) for n in ("weight", "bias")
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [("fourier", -1), ("fourier_std", 0.0), ("fourier_scale", math.inf), ("width", 0)],
)
def test_bad_values_are_named(field: str, value: float) -> None:
    with pytest.raises(StanleyError, match=rf"network\.{field} is {value}"):
        MLP(**{field: value})

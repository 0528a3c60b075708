"""bfloat16 inside the network: the law stays, the Metropolis test is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stanley.errors import StanleyError
from stanley.networks import MLP, build_energy
from stanley.samplers import HMC, MALA, Adjusted, Langevin, Preconditioned, Stanley, run_chains
from stanley.types import Bf16, Chunked, Potential

from .bounds import dkw
from .invariants import generator

SHIFT = 0.03  # in distribution function, what bfloat16 may cost


def energy():
    """A smooth network in a Gaussian well: several steps of the size of the noise are a few
    widths.
    """
    return (
        build_energy(MLP(width=16, depth=2), (2,), seed=0, reference_std=1.0)
        .eval()
        .requires_grad_(False)
    )


def final(potential, n=4000, steps=60):
    x0 = torch.randn(n, 2, generator=generator(1))
    return run_chains(Langevin(0.3), potential, x0, steps, generator=generator(2)).x


def distance(a, b) -> float:
    """sup |F_a - F_b| of the first coordinate."""
    a, b = np.sort(a[:, 0].numpy()), np.sort(b[:, 0].numpy())
    at = np.concatenate([a, b])
    return float(
        np.abs(
            np.searchsorted(a, at, "right") / len(a) - np.searchsorted(b, at, "right") / len(b)
        ).max()
    )


def test_chains_in_bfloat16_have_the_law_of_those_in_float32():
    """Two samples of 4,000 with independent noise: each within DKW of its law,
    so 2·dkw + SHIFT bounds the rest.
    """
    net = energy()
    other = run_chains(
        Langevin(0.3),
        Bf16(net),
        torch.randn(4000, 2, generator=generator(3)),
        60,
        generator=generator(4),
    ).x
    assert distance(final(net), other) < 2 * dkw(4000) + SHIFT


def test_a_shifted_law_would_be_seen():
    """Negative control: temperature 2."""
    net = energy()
    assert distance(final(net), final(Potential(net, 3.0))) > 2 * dkw(4000) + SHIFT


def test_the_network_computes_in_bfloat16_and_hands_back_float32():
    net, x = energy(), torch.randn(50, 2, generator=generator())
    u, rough = net(x), Bf16(net)(x)
    assert rough.dtype == torch.float32
    assert not torch.equal(u, rough)
    # 8 bits: 0.4 % a product, a few products deep
    torch.testing.assert_close(u, rough, rtol=0.02, atol=0.02)


@pytest.mark.parametrize(
    "sampler",
    [MALA(0.1), HMC(0.1), Adjusted(Stanley(0.1, 1.0)), Preconditioned(MALA(0.1), torch.ones(2))],
    ids=lambda s: type(s).__name__,
)
@pytest.mark.parametrize(
    "wrap", [lambda e: e, Potential, lambda e: Potential(Chunked(e, 3))], ids=["", "U", "chunks"]
)
def test_a_metropolis_test_is_refused_unless_forced(sampler, wrap):
    x0 = torch.randn(4, 2, generator=generator())
    with pytest.raises(StanleyError, match="known to three digits only"):
        run_chains(sampler, wrap(Bf16(energy())), x0, 2, generator=generator())
    run_chains(sampler, wrap(Bf16(energy(), force=True)), x0, 2, generator=generator())

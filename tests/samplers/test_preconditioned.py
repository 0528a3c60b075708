"""Any sampler in rescaled coordinates."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from torch import nn

from stanley.errors import StanleyError
from stanley.samplers import (
    HMC,
    MALA,
    Adjusted,
    Barker,
    ChEES,
    DensePreconditioned,
    Langevin,
    Preconditioned,
    Quantile,
    ReplicaExchange,
    Stanley,
    Underdamped,
    run_chains,
)
from stanley.samplers.preconditioned import Sheared, Stretched
from stanley.samplers.traits import traits_of, with_step_size

from . import formulas, targets
from .bounds import cdf_distance, dkw
from .invariants import IMAGE, Invariants, generator, identical, starts

#: Powers of two: x/s and s⊙z are exact, so that two runs are one run bit for bit.
POWERS = 2.0 ** torch.tensor(
    [-1, 0, -2, 1, -1, 0, -1, -2, 0, 1, -1, -2], dtype=torch.float64
).reshape(IMAGE[1:])
#: Not exact in binary.
WIDTHS = torch.linspace(0.3, 1.7, 12, dtype=torch.float64).reshape(IMAGE[1:])


class TestPreconditioned(Invariants):
    cases: ClassVar[dict] = {
        "mala": Preconditioned(MALA(0.1), POWERS),
        "adjusted-stanley": Preconditioned(Adjusted(Stanley(0.1, 1.0, "sample")), POWERS),
        "hmc": Preconditioned(HMC(0.1, 3), POWERS),
        "chees": Preconditioned(ChEES(0.1, 0.3), POWERS),
        "langevin": Preconditioned(Langevin(0.01), POWERS),
    }

    def test_is_a_frozen_value(self, sampler):
        """It holds a tensor: equal to itself alone, but frozen and hashable."""
        assert sampler == sampler
        assert sampler != with_step_size(sampler, sampler.step_size)
        assert hash(sampler) == hash(sampler)
        with pytest.raises(AttributeError, match="cannot assign"):
            sampler.scale = POWERS


#: Of powers of two, so that L⁻¹x and Lz are exact where nothing is added.
EXACT = POWERS.flatten().diag()


class TestDensePreconditioned(TestPreconditioned):
    cases: ClassVar[dict] = {
        "mala": DensePreconditioned(MALA(0.1), EXACT),
        "adjusted-stanley": DensePreconditioned(Adjusted(Stanley(0.1, 1.0, "sample")), EXACT),
        "hmc": DensePreconditioned(HMC(0.1, 3), EXACT),
        "chees": DensePreconditioned(ChEES(0.1, 0.3), EXACT),
        "langevin": DensePreconditioned(Langevin(0.01), EXACT),
    }


@pytest.mark.parametrize(
    "inner",
    [
        MALA(0.2),
        HMC(0.2, 3),
        Adjusted(Stanley(0.2, Quantile(0.8))),
        Stanley(0.1, 1.0, refresh="start"),
        Underdamped(0.2),
        Barker(0.2),
        ReplicaExchange(MALA(0.2)),
    ],
    ids=lambda s: s.kind,
)
def test_a_scale_of_one_is_the_sampler_itself(inner):
    one = Preconditioned(inner, torch.ones(IMAGE[1:], dtype=torch.float64))
    a = run_chains(one, targets.coupled, starts(), 8, generator=generator(), keep_every=1)
    b = run_chains(inner, targets.coupled, starts(), 8, generator=generator(), keep_every=1)
    assert identical(a.draws, b.draws)
    for name in ("acceptance", "step_scale", "grad_norm", "invalid", "potential"):
        assert identical(getattr(a.info, name), getattr(b.info, name)), name
    assert (a.info.threshold is None) == (b.info.threshold is None)
    assert a.info.num_gradients == b.info.num_gradients


def test_langevin_takes_the_step_of_its_formula():
    """x' = x - (h/2)·s²⊙∇U + √h·s⊙ξ, with the ξ of the same generator."""
    x, h = starts(), 0.1
    found = run_chains(
        Preconditioned(Langevin(h), WIDTHS), targets.coupled, x, 1, generator=generator()
    ).x
    noise = torch.randn(x.shape, generator=generator(), dtype=x.dtype)
    expected = (
        x - h / 2 * WIDTHS**2 * formulas.gradient(targets.coupled, x) + h**0.5 * WIDTHS * noise
    )
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_rejected_chain_keeps_its_bits_from_the_start_on(dtype):
    """Widths that are not powers of two, h so large that most moves are refused."""
    sampler, rng, x0 = (
        Preconditioned(MALA(3.0), WIDTHS),
        generator(),
        starts((400, *IMAGE[1:]), dtype=dtype),
    )
    state = sampler.init(targets.gaussian, x0)
    assert identical(state.x, x0)
    stayed = 0
    for _ in range(4):
        after, _ = sampler.step(targets.gaussian, state, rng)
        still = (after.memory.x == state.memory.x).flatten(1).all(1)
        stayed += int(still.sum())
        for name in ("x", "potential", "grad"):
            assert identical(getattr(after, name)[still], getattr(state, name)[still]), name
        assert not (after.x[~still] == state.x[~still]).flatten(1).all(1).any()
        state = after
    assert 0 < stayed < 1600


WIDE = torch.tensor([0.01, 1.0, 100.0], dtype=torch.float64)


def ill_conditioned(x):
    return ((x / WIDE) ** 2).sum(1) / 2


def leaves_invariant(inner, steps: int = 6, n: int = 30_000) -> bool:
    """x_i/s_i of n chains, 3n independent N(0, 1): the DKW bound at 1e-7."""
    x0 = WIDE * torch.randn(n, 3, generator=generator(2), dtype=torch.float64)
    x = run_chains(
        Preconditioned(inner, 1.3 * WIDE), ill_conditioned, x0, steps, generator=generator(3)
    ).x
    return cdf_distance((x / WIDE).numpy().ravel(), targets.NORMAL.cdf) <= dkw(3 * n)


@pytest.mark.parametrize(
    "inner",
    [MALA(0.5), HMC(0.4, 3), Adjusted(Stanley(0.5, 1.0, "sample")), Barker(0.5)],
    ids=lambda s: s.kind,
)
def test_leaves_an_ill_conditioned_gaussian_invariant(inner):
    assert leaves_invariant(inner)


@pytest.mark.parametrize("inner", [Langevin(0.8), Stanley(0.5, 1.0)], ids=lambda s: s.kind)
def test_negative_control_unadjusted(inner):
    assert not leaves_invariant(inner)


def test_moves_a_width_at_a_time():
    """Acceptance and moves in z are those of MALA on N(0, I):
    the same bits but for the rounding of s⊙(x/s).
    """
    z0 = torch.randn(50, 3, generator=generator(), dtype=torch.float64)
    stretched = run_chains(
        Preconditioned(MALA(0.5), WIDE), ill_conditioned, WIDE * z0, 5, generator=generator(1)
    )
    round_one = run_chains(MALA(0.5), targets.gaussian, z0, 5, generator=generator(1))
    torch.testing.assert_close(stretched.x / WIDE, round_one.x, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        stretched.info.acceptance, round_one.info.acceptance, rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize(
    ("inner", "adjusted", "target"), [(HMC(0.1), True, 0.8), (Langevin(0.1), False, 0.574)]
)
def test_speaks_for_the_sampler_inside(inner, adjusted, target):
    sampler = Preconditioned(inner, POWERS)
    traits = traits_of(sampler)
    assert (traits.adjusted, traits.target_acceptance, sampler.step_size) == (adjusted, target, 0.1)


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_refuses_a_scale_that_is_no_width(bad):
    with pytest.raises(StanleyError, match="1 of 3 entries of scale") as error:
        Preconditioned(MALA(0.1), torch.tensor([1.0, bad, 2.0]))
    assert "\n" not in str(error.value)


def test_refuses_a_scale_of_another_shape():
    with pytest.raises(StanleyError, match=r"scale has shape \(3,\), must be \(2, 3, 2\)"):
        run_chains(
            Preconditioned(MALA(0.1), torch.ones(3)),
            targets.coupled,
            starts(),
            1,
            generator=generator(),
        )


def test_is_wrapped_around_the_metropolis_test():
    with pytest.raises(
        StanleyError, match=r"Adjusted\(Preconditioned\): wrap it the other way round"
    ):
        Adjusted(Preconditioned(Langevin(0.1), POWERS))  # type: ignore[arg-type]


def test_a_kinked_network_is_found_behind_a_scale():
    net = nn.Sequential(nn.Linear(3, 8), nn.LeakyReLU(), nn.Linear(8, 1), nn.Flatten(0)).double()
    sampler = Preconditioned(Stanley(0.1, 1.0, correction="drift"), torch.ones(3))
    with pytest.raises(StanleyError, match="LeakyReLU"):
        sampler.init(net, starts((4, 3)))
    assert Stretched(net, WIDE).energy is net


# A full matrix.

#: Of the covariance [[1, 0.9·10], [0.9·10, 100]] and a third coordinate of width 0.01.
L = torch.linalg.cholesky(
    torch.tensor([[1.0, 9.0, 0.0], [9.0, 100.0, 0.0], [0.0, 0.0, 1e-4]], dtype=torch.float64)
)


def correlated(x):
    return torch.linalg.solve_triangular(L, x.T, upper=False).square().sum(0) / 2


def test_a_diagonal_matrix_is_a_scale():
    """L = diag s is `Preconditioned` with s, to the rounding of s·(x/s)."""
    flat = WIDTHS.flatten()
    both = [
        run_chains(sampler, targets.coupled, starts(), 6, seed=4, keep_every=1).draws
        for sampler in (
            DensePreconditioned(HMC(0.2, 3), flat.diag()),
            Preconditioned(HMC(0.2, 3), WIDTHS),
        )
    ]
    torch.testing.assert_close(*both, rtol=1e-10, atol=1e-12)


def test_langevin_takes_the_step_of_the_matrix():
    """x' = x - (h/2)·LLᵀ∇U + √h·Lξ, with the ξ of the same generator."""
    x, h, rng = starts((50, 3)), 0.1, generator()
    factor = torch.tensor([[1.0, 0, 0], [-0.4, 0.5, 0], [2.0, 0.3, 1.5]], dtype=torch.float64)
    sampler = DensePreconditioned(Langevin(h), factor)
    found = run_chains(sampler, targets.gaussian, x, 1, generator=generator()).x
    noise = torch.randn(x.shape, generator=rng, dtype=x.dtype)
    grad = formulas.gradient(targets.gaussian, x)
    expected = x - h / 2 * grad @ factor @ factor.T + h**0.5 * noise @ factor.T
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_chains_in_z_are_those_of_the_round_density():
    """Of N(0, LLᵀ) they are the chains on N(0, I), but for the rounding of L(L⁻¹x)."""
    z0 = torch.randn(50, 3, generator=generator(), dtype=torch.float64)
    for inner in (MALA(0.5), HMC(0.4, 3), ChEES(0.4, 1.5)):
        sheared = run_chains(DensePreconditioned(inner, L), correlated, z0 @ L.T, 5, seed=1)
        round_one = run_chains(inner, targets.gaussian, z0, 5, seed=1)
        z = torch.linalg.solve_triangular(L, sheared.x.T, upper=False).T
        torch.testing.assert_close(z, round_one.x, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(
            sheared.info.acceptance, round_one.info.acceptance, rtol=1e-7, atol=1e-7
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_rejected_chain_keeps_its_bits_behind_a_matrix(dtype):
    factor = torch.linalg.cholesky(torch.eye(12) + 0.5 * torch.ones(12, 12)).to(dtype)
    sampler, rng = DensePreconditioned(MALA(1.5), factor), generator()
    x0 = starts((400, *IMAGE[1:]), dtype=dtype)
    state, stayed = sampler.init(targets.gaussian, x0), 0
    assert identical(state.x, x0)
    for _ in range(4):
        after, _ = sampler.step(targets.gaussian, state, rng)
        still = (after.memory.x == state.memory.x).flatten(1).all(1)
        stayed += int(still.sum())
        for name in ("x", "potential"):
            assert identical(getattr(after, name)[still], getattr(state, name)[still]), name
        state = after
    assert 0 < stayed < 1600


@pytest.mark.parametrize(
    ("factor", "told"),
    [
        (torch.ones(3), r"has shape \(3,\), must be \(d, d\)"),
        (torch.ones(3, 2), r"has shape \(3, 2\), must be \(d, d\)"),
        (torch.ones(3, 3), "must be finite and lower triangular"),
        (torch.diag(torch.tensor([1.0, 0.0, 2.0])), "must be finite and lower triangular"),
        (torch.full((3, 3), float("nan")).tril(), "must be finite and lower triangular"),
    ],
    ids=["vector", "oblong", "full", "no width", "nan"],
)
def test_refuses_what_is_no_factor(factor, told):
    with pytest.raises(StanleyError, match=told) as error:
        DensePreconditioned(MALA(0.1), factor)
    assert "\n" not in str(error.value)


def test_refuses_a_matrix_of_another_size():
    sampler = DensePreconditioned(MALA(0.1), torch.eye(3))
    with pytest.raises(StanleyError, match=r"must be \(12, 12\) for points of shape \(2, 3, 2\)"):
        run_chains(sampler, targets.coupled, starts(), 1, seed=0)


def test_a_potential_is_found_behind_a_matrix():
    assert Sheared(correlated, L).energy is correlated

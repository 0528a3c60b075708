"""Replica exchange: its swaps, its ladder, and what it leaves invariant."""

from __future__ import annotations

import math
from typing import ClassVar

import pytest
import torch
from torch import nn

from stanley.errors import StanleyError
from stanley.samplers import (
    HMC,
    MALA,
    Adjusted,
    Langevin,
    Preconditioned,
    PreconditionedLangevin,
    RandomWalk,
    ReplicaExchange,
    Stanley,
    Underdamped,
    evaluate,
    replica,
    run_chains,
)
from stanley.samplers.base import ChainState
from stanley.samplers.replica import Replicas, log_swap, swap, tempered
from stanley.samplers.traits import traits_of

from . import formulas, targets
from .bounds import cdf_distance, dkw, hoeffding
from .invariants import Invariants, generator, identical, starts


class TestReplicaExchange(Invariants):
    cases: ClassVar[dict] = {
        "mala": ReplicaExchange(MALA(0.05)),
        "adjusted-stanley": ReplicaExchange(Adjusted(Stanley(0.05, 1.0, "sample")), (1.0, 1.7)),
        "hmc": ReplicaExchange(HMC(0.1, 3), (1.0, 3.0, 5.0, 9.0), power=0.5),
        "random-walk": ReplicaExchange(RandomWalk(0.05)),
        "langevin": ReplicaExchange(Langevin(0.02), (1.0, 1.5)),
        "underdamped": ReplicaExchange(Underdamped(0.1), (1.0, 1.5, 3.0), power=0.5),
        "one": ReplicaExchange(MALA(0.1), (1.0,)),
    }


@pytest.mark.parametrize(
    "inner",
    [
        MALA(0.3),
        Langevin(0.1),
        Underdamped(0.2),
        Stanley(0.1),
        PreconditionedLangevin(0.1),
        HMC(0.2, 3),
    ],
    ids=lambda s: s.kind,
)
def test_one_temperature_is_the_sampler_itself(inner):
    a = run_chains(
        ReplicaExchange(inner, (1.0,)), targets.coupled, starts(), 8, generator=generator()
    )
    b = run_chains(inner, targets.coupled, starts(), 8, generator=generator())
    assert identical(a.x, b.x)
    assert identical(a.info.acceptance, b.info.acceptance)
    assert a.info.num_gradients == b.info.num_gradients
    assert a.info.swap_acceptance is None


# --- one swap


def two(t_low: float, t_high: float, chains: int = 6, potential=targets.coupled):
    low = evaluate(tempered(potential, t_low), starts((chains, 2, 3), seed=1))
    high = evaluate(tempered(potential, t_high), starts((chains, 2, 3), seed=2))
    return low, high


@pytest.mark.parametrize(("t_low", "t_high"), [(1.0, 2.0), (1.7, 3.1)])
def test_log_ratio_is_that_of_the_joint_densities_and_antisymmetric(t_low, t_high):
    """log π_i(x_j)π_j(x_i) - log π_i(x_i)π_j(x_j), and with the points exchanged its negative;
    rounding at 1e-11.
    """
    low, high = two(t_low, t_high)
    u_low, u_high = targets.coupled(low.x), targets.coupled(high.x)
    expected = -u_high / t_low - u_low / t_high + u_low / t_low + u_high / t_high
    torch.testing.assert_close(log_swap(low, high, t_low, t_high), expected, rtol=1e-11, atol=1e-11)
    low_after = evaluate(tempered(targets.coupled, t_low), high.x)
    high_after = evaluate(tempered(targets.coupled, t_high), low.x)
    torch.testing.assert_close(
        log_swap(low_after, high_after, t_low, t_high), -expected, rtol=1e-11, atol=1e-11
    )


def test_a_swap_exchanges_points_and_what_belongs_to_them_and_nothing_else():
    t_low, t_high, moved = 1.7, 3.1, 0
    low, high = two(t_low, t_high, 200)
    low = low._replace(threshold=torch.tensor(1.0), scale=torch.tensor(0.5), memory="cold")
    high = high._replace(threshold=torch.tensor(2.0), scale=torch.tensor(0.7), memory="hot")
    after_low, after_high, acceptance = swap(low, high, t_low, t_high, generator())
    assert acceptance.shape == (200,)
    for chain in range(200):
        swapped = identical(after_low.x[chain], high.x[chain])
        moved += swapped
        a, b = (high, low) if swapped else (low, high)
        assert identical(after_low.x[chain], a.x[chain])
        assert identical(after_high.x[chain], b.x[chain])
        if not swapped:  # bit for bit as it was
            assert identical(after_low.grad[chain], low.grad[chain])
            assert identical(after_high.potential[chain], high.potential[chain])
    assert 0 < moved < 200
    for state, temperature in ((after_low, t_low), (after_high, t_high)):
        u = tempered(targets.coupled, temperature)
        torch.testing.assert_close(state.potential, u(state.x), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(
            state.grad, formulas.gradient(u, state.x), rtol=1e-10, atol=1e-10
        )
    for after, before in ((after_low, low), (after_high, high)):
        assert (after.threshold, after.scale, after.memory) == (
            before.threshold,
            before.scale,
            before.memory,
        )


@pytest.mark.parametrize("outside", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", ["low", "high"])
def test_a_non_finite_ratio_is_refused(outside, where):
    low, high = two(1.0, 2.0)
    potential = (low if where == "low" else high).potential.clone()
    potential[2] = outside
    low, high = (
        (low._replace(potential=potential), high)
        if where == "low"
        else (low, high._replace(potential=potential))
    )
    after_low, after_high, acceptance = swap(low, high, 1.0, 2.0, generator())
    assert identical(after_low.x[2], low.x[2])
    assert identical(after_high.x[2], high.x[2])
    assert acceptance[2] == 0
    assert acceptance.isfinite().all()


@pytest.mark.parametrize("log_alpha", [-2.0, -0.3, 1.0])
def test_a_swap_happens_as_often_as_it_says(log_alpha):
    """U_1 = 0 on U/1 and U_2 = -2·log α on U/2 make the ratio α; the share of N chains within
    Hoeffding's bound.

    One coin for all chains would swap all of them or none.
    """
    n = 50_000
    x = torch.zeros(n, 1, dtype=torch.float64)
    low = ChainState(x, x[:, 0], x)
    high = ChainState(x + 1, x[:, 0] - log_alpha, x)  # U_2/2
    after_low, after_high, acceptance = swap(low, high, 1.0, 2.0, generator())
    torch.testing.assert_close(
        acceptance, torch.full_like(acceptance, min(1.0, math.exp(log_alpha)))
    )
    assert identical(after_low.x, 1 - after_high.x)
    assert abs(float(after_low.x.mean()) - min(1.0, math.exp(log_alpha))) <= hoeffding(n)


# --- the ladder


def test_pairs_alternate_by_what_the_state_says():
    """R = 4: pairs 0 and 2, then pair 1; the same state tries the same pairs whenever it is
    stepped.
    """
    sampler, rng = ReplicaExchange(MALA(0.1), (1.0, 2.0, 3.0, 4.0)), generator()
    state, tried = sampler.init(targets.coupled, starts()), []
    for n in range(4):
        assert state.memory.rounds == n
        before, (state, info) = state, sampler.step(targets.coupled, state, rng)
        tried.append((~info.swap_acceptance.isnan()).tolist())
        _, again = sampler.step(targets.coupled, before, generator(9))
        assert (~again.swap_acceptance.isnan()).tolist() == tried[-1]
    assert tried == [[True, False, True], [False, True, False]] * 2


def test_reports_the_mean_over_the_swaps_that_were_tried():
    sampler, rng = ReplicaExchange(MALA(0.1), (1.0, 2.0, 4.0)), generator()
    result = run_chains(sampler, targets.coupled, starts(), 5, generator=generator())
    state, rates = sampler.init(targets.coupled, starts()), []
    for _ in range(5):
        state, info = sampler.step(targets.coupled, state, rng)
        rates.append(info.swap_acceptance)
    rates = torch.stack(rates)
    expected = torch.stack([rates[::2, 0].mean(), rates[1::2, 1].mean()])
    torch.testing.assert_close(result.info.swap_acceptance, expected)
    once = run_chains(
        sampler, targets.coupled, starts(), 1, generator=generator()
    ).info.swap_acceptance
    assert once.isnan().tolist() == [False, True]


def test_each_replica_has_its_own_potential_step_size_and_memory():
    sampler = ReplicaExchange(Underdamped(0.1), (1.0, 4.0, 9.0), power=0.5)
    assert [sampler.at(t).step_size for t in sampler.temperatures] == pytest.approx([0.1, 0.2, 0.3])
    state = sampler.init(targets.coupled, starts())
    for t, hot in zip((4.0, 9.0), state.memory.hot, strict=True):  # where the cold ones are
        assert identical(hot.x, state.x)
        torch.testing.assert_close(hot.potential, state.potential / t, rtol=1e-14, atol=1e-14)
    state, _ = sampler.step(targets.coupled, state, generator())
    momenta = [state.memory.own, *(hot.memory for hot in state.memory.hot)]
    assert not any(identical(a, b) for a in momenta for b in momenta if a is not b)
    assert (
        run_chains(sampler, targets.coupled, starts(), 5, generator=generator()).info.num_gradients
        == 3 * 6
    )


@pytest.mark.parametrize(
    ("inner", "adjusted", "target"), [(HMC(0.1), True, 0.8), (Langevin(0.1), False, 0.574)]
)
def test_speaks_for_the_sampler_inside(inner, adjusted, target):
    sampler = ReplicaExchange(inner)
    traits = traits_of(sampler)
    assert (traits.adjusted, traits.target_acceptance, sampler.step_size) == (adjusted, target, 0.1)


# --- what it leaves invariant

TEMPERATURES = (1.0, 2.0, 5.0)
N = 40_000


def exact_ladder(n: int) -> list[torch.Tensor]:
    """π_r = N(0, T_r·I) in two dimensions, for U = |x|²/2."""
    return [
        t**0.5 * torch.randn(n, 2, generator=generator(i), dtype=torch.float64)
        for i, t in enumerate(TEMPERATURES)
    ]


def exact_state(sampler, potential, points):
    ladder = zip(TEMPERATURES, points, strict=True)
    cold, *hot = (sampler.at(t).init(tempered(potential, t), x) for t, x in ladder)
    return cold._replace(memory=Replicas(cold.memory, tuple(hot), 0))


def keeps_its_laws(inner, steps: int = 6) -> bool:
    """Every temperature's 2n independent components within the DKW bound of N(0, T_r):
    3·1e-7 at most.
    """
    sampler, rng = ReplicaExchange(inner, TEMPERATURES), generator(9)
    state = exact_state(sampler, targets.gaussian, exact_ladder(N))
    for _ in range(steps):
        state, _ = sampler.step(targets.gaussian, state, rng)
    points = [state.x, *(hot.x for hot in state.memory.hot)]
    distances = [
        cdf_distance(x.numpy().ravel() / t**0.5, targets.NORMAL.cdf)
        for t, x in zip(TEMPERATURES, points, strict=True)
    ]
    return max(distances) <= dkw(2 * N)


@pytest.mark.parametrize(
    "inner", [MALA(0.5), HMC(0.5, 2), Adjusted(Stanley(0.5, 1.0))], ids=lambda s: s.kind
)
def test_leaves_every_tempered_law_invariant(inner):
    assert keeps_its_laws(inner)


@pytest.mark.parametrize(
    "fault",
    {
        "flipped": lambda right, low, high, a, b: -right,
        "always": lambda right, low, high, a, b: 0 * right,
        "tempered energies": lambda right, low, high, a, b: (
            (1 / a - 1 / b) * (low.potential - high.potential)
        ),
    }.items(),
    ids=lambda f: f[0],
)
def test_negative_control_wrong_swap_ratio(monkeypatch, fault):
    right = replica.log_swap
    monkeypatch.setattr(replica, "log_swap", lambda *args: fault[1](right(*args), *args))
    assert not keeps_its_laws(MALA(0.5))


def test_swap_rate_between_exact_replicas():
    """U_r = T_r·E, E exponential in two dimensions: E min(1,
    α) = 2·P(U_i > U_j) = 2T_i/(T_i + T_j). Hoeffding.
    """
    states = [
        evaluate(tempered(targets.gaussian, t), x)
        for t, x in zip(TEMPERATURES, exact_ladder(N), strict=True)
    ]
    for i in range(2):
        a, b = TEMPERATURES[i : i + 2]
        _, _, acceptance = swap(states[i], states[i + 1], a, b, generator())
        assert abs(float(acceptance.mean()) - 2 * a / (a + b)) < hoeffding(N)


def test_reaches_a_second_mode_that_the_sampler_alone_does_not():
    """½N(-8, 1) + ½N(8, 1), all chains start at +8.

    Alone: the barrier is 32, P(any of 300 chains crosses in 400 steps) < 1.2e5·e^{-32} = 2e-9. With
    replicas the share on the left tends to ½; 300 independent chains: Hoeffding, and 0.05 for what
    has not yet mixed.
    """

    def mixture(x):
        return -torch.logaddexp(-((x + 8) ** 2) / 2, -((x - 8) ** 2) / 2).sum(1)

    x0 = torch.full((300, 1), 8.0, dtype=torch.float64)
    alone = run_chains(MALA(1.0), mixture, x0, 400, generator=generator())
    assert not (alone.x < 0).any()
    ladder = ReplicaExchange(MALA(1.0), (1.0, 3.0, 9.0, 27.0, 81.0))
    together = run_chains(ladder, mixture, x0, 400, generator=generator())
    assert abs(float((together.x < 0).double().mean()) - 0.5) < hoeffding(300) + 0.05
    assert (together.info.swap_acceptance > 0.3).all()


# --- what it refuses


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"temperatures": ()}, "temperatures are"),
        ({"temperatures": (2.0, 3.0)}, "must start at 1"),
        ({"temperatures": (1.0, 3.0, 2.0)}, "temperatures are"),
        ({"temperatures": (1.0, 1.0)}, "temperatures are"),
        ({"temperatures": (1.0, float("inf"))}, "temperatures are"),
        ({"temperatures": (1.0, float("nan"))}, "temperatures are"),
        ({"temperatures": tuple(range(1, 1002))}, r"10, …\), must .* at most 1000 of them"),
        ({"power": -1.0}, "power is -1.0"),
        ({"power": float("nan")}, "power is nan"),
        ({"sampler": ReplicaExchange(MALA(0.1))}, r"ReplicaExchange\(ReplicaExchange\)"),
        (
            {"sampler": Preconditioned(MALA(0.1), torch.ones(2))},
            r"ReplicaExchange\(Preconditioned\)",
        ),
    ],
)
def test_refuses_in_one_line(change, says):
    with pytest.raises(StanleyError, match=says) as error:
        ReplicaExchange(**({"sampler": MALA(0.1)} | change))
    assert "\n" not in str(error.value)


def test_a_kinked_network_is_found_behind_a_temperature():
    net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1), nn.Flatten(0)).double()
    drift = Stanley(0.1, 1.0, "sample", correction="drift")
    for t in (1.0, 2.0):
        with pytest.raises(StanleyError, match="ReLU"):
            drift.init(tempered(net, t), starts((4, 3)))


def test_cold_draws_of_an_unadjusted_ladder_are_biased():
    """Documented: swaps are exact for exp(-U/T_r), not for what an unadjusted sampler keeps."""
    assert not keeps_its_laws(Langevin(0.8), steps=20)

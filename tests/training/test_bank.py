"""Chains go back to the slots they came from; restarts follow their probability."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch
from scipy.stats import chi2

from stanley.data import Dataset
from stanley.training import bank as bank_module
from stanley.training.bank import Bank, StartNoise, distinct, restart
from tests.seeds import stream

NOISE = StartNoise(torch.zeros(2), torch.ones(2), is_image=False)


def test_draw_gives_distinct_slots_and_write_restores_them() -> None:
    g = stream()
    bank = Bank(torch.arange(20.0).repeat(2, 1).T.contiguous())
    slots, x = bank.draw(12, g)
    assert len(set(slots.tolist())) == 12
    assert torch.equal(x[:, 0], slots.float())
    bank.write(slots, x + 100)
    touched = torch.zeros(20, dtype=torch.bool)
    touched[slots] = True
    assert torch.equal(bank.positions[:, 0], torch.arange(20.0) + 100 * touched)


def test_every_slot_is_drawn_equally_often() -> None:
    """n draws of B in M slots: each slot's count is Binomial(n, B/M). Hoeffding over 10 slots,
    α = 1e-6 in all.
    """
    g, n = stream(1), 4000
    counts = torch.zeros(10)
    bank = Bank(torch.zeros(10, 2))
    for _ in range(n):
        counts[bank.draw(3, g)[0]] += 1
    bound = math.sqrt(math.log(2 * 10 / 1e-6) / (2 * n))
    assert float((counts / n - 0.3).abs().max()) < bound


@pytest.mark.parametrize("n", [1, 3], ids=str)
def test_every_ordered_subset_is_drawn_equally_often(n: int) -> None:
    """χ² of 20,000 draws from 6 slots over all ordered subsets of n, 6 or 120 of them: beyond its
    quantile once in a million runs.
    """
    g, m, draws = stream(), 6, 20_000
    counts: dict[tuple[int, ...], int] = dict.fromkeys(permutations(range(m), n), 0)
    for _ in range(draws):
        counts[tuple(distinct(n, m, g).tolist())] += 1  # a repetition has no count: KeyError
    expected = draws / len(counts)
    chi2_found = sum((count - expected) ** 2 / expected for count in counts.values())
    assert chi2_found < chi2.isf(1e-6, len(counts) - 1)


def test_a_large_bank_is_drawn_from_without_repetition(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where half of all slots are wanted, and half of the first draws are there already."""
    monkeypatch.setattr(bank_module, "PERMUTED", 10)
    for m, n in ((1000, 500), (1000, 999), (100_003, 256)):
        bank = Bank(torch.arange(m)[:, None].float())
        slots, x = bank.draw(n, stream())
        assert len(slots) == n == len(set(slots.tolist()))
        assert int(slots.min()) >= 0
        assert int(slots.max()) < m
        assert torch.equal(x[:, 0].long(), slots)


def test_a_small_bank_is_permuted() -> None:
    """The numbers that runs of before drew."""
    bank = Bank(torch.zeros(1000, 1))
    g, same = stream(), stream()
    assert torch.equal(bank.draw(50, g)[0], torch.randperm(1000, generator=same)[:50])


def test_restart_replaces_the_marked_rows_only() -> None:
    g = stream(2)
    x = torch.full((4, 2), 7.0)
    out = restart(x, torch.tensor([True, False, False, True]), NOISE, g)
    assert torch.equal(out[1:3], x[1:3])
    assert (out[[0, 3]] != 7).all()


def test_restart_uses_the_same_randomness_whatever_is_marked() -> None:
    """Otherwise one lost chain would shift the random numbers of every chain after it."""
    states = []
    for marked in (torch.zeros(4, dtype=torch.bool), torch.ones(4, dtype=torch.bool)):
        g = stream(3)
        restart(torch.zeros(4, 2), marked, NOISE, g)
        states.append(g.get_state())
    assert torch.equal(*states)


def test_non_finite_rows_can_be_replaced() -> None:
    x = torch.tensor([[math.nan, 0.0], [1.0, 1.0]])
    out = restart(x, torch.tensor([True, False]), NOISE, stream(4))
    assert out.isfinite().all()
    assert torch.equal(out[1], x[1])


@pytest.mark.parametrize("shift", [0.0, 5.0])
def test_noise_of_vectors_has_the_data_moments(shift: float) -> None:
    data = Dataset(torch.tensor([[0.0, 1.0], [2.0, 5.0]]) + shift, torch.zeros(1, 2))
    noise = StartNoise.of(data, torch.device("cpu"))
    assert torch.equal(noise.mean, torch.tensor([1.0, 3.0]) + shift)
    assert torch.equal(noise.std, torch.tensor([1.0, 2.0]))


def test_spread_is_one_on_points_one_sigma_out_and_ignores_nan() -> None:
    x = torch.tensor([[1.0, 1.0], [1.0, -1.0], [math.nan, 0.0]])
    assert float(NOISE.spread(x)) == 1.0

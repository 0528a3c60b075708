"""AUROC, AUPR and FPR95 against counting pairs and thresholds, with ties;
out-sets against what defines them.
"""

import math

import pytest
import torch

from stanley import targets
from stanley.data import centre, to_bytes
from stanley.errors import StanleyError
from stanley.metrics import (
    aupr,
    auroc,
    average_precision,
    energy_score,
    fpr_at_95,
    gradient_score,
    judge_detection,
    synthetic_out_sets,
)
from tests.seeds import stream


def scores(kind):
    g = stream()
    inside, outside = torch.randn(37, generator=g), 0.5 + torch.randn(23, generator=g)
    if kind == "ties":
        return (2 * inside).round(), (2 * outside).round()
    if kind == "infinite":
        return torch.cat([inside, inside.new_tensor([math.inf])]), torch.cat(
            [outside, outside.new_tensor([math.inf] * 3)]
        )
    return inside, outside


KINDS = pytest.mark.parametrize("kind", ["plain", "ties", "infinite"])


@KINDS
def test_auroc_counts_pairs_ties_half(kind):
    inside, outside = scores(kind)
    pairs = [
        1.0 if b > a else 0.5 if b == a else 0.0 for a in inside.tolist() for b in outside.tolist()
    ]
    found = judge_detection(inside, outside)
    assert found.auroc == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)
    if kind == "ties":  # negative control: ties to one side
        assert found.auroc != pytest.approx(sum(p == 1 for p in pairs) / len(pairs), abs=1e-2)
    assert judge_detection(outside, inside).auroc == pytest.approx(1 - found.auroc, abs=1e-12)
    assert (found.n_in, found.n_out) == (len(inside), len(outside))


@KINDS
def test_average_precision_walks_down_the_thresholds(kind):
    inside, outside = (s.tolist() for s in scores(kind))

    def by_hand(positive, negative):
        area, recall = 0.0, 0.0
        for t in sorted({*positive, *negative}, reverse=True):
            hits, false = sum(s >= t for s in positive), sum(s >= t for s in negative)
            area += (hits / len(positive) - recall) * hits / (hits + false)
            recall = hits / len(positive)
        return area

    found = judge_detection(*scores(kind))
    assert found.aupr_out == pytest.approx(by_hand(outside, inside), abs=1e-12)
    assert found.aupr_in == pytest.approx(
        by_hand([-s for s in inside], [-s for s in outside]), abs=1e-12
    )
    # negative control: the directions differ
    assert found.aupr_in != pytest.approx(found.aupr_out, abs=1e-2)


@KINDS
@pytest.mark.parametrize("n", [2, 19, 20, 21])
def test_fpr_at_the_first_threshold_that_keeps_95_percent(kind, n):
    inside, outside = scores(kind)
    inside = inside[:n]
    t = next(
        t
        for t in sorted(inside.tolist())
        if sum(s <= t for s in inside.tolist()) >= 0.95 * n - 1e-9
    )
    expected = sum(s <= t for s in outside.tolist()) / len(outside)
    assert judge_detection(inside, outside).fpr95 == pytest.approx(expected, abs=1e-12)


@KINDS
def test_one_number_alone_is_that_of_all(kind):
    inside, outside = scores(kind)
    all_of_them = judge_detection(inside, outside)
    assert (auroc(inside, outside), aupr(inside, outside), fpr_at_95(inside, outside)) == (
        all_of_them.auroc,
        all_of_them.aupr_out,
        all_of_them.fpr95,
    )
    assert aupr(-outside, -inside) == all_of_them.aupr_in


def test_a_perfect_score_and_one_that_knows_nothing():
    low, high = torch.arange(40.0), 100 + torch.arange(10.0)
    best = judge_detection(low, high)
    assert (best.auroc, best.aupr_out, best.aupr_in, best.fpr95, best.auroc_error) == (
        1,
        1,
        1,
        0,
        0,
    )
    same = judge_detection(torch.zeros(40), torch.zeros(10))
    assert (same.auroc, same.aupr_out, same.aupr_in, same.fpr95) == (0.5, 0.2, 0.8, 1)


def test_the_standard_error_is_that_of_repetitions():
    """N(0, 1) against N(1, 1), 60 and 40: the sd over 400 repetitions has a relative error of
    1/√800; 6 of them, and the bias of order 1/n of DeLong's estimate: 25 %. AUROC is Φ(1/√2), 6
    standard errors of the mean."""
    g = stream(1)
    found = [
        judge_detection(torch.randn(60, generator=g), 1 + torch.randn(40, generator=g))
        for _ in range(400)
    ]
    auroc, error = (
        torch.tensor([getattr(f, name) for f in found]).double()
        for name in ("auroc", "auroc_error")
    )
    sd = float(auroc.std())
    assert float(error.square().mean().sqrt()) == pytest.approx(sd, rel=0.25)
    assert abs(float(auroc.mean()) - 0.5 * (1 + math.erf(0.5))) <= 6 * sd / 20


def test_scores_of_an_energy():
    """U = ½ Σ p_i x_i²: U itself, and |∇U| = (Σ p_i² x_i²)^½.
    More points than go through at a time.
    """
    precision = torch.tensor([1.0, 4.0], dtype=torch.float64)
    u = targets.Gaussian(precision)
    x = torch.randn(700, 2, generator=stream(), dtype=torch.float64)
    torch.testing.assert_close(energy_score(u, x), (precision * x**2).sum(1) / 2)
    torch.testing.assert_close(gradient_score(u, x), (precision * x).norm(dim=1))


def test_synthetic_out_sets():
    g = stream()
    images = centre(torch.randint(0, 256, (12, 3, 8, 8), generator=g, dtype=torch.uint8))
    sets = synthetic_out_sets(images, g)
    assert set(sets) == {"noise", "constant", "interpolated", "permuted"}
    for x in sets.values():
        assert x.shape == images.shape
        assert torch.equal(centre(to_bytes(x)), x)
    assert bool((sets["constant"].flatten(2).std(2) == 0).all())
    assert len(sets["constant"][:, 0, 0, 0].unique()) > 6
    colours = lambda x: x.flatten(2).transpose(1, 2).tolist()  # noqa: E731
    for before, after in zip(colours(images), colours(sets["permuted"]), strict=True):
        assert sorted(before) == sorted(after)
        assert before != after
    alike = synthetic_out_sets(images[:1].expand_as(images), g)["permuted"]
    assert not torch.equal(alike[0], alike[1])  # each image has an order of its own
    # ½(x_i + x_j) to the centre of its cell, i ≠ j: half a cell, 1/256, off at most
    gap = [
        min(float((x - (a + b) / 2).abs().max()) for j, b in enumerate(images) if j != i)
        for i, (x, a) in enumerate(zip(sets["interpolated"], images, strict=True))
    ]
    assert max(gap) <= 1 / 256 + 1e-6
    # uniform: mean 0 within 6 sd, rate 2e-9
    assert abs(float(sets["noise"].mean())) <= 6 / (3 * images.numel()) ** 0.5 + 1 / 256


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (
            lambda: judge_detection(torch.tensor([1.0, math.nan]), torch.zeros(3)),
            "1 of 2 scores in score_in are NaN",
        ),
        (
            lambda: judge_detection(torch.zeros(3), torch.zeros(3, 1)),
            r"score_out has shape \(3, 1\)",
        ),
        (lambda: synthetic_out_sets(torch.zeros(3, 4), torch.Generator()), r"\(3, 4\)"),
    ],
)
def test_impossible_requests_name_the_value(call, told):
    with pytest.raises(StanleyError, match=told):
        call()


def test_average_precision_is_not_interpolated():
    """positive 3, 1 and negative 2: ½·1 + ½·⅔ = 5/6; the trapezoid rule would give less."""
    assert average_precision(torch.tensor([3.0, 1.0]), torch.tensor([2.0])) == pytest.approx(
        5 / 6, abs=1e-12
    )

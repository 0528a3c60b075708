"""Fréchet distance against closed forms and scipy's matrix square root. float64:
relative rounding 1e-10.
"""

import math

import numpy as np
import pytest
import torch
from scipy import linalg

from stanley.errors import StanleyError
from stanley.metrics import FeatureStatistics, PixelFeatures, frechet, frechet_distance
from tests.seeds import stream


@pytest.fixture
def generator():
    return stream()


def covariance(k, generator, rank=None):
    a = torch.randn(k, rank or 2 * k, generator=generator, dtype=torch.float64)
    return a @ a.T / k


def by_sqrtm(mu1, c1, mu2, c2):
    cross = linalg.sqrtm(c1.numpy() @ c2.numpy())
    return float((mu1 - mu2).square().sum() + c1.trace() + c2.trace() - 2 * np.trace(cross).real)


@pytest.mark.parametrize("k", [1, 2, 10, 40])
def test_it_agrees_with_scipy_sqrtm(generator, k):
    mu1, mu2 = torch.randn(2, k, generator=generator, dtype=torch.float64)
    c1, c2 = covariance(k, generator), 3 * covariance(k, generator)
    d2 = frechet_distance(mu1, c1, mu2, c2)
    assert d2 == pytest.approx(by_sqrtm(mu1, c1, mu2, c2), rel=1e-9)
    assert d2 == pytest.approx(frechet_distance(mu2, c2, mu1, c1), rel=1e-10)


def test_commuting_covariances(generator):
    """C = Q diag(s²) Qᵀ for both: d² = |δ|² + Σ (s - t)², also with zeros in s."""
    q = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64)).Q
    s = torch.tensor([0.0, 0.0, 1.0, 2.0, 3.0, 1e-3], dtype=torch.float64)
    t = torch.tensor([0.0, 2.0, 1.5, 0.0, 3.0, 1e-3], dtype=torch.float64)
    delta = torch.full((6,), 0.5, dtype=torch.float64)
    d2 = frechet_distance(delta, q @ (s**2).diag() @ q.T, 0 * delta, q @ (t**2).diag() @ q.T)
    # the root of an eigenvalue 0 that rounding made 1e-16·9 is 3e-8; it meets a t of 2
    assert d2 == pytest.approx(1.5 + float((s - t).square().sum()), abs=1e-6)
    # negative control: no roots
    assert d2 != pytest.approx(1.5 + float((s**2 - t**2).square().sum()), abs=1e-2)


@pytest.mark.parametrize("rank", [1, 3, 20])
def test_singular_covariances(generator, rank):
    """Point mass and N(0, C): tr C. C and itself: 0. Rank-one a aᵀ, b bᵀ: |a|² + |b|² - 2 |aᵀb|."""
    c, zero = covariance(20, generator, rank), torch.zeros(20, dtype=torch.float64)
    trace = float(c.trace())
    assert frechet_distance(zero, c, zero, 0 * c) == pytest.approx(trace, rel=1e-12)
    assert abs(frechet_distance(zero, c, zero, c)) <= 1e-12 * trace
    a, b = torch.randn(2, 20, generator=generator, dtype=torch.float64)
    expected = float(a @ a + b @ b - 2 * (a @ b).abs())
    # 19 null directions, each a root of 1e-16·|a|² against |b|
    assert frechet_distance(zero, torch.outer(a, a), zero, torch.outer(b, b)) == pytest.approx(
        expected, abs=19 * 1e-7 * 20
    )


def test_leaving_out_the_root_is_rejected(generator):
    """Negative control: tr(C₁C₂) in place of tr((C₁C₂)^½)."""
    c1, c2 = covariance(5, generator), covariance(5, generator)
    zero = torch.zeros(5, dtype=torch.float64)
    wrong = float(c1.trace() + c2.trace() - 2 * (c1 @ c2).trace())
    assert frechet_distance(zero, c1, zero, c2) != pytest.approx(wrong, rel=1e-2)


def test_running_statistics_are_those_of_all_points_at_once(generator):
    """Offset 1e4: a sum of squares in float64 would lose 1e8·2e-16 a term,
    the merged form does not.
    """
    f = 1e4 + torch.randn(103, 4, generator=generator, dtype=torch.float64)
    running = FeatureStatistics.empty("f", 4)
    for batch in f.split([1, 50, 2, 50, 0]):
        running = running.update(batch)
    halves = (
        FeatureStatistics.empty("f", 4)
        .update(f[:40])
        .merge(FeatureStatistics.empty("f", 4).update(f[40:]))
    )
    for s in (running, halves):
        assert s.n == 103
        torch.testing.assert_close(s.mean, f.mean(0), rtol=1e-14, atol=0)
        torch.testing.assert_close(s.covariance, torch.cov(f.T), rtol=1e-10, atol=1e-11)
    # negative control: 1/n
    assert not torch.allclose(running.covariance, torch.cov(f.T, correction=0), rtol=1e-3)


def test_pixels(generator):
    x = torch.randn(5, 3, 8, 8, generator=generator)
    assert torch.equal(PixelFeatures()(x), x.flatten(1))
    small = PixelFeatures(2)
    assert small.name == "pixels-2x2"
    torch.testing.assert_close(small(x).reshape(5, 3, 2, 2)[0, 1, 0, 1], x[0, 1, :4, 4:].mean())


def test_a_result_says_what_it_compared(generator):
    x, y = (
        torch.randn(60, 1, 4, 4, generator=generator),
        0.5 + torch.randn(14, 1, 4, 4, generator=generator),
    )
    pixels = PixelFeatures()
    first, second = (FeatureStatistics.of(z.split(16), pixels) for z in (x, y))
    result = frechet(first, second)
    assert (result.feature, result.num_features, result.n1, result.n2) == ("pixels", 16, 60, 14)
    assert result.rank_deficient
    assert not frechet(first, first).rank_deficient
    c1, c2 = torch.cov(x.flatten(1).double().T), torch.cov(y.flatten(1).double().T)
    expected = frechet_distance(
        x.flatten(1).double().mean(0), c1, y.flatten(1).double().mean(0), c2
    )
    # 14 points span 13 of 16 directions: 3 roots of rounding, 1e-8 each
    assert result.value == pytest.approx(expected, abs=1e-6)


def test_the_estimate_has_the_known_distance_as_its_limit(generator):
    """n = 40,000 of N(0, I) and N(μ, 4I), k = 2: d² = |μ|² + k = 3, with independent errors of
    μ̂ and σ̂: sd² = 4|μ|²(1 + 4)/n + 4 Σ ((1 + 4)/2n) -> sd = 0.0316; bias is O(k/n). 6 sd: rate
    2e-9."""
    n = 40_000
    mu = torch.tensor([1.0, 0.0])
    x, y = torch.randn(n, 2, generator=generator), mu + 2 * torch.randn(n, 2, generator=generator)
    first, second = (FeatureStatistics.of([z], PixelFeatures()) for z in (x, y))
    sd = math.sqrt(4 * 5 / n + 4 * 2 * 5 / (2 * n))
    assert frechet(first, second).value == pytest.approx(3, abs=6 * sd + 10 / n)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda s: frechet(s, FeatureStatistics.empty("other", 2)), "'other'"),
        (lambda s: frechet(s, FeatureStatistics.empty("f", 2)), "n is 0"),
        (lambda s: s.update(torch.zeros(3, 5)), r"\(3, 5\)"),
        (lambda s: s.update(torch.full((3, 2), torch.nan)), "3 of 3"),
        (lambda s: FeatureStatistics.of([], PixelFeatures()), "0 batches"),
        (lambda s: PixelFeatures(9)(torch.zeros(1, 1, 8, 8)), "size is 9"),
        (
            lambda s: frechet_distance(torch.zeros(2), -torch.eye(2), torch.zeros(2), torch.eye(2)),
            "eigenvalue -1",
        ),
        (
            lambda s: frechet_distance(
                torch.zeros(2), torch.ones(2).diag(), torch.zeros(3), torch.eye(3)
            ),
            "one k",
        ),
        (
            lambda s: frechet_distance(
                torch.zeros(2), torch.tensor([[1.0, 0.5], [0.0, 1.0]]), torch.zeros(2), torch.eye(2)
            ),
            "transpose",
        ),
    ],
)
def test_impossible_requests_name_the_value(call, told):
    s = FeatureStatistics.empty("f", 2).update(torch.eye(2, dtype=torch.float64))
    with pytest.raises(StanleyError, match=told) as caught:
        call(s)
    assert "\n" not in str(caught.value)

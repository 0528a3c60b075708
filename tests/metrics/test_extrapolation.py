"""The extrapolated Fréchet distance against the known bias of the plain one."""

import numpy as np
import pytest
import torch

from stanley.errors import StanleyError
from stanley.metrics import FeatureStatistics, frechet, frechet_limit
from tests.seeds import stream

K = 8


def exact_reference():
    """N(0, I) as it is: n = 1e9 + 1 points with covariance I."""
    n = 10**9 + 1
    return FeatureStatistics("f", n, torch.zeros(K).double(), (n - 1) * torch.eye(K).double())


@pytest.mark.parametrize("seed", range(5))
def test_it_takes_the_bias_away(seed):
    """Samples of the reference's own law: to first order n·d²_n = |z|² + ½χ²_{k(k+1)/2}, so that

        E d²_n = c/n, c = k + k(k+1)/4 = 26,    sd(n·d²_n) = s = √(2k + k(k+1)/4) = 5.8.

    The intercept is Σ w_j d²_{n_j} with Σ w_j = 1, Σ w_j/n_j = 0, so its sd is at most s·Σ|w_j|/n_j
    however the subsets overlap. Two orders are left out, k(k+1)²/n² each at most. 6 sd: rate 1e-8
    over the five.
    """
    g = stream(seed)
    n, smallest = 4000, 400
    x = torch.randn(n, K, generator=g, dtype=torch.float64)
    found = frechet_limit(x, exact_reference(), generator=g, smallest=smallest)
    sizes = np.array(found.sizes, dtype=float)
    weights = np.linalg.pinv(np.stack([np.ones_like(sizes), 1 / sizes], 1))[0]
    s, c = (2 * K + K * (K + 1) / 4) ** 0.5, K + K * (K + 1) / 4
    bound = 6 * s * float((np.abs(weights) / sizes).sum()) + 2 * K * (K + 1) ** 2 / smallest**2
    assert abs(found.value) <= bound
    assert found.extrapolates
    plain = frechet(FeatureStatistics.empty("f", K).update(x[:smallest]), exact_reference()).value
    assert plain >= (c - 6 * s) / smallest  # sanity: what is to be taken away
    assert found.distances[-1] == pytest.approx(
        frechet(FeatureStatistics.empty("f", K).update(x), exact_reference()).value, abs=1e-9
    )


def test_the_line_is_the_least_squares_line():
    g = stream()
    found = frechet_limit(
        torch.randn(500, K, generator=g), exact_reference(), generator=g, num_sizes=6
    )
    sizes, d2 = (np.array(values, dtype=float) for values in (found.sizes, found.distances))
    residual = d2 - found.value - found.slope / sizes
    assert abs(residual.sum()) <= 1e-10
    assert abs((residual / sizes).sum()) <= 1e-12
    # negative control: the mean is no intercept
    assert found.value != pytest.approx(d2.mean(), rel=1e-2)
    assert found.sizes[0] == 50
    assert found.sizes[-1] == 500
    assert (found.n1, found.n2, found.num_features) == (500, 10**9 + 1, K)


def test_too_few_samples_are_said():
    g = stream()
    found = frechet_limit(torch.randn(12, K, generator=g), exact_reference(), generator=g)
    assert not found.extrapolates
    assert found.caution is not None
    assert "8 features" in found.caution
    assert (
        frechet_limit(torch.randn(500, K, generator=g), exact_reference(), generator=g).caution
        is None
    )


@pytest.mark.parametrize(
    ("n", "options", "told"),
    [
        (3, {}, "smallest is 1"),
        (50, {"num_sizes": 1}, "num_sizes is 1"),
        (50, {"smallest": 50}, "smallest is 50"),
    ],
)
def test_impossible_requests_name_the_value(n, options, told):
    g = stream()
    with pytest.raises(StanleyError, match=told):
        frechet_limit(torch.randn(n, K, generator=g), exact_reference(), generator=g, **options)

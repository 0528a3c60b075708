"""Kernel distance against loops over pairs, its expectation, and a true jackknife. float64:
rounding 1e-12.
"""

import math

import pytest
import torch

from stanley.errors import StanleyError
from stanley.metrics import kernel_distance
from tests.seeds import stream


@pytest.fixture
def generator():
    return stream()


def by_hand(x, y, biased=False):
    """The three double sums, one pair at a time."""
    k = lambda a, b: float((a @ b) / len(a) + 1) ** 3  # noqa: E731
    n, m = len(x), len(y)
    skip = 0 if biased else 1
    xx = sum(k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if biased or i != j) / (
        n * (n - skip)
    )
    yy = sum(k(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if biased or i != j) / (
        m * (m - skip)
    )
    return xx + yy - 2 * sum(k(a, b) for a in x for b in y) / (n * m)


def two(generator, n=13, m=9, d=4):
    x, y = (torch.randn(size, d, generator=generator, dtype=torch.float64) for size in (n, m))
    return x, 0.5 + 1.5 * y


def test_the_value_is_the_unbiased_estimate(generator):
    x, y = two(generator)
    found = kernel_distance(x, y, generator=generator, num_subsets=2)
    assert found.value == pytest.approx(by_hand(x, y), rel=1e-12)
    # negative control: with the diagonal
    assert found.value != pytest.approx(by_hand(x, y, biased=True), rel=1e-2)
    assert (found.n1, found.n2, found.num_features) == (13, 9, 4)


def test_chunks_change_nothing(generator, monkeypatch):
    x, y = two(generator)
    whole = kernel_distance(x, y, generator=generator, num_subsets=2).value
    monkeypatch.setattr("stanley.metrics.cubic_kernel.CHUNK", 3)
    assert kernel_distance(x, y, generator=generator, num_subsets=2).value == pytest.approx(
        whole, rel=1e-12
    )


def test_the_standard_error_is_the_jackknife_done_by_leaving_out(generator):
    x, y = two(generator)

    def variance(rows, value_of):
        left = torch.tensor(
            [value_of(torch.cat([rows[:i], rows[i + 1 :]])) for i in range(len(rows))]
        )
        return (len(rows) - 1) / len(rows) * float((left - left.mean()).square().sum())

    expected = math.sqrt(
        variance(x, lambda rows: by_hand(rows, y)) + variance(y, lambda rows: by_hand(x, rows))
    )
    found = kernel_distance(x, y, generator=generator, num_subsets=2).standard_error
    assert found == pytest.approx(expected, rel=1e-5)  # the tensor of the oracle is float32


def test_subsets_of_all_rows_are_all_rows(generator):
    x, y = two(generator, 9, 9)
    found = kernel_distance(x, y, generator=generator, subset_size=9, num_subsets=3)
    assert found.subset_mean == pytest.approx(found.value, rel=1e-12)
    assert found.subset_error <= 1e-12 * abs(found.value)


def test_the_mean_over_subsets_is_the_value_on_average(generator):
    """A subset is a uniform choice of pairs, so its MMD² has the value as its mean:
    6 standard errors, rate 2e-9.
    """
    x, y = two(generator, 40, 30)
    found = kernel_distance(x, y, generator=generator, subset_size=8, num_subsets=2000)
    assert abs(found.subset_mean - found.value) <= 6 * found.subset_error
    assert found.subset_error < 0.1 * abs(found.value)  # so that the bound could fail


def test_the_expectation_is_known_on_a_line(generator):
    """d = 1, x ~ N(0, 1), y ~ N(μ, 1): E k(a, b) = Σ_j C(3, j) E aʲ E bʲ, so that

        MMD² = Σ_j C(3, j) (E xʲ - E yʲ)² = 3 μ² + 3 μ⁴ + (μ³ + 3μ)² = 22 at μ = 1.

    Mean of 400 independent estimates, 6 standard errors of it: rate 2e-9.
    """
    draw = lambda: torch.randn(50, 1, generator=generator, dtype=torch.float64)  # noqa: E731
    values = torch.tensor(
        [
            kernel_distance(draw(), 1 + draw(), generator=generator, num_subsets=2).value
            for _ in range(400)
        ]
    )
    error = float(values.std()) / 20
    assert abs(float(values.mean()) - 22) <= 6 * error
    assert 6 * error < 7  # against 0, and against 6, the value for a kernel of degree 2


@pytest.mark.parametrize(
    ("x", "y", "told"),
    [
        (torch.zeros(5, 2), torch.zeros(5, 3), r"\(5, 2\) and \(5, 3\)"),
        (torch.zeros(2, 2), torch.zeros(5, 2), "2 rows"),
        (torch.full((5, 2), torch.inf), torch.zeros(5, 2), "5 rows are not finite"),
    ],
)
def test_impossible_requests_name_the_value(x, y, told, generator):
    with pytest.raises(StanleyError, match=told):
        kernel_distance(x, y, generator=generator)

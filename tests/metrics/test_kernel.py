"""MMD² against its double sum, its known mean between Gaussians, and the exactness of its test."""

import math

import pytest
import torch
from scipy import stats

import stanley.metrics.kernel as kernel
from stanley.errors import StanleyError
from stanley.metrics import mmd2, mmd_test
from tests.seeds import stream


@pytest.fixture
def generator():
    return stream()


def by_definition(x, y, bandwidth):
    def k(a, b):
        return math.exp(-float((a - b).square().sum()) / (2 * bandwidth**2))

    n, m = len(x), len(y)
    xx = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return xx + yy - 2 * sum(k(a, b) for a in x for b in y) / (n * m)


def gaussian_mmd2(d, bandwidth, shift):
    """Of N(0, I) and N(μ, I): 2 (σ²/(σ²+2))^{d/2} [1 - exp(-|μ|²/(2(σ²+2)))], since a - b ~ N(μ,
    2I).
    """
    s = bandwidth**2
    return 2 * (s / (s + 2)) ** (d / 2) * (1 - math.exp(-(shift**2) / (2 * (s + 2))))


@pytest.mark.parametrize("chunk", [4, 7, 1024])
def test_it_is_the_double_sum_in_any_chunks(generator, monkeypatch, chunk):
    monkeypatch.setattr(kernel, "CHUNK", chunk)
    x = torch.randn(9, 2, 3, generator=generator, dtype=torch.float64)
    y = 0.5 + torch.randn(14, 2, 3, generator=generator, dtype=torch.float64)
    assert mmd2(x, y, 1.7).value == pytest.approx(by_definition(x, y, 1.7), abs=1e-14)
    # exact symmetry, whatever the order or the dtype of the same numbers
    assert mmd2(y, x, 1.7).value == pytest.approx(mmd2(x, y, 1.7).value, abs=1e-14)
    assert mmd2(x.float().double(), y, 1.7).value == mmd2(x.float(), y, 1.7).value


@pytest.mark.parametrize("shift", [2.0**20, -(2.0**36)])
def test_it_is_the_same_wherever_the_origin_lies(generator, shift):
    """Points in multiples of 2⁻⁸, so that the shift rounds nothing in float64. The centre is known
    to 2⁻⁵²·shift only, which leaves distances as they are to that accuracy."""
    x, y = (
        (torch.randn(n, 2, generator=generator) * 256).round().double() / 256 for n in (200, 150)
    )
    far, near = mmd2(x + shift, y + shift), mmd2(x, y)
    assert far.bandwidth == pytest.approx(near.bandwidth, rel=1e-12)
    assert far.value == pytest.approx(near.value, abs=abs(shift) * 2**-50)
    a, b = (mmd_test(x + s, y + s, 99, stream(1)).p_value for s in (0.0, shift))
    assert a == b


def test_the_biased_sum_is_told_apart(generator):
    """Negative control: with the diagonal kept, the value differs by about 1/n + 1/m."""
    x, y = (torch.randn(n, 2, generator=generator, dtype=torch.float64) for n in (9, 14))
    biased = sum(
        float(sign * torch.exp(-torch.cdist(a, b).square() / 2).mean())
        for a, b, sign in ((x, x, 1), (y, y, 1), (x, y, -2))
    )
    assert mmd2(x, y, 1.0).value != pytest.approx(biased, abs=1e-2)


@pytest.mark.parametrize("shift", [0.0, 0.5, 2.0])
def test_its_mean_is_the_closed_form_between_gaussians(generator, shift):
    """200 independent values, z = 6: rate 2e-9 a case. Unbiased,
    so at μ = 0 some values are below 0.
    """
    mu = torch.tensor([shift, 0.0, 0.0])
    values = []
    for _ in range(200):
        x, y = torch.randn(40, 3, generator=generator), mu + torch.randn(50, 3, generator=generator)
        values.append(mmd2(x, y, 1.5).value)
    values = torch.tensor(values, dtype=torch.float64)
    expected = gaussian_mmd2(3, 1.5, shift)
    assert abs(values.mean() - expected) <= 6 * values.std() / math.sqrt(200)
    if shift == 0:
        assert (values < 0).any()


def test_the_bandwidth_is_the_median_distance():
    x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[3.0], [7.0]])
    # distances 1 2 3 4 6 7: torch's median is the lower of the middle two
    assert mmd2(x, y).bandwidth == 3.0
    assert mmd2(x, y, 5.0).bandwidth == 5.0


def test_p_values_are_uniform_under_the_hypothesis(generator):
    """With 19 permutations p is uniform on {1/20, ..., 1}: χ² on 20 cells of 400 tests,
    rate 1e-7.
    """
    p = []
    for _ in range(400):
        x, y = torch.randn(6, 2, generator=generator), torch.randn(9, 2, generator=generator)
        p.append(mmd_test(x, y, 19, generator).p_value)
    counts = torch.bincount((20 * torch.tensor(p)).round().long() - 1, minlength=20)
    assert stats.chisquare(counts.numpy()).pvalue > 1e-7


def test_it_rejects_a_shift_and_a_scale(generator):
    x = torch.randn(200, 2, generator=generator)
    for y in (
        torch.randn(200, 2, generator=generator) + 1.0,
        3 * torch.randn(200, 2, generator=generator),
    ):
        # the statistic is about 20 null standard deviations out: p must be the smallest possible
        result = mmd_test(x, y, 99, generator)
        assert result.p_value == 1 / 100
        assert result.mmd2.value == pytest.approx(
            mmd2(x, y, result.mmd2.bandwidth).value, abs=1e-14
        )


def test_identical_points_are_the_least_significant(generator):
    """x = y gives the smallest statistic up to ties, so p is near 1, never 0."""
    x = torch.randn(30, 2, generator=generator)
    assert mmd_test(x, x.clone(), 49, generator).p_value > 0.9


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda x, g: mmd2(x, x[:, :1]), r"\(2,\).*\(1,\)"),
        (lambda x, g: mmd2(x, x[:1]), "has 1 points"),
        (lambda x, g: mmd2(x, x * torch.nan), "5 points are not finite"),
        (lambda x, g: mmd2(x * 0, x * 0), "bandwidth is 0"),
        (lambda x, g: mmd2(x, x, -1.0), "bandwidth is -1"),
        (lambda x, g: mmd_test(x, x, 0, g), "num_permutations is 0"),
    ],
)
def test_impossible_requests_name_the_value(generator, call, told):
    with pytest.raises(StanleyError, match=told) as caught:
        call(torch.randn(5, 2, generator=generator), generator)
    assert "\n" not in str(caught.value)

"""Mode counts by hand, and the law of a perfect sampler."""

import math

import pytest
import torch
from scipy import stats

from stanley.errors import StanleyError
from stanley.metrics import coverage, mode_coverage, nearest_mode, nearest_ring
from stanley.targets import Mixture, Rings
from tests.seeds import stream

CORNERS = torch.tensor([[2.0, 2.0], [2.0, -2.0], [-2.0, 2.0], [-2.0, -2.0]])


def at(*counts, outside=0):
    rows = [CORNERS[k].expand(c, 2) for k, c in enumerate(counts)]
    return torch.cat([*rows, torch.zeros(outside, 2)])


def test_a_perfect_sample():
    result = mode_coverage(at(5, 5, 5, 5), CORNERS, 0.5)
    assert result.counts == (5, 5, 5, 5)
    assert result.hit_share == 1
    assert result.high_quality == 1
    assert result.entropy == pytest.approx(math.log(4), abs=1e-15)
    assert result.kl_uniform == pytest.approx(0, abs=1e-15)


def test_counts_by_hand():
    """40 samples, 4 modes: a mode's due is 10, a tenth of it is 1. Entropy of (½, ½): log 2."""
    result = mode_coverage(at(10, 10, outside=20), CORNERS, 0.5)
    assert (result.num_samples, result.counts) == (40, (10, 10, 0, 0))
    assert result.hit_share == 0.5
    assert result.high_quality == 0.5
    assert result.entropy == pytest.approx(math.log(2), abs=1e-15)
    assert result.kl_uniform == pytest.approx(math.log(2), abs=1e-15)


def test_a_mode_is_hit_from_its_stated_share_on():
    for count, hit_share in ((0, 0.75), (1, 1.0)):
        assert mode_coverage(at(13, 13, 14 - count, count), CORNERS, 0.5).hit_share == hit_share
    assert mode_coverage(at(36, 2, 1, 1), CORNERS, 0.5, hit_fraction=0.2).hit_share == 0.5


@pytest.mark.parametrize("shift", [2.0**20, -(2.0**40)])
def test_it_is_the_same_wherever_the_origin_lies(shift):
    """Samples in multiples of 2⁻⁸, so that the shift rounds nothing in float64; over 25 rows,
    where BLAS is used.
    """
    g = stream()
    x = CORNERS[torch.randint(4, (200,), generator=g)] + torch.randn(200, 2, generator=g)
    x, modes = (x * 256).round().double() / 256, CORNERS.repeat(10, 1).double()
    assert mode_coverage(x + shift, modes + shift, 0.5) == mode_coverage(x, modes, 0.5)


def test_the_radius_is_inclusive_and_the_nearest_mode_wins():
    modes = torch.tensor([[0.0], [1.0]])
    labels = nearest_mode(modes, 0.75)(torch.tensor([[-0.75], [-0.76], [0.4], [0.6], [1.75]]))
    assert labels.tolist() == [0, -1, 0, 1, 1]


def test_samples_that_diverged_are_at_no_mode():
    lost = torch.tensor([[torch.nan, 0.0], [torch.inf, 0.0], [1e30, 0.0]])
    result = mode_coverage(torch.cat([at(1, 1, 1, 1), lost]), CORNERS, 0.5)
    assert result.counts == (1, 1, 1, 1)
    assert result.high_quality == 4 / 7
    nothing = mode_coverage(lost, CORNERS, 0.5)
    assert nothing.high_quality == nothing.hit_share == 0
    assert nothing.entropy is None
    assert nothing.kl_uniform is None


def test_shares_of_exact_samples():
    """n = 20,000 of a mixture within 2σ: share 1 - e^{-2} a mode, binomial; 5 counts,
    rate 1e-7 each.
    """
    n, std = 20_000, 0.1
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4])
    x = Mixture(CORNERS, std, weights).sample(n, stream())
    result = mode_coverage(x, CORNERS, 2 * std)
    inside = 1 - math.exp(-2)
    for count, w in zip(result.counts, weights.tolist(), strict=True):
        assert stats.binomtest(count, n, w * inside).pvalue > 1e-7
    assert stats.binomtest(sum(result.counts), n, inside).pvalue > 1e-7
    # negative control: the same counts reject equal weights, and the mass of 1-D Gaussians within
    # 2σ
    assert stats.binomtest(result.counts[0], n, 0.25 * inside).pvalue < 1e-7
    assert stats.binomtest(sum(result.counts), n, math.erf(2 / math.sqrt(2))).pvalue < 1e-7


def test_rings_have_modes_by_assignment():
    """Within 3σ of its ring: share erf(3/√2), rings 6σ apart do not mix. n = 20,000, rate 1e-7."""
    rings = Rings()
    x = rings.sample(20_000, stream())
    result = coverage(x, nearest_ring(rings.radii, 3 * rings.std), len(rings.radii))
    assert stats.binomtest(sum(result.counts), 20_000, math.erf(3 / math.sqrt(2))).pvalue > 1e-7
    assert stats.chisquare(result.counts).pvalue > 1e-7
    assert result.hit_share == 1
    # 2 n KL is χ² with K - 1 degrees of freedom to first order; 1 % covers the next one
    assert stats.chi2.sf(0.99 * 2 * sum(result.counts) * result.kl_uniform, 3) > 1e-7


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: mode_coverage(torch.zeros(3, 1), CORNERS, 1.0), r"\(1,\).*\(2,\)"),
        (lambda: mode_coverage(at(1), CORNERS, 0.0), "radius is 0"),
        (lambda: mode_coverage(at(1), CORNERS, 1.0, hit_fraction=2.0), "hit_fraction is 2"),
        (lambda: mode_coverage(at(1)[:0], CORNERS, 1.0), "0 samples"),
        (lambda: coverage(at(1), lambda x: torch.full((len(x),), 4), 4), "labels 4..4"),
        (lambda: coverage(at(1), lambda x: torch.full((len(x),), -2), 4), "labels -2"),
        (lambda: nearest_ring((1.0,), -1.0), "width is -1"),
    ],
)
def test_impossible_requests_name_the_value(call, told):
    with pytest.raises(StanleyError, match=told) as caught:
        call()
    assert "\n" not in str(caught.value)

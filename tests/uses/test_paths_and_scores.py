"""The string on a double well with a known saddle; scores and percentiles by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from stanley.errors import StanleyError
from stanley.metrics.detection import judge_detection
from stanley.samplers import HMC, MALA, GradientDescent, Langevin
from stanley.targets import Gaussian
from stanley.uses import (
    box_mask,
    denoise,
    half_mask,
    outside,
    percentile,
    sampler_of_sum,
    score,
    string,
)
from stanley.uses.interpolation import equally_spaced
from stanley.uses.scoring import energies_at, unusual_profile

A, K, C = 3.0, 4.0, 0.7
LEFT, RIGHT = torch.tensor([-1.0, 0.0]).double(), torch.tensor([1.0, 0.0]).double()


def bent(x: Tensor) -> Tensor:
    """U = a(x² - 1)² + (k/2)(y - c(1 - x²))²: minima (±1, 0) at U = 0, saddle (0, c) at U = a.

    On the straight line U(0, 0) = a + kc²/2.
    """
    return A * (x[:, 0] ** 2 - 1) ** 2 + K / 2 * (x[:, 1] - C * (1 - x[:, 0] ** 2)) ** 2


def test_the_string_passes_the_saddle():
    """Nine points: the middle one is at x = 0 by symmetry, and relaxes in y by 1 - hk/2 a step."""
    h, steps = 0.06, 600
    path = string(bent, LEFT, RIGHT, 9, steps, h)
    assert path.straight_barrier == pytest.approx(A + K * C**2 / 2, abs=1e-12)
    assert path.moved < 1e-6
    # the polygon cuts the corner at the middle: its neighbours pull it back by O(1/P²) of the
    # path's curvature
    assert path.barrier == pytest.approx(A, abs=0.02)
    assert path.points[4].tolist() == pytest.approx([0.0, C], abs=0.1)
    assert path.barrier < path.straight_barrier
    chords = (path.points[1:] - path.points[:-1]).norm(dim=1)
    assert chords.max() < 1.2 * chords.min()  # they do not slide into the minima
    finer = string(bent, LEFT, RIGHT, 33, 1200, h)
    assert abs(finer.barrier - A) < abs(path.barrier - A) / 4 + 1e-6  # second order


def test_ends_stay_and_no_steps_is_the_straight_line():
    a, b = torch.randn(1, 3, 3), torch.randn(1, 3, 3)
    square = lambda x: x.square().flatten(1).sum(1)  # noqa: E731
    for steps in (0, 5):
        path = string(square, a, b, 6, steps, 0.1)
        assert torch.equal(path.points[0], a)
        assert torch.equal(path.points[-1], b)
    line = string(square, a, b, 6, 0, 0.1)
    assert torch.equal(line.energy, line.straight)
    torch.testing.assert_close(line.points[2], a + 0.4 * (b - a))


def test_equal_spacing():
    """A bent polygon with sides 3 and 1: shares of its length 4, by hand; equal points stay."""
    x = torch.tensor([[0.0, 0.0], [3.0, 0.0], [3.0, 1.0]])
    torch.testing.assert_close(
        equally_spaced(x), torch.tensor([[0.0, 0.0], [2.0, 0.0], [3.0, 1.0]])
    )
    doubled = torch.tensor([[0.0, 0.0], [0.0, 0.0], [4.0, 0.0], [4.0, 0.0], [4.0, 0.0]])
    torch.testing.assert_close(
        equally_spaced(doubled)[:, 0], torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0])
    )
    even = torch.linspace(0, 1, 7)[:, None].expand(7, 2).contiguous()
    torch.testing.assert_close(equally_spaced(even), even)


def test_paths_that_cannot_be():
    a, b = LEFT, RIGHT
    for arguments, message in (
        ((a, b[:1], 5, 3, 0.1), "shapes"),
        ((a, a, 5, 3, 0.1), "same point"),
        ((a, b, 2, 3, 0.1), "num_points is 2"),
        ((a, b, 5, -1, 0.1), "num_steps is -1"),
        ((a, b, 5, 3, 0.0), "step_size is 0"),
        ((a, b, 5, 50, 100.0), "not finite after step"),
    ):
        with pytest.raises(StanleyError, match=message):
            string(bent, *arguments)


def test_scores_of_a_gaussian():
    target = Gaussian(torch.tensor([1.0, 4.0]))
    x = torch.randn(7, 2, dtype=torch.float64)
    found = score(target, x, chunk=3)
    torch.testing.assert_close(found.energy, (x[:, 0] ** 2 + 4 * x[:, 1] ** 2) / 2)
    torch.testing.assert_close(found.grad_norm, (x[:, 0] ** 2 + 16 * x[:, 1] ** 2).sqrt())


def test_percentiles_by_hand():
    """Among 1, 2, 2, 3: below all, a tie counted half, between, above all."""
    reference = torch.tensor([3.0, 1.0, 2.0, 2.0])
    assert percentile(torch.tensor([0.0, 2.0, 2.5, 9.0]), reference).tolist() == [
        0.0,
        50.0,
        75.0,
        100.0,
    ]
    with pytest.raises(StanleyError, match="no reference"):
        percentile(reference, reference[:0])


def test_masks():
    assert box_mask(1, 2, 3, 1, (4, 5)).nonzero().tolist() == [[2, 1], [2, 2], [2, 3]]
    left, right = half_mask("left-half", (2, 5)), half_mask("right-half", (2, 5))
    assert (left.sum(), right.sum()) == (4, 6)
    assert not (left & right).any()
    top, bottom = half_mask("top-half", (5, 2)), half_mask("bottom-half", (5, 2))
    assert (top | bottom).all()
    assert top.nonzero()[:, 0].max() == 1
    with pytest.raises(StanleyError, match="mask box is 0×1 pixels"):
        box_mask(0, 0, 0, 1, (4, 5))
    for box in ((3, 0, 3, 1), (-1, 0, 2, 2), (0, 3, 1, 2)):
        with pytest.raises(StanleyError, match="is not inside the image of 5×4"):
            box_mask(*box, (4, 5))
    with pytest.raises(StanleyError, match="middle-half"):
        half_mask("middle-half", (4, 4))


def test_outside_is_scores_percentiles_and_detection_together():
    square = lambda x: x.square().flatten(1).sum(1)  # noqa: E731
    x, held_out, other = torch.randn(5, 3) + 2, torch.randn(7, 3), torch.randn(6, 3)
    alone = outside(square, x)
    assert torch.equal(alone.scores.energy, score(square, x).energy)
    assert (alone.held_out, alone.inside, alone.percentile, alone.detection) == (
        None,
        None,
        None,
        {},
    )
    among = outside(square, x, held_out)
    assert among.percentile is not None
    assert torch.equal(among.percentile, percentile(square(x), square(held_out)))
    assert among.detection == {}
    for inside in (held_out, other):
        found = outside(square, x, held_out, inside)
        assert found.detection["energy"] == judge_detection(square(inside), square(x))
        slope = judge_detection(2 * inside.norm(dim=1), 2 * x.norm(dim=1))
        assert found.detection["grad_norm"].auroc == pytest.approx(slope.auroc)
    with pytest.raises(StanleyError, match="AUROC needs at least 2 in each"):
        outside(square, x[:1], None, other)


def test_a_profile_is_the_distance_that_no_change_of_units_alters():
    """Against the inverse of the covariance, in float64; its mean over the reference is exact."""
    k, n = 4, 300
    mix = torch.randn(k, k, dtype=torch.float64) + 3 * torch.eye(k, dtype=torch.float64)
    reference = torch.randn(n, k, dtype=torch.float64) @ mix
    x = 3 * torch.randn(20, k, dtype=torch.float64) @ mix
    off = x - reference.mean(0)
    expected = (off @ torch.linalg.inv(torch.cov(reference.T)) * off).sum(1)
    torch.testing.assert_close(unusual_profile(x, reference), expected, rtol=1e-8, atol=0)
    usual = unusual_profile(reference, reference)
    assert float(usual.mean()) == pytest.approx(k * (n - 1) / n, rel=1e-10)
    units, shift = torch.tensor([1e-3, 1.0, 50.0, 1e4]).double(), torch.randn(k).double()
    other = unusual_profile(x * units + shift, reference * units + shift)
    torch.testing.assert_close(other, expected, rtol=1e-6, atol=0)
    twice = unusual_profile(*(torch.cat([e, e[:, :1]], 1) for e in (x, reference)))
    torch.testing.assert_close(twice, expected, rtol=1e-6, atol=0)  # a level that says nothing new
    with pytest.raises(StanleyError, match=r"there are 79 held-out points, .* at least 80"):
        unusual_profile(x, reference[:79])


def test_a_profile_knows_energies_that_are_too_low_and_relations_that_no_data_have():
    """N(0, I) in 60 dimensions: the middle has the lowest energy of all, and is no sample. A point
    whose halves have |x|² = 3 and 57, 3.5 standard deviations √60 off their means 30, is usual in
    its energy, but not beside the energy of one half.
    """
    halves = torch.ones(60), torch.tensor([1.0, 0.0]).repeat_interleave(30)
    levels = [lambda x, w=w: (w * x.square()).sum(1) / 2 for w in halves]
    held_out, sides = torch.randn(2000, 60), torch.randn(50, 2, 30)
    sizes = torch.tensor([3.0, 57.0]).sqrt()[:, None]
    uneven = (sizes * sides / sides.norm(dim=2, keepdim=True)).flatten(1)
    middle = 0.1 * torch.randn(50, 60)
    for x in (uneven, middle):
        found = outside(levels[0], x, held_out, held_out, levels)
        assert found.rarity is not None
        assert found.percentile is not None
        assert float(found.rarity.median()) > 99
        assert float(found.percentile.median()) < 90
        assert found.detection["profile"].auroc > 0.98 > found.detection["energy"].auroc
    again = outside(levels[0], torch.randn(500, 60), held_out, held_out, levels)
    found = again.detection["profile"]
    assert abs(found.auroc - 0.5) < 6 * found.auroc_error  # the control: more of the same
    wide = 1.2 * torch.randn(300, 60)  # inside need not be held out
    profiles = [
        unusual_profile(energies_at(levels, x), energies_at(levels, held_out))
        for x in (wide, middle)
    ]
    expected = judge_detection(*profiles)
    assert outside(levels[0], middle, held_out, wide, levels).detection["profile"] == expected
    few = outside(levels[0], middle, held_out[:39], None, levels)
    assert few.profile is few.rarity is None


def test_the_sampler_of_a_sum_adds_curvatures():
    assert sampler_of_sum([Langevin(0.1), Langevin(0.4)], [1.0, 0.5]) == Langevin(
        1 / (1 / 0.1 + 0.5 / 0.4)
    )
    found = sampler_of_sum([MALA(0.1), HMC(0.4)], [1.0, 1.0])  # HMC's step is a time
    assert isinstance(found, MALA)
    assert found.step_size == pytest.approx(0.05)


@pytest.mark.parametrize("kind", [Langevin, GradientDescent])
def test_denoising_by_steps_that_must_diverge_is_refused(kind):
    """|x' - y| = |1 - h/(2σ²)|·|x - y| where U is flat: it grows from h = 4σ² on."""
    y, flat = torch.randn(2, 3), lambda x: 0.0 * x.sum(1)
    g = torch.Generator().manual_seed(0)
    with pytest.raises(StanleyError, match=r"< 4σ² = 0.16 .*use a step size of 0.04"):
        denoise(kind(0.161), flat, y, 0.2, y, 3, generator=g)
    assert denoise(kind(0.159), flat, y, 0.2, y, 3, generator=g).draws.isfinite().all()
    # a test refuses what is bad
    assert denoise(MALA(0.161), flat, y, 0.2, y, 3, generator=g).draws.isfinite().all()

"""Each density is normalised, and the samples follow it.

Samples are compared with the density through the Dvoretzky-Kiefer-Wolfowitz bound: for n
independent draws, P(sup |F_n - F| > ε) <= 2·exp(-2nε²), so ε = √(ln(2/α)/2n) with false-positive
rate α = 1e-6 a comparison.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from stanley.data import GMM, Moons, Rings
from tests.seeds import stream

F64 = torch.float64
EPS32 = torch.finfo(torch.float32).eps
ALPHA = 1e-6
N = 200_000
LAWS = [
    Rings(),
    # folding at the origin matters here
    Rings(radii=(0.0, 0.2, 1.0), std=0.3, weights=(1.0, 2.0, 5.0)),
    GMM(),
    GMM(modes=3, radius=1.0, std=0.5),
    Moons(),
    Moons(std=0.4),
]
CARTESIAN = LAWS[2:]


def gen(seed: int = 0) -> torch.Generator:
    return stream(seed)


def dkw_gap(sample: Tensor, grid: Tensor, density: Tensor) -> float:
    """sup |F_n - F| over the grid, F by the trapezoid rule, less the bound:
    negative means agreement.
    """
    cdf = torch.cumulative_trapezoid(density, grid)
    empirical = torch.searchsorted(sample.double().sort().values, grid[1:], right=True) / len(
        sample
    )
    return float((empirical - cdf).abs().max()) - math.sqrt(math.log(2 / ALPHA) / (2 * len(sample)))


def radial_density(law: Rings, r: Tensor) -> Tensor:
    return 2 * math.pi * r * law.log_density(torch.stack([r, 0 * r], -1)).exp()


def plane_grid(law: GMM | Moons) -> tuple[Tensor, Tensor, float]:
    """Nodes with spacing σ/2 that reach 10σ beyond the law's skeleton, and exp(log p) on them.

    For a mixture of Gaussians of width σ the trapezoid sum with spacing h is off by
    2·exp(-2π²σ²/h²) < 1e-33.
    """
    h = law.std / 2
    reach = 2.5 + 10 * law.std
    axis = torch.arange(-reach, reach, h, dtype=F64)
    p = law.log_density(torch.cartesian_prod(axis, axis)).exp().reshape(len(axis), len(axis))
    return axis, p, h


@pytest.mark.parametrize("law", LAWS[:2])
def test_rings_integrate_to_one_in_polar_coordinates(law: Rings) -> None:
    # r·p is smooth in r: 400 Gauss-Legendre nodes leave rounding only
    reach = max(law.radii) + 12 * law.std
    nodes, weights = np.polynomial.legendre.leggauss(400)
    r = torch.from_numpy(reach / 2 * (nodes + 1))
    angle = 2 * math.pi * torch.arange(8, dtype=F64) / 8
    x = torch.stack([r[:, None] * angle.cos(), r[:, None] * angle.sin()], -1)  # (400, 8, 2)
    p = law.log_density(x.reshape(-1, 2)).exp().reshape(400, 8)
    assert float(
        (p.mean(1) * 2 * math.pi * r) @ torch.from_numpy(reach / 2 * weights)
    ) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("law", CARTESIAN)
def test_gaussians_and_moons_integrate_to_one(law: GMM | Moons) -> None:
    _, p, h = plane_grid(law)
    assert float(p.sum() * h * h) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("law", LAWS[:2])
def test_rings_samples_follow_the_density(law: Rings) -> None:
    x = law.sample(N, gen())
    r = torch.linspace(1e-9, max(law.radii) + 8 * law.std, 20_001, dtype=F64)
    assert dkw_gap(torch.hypot(*x.unbind(-1)), r, radial_density(law, r)) < 0
    angle = torch.linspace(-math.pi, math.pi, 1001, dtype=F64)
    assert (
        dkw_gap(torch.atan2(x[:, 1], x[:, 0]), angle, torch.full_like(angle, 1 / (2 * math.pi))) < 0
    )


@pytest.mark.parametrize("law", CARTESIAN)
def test_coordinates_of_samples_follow_the_density(law: GMM | Moons) -> None:
    # marginals in three directions u, each the sum of the density over lines across it
    x = law.sample(N, gen()).double()
    reach = 3 + 8 * law.std
    along = torch.linspace(-reach, reach, 301, dtype=F64)
    across = torch.arange(-reach, reach, law.std, dtype=F64)
    for turn in (0.0, 0.8, 0.5 * math.pi):
        u = torch.tensor([math.cos(turn), math.sin(turn)], dtype=F64)
        v = torch.tensor([-math.sin(turn), math.cos(turn)], dtype=F64)
        points = along[:, None, None] * u + across[:, None] * v  # (301, m, 2)
        marginal = law.log_density(points.reshape(-1, 2)).exp().reshape(301, -1).sum(1) * law.std
        assert dkw_gap(x @ u, along, marginal) < 0


def test_negative_control_the_dkw_bound_sees_small_errors() -> None:
    law = Rings()
    r = torch.linspace(1e-9, 5.2, 20_001, dtype=F64)
    radius = law.sample(N, gen()).norm(dim=-1)
    good = radial_density(law, r)
    assert dkw_gap(radius, r, good) < 0
    assert dkw_gap(radius, r, radial_density(Rings(std=0.17), r)) > 0
    # dividing by 2πr_k instead of 2πr also integrates to one, but is another law
    wrong = sum(
        0.25 * torch.exp(-((r - k) ** 2) / 0.045) / (0.15 * math.sqrt(2 * math.pi)) * r / k
        for k in (1, 2, 3, 4)
    )
    assert isinstance(wrong, Tensor)
    assert float(torch.trapezoid(wrong, r)) == pytest.approx(1, abs=1e-6)
    assert dkw_gap(radius, r, wrong) > 0


@pytest.mark.parametrize("std", [0.05, 0.1, 0.5])
def test_moons_quadrature_leaves_rounding_only(std: float) -> None:
    law = Moons(std=std)
    radius = torch.tensor([0.0, 0.3, 1.0, 1.5, 3.0, 10.0], dtype=F64)
    # in front of the half circle, at its ends, behind it
    angle = torch.linspace(0, 2 * math.pi, 41, dtype=F64)
    circle = torch.stack([angle.cos(), angle.sin()], -1)
    around = (radius[:, None, None] * circle).reshape(-1, 2)
    x = torch.cat([around, around + torch.tensor([1.0, 0.5], dtype=F64)])
    nodes, weights = np.polynomial.legendre.leggauss(1500)  # over three times as many
    t = torch.from_numpy(math.pi / 2 * (nodes + 1))
    arcs = torch.cat(
        [torch.stack([t.cos(), t.sin()], -1), torch.stack([1 - t.cos(), 0.5 - t.sin()], -1)]
    )
    log_w = torch.from_numpy(weights / 4).log().repeat(2)
    square = (x[:, None] - arcs).square().sum(-1)
    exact = torch.logsumexp(log_w - square / (2 * std**2), -1) - math.log(2 * math.pi * std**2)
    got = law.log_density(x)
    # log p down to -2e4 carries eps·2e4 = 4e-12 a rounding. Where the arc's end dominates, the
    # weight of the last nodes counts too: numpy and scipy differ by 2e-10 in it
    assert float((got - exact).abs().max()) < 1e-9
    # at the centres, where all nodes count alike
    near = torch.cat([torch.arange(len(x) // 2) < 41] * 2)
    assert float((got - exact)[near].abs().max()) < 1e-12


@pytest.mark.parametrize("law", LAWS)
def test_float32_agrees_with_float64(law: Rings | GMM | Moons) -> None:
    x = law.sample(2000, gen(1))
    exact, got = law.log_density(x.double()), law.log_density(x)
    assert got.dtype == torch.float32
    # d²/2σ² with d <= 6σ from a centre within 5 of the origin: d is off by 10·eps, that by 6/σ as
    # much
    assert float((got - exact).abs().max()) < 60 / law.std * EPS32 + 40 * EPS32


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_density_and_score_are_finite_far_away(
    law: Rings | GMM | Moons, dtype: torch.dtype
) -> None:
    x = torch.tensor(
        [[1e3, -1e3], [1e-6, 0.0], [1.0, 0.0], [0.0, -30.0]], dtype=dtype, requires_grad=True
    )
    log_p = law.log_density(x)
    (score,) = torch.autograd.grad(log_p.sum(), x)
    assert log_p.isfinite().all()
    assert score.isfinite().all()


def test_density_at_the_origin() -> None:
    origin = torch.zeros(1, 2)
    assert Rings().log_density(origin).item() == math.inf  # p ~ 1/r there: the true value
    assert math.isfinite(GMM().log_density(origin).item())
    assert math.isfinite(Moons().log_density(origin).item())


def test_score_of_one_gaussian() -> None:
    law = GMM(modes=1, radius=2.0, std=0.2)
    x = torch.randn(50, 2, generator=gen(), dtype=F64).requires_grad_()
    (score,) = torch.autograd.grad(law.log_density(x).sum(), x)
    torch.testing.assert_close(score, -(x.detach() - torch.tensor([2.0, 0.0], dtype=F64)) / 0.04)


@pytest.mark.parametrize("law", LAWS)
def test_empty_batch(law: Rings | GMM | Moons) -> None:
    assert law.log_density(torch.empty(0, 2)).shape == (0,)


@pytest.mark.parametrize("spec", [Rings, GMM, Moons])
def test_load(spec: type[Rings | GMM | Moons]) -> None:
    before = torch.get_rng_state()
    data, again, other = spec(num=1000).load(), spec(num=1000).load(), spec(num=1000, seed=1).load()
    assert torch.equal(before, torch.get_rng_state())
    assert data.train.shape == (1000, 2)
    assert data.test.shape == (100, 2)
    assert data.train.dtype == data.test.dtype == torch.float32
    assert data.event_shape == (2,)
    assert not data.is_image
    assert not data.flip
    assert data.log_density is not None
    assert data.log_density(data.test).shape == (100,)
    assert torch.equal(data.train, again.train)
    assert torch.equal(data.test, again.test)
    assert not torch.equal(data.train, other.train)
    assert not torch.isin(data.test[:, 0], data.train[:, 0]).all()


def test_modes_hold_their_share() -> None:
    data = GMM(num=100_000).load()
    assert data.modes is not None
    assert data.modes.shape == (8, 2)
    assert data.mode_radius == pytest.approx(0.6)
    inside = (torch.cdist(data.train, data.modes) < data.mode_radius).double().mean(0)
    share = (1 - math.exp(-4.5)) / 8
    bound = math.sqrt(math.log(2 * 8 / ALPHA) / (2 * 100_000))  # Hoeffding, for eight modes
    assert float((inside - share).abs().max()) < bound


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: Rings(num=3), ("data.num is 3", "at least 20")),
        (lambda: Rings(std=0.0), ("data.std is 0.0", "> 0")),
        (lambda: Rings(radii=()), ("data.radii",)),
        (lambda: Rings(radii=(-1.0,)), ("data.radii is (-1.0,)", ">= 0")),
        (lambda: Rings(weights=(1.0,)), ("data.weights", "4 numbers")),
        (lambda: Rings(weights=(1.0, 1.0, 0.0, 1.0)), ("data.weights", "> 0")),
        (lambda: GMM(modes=0), ("data.modes is 0", "at least 1")),
        (lambda: GMM(radius=math.nan), ("data.radius is nan",)),
        (lambda: GMM(std=math.inf), ("data.std is inf",)),
        (lambda: Moons(std=0.001), ("data.std is 0.001", "at least 0.01")),
    ],
)
def test_bad_values_are_refused(make, parts, refused) -> None:
    with refused(*parts):
        make()

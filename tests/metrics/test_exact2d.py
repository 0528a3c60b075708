"""Quadrature against closed forms. Tolerance: 1e-6, what the functions promise, unless derived."""

import math

import pytest
import torch
from torch import nn

import stanley.metrics.exact2d as exact2d
from stanley.errors import StanleyError
from stanley.metrics import density_on_grid, judge_density, kl, log_z, nll, total_variation
from stanley.targets import Banana, DoubleWell, ExpSkew, Gaussian, Mixture, Quartic, Rings, StudentT
from stanley.types import Potential
from tests.seeds import stream

A = Gaussian.from_covariance(torch.tensor([[1.0, 0.6], [0.6, 0.8]]), torch.tensor([0.5, -0.3]))
B = Gaussian.from_covariance(torch.tensor([[0.7, -0.2], [-0.2, 1.5]]), torch.tensor([-0.4, 0.2]))
MODES = Mixture(torch.tensor([[2.0, 0.0], [0.0, 2.0], [-2.0, -1.0]]), 0.05)

CPU = torch.device("cpu")


def kl_gaussians(p, q):
    """½ [tr(Q⁻¹ P) - d + δᵀ Q⁻¹ δ + log det Q / det P] with covariances P, Q."""
    P, Q, delta = p.covariance, q.covariance, q.mean - p.mean
    trace = torch.linalg.solve(Q, P).trace()
    return float(trace - 2 + delta @ torch.linalg.solve(Q, delta) + Q.logdet() - P.logdet()) / 2


def shifted(delta):
    return Gaussian(torch.ones(2)), Gaussian(
        torch.ones(2), torch.tensor([delta * 0.6, delta * 0.8])
    )


def net(width=32, activation=nn.SiLU, dtype=torch.float32):
    """A confined random network: E = f(x) + |x|²/4."""
    torch.manual_seed(0)
    layers = [
        nn.Linear(2, width),
        activation(),
        nn.Linear(width, width),
        activation(),
        nn.Linear(width, 1),
    ]

    class Confined(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = nn.Sequential(*layers)

        def forward(self, x):
            return self.f(x).squeeze(-1) + x.square().sum(-1) / 4

    return Confined().to(dtype)


@pytest.mark.parametrize(
    "target",
    [
        A,
        B,
        MODES,
        Rings(),
        Rings(std=0.05),
        Banana(0.5, 1.5),
        DoubleWell(2, 20.0),
        Quartic(2),
        ExpSkew(2),
    ],
    ids=["A", "B", "modes", "rings", "narrow rings", "banana", "wells", "quartic", "skew"],
)
def test_log_z_of_the_targets(target):
    result = log_z(target)
    # 1e-6 for the grid, and a tail beyond a border that holds 1e-8
    assert result.value == pytest.approx(target.log_z, abs=1e-6 + 1e-7)
    assert result.error_estimate < 1e-6
    assert result.border < 1e-8


def test_two_grids_that_agree_by_accident_are_not_enough(monkeypatch):
    """On 128 cells the first harmonics of MODES cancel and leave -1.3e-5;
    on 192 they add up to -1.3e-5.
    """
    monkeypatch.setattr(exact2d, "START_CELLS", 128)
    coarse, fine = (
        exact2d._log_integral(-exact2d._on_cells(MODES, CPU, 6.0, n), 6.0, n) for n in (128, 192)
    )
    assert abs(coarse - fine) < 1e-6 < abs(fine - MODES.log_z)
    assert log_z(MODES).value == pytest.approx(MODES.log_z, abs=1e-6)


def test_adding_a_constant_to_the_energy_shifts_log_z():
    """... by exactly that constant, also where exp(-U) has no float64 value."""
    for c in (5.0, -2000.0, 2000.0):
        assert log_z(lambda x, c=c: A(x) + c).value == pytest.approx(A.log_z - c, abs=1e-6)


def test_kl_between_gaussians():
    result = judge_density(B, A.log_density)
    assert result.kl == pytest.approx(kl_gaussians(A, B), abs=1e-6)
    assert result.log_z == pytest.approx(B.log_z, abs=1e-6)
    entropy = 1 + math.log(2 * math.pi) + float(A.covariance.logdet()) / 2
    assert result.entropy_data == pytest.approx(entropy, abs=1e-6)
    assert kl(A.log_density, B) == result.kl
    assert total_variation(A.log_density, B) == result.tv
    # the direction is told apart
    assert kl_gaussians(A, B) != pytest.approx(kl_gaussians(B, A), abs=0.05)


@pytest.mark.parametrize("delta", [0.1, 1.0, 3.0])
def test_total_variation_of_shifted_gaussians(delta):
    """TV = 2Φ(δ/2) - 1 = erf(δ/2√2).

    |p - q| has a kink on the line p = q, where its slope jumps by 2δp; smooth parts cost nothing. A
    midpoint misses at most h²/4 of half the jump a unit of length, and ∫ p along the line is
    φ(δ/2). With ½ in front of the integral: |error| <= h²/8 · δ φ(δ/2).
    """
    p, q = shifted(delta)
    result = judge_density(q, p.log_density)
    h = 2 * result.box / result.grid_size
    phi = math.exp(-(delta**2) / 8) / math.sqrt(2 * math.pi)
    assert result.tv == pytest.approx(
        math.erf(delta / 2 / math.sqrt(2)), abs=h**2 / 8 * delta * phi + 1e-7
    )
    assert result.kl == pytest.approx(delta**2 / 2, abs=1e-6)


@pytest.mark.parametrize("target", [A, MODES, Rings(), Rings(std=0.05), Banana(0.5, 1.5)], ids=type)
def test_a_density_is_at_no_distance_from_itself(target):
    result = judge_density(target, target.log_density)
    assert abs(result.kl) < 1e-6
    assert result.tv < 1e-6


def test_kl_of_disjoint_modes_is_finite_and_right():
    """p one mode, q an equal mixture of it and a far one: KL = log 2, TV = ½, up to e^{-200}."""
    one = Mixture(torch.tensor([[2.0, 0.0]]), 0.1)
    two = Mixture(torch.tensor([[2.0, 0.0], [-2.0, 0.0]]), 0.1)
    result = judge_density(two, one.log_density)
    assert result.kl == pytest.approx(math.log(2), abs=1e-6)
    assert result.tv == pytest.approx(0.5, abs=1e-6)


def test_an_energy_that_excludes_data_has_infinite_kl():
    def half_plane(x):
        return torch.where(x[:, 0] > 0, A(x), torch.inf)

    assert judge_density(half_plane, A.log_density, rel_tol=1e-2).kl == math.inf


def test_the_box_grows_to_the_mass():
    wide = Gaussian.from_std(torch.tensor([5.0, 3.0]))
    result = log_z(wide)
    assert result.box > 6
    assert result.value == pytest.approx(wide.log_z, abs=1e-6)
    assert judge_density(wide, A.log_density).kl == pytest.approx(kl_gaussians(A, wide), abs=1e-6)
    assert judge_density(A, wide.log_density).kl == pytest.approx(kl_gaussians(wide, A), rel=1e-6)


def test_float32_networks_are_judged_in_float64_and_left_alone():
    """float32 arithmetic would move U by about 1e-7 at each node;
    the copy equals .double() exactly.
    """
    single, double = net(), net(dtype=torch.float32).double()
    assert log_z(single).value == log_z(double).value
    assert log_z(Potential(single, 2.0)).value == log_z(Potential(double, 2.0)).value
    assert all(p.dtype == torch.float32 for p in single.parameters())
    assert all(p.grad is None for p in single.parameters())
    # a function over float32 weights cannot be copied: its values carry relative rounding 6e-8 · 32
    # terms
    assert log_z(lambda x: single(x)).value == pytest.approx(log_z(double).value, abs=1e-5)


def test_kinked_networks_settle_at_a_looser_tolerance():
    relu = net(activation=nn.ReLU)
    rough, fine = log_z(relu, rel_tol=1e-4), log_z(relu, rel_tol=1e-5)
    assert abs(rough.value - fine.value) < 2e-4
    assert rough.grid_size <= fine.grid_size


def test_density_and_nll_follow_from_log_z():
    q = density_on_grid(A, 8.0, 400)
    assert q.shape == (400, 400)
    assert float(q.sum()) * (16 / 400) ** 2 == pytest.approx(1, abs=1e-12)
    y, x = 210, 190  # rows are y, columns are x
    point = torch.tensor([[(x + 0.5) * 0.04 - 8, (y + 0.5) * 0.04 - 8]], dtype=torch.float64)
    assert float(q[y, x]) == pytest.approx(float(A.log_density(point).exp()), rel=1e-9)
    data = A.sample(500, stream())
    assert nll(A, data, A.log_z) == pytest.approx(-float(A.log_density(data).mean()), rel=1e-12)


@pytest.mark.parametrize(
    ("energy", "told"),
    [
        (lambda x: -x.square().sum(-1), "did not settle: box ±"),
        (lambda x: 0 * x[:, 0], "mass of exp\\(-U\\) at the border 0.2"),
        (lambda x: x[:, 0] ** 2, "Gaussian reference"),
        (StudentT(1.0, 2), "heavy or not integrable"),
        (lambda x: x.square().sum(-1) * torch.nan, "NaN"),
        (lambda x: torch.full((len(x),), -torch.inf).double(), "finite"),
        (lambda x: x, r"shape \(\d+, 2\)"),
        (lambda x: x.abs().sum(-1) + (x[:, 0] * 300).cos(), "last change"),
    ],
)
def test_an_energy_without_a_density_is_refused_in_one_line(energy, told):
    """Negative control of all of the above: quadrature on a fixed box would give each of these a
    number.
    """
    with pytest.raises(StanleyError, match=told) as caught:
        log_z(energy, max_cells=300)
    assert "\n" not in str(caught.value)


def test_a_data_density_that_is_not_normalised_is_refused():
    for wrong in (lambda x: A.log_density(x) + 1e-4, lambda x: -A(x)):
        with pytest.raises(StanleyError, match=r"integrates to .*must be 1"):
            judge_density(A, wrong, max_cells=500)


def test_wrong_references_are_told_apart():
    """Negative control: a log Z or a KL off by the smallest plausible slip is outside the
    tolerance.
    """
    result = judge_density(B, A.log_density)
    assert result.kl != pytest.approx(kl_gaussians(B, A), abs=1e-3)
    assert result.log_z != pytest.approx(-B.log_z, abs=1e-3)
    p, q = shifted(1.0)
    assert judge_density(q, p.log_density).tv != pytest.approx(math.erf(1 / math.sqrt(2)), abs=1e-3)

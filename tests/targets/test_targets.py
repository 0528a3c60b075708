"""Every closed form of `stanley.targets` against a second way to compute it.

Statistical tolerances: the file makes fewer than 100 comparisons with random draws, each with a
false-positive rate of 1e-8 (Bonferroni: 1e-6 in all). The seed is 0 throughout; none was tried and
dropped.
"""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats

from stanley.errors import StanleyError
from stanley.targets import (
    Banana,
    DoubleWell,
    EightSchools,
    ExpSkew,
    Funnel,
    Gaussian,
    Mixture,
    Quartic,
    Rings,
    StudentT,
)
from tests.seeds import stream

RATE = 1e-8
COVARIANCE = torch.tensor([[2.0, 0.9], [0.9, 0.5]], dtype=torch.float64)
SHIFT = torch.tensor([0.5, -1.0], dtype=torch.float64)
THREE = Mixture(
    means=torch.tensor([[0.0, 0.0], [3.0, 1.0], [-2.0, 2.0]]),
    std=torch.tensor([0.5, 1.0, 0.7]),
    weights=torch.tensor([1.0, 2.0, 3.0]),
)

PLANE = {
    "gaussian": Gaussian.from_covariance(COVARIANCE, SHIFT),
    "diagonal": Gaussian.from_std(torch.tensor([0.5, 2.0]), SHIFT),
    "mixture": THREE,
    "rings": Rings(),
    "weighted rings": Rings((1.0, 2.5), 0.3, (1.0, 3.0)),
    "banana": Banana(),
    "wells": DoubleWell(2, 3.0),
    "quartic": Quartic(2),
    "student": StudentT(5.0, 2, 0.7),
    "skew": ExpSkew(2),
}
ALL = PLANE | {
    "funnel": Funnel(4, 1.5),
    "wells5": DoubleWell(5, 0.4),
    "wells1": DoubleWell(1, 8.0),
    "student3": StudentT(9.0, 3),
    "schools": EightSchools(),
}


def generator():
    return stream()


def within_dkw(samples, cdf):
    """sup |F_n - F| <= sqrt(log(2/rate) / 2n): Dvoretzky, Kiefer,
    Wolfowitz with Massart's constant.
    """
    F = np.sort(cdf(samples.numpy()))
    n = len(F)
    gap = max((np.arange(1, n + 1) / n - F).max(), (F - np.arange(n) / n).max())
    return gap <= math.sqrt(math.log(2 / RATE) / (2 * n))


def within_standard_errors(values, expected):
    """|mean - expected| <= z(rate) standard errors for each column; z is split over the columns."""
    z = stats.norm.isf(RATE / 2 / values.shape[1])
    error = values.std(0) / math.sqrt(len(values))
    return bool(((values.mean(0) - expected).abs() <= z * error).all())


# --- the potential


@pytest.mark.parametrize("target", ALL.values(), ids=ALL)
def test_gradient_is_the_derivative_of_the_potential(target):
    x = target.sample(7, generator()).requires_grad_()
    assert target(x).shape == (7,)
    assert torch.autograd.gradcheck(target, (x,))


@pytest.mark.parametrize("target", ALL.values(), ids=ALL)
def test_float32_is_float64_of_a_rounded_point(target):
    """Fewer than 64 roundings, each as if x or a term of U moved by ε: 64 ε
    (1 + |U| + Σ|x_i ∂_i U|).
    """
    x = target.sample(200, generator()).float()
    x64 = x.double().requires_grad_()
    U = target(x64)
    (grad,) = torch.autograd.grad(U.sum(), x64)
    limit = 64 * torch.finfo(torch.float32).eps * (1 + U.abs() + (x64 * grad).abs().sum(-1))
    U32 = target(x)
    assert U32.dtype == torch.float32
    assert ((U32.double() - U).abs() <= limit).all()


@pytest.mark.parametrize("target", ALL.values(), ids=ALL)
def test_rows_are_independent_and_event_shape_is_that_of_samples(target):
    x = target.sample(5, generator(), dtype=torch.float32)
    assert x.shape == (5, *target.event_shape)
    assert x.dtype == torch.float32
    x = x.double()
    torch.testing.assert_close(
        target(x), torch.cat([target(row[None]) for row in x]), rtol=1e-14, atol=1e-14
    )
    torch.testing.assert_close(target.log_density(x), -target(x) - target.log_z, rtol=0, atol=0)


# --- log Z and moments by quadrature

EDGES = {
    "gaussian": 12,
    "diagonal": 16,
    "mixture": 12,
    "rings": 6,
    "wells": 4,
    "quartic": 4,
}


def plane_integrals(target, edges, n=1200):
    """∫ e^-U, ∫ x e^-U, ∫ x² e^-U by midpoints, for smooth densities that vanish at the border."""
    (a, b), (c, d) = edges
    x = a + (b - a) * (torch.arange(n, dtype=torch.float64) + 0.5) / n
    y = c + (d - c) * (torch.arange(n, dtype=torch.float64) + 0.5) / n
    points = torch.cartesian_prod(x, y)
    w = torch.exp(-target(points)) * (b - a) * (d - c) / n**2
    return float(w.sum()), w @ points, w @ points**2


@pytest.mark.parametrize("name", [*EDGES, "banana", "skew"])
def test_log_z_and_moments_of_the_plane(name):
    target = ALL[name]
    R = EDGES.get(name, 0)
    # skew: U = e^x - x, so e^-U < 1e-16 beyond -38 and 4; banana: x₁ ± 9 s, x₂ up to b (81 - 1) s²
    # + 9
    edges = {"skew": ((-38, 4), (-38, 4)), "banana": ((-18, 18), (-12, 90))}.get(
        name, ((-R, R), (-R, R))
    )
    Z, first, second = plane_integrals(target, edges)
    # A cell is at most 0.35 of the narrowest standard deviation: error e^{-2π²/0.35²}, below
    # rounding. 1e-8 and 1e-7 cover the share outside the boxes times its largest x². The 1/r of the
    # rings is worth 1e-10.
    assert math.log(Z) == pytest.approx(target.log_z, abs=1e-8)
    torch.testing.assert_close(first / Z, target.mean, rtol=0, atol=1e-7)
    torch.testing.assert_close(second / Z, target.second_moment, rtol=1e-7, atol=0)


@pytest.mark.parametrize("dof", [0.7, 1.5, 3.0, 8.0])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_log_z_of_student_t_radially(dof, d):
    """Z = S_{d-1} ∫ r^{d-1} e^{-U(r)} dr with r = s tan(t), S_{d-1} = 2π^{d/2}/Γ(d/2)."""
    target = StudentT(dof, d, 1.3)

    def integrand(t, power=0):
        r = 1.3 * math.sqrt(dof) * math.tan(t)
        x = torch.zeros(1, d, dtype=torch.float64)
        x[0, 0] = r
        return (
            r ** (d - 1 + power)
            * math.exp(-float(target(x)))
            * 1.3
            * math.sqrt(dof)
            / math.cos(t) ** 2
        )

    sphere = 2 * math.pi ** (d / 2) / math.gamma(d / 2)
    Z = sphere * integrate.quad(integrand, 0, math.pi / 2, epsabs=0, epsrel=1e-10, limit=200)[0]
    assert math.log(Z) == pytest.approx(target.log_z, abs=1e-8)
    if dof > 2:
        radial = (
            sphere
            * integrate.quad(integrand, 0, math.pi / 2, (2,), epsabs=0, epsrel=1e-10, limit=200)[0]
        )
        torch.testing.assert_close(
            target.variance, torch.full((d,), radial / Z / d).double(), rtol=1e-6, atol=0
        )


@pytest.mark.parametrize("barrier", [1e-3, 0.1, 1.0, 10.0, 1e3])
def test_log_z_of_the_double_well_is_a_bessel_function(barrier):
    """∫ exp(-b(x²-1)²) dx = (π/2) e^{-b/2} [I_{-1/4}(b/2) + I_{1/4}(b/2)]; ive carries e^{-b/2}."""
    b = barrier
    Z = math.pi / 2 * (special.ive(-0.25, b / 2) + special.ive(0.25, b / 2))
    assert DoubleWell(3, b).log_z == pytest.approx(
        3 * math.log(Z), abs=3e-12 * (1 + abs(math.log(Z)))
    )


@pytest.mark.parametrize(("barrier", "reach"), [(0.5, 4.0), (1e4, 0.04)])
def test_log_z_of_the_double_well_against_adaptive_quadrature(barrier, reach):
    def density(x):
        return math.exp(-barrier * (x * x - 1) ** 2)

    # 0.04 is 11 standard deviations 1/√(8b) of a well
    well = integrate.quad(density, max(0, 1 - reach), 1 + reach, epsabs=0, epsrel=1e-12)[0]
    assert DoubleWell(1, barrier).log_z == pytest.approx(math.log(2 * well), abs=1e-8)


@pytest.mark.parametrize(
    "rings", [Rings(), Rings((1.0, 2.5), 0.3, (1.0, 3.0)), Rings((0.0, 0.5), 0.8)]
)
def test_log_z_and_moments_of_rings_radially(rings):
    """Z = 2π ∫ r e^{-U(r)} dr and 2 E x_i² = E r²; r e^{-U} is even and smooth,
    so midpoints are spectral.
    """
    r = 12 * (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    w = 2 * math.pi * r * torch.exp(-rings(torch.stack([r.cos() * r, r.sin() * r], 1))) * 12 / 4000
    assert math.log(float(w.sum())) == pytest.approx(rings.log_z, abs=1e-10)
    torch.testing.assert_close((w @ r**2) / 2 / w.sum(), rings.second_moment[0], rtol=1e-10, atol=0)


def test_log_z_of_the_funnel_in_the_coordinates_that_flatten_it():
    """x = e^{v/2} u has Jacobian e^{v/2}; the integrand is then a Gaussian in (v, u)."""
    target = Funnel(2, 3.0)
    v = 60 * ((torch.arange(600, dtype=torch.float64) + 0.5) / 600 - 0.5)
    u = 20 * ((torch.arange(600, dtype=torch.float64) + 0.5) / 600 - 0.5)
    grid = torch.cartesian_prod(v, u)
    x = torch.stack([grid[:, 0], (grid[:, 0] / 2).exp() * grid[:, 1]], 1)
    w = torch.exp(-target(x) + grid[:, 0] / 2) * (60 / 600) * (20 / 600)
    assert math.log(float(w.sum())) == pytest.approx(target.log_z, abs=1e-8)
    # E x² = E e^v needs v up to 9 + 9σ = 36 > 30: the two-sided tail beyond 30 is Q((30 - 9)/3) =
    # 1e-12
    torch.testing.assert_close((w @ x**2) / w.sum(), target.second_moment, rtol=1e-8, atol=0)


def test_known_moments_of_the_quartic():
    x, h = np.linspace(-4, 4, 4001, retstep=True)
    p = np.exp(-(x**4)) * h
    assert p.sum() == pytest.approx(2 * math.gamma(5 / 4), rel=1e-12)
    assert (p * x**4).sum() / p.sum() == pytest.approx(0.25, rel=1e-12)
    assert float(Quartic(1).variance) == pytest.approx((p * x**2).sum() / p.sum(), rel=1e-12)


@pytest.mark.parametrize("make", [Quartic, ExpSkew, lambda d: DoubleWell(d, 2.0)])
def test_products_of_coordinates_add_their_log_z(make):
    assert make(7).log_z == pytest.approx(7 * make(1).log_z, rel=1e-14)


def test_a_gaussian_by_covariance_precision_or_std_is_one_law():
    std = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64)
    same = [
        Gaussian.from_std(std),
        Gaussian(std**-2),
        Gaussian(torch.diag(std**-2)),
        Gaussian.from_covariance(torch.diag(std**2)),
    ]
    x = torch.randn(9, 3, dtype=torch.float64, generator=generator())
    for g in same:
        torch.testing.assert_close(g(x), same[0](x), rtol=1e-13, atol=0)
        assert g.log_z == pytest.approx(same[0].log_z, abs=1e-13)
        torch.testing.assert_close(g.covariance, torch.diag(std**2), rtol=1e-13, atol=1e-15)
    reference = stats.multivariate_normal(SHIFT.numpy(), COVARIANCE.numpy())
    g = Gaussian.from_covariance(COVARIANCE, SHIFT)
    x = torch.randn(9, 2, dtype=torch.float64, generator=generator())
    torch.testing.assert_close(
        g.log_density(x), torch.from_numpy(reference.logpdf(x.numpy())), rtol=1e-12, atol=0
    )


# --- samples


@pytest.mark.parametrize("name", [n for n in ALL if n != "funnel"])
def test_samples_have_the_stated_moments(name):
    target = ALL[name]
    x = target.sample(50_000, generator())
    assert within_standard_errors(x, target.mean)
    # x² of a Student t with 5 degrees has no usable standard error
    if not isinstance(target, StudentT):
        assert within_standard_errors(x**2, target.second_moment)


def test_gaussian_samples_have_the_stated_correlations():
    z = PLANE["gaussian"].sample(50_000, generator()) - SHIFT
    assert within_standard_errors((z[:, :1] * z[:, 1:]), COVARIANCE[0, 1])


def rings_cdf(t, rings=PLANE["weighted rings"]):
    """P(|R| <= t) = Σ w_k [Φ((t - r_k)/σ) - Φ((-t - r_k)/σ)]."""
    s, Phi = rings.std, stats.norm.cdf
    return sum(
        w * (Phi((t - r) / s) - Phi((-t - r) / s))
        for w, r in zip(rings.shares, rings.radii, strict=True)
    )


def wells_cdf(t, b=8.0):
    x = np.linspace(-3, 3, 60_001)
    p = np.exp(-b * (x**2 - 1) ** 2)
    return np.interp(t, x, np.cumsum(p) / p.sum())  # within 1e-4 of F, 1/200 of the bound


def quartic_cdf(t):
    return 0.5 + np.sign(t) / 2 * special.gammainc(0.25, t**4)


LAWS = {
    "gaussian": (
        "gaussian",
        lambda x: ((x - SHIFT) @ torch.linalg.cholesky(torch.linalg.inv(COVARIANCE)))[:, 0],
        stats.norm.cdf,
    ),
    "mixture": (
        "mixture",
        lambda x: x[:, 0],
        lambda t: sum(
            w / 6 * stats.norm.cdf(t, m, s) for w, m, s in ((1, 0, 0.5), (2, 3, 1), (3, -2, 0.7))
        ),
    ),
    "rings": ("weighted rings", lambda x: torch.linalg.vector_norm(x, dim=1), rings_cdf),
    "ring angle": (
        "rings",
        lambda x: torch.atan2(x[:, 1], x[:, 0]),
        lambda t: (t + np.pi) / (2 * np.pi),
    ),
    "banana": ("banana", lambda x: x[:, 1] - 0.25 * (x[:, 0] ** 2 - 4), stats.norm.cdf),
    "banana x1": ("banana", lambda x: x[:, 0] / 2, stats.norm.cdf),
    "funnel v": ("funnel", lambda x: x[:, 0] / 1.5, stats.norm.cdf),
    "funnel x": ("funnel", lambda x: x[:, 2] * (-x[:, 0] / 2).exp(), stats.norm.cdf),
    "wells": ("wells1", lambda x: x[:, 0], wells_cdf),
    "quartic": ("quartic", lambda x: x[:, 1], quartic_cdf),
    "student": ("student", lambda x: x.square().sum(1) / 0.49 / 2, stats.f(2, 5).cdf),
    "skew": ("skew", lambda x: x[:, 0], lambda t: -np.expm1(-np.exp(t))),
}


@pytest.mark.parametrize("law", LAWS)
def test_samples_follow_the_known_distribution_function(law):
    name, statistic, cdf = LAWS[law]
    assert within_dkw(statistic(ALL[name].sample(20_000, generator())), cdf)


@pytest.mark.parametrize("target", ALL.values(), ids=ALL)
def test_draws_come_from_the_generator_alone(target):
    state = torch.get_rng_state()
    first, second = target.sample(20, generator()), target.sample(20, generator())
    assert torch.equal(first, second)
    assert torch.equal(state, torch.get_rng_state())


# --- negative controls: wrong formulas that the checks above must reject


def test_the_quadrature_rejects_a_wrong_normaliser():
    Z, _, second = plane_integrals(Quartic(2), ((-4, 4), (-4, 4)))
    # 2Γ(5/4) = Γ(1/4)/2
    assert math.log(Z) != pytest.approx(2 * math.log(math.gamma(1 / 4)), abs=1e-8)
    assert float(second[0]) / Z != pytest.approx(1 / 3, rel=1e-3)
    unfolded = Rings((0.3,), 0.3)  # without the term of negative r, mass Φ(-1) = 0.16 is missing
    Z, _, _ = plane_integrals(
        lambda x: unfolded(x) - torch.log(_without_folding(x, 0.3, 0.3)), ((-3, 3), (-3, 3))
    )
    assert pytest.approx(stats.norm.cdf(1), abs=2e-3) == Z


def _without_folding(x, radius, std):
    r = torch.linalg.vector_norm(x, dim=1)
    return torch.sigmoid(2 * r * radius / std**2)  # N(r; r_k) / (N(r; r_k) + N(-r; r_k))


def test_dkw_rejects_a_wrong_sampler():
    n = 20_000
    x = Banana().sample(n, generator())
    assert not within_dkw(x[:, 1], stats.norm(0, math.sqrt(3)).cdf)  # right variance, wrong shape
    gamma = torch._standard_gamma(
        torch.full((n,), 0.25, dtype=torch.float64), generator=generator()
    )
    # |x|⁴ ~ Gamma, not x²
    assert not within_dkw(gamma**0.5, lambda t: special.gammainc(0.25, t**4))
    signs = 2 * torch.randint(2, (n,), generator=generator()) - 1
    well = 1 + torch.randn(n, dtype=torch.float64, generator=generator()) / 8
    assert not within_dkw(well * signs, wells_cdf)  # Laplace's Gaussian 1/√(8b), not the law


# --- requests that cannot be carried out


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Gaussian(torch.tensor([1.0, -2.0])), "-2.0"),
        (lambda: Gaussian.from_covariance(torch.tensor([[1.0, 2.0], [2.0, 1.0]])), "eigenvalue -1"),
        (
            lambda: Gaussian.from_covariance(torch.tensor([[1.0, 0.5], [0.0, 1.0]])),
            "transpose by 0.5",
        ),
        (lambda: Gaussian(torch.ones(2), torch.zeros(3)), r"\(3,\)"),
        (lambda: Gaussian.from_std(torch.tensor([1.0, 0.0])), "0.0"),
        (lambda: Mixture(torch.zeros(2, 2), -1.0), "-1"),
        (lambda: Mixture(torch.zeros(2, 2), 1.0, torch.ones(3)), r"\(3,\)"),
        (lambda: Rings(std=0.0), "std is 0"),
        (lambda: Rings((1.0, 2.0), weights=(1.0,)), "1 entries"),
        (lambda: DoubleWell(barrier=0), "barrier is 0"),
        (lambda: Funnel(1), "d is 1"),
        (lambda: StudentT(0.0), "dof is 0"),
        (lambda: Quartic().sample(0, generator()), "0 samples"),
    ],
)
def test_impossible_requests_name_the_value(make, told):
    with pytest.raises(StanleyError, match=told) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_moments_that_do_not_exist_are_none():
    assert StudentT(1.0).mean is None
    assert StudentT(1.0).second_moment is None
    assert StudentT(2.0).mean is not None
    assert StudentT(2.0).variance is None


@pytest.mark.parametrize("target", ALL.values(), ids=ALL)
def test_moving_to_a_device_changes_nothing_else(target):
    x = target.sample(4, generator())
    assert torch.equal(target.to("cpu")(x), target(x))

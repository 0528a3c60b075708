"""H1 on rays, the drift ratio and the bias of unadjusted chains, against values that are known.

A mean within SIGMAS standard errors leaves 2e-9 each.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import log_ndtr

from stanley import diagnostics
from stanley.diagnostics.bias import compare
from stanley.diagnostics.drift import judge_drift
from stanley.diagnostics.rays import directions
from stanley.errors import StanleyError
from stanley.networks import MLP, ConvNet, WithReference, build_energy
from stanley.samplers import (
    MALA,
    Adjusted,
    ClippedLangevin,
    GradientDescent,
    Langevin,
    MatchedLangevin,
    Preconditioned,
    Quantile,
    ReplicaExchange,
    Stanley,
    Underdamped,
)
from stanley.types import Potential
from tests.seeds import fresh, fresh_seed

from ..samplers.bounds import SIGMAS, hoeffding
from ..samplers.targets import gaussian, quartic

DOUBLE = torch.float64


def radius(x: torch.Tensor) -> torch.Tensor:
    return x.flatten(1).norm(dim=1)


def student(x: torch.Tensor) -> torch.Tensor:
    """Student t, 3 degrees of freedom: ⟨u, ∇U(ru)⟩ = (3 + d) r/(3 + r²)."""
    return (3 + x[0].numel()) / 2 * torch.log1p((x**2).flatten(1).sum(1) / 3)


def rays(potential, shape=(3,), **options):
    return diagnostics.h1_on_rays(potential, shape, generator=fresh(), **options)


# --- H1

GROWTH = {  # potential -> radial derivative and its exponent, as functions of r
    "gaussian": (gaussian, lambda r: r, 1.0),
    "radial quartic": (lambda x: radius(x) ** 4, lambda r: 4 * r**3, 3.0),
    "barely superlinear": (lambda x: radius(x) ** 1.2, lambda r: 1.2 * r**0.2, 0.2),
    "laplace": (radius, np.ones_like, 0.0),
    "student": (student, lambda r: 9 * r / (3 + r**2), -1.0),  # d = 6
}


@pytest.mark.parametrize("name", list(GROWTH))
def test_radial_growth_of_known_potentials(name):
    """Exact but for rounding; Student's exponent is -1 + O(1/r²) at r ≥ 1000."""
    potential, derivative, exponent = GROWTH[name]
    growth = rays(potential, (2, 3))
    r = growth.radii.numpy()
    assert growth.radial.shape == growth.cosine.shape == (13, 64)
    np.testing.assert_allclose(
        growth.radial, np.broadcast_to(derivative(r)[:, None], (13, 64)), rtol=1e-10
    )
    np.testing.assert_allclose(growth.cosine, 1, rtol=1e-12)
    np.testing.assert_allclose(growth.exponent, exponent, atol=1e-5)
    assert growth.holds == (exponent > 0)
    assert f"{exponent:.2f}" in growth.verdict or exponent == 0


def test_the_quartic_passes_with_a_cosine_below_one():
    """Σu⁴/√Σu⁶ for U = Σx⁴; by Cauchy-Schwarz at most 1 and,
    with x on the diagonal or an axis, 1.
    """
    growth = rays(quartic)
    assert growth.holds
    np.testing.assert_allclose(growth.exponent, 3, atol=1e-9)
    assert 0 < float(growth.cosine.min()) <= float(growth.cosine.max()) <= 1 + 1e-12
    radial, cosine = growth.quantiles((0.0, 1.0))
    torch.testing.assert_close(
        radial, torch.stack([growth.radial.amin(1), growth.radial.amax(1)], 1)
    )
    torch.testing.assert_close(
        cosine, torch.stack([growth.cosine.amin(1), growth.cosine.amax(1)], 1)
    )


@pytest.mark.parametrize("activation", ["relu", "leaky-relu"])
def test_a_piecewise_linear_network_fails_and_a_reference_repairs_it(activation):
    """Far out E is linear along every ray; E + |x|²/2s² has radial derivative a + r/s².
    float32 weights.
    """
    shape = (1, 8, 8)
    network = build_energy(ConvNet(width=4, activation=activation), shape, seed=0)
    bare = rays(network, shape)
    assert bare.radial.dtype == DOUBLE
    assert not bare.holds
    assert "H1 fails" in bare.verdict
    a = bare.radial[-1]
    # the same earlier: biases are O(1/r)
    assert float((bare.radial[-4] - a).abs().max()) < 1e-2 * float(a.abs().max())
    assert diagnostics.h1_on_rays(WithReference(network, 2.0), shape, generator=fresh()).holds
    assert rays(Potential(WithReference(network, 2.0), 3.0), shape).holds


def test_a_growing_piecewise_linear_network_levels_off():
    """U = Σ|x_i| from two ReLUs: every ray grows, none faster than linearly."""
    layer, top = torch.nn.Linear(3, 6, bias=False), torch.nn.Linear(6, 1, bias=False)
    layer.weight.data = torch.cat([torch.eye(3), -torch.eye(3)])
    top.weight.data = torch.ones(1, 6)
    network = torch.nn.Sequential(layer, torch.nn.ReLU(), top, torch.nn.Flatten(0))
    growth = rays(network)
    assert not growth.holds
    assert "levels off" in growth.verdict
    assert float(growth.radial.min()) >= 1 - 1e-6  # Σ|u_i| ≥ |u|


def test_a_gradient_that_turns_away_fails_though_it_grows():
    """U = |x|⁴/4 - θ·|x|²… has no such turn; x₁⁴ - x₂⁴ does: on some of 64 rays it falls outward,
    2⁻⁶⁴ otherwise.
    """
    growth = rays(lambda x: x[:, 0] ** 4 - x[:, 1] ** 4, (2,))
    assert not growth.holds
    inward = int((growth.radial[-1] <= 0).sum())
    most = 2 * inward > growth.radial.shape[1]
    assert ("falls outwards" if most else "does not grow outwards") in growth.verdict
    assert ("log-density" in growth.verdict) == most


def test_rays_that_have_only_just_turned_outward_have_no_exponent():
    """U = r⁴/4 - 50²r²/2 falls up to r = 50 and grows like r³ from there:
    at radii 10 and 100 nothing is known of p.
    """
    growth = rays(lambda x: radius(x) ** 4 / 4 - 1250 * radius(x) ** 2, radii=(10.0, 100.0))
    assert growth.exponent.isnan().all()
    assert not growth.holds
    assert "use larger radii" in growth.verdict
    assert rays(lambda x: radius(x) ** 4 / 4 - 1250 * radius(x) ** 2, radii=(1e3, 1e4)).holds


def test_a_scale_carries_nothing_that_matters():
    """Preconditioned keeps z = x/s in its memory, which is x again:
    with s = 1 the ratio is the sampler's own.
    """
    x = torch.tensor([[1.0], [5.0]], dtype=DOUBLE)
    plain, scaled = (
        drift(s, gaussian, x) for s in (MALA(0.3), Preconditioned(MALA(0.3), torch.ones(1)))
    )
    assert (
        plain.log_ratio - scaled.log_ratio
    ).abs().max() <= SIGMAS * 2 * plain.relative_error.max() + 1e-12


def test_points_on_rays_are_the_radii_on_the_same_directions():
    x = diagnostics.points_on_rays((2, 2), (1.0, 10.0, 30.0), generator=fresh(), num_rays=5)
    assert x.shape == (15, 2, 2)
    torch.testing.assert_close(
        radius(x).reshape(3, 5), torch.tensor([1.0, 10, 30], dtype=DOUBLE)[:, None].expand(3, 5)
    )
    torch.testing.assert_close(x[5:10], 10 * x[:5])


def test_directions_are_uniform():
    """E u_i = 0, E u_i² = 1/3 on 20,000 rays; |u_i|, u_i² in an interval of length 2 and 1:
    Hoeffding.
    """
    u = directions((3,), 20_000, fresh(), DOUBLE)
    assert float(u.mean(0).abs().max()) <= 2 * hoeffding(20_000)
    assert float(((u**2).mean(0) - 1 / 3).abs().max()) <= hoeffding(20_000)


# --- the drift condition

RADII = (0.1, 1.0, 3.0, 10.0, 100.0)


def drift(sampler, potential, x0, **options):
    return diagnostics.drift_ratio(sampler, potential, x0, generator=fresh(), **options)


def log_folded(s: float, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """log E e^{s|X|} for X ~ N(m, v):  s²v/2 + log[e^{sm}Φ((m + sv)/√v) + e^{-sm}Φ((-m +
    sv)/√v)].
    """
    sd = variance**0.5
    right = s * mean + log_ndtr((mean + s * variance) / sd)
    left = -s * mean + log_ndtr((-mean + s * variance) / sd)
    return s**2 * variance / 2 + np.logaddexp(right, left)


DRIFTS = {  # sampler -> mean and variance of one step from x > 0 with slope g
    "langevin": (Langevin(0.3), lambda x, g: (x - 0.15 * g, 0.3 + 0 * x)),
    "clipped": (
        ClippedLangevin(0.3, 1.5),
        lambda x, g: (x - 0.15 * np.minimum(g, 1.5), 0.3 + 0 * x),
    ),
    "stanley": (
        Stanley(0.3, 1.5),
        lambda x, g: (x - 0.15 * np.minimum(g, 1.5), 0.3 * np.minimum(1, 1.5 / g)),
    ),
}


@pytest.mark.parametrize("s", [0.5, 1.5])
@pytest.mark.parametrize("target", ["gaussian", "quartic"])
@pytest.mark.parametrize("name", list(DRIFTS))
def test_drift_ratio_on_the_line_is_the_integral(name, target, s):
    """20,000 copies a point, five points, within 6 of its own standard errors;
    s²h ≤ 0.7 keeps them honest.
    """
    sampler, law = DRIFTS[name]
    potential, slope = {
        "gaussian": (gaussian, lambda x: x),
        "quartic": (quartic, lambda x: 4 * x**3),
    }[target]
    x = np.array(RADII)
    found = drift(
        sampler,
        potential,
        torch.tensor(x)[:, None],
        log_v=diagnostics.exponential_norm(s),
        num_copies=20_000,
    )
    expected = log_folded(s, *law(x, slope(x))) - s * x
    off = np.abs(np.expm1(found.log_ratio.numpy() - expected))
    assert (off <= SIGMAS * found.relative_error.numpy() + 1e-9).all()
    mean, variance = law(x, slope(x))
    # negative control: the drift points outwards
    other = log_folded(s, 2 * x - mean, variance) - s * x
    with np.errstate(over="ignore"):
        assert (
            np.abs(np.expm1(found.log_ratio.numpy() - other))
            > SIGMAS * found.relative_error.numpy()
        ).any()


def test_stanley_contracts_at_the_known_rate_where_the_gradient_grows():
    """ΠV/V → e^{-s·th·h·c/2}, c the cosine of x and ∇U, and is at most that times the noise factor.

    |x'| ≤ |m| + √(hγ)|ξ| with m = x - (h/2)·th·∇U/|∇U|, and E e^{a|ξ|} ≤ e^{a²/2 + a√d} (|ξ| is
    1-Lipschitz); |m| ≤ |x| - (h/2)·th·c + (h·th/2)²/2|x|. Both extra terms vanish as |x| grows.
    """
    h, th, s, d = 0.5, 2.0, 1.0, 3
    x = diagnostics.points_on_rays((d,), (3.0, 10.0, 100.0, 1000.0), generator=fresh(), num_rays=6)
    found = drift(Stanley(h, th, "sample"), quartic, x, log_v=diagnostics.exponential_norm(s))
    grad = 4 * x**3
    cosine = (x * grad).sum(1) / radius(x) / radius(grad)
    limit = -s * th * h * cosine / 2
    a = s * (h * th / radius(grad)) ** 0.5
    slack = a**2 / 2 + a * d**0.5 + s * (h * th / 2) ** 2 / 2 / radius(x)
    order = radius(x).argsort()
    error = torch.log1p(SIGMAS * found.relative_error) + 1e-9
    assert (found.log_ratio <= (limit + slack)[order] + error).all()
    outermost = found.log_ratio[-6:] - limit[order][-6:]
    assert float(outermost.abs().max()) < 1e-3
    assert found.beyond is not None
    assert found.beyond <= 10
    assert "below 1" in found.verdict


def test_mala_stays_for_ever_on_a_light_tail():
    """From |x| ≥ 10 on exp(-Σx⁴) every proposal overshoots to |y| > 10³ and is refused:
    V(x')/V(x) = 1 exactly.
    """
    x = diagnostics.points_on_rays((2,), (10.0, 100.0), generator=fresh())
    found = drift(MALA(0.2), quartic, x)
    assert (found.log_ratio == 0).all()
    assert (found.relative_error == 0).all()
    assert found.beyond is None
    assert "no drift condition seen" in found.verdict


def test_a_rejected_step_counts_as_no_move():
    """Adjusted STANLEY: E[α·V(y)/V(x) + 1 - α] with α and y from the same proposals,
    independently drawn.
    """
    sampler, x = Adjusted(Stanley(0.5, 1.0)), torch.tensor([[0.3, 1.5]], dtype=DOUBLE)
    found = drift(sampler, quartic, x, num_copies=20_000)
    copies = x.repeat(20_000, 1)
    state = sampler.init(quartic, copies)
    candidate, move, _ = sampler.proposal.propose(quartic, state, fresh())
    log_alpha = (
        state.potential
        - candidate.potential
        + sampler.proposal.log_ratio(quartic, state, candidate, move)
    )
    alpha = log_alpha.clamp(max=0).exp()
    values = alpha * (radius(candidate.x) - radius(copies)).exp() + 1 - alpha
    off = abs(float(found.ratio[0]) - float(values.mean()))
    assert (
        off <= SIGMAS * (float(found.standard_error[0]) ** 2 + float(values.var()) / 20_000) ** 0.5
    )
    assert 0.05 < float(alpha.mean()) < 0.99  # or there would be nothing to tell


def test_langevin_overshoots_and_is_reported_in_logarithms():
    """|x'| ≈ (h/2)·4·10⁶ from x = 100: log ΠV/V ≈ 4·10⁵ - 100, far beyond what a float holds."""
    found = drift(Langevin(0.2), quartic, torch.tensor([[100.0]], dtype=DOUBLE))
    assert float(found.log_ratio[0]) == pytest.approx(0.1 * 4e6 - 200, rel=1e-4)
    assert found.beyond is None
    assert "e^4e+05" in found.verdict


def test_a_step_out_of_the_finite_numbers_is_no_drift():
    found = drift(
        Langevin(0.2), lambda x: (x**4).exp().sum(1), torch.tensor([[0.1], [6.0]], dtype=DOUBLE)
    )
    assert found.beyond is None
    assert float(found.log_ratio[1]) == math.inf
    assert "is not finite" in found.verdict


def test_another_v_and_a_mean_that_hangs_on_one_copy():
    """V = e^{U/2} for U = x²/2: log-ratio by the Gaussian integral;
    V = e^{20|x|} with h = 1 is out of reach.
    """
    x = torch.tensor([[0.0], [2.0], [6.0]], dtype=DOUBLE)
    found = drift(Langevin(0.4), gaussian, x, log_v=lambda z: gaussian(z) / 2, num_copies=20_000)
    mean, v = 0.8 * x[:, 0].numpy(), 0.4  # E e^{X²/4} = e^{m²/4/(1 - v/2)}/√(1 - v/2)
    expected = mean**2 / 4 / (1 - v / 2) - math.log(1 - v / 2) / 2 - x[:, 0].numpy() ** 2 / 4
    off = np.abs(np.expm1(found.log_ratio.numpy() - expected))
    assert (off <= SIGMAS * found.relative_error.numpy()).all()
    far = drift(
        Langevin(1.0),
        gaussian,
        100 * x[1:],
        log_v=diagnostics.exponential_norm(20.0),
        num_copies=100,
    )
    assert far.beyond is not None
    assert "one copy makes up" in far.verdict


def test_below_one_means_by_four_standard_errors():
    """0.9·(1 + 4·0.02) < 1 < 0.9·(1 + 4·0.03); from the first point on after which all are
    below.
    """
    at, ratio, share = (
        torch.tensor([1.0, 2.0, 3.0]),
        torch.full((3,), math.log(0.9)),
        torch.zeros(3),
    )
    for error, beyond in (([0.02] * 3, 1.0), ([0.02, 0.03, 0.02], 3.0), ([0.02, 0.02, 0.03], None)):
        assert judge_drift(at, ratio, torch.tensor(error), share)[0] == beyond


# --- the bias of unadjusted chains

GOLD = {  # E x² of exp(-x²/2), on a grid; the exact value is 1
    "langevin": (Langevin(0.2), 1 / (1 - 0.2 / 4)),
    "stanley": (Stanley(0.2, 1.0), 1.476138),
    "stanley, high threshold": (Stanley(0.2, 4.0), 1.052730),
}


@pytest.mark.parametrize("name", list(GOLD))
def test_bias_is_the_known_one(name):
    """4000 chains from N(0, 1); after 200 steps 0.944²⁰⁰ = 1e-5 of the start is left.
    Six standard errors.
    """
    sampler, second_moment = GOLD[name]
    x0 = torch.randn(4000, 1, generator=fresh(), dtype=DOUBLE)
    found = diagnostics.bias_against_adjusted(
        sampler, gaussian, x0, 500, generator=fresh(), burn_in=200
    )
    c = found.functions["second moment"]
    off = abs(float(c.difference[0]) - (second_moment - 1))
    assert off <= SIGMAS * float(c.standard_error[0]) + 1e-4
    assert float(c.difference[0]) == pytest.approx(float(c.value[0] - c.reference[0]))
    assert off < abs(float(c.difference[0]))  # so small a bias would not be taken for none
    assert abs(float(found.functions["mean"].difference[0])) <= SIGMAS * float(
        found.functions["mean"].standard_error[0]
    )
    said = {line.split(":")[0]: line for line in found.verdict}
    assert "biased at 1 of 1" in said["second moment"]
    assert 0.96 < found.acceptance < 1


def test_an_exact_sampler_has_no_bias_negative_control():
    """Two exact kernels agree within six standard errors; the sampler whose bias is known, above,
    does not.
    """
    x0 = torch.randn(4000, 2, generator=fresh(), dtype=DOUBLE)
    found = diagnostics.bias_against_adjusted(
        Adjusted(Stanley(0.2, 1.0)),
        gaussian,
        x0,
        100,
        generator=fresh(),
        reference=MALA(0.4),
        burn_in=0,
    )
    for c in found.functions.values():
        assert (c.difference.abs() <= SIGMAS * c.standard_error).all()


def test_functions_of_any_shape_and_the_means_of_a_run():
    x0 = torch.randn(300, 1, 2, 2, generator=fresh(), dtype=torch.float32)
    functions = {
        "radius": radius,
        "beyond 2": lambda x: radius(x) > 2,
        "product": lambda x: x.flatten(1)[:, :, None],
    }
    found = diagnostics.bias_against_adjusted(
        Stanley(0.5, 1.0), gaussian, x0, 10, generator=fresh(), functions=functions
    )
    shapes = {name: tuple(c.difference.shape) for name, c in found.functions.items()}
    assert shapes == {"radius": (), "beyond 2": (), "product": (4, 1)}
    assert all(c.value.dtype == DOUBLE for c in found.functions.values())
    assert 0 <= float(found.functions["beyond 2"].value) <= 1


def test_the_averages_are_those_of_a_run():
    """The same generator, the loop written out: kept steps are those after the burn-in,
    to the last.
    """
    x0, seed = torch.randn(5, 2, generator=fresh(), dtype=DOUBLE), fresh_seed()
    found = diagnostics.bias_against_adjusted(
        Langevin(0.3), gaussian, x0, 7, generator=torch.Generator().manual_seed(seed), burn_in=3
    )
    rng, means = torch.Generator().manual_seed(seed), []
    for sampler in (Langevin(0.3), Adjusted(Langevin(0.3))):
        state, kept = sampler.init(gaussian, x0), []
        for n in range(7):
            state, _ = sampler.step(gaussian, state, rng)
            kept += [state.x] if n >= 3 else []
        means.append(torch.stack(kept).mean(0))
    c = found.functions["mean"]
    torch.testing.assert_close(c.value, means[0].mean(0))
    torch.testing.assert_close(c.reference, means[1].mean(0))
    torch.testing.assert_close(c.standard_error, ((means[0].var(0) + means[1].var(0)) / 5).sqrt())


def test_one_false_alarm_in_a_hundred():
    """Welch's t with its fewest degrees of freedom, 20,000 pairs of 20 Gaussian chains of variance
    1 and 4.

    Never more than 1 % beyond the limit, by Hoeffding; and no less than a fifth of that, or it
    would see nothing.
    """
    rng = fresh()
    a = torch.randn(20, 20_000, generator=rng, dtype=DOUBLE)
    b = 2 * torch.randn(20, 20_000, generator=rng, dtype=DOUBLE)
    c = compare(a, b, 1)
    rate = float(((c.difference / c.standard_error).abs() > c.limit).double().mean())
    assert rate <= 0.01 + hoeffding(20_000)
    assert compare(a, b, 1).limit < 3
    assert compare(a, b, 20_000).limit > 6  # all together


def test_a_sampler_that_diverges_and_a_reference_that_is_stuck_are_named():
    x0 = torch.full((4, 1), 10.0, dtype=DOUBLE)
    found = diagnostics.bias_against_adjusted(Langevin(0.2), quartic, x0, 60, generator=fresh())
    assert any("the sampler diverges" in line for line in found.verdict)
    assert any("may not have left its start" in line for line in found.verdict)


# --- bad input: one line each

X = torch.zeros(4, 2, dtype=DOUBLE)
BAD = {
    "no rays": (lambda: rays(gaussian, num_rays=0), "num_rays is 0"),
    "one radius": (lambda: rays(gaussian, radii=(1.0,)), "at least 2"),
    "radii that fall": (
        lambda: rays(gaussian, radii=(1.0, 3.0, 2.0)),
        r"radii are \[1.0, 3.0, 2.0\]",
    ),
    "a radius of 0": (lambda: rays(gaussian, radii=(0.0, 1.0)), "positive"),
    "no event": (lambda: rays(gaussian, ()), "event_shape"),
    "a potential per coordinate": (lambda: rays(lambda x: x**2), r"returned shape \(64, 3\)"),
    "overflow": (lambda: rays(lambda x: x.exp().sum(1)), "smaller radii"),
    "no points on rays": (
        lambda: diagnostics.points_on_rays((2,), generator=fresh(), num_rays=0),
        "num_rays is 0",
    ),
    "one copy": (lambda: drift(Langevin(0.1), gaussian, X, num_copies=1), "num_copies is 1"),
    "a flat point": (lambda: drift(Langevin(0.1), gaussian, X[:, 0]), "x0 has shape"),
    "log V per coordinate": (
        lambda: drift(Langevin(0.1), gaussian, X, log_v=torch.abs),
        "log_v returned shape",
    ),
    "s = 0": (lambda: diagnostics.exponential_norm(0.0), "s is 0"),
    "a quantile": (lambda: drift(Stanley(0.1, Quantile(0.9)), gaussian, X), "quantile"),
    "a quantile inside a scale": (
        lambda: drift(
            Preconditioned(Adjusted(Stanley(0.1, Quantile(0.9))), torch.ones(1)), gaussian, X
        ),
        "quantile",
    ),
    "momentum": (
        lambda: drift(Underdamped(0.1), gaussian, X),
        r"of Underdamped does not .* it carries momentum",
    ),
    "replicas": (
        lambda: drift(ReplicaExchange(MALA(0.1)), gaussian, X),
        r"of ReplicaExchange does not .* replicas",
    ),
    "a frozen γ": (
        lambda: drift(Adjusted(Stanley(0.1, 1.0, refresh="start")), gaussian, X),
        "refresh='start'",
    ),
    "no log-ratio": (lambda: bias(GradientDescent(0.1)), "reference=MALA"),
    "noise of all chains": (lambda: bias(MatchedLangevin(0.1, 1.0)), "reference=MALA"),
    "midpoint": (lambda: bias(Stanley(0.1, 1.0, correction="midpoint")), "reference=MALA"),
    "exact already": (lambda: bias(MALA(0.1)), "exact already"),
    "one chain": (lambda: bias(Langevin(0.1), X[:1]), "1 chain"),
    "no functions": (lambda: bias(Langevin(0.1), functions={}), "functions is empty"),
    "all burnt": (lambda: bias(Langevin(0.1), burn_in=5), "burn_in is 5"),
    "a function of all chains": (
        lambda: bias(Langevin(0.1), functions={"f": torch.mean}),
        "'f' returned shape",
    ),
}


def bias(sampler, x0=X, **options):
    return diagnostics.bias_against_adjusted(sampler, gaussian, x0, 5, generator=fresh(), **options)


@pytest.mark.parametrize("name", list(BAD))
def test_bad_input_is_one_clear_line(name):
    call, words = BAD[name]
    with pytest.raises(StanleyError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_network_is_met_in_its_own_type():
    for kind in (torch.float32, torch.float64):
        seen = []
        network = MLP(width=4).build((2,)).to(kind)
        network.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0].dtype))
        rays(network, (2,), radii=(1.0, 2.0))
        assert set(seen) == {kind}
    seen = []
    rays(lambda x: seen.append(x.dtype) or gaussian(x), radii=(1.0, 2.0), dtype=torch.float32)
    assert set(seen) == {torch.float32}


def test_a_shell_is_below_one_as_a_whole():
    """Two points of one radius, but for rounding: one above 1 is enough to spoil it,
    whichever comes last.
    """
    radius = torch.tensor([1.0, 10.0, 10.0 * (1 + 1e-12)], dtype=torch.float64)
    zero = torch.zeros(3, dtype=torch.float64)
    for high in (1, 2):
        log_ratio = torch.full((3,), -1.0, dtype=torch.float64)
        log_ratio[high] = 0.2
        beyond, said = judge_drift(radius, log_ratio, zero, zero)
        assert beyond is None
        assert f"{math.exp(0.2):.4g}" in said
    beyond, _ = judge_drift(
        radius, torch.tensor([0.2, -1.0, -2.0], dtype=torch.float64), zero, zero
    )
    assert beyond == 10.0

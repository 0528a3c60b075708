"""Named constrained parameters: the values obey, the Jacobian is that of the map, and what is wrong
is told in one line.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import distributions as D

from stanley.errors import StanleyError
from stanley.targets import PerPoint, from_log_density
from stanley.targets.own import potential_of
from stanley.targets.parameters import (
    Parameters,
    cholesky,
    correlation,
    interval,
    positive,
    real,
    simplex,
    unit_interval,
)
from tests.seeds import stream

PARTS = {
    "real": real(3),
    "positive": positive(2, 2),
    "number": positive(),
    "interval": interval(-1.0, 3.0, 2),
    "unit": unit_interval(),
    "simplex": simplex(4),
    "simplices": simplex(3, 2),
    "cholesky": cholesky(3),
    "correlation": correlation(3),
}


def points(part, n=5):
    return torch.randn(n, part.size, generator=stream(1), dtype=torch.float64)


def free_entries(name, x):
    """As many entries as the value has degrees of freedom."""
    if name.startswith("simplex") or name == "simplices":
        return x[..., :-1].flatten()
    if name == "cholesky":
        return x[torch.ones(3, 3).tril().bool()]
    if name == "correlation":  # the entries below the diagonal fix the diagonal
        return x[torch.ones(3, 3).tril(-1).bool()]
    return x.flatten()


@pytest.mark.parametrize("name", PARTS)
def test_values_obey_and_come_back(name):
    part = PARTS[name]
    z = points(part)
    x, _ = part.constrain(z)
    assert x.shape == (5, *part.shape)
    assert part.holds(x).all()
    torch.testing.assert_close(part.unconstrain(x), z, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("name", PARTS)
def test_the_jacobian_is_that_of_the_map(name):
    """log |det| of the derivative that autograd finds, at five points."""
    part = PARTS[name]
    z = points(part)
    _, told = part.constrain(z)
    for point, log_jacobian in zip(z, told, strict=True):
        derivative = torch.autograd.functional.jacobian(
            lambda q: free_entries(name, part.constrain(q[None])[0][0]), point
        )
        known = torch.linalg.slogdet(derivative).logabsdet
        torch.testing.assert_close(log_jacobian, known, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", PARTS)
def test_entries_that_vary_are_those_that_differ(name):
    part = PARTS[name]
    x, _ = part.constrain(points(part))
    assert torch.equal((x != x[:1]).any(0), part.varies())


MODEL = Parameters(mu=real(), tau=positive(), theta=real(8), w=simplex(3), L=cholesky(2))


def log_density(mu, tau, theta, w, L):
    """Of a single point, as one writes it: a plain sum over everything."""
    return (
        D.Normal(0.0, 5.0).log_prob(mu)
        + D.HalfCauchy(5.0).log_prob(tau)
        + D.Normal(mu, tau).log_prob(theta).sum()
        + w.log().sum()
        - L.square().sum()
    )


def test_a_log_density_of_a_single_point_gets_its_jacobian():
    potential = MODEL.potential(log_density)
    z = torch.randn(4, *MODEL.event_shape, generator=stream(), dtype=torch.float64)
    u = potential(z)
    for point, value in zip(z, u, strict=True):
        x = MODEL.constrain(point)
        _, log_jacobian = MODEL.with_jacobian(point[None])
        torch.testing.assert_close(value, -log_density(**x) - log_jacobian[0])


def test_a_log_density_of_many_points_is_taken_as_it_is():
    model = Parameters(a=real(3), b=positive())
    many = model.potential(lambda a, b: -a.square().sum(1) - b)
    one = model.potential(lambda a, b: -a.square().sum() - b)
    assert (many.per_point, one.per_point) == (False, True)
    z = torch.randn(4, 4, generator=stream(), dtype=torch.float64)
    torch.testing.assert_close(many(z), one(z))


def test_names_and_columns_go_together():
    z = torch.randn(2, 4, *MODEL.event_shape, generator=stream(), dtype=torch.float64)
    values = MODEL.constrain(z)
    assert values["L"].shape == (2, 4, 2, 2)
    columns = dict(zip(MODEL.names(), MODEL.columns(values).unbind(-1), strict=True))
    assert torch.equal(columns["tau"], values["tau"])
    assert torch.equal(columns["theta[7]"], values["theta"][..., 7])
    assert torch.equal(columns["L[1, 0]"], values["L"][..., 1, 0])
    assert "L[0, 1]" not in columns
    torch.testing.assert_close(
        MODEL.unconstrain({k: v[0] for k, v in values.items()}), z[0], rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize(
    "law",
    [
        D.Normal(torch.zeros(3), 2.0),
        D.Gamma(2.0, 3.0),
        D.Uniform(-1.0, 4.0),
        D.Dirichlet(torch.tensor([1.0, 2.0, 3.0])),
        D.LKJCholesky(3, 1.5),
        D.MultivariateNormal(torch.zeros(2), torch.eye(2)),
        D.MixtureSameFamily(D.Categorical(torch.ones(2)), D.Normal(torch.tensor([-2.0, 2.0]), 1.0)),
    ],
    ids=lambda law: type(law).__name__,
)
def test_a_distribution_is_its_own_density(law):
    """U(z) + log |det| is -log p of the value, in one dimension or many."""
    potential = from_log_density(law)
    z = torch.randn(4, *potential.event_shape, generator=stream(), dtype=torch.float64)
    values, log_jacobian = potential.parameters.with_jacobian(z)
    log_p = law.log_prob(values["x"]).reshape(4, -1).sum(1)
    torch.testing.assert_close(potential(z), -log_p - log_jacobian)


def test_the_density_of_the_coordinate_has_mass_one():
    """∫ exp(-U) dz of Gamma(2, 3) by the trapezoid rule, on a line that holds all but 1e-12."""
    z = torch.linspace(-20, 6, 20_001, dtype=torch.float64)
    u = from_log_density(D.Gamma(2.0, 3.0))(z[:, None])
    assert abs(float(torch.trapezoid((-u).exp(), z)) - 1) < 1e-6
    without = -D.Gamma(2.0, 3.0).log_prob(z.exp())  # negative control: no Jacobian
    assert abs(float(torch.trapezoid((-without).exp(), z)) - 1) > 0.1


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda: simplex(1), "a simplex of one is the number 1"),
        (lambda: correlation(1), "at least 2 rows"),
        (lambda: interval(2.0, 2.0), "low must be below high"),
        (lambda: interval(0.0, math.inf), "both finite"),
        (lambda: real(0), "whole numbers from 1"),
        (lambda: Parameters(), "no parameter"),
        (lambda: Parameters(a=positive), "such as a=positive()"),
        (lambda: MODEL.potential(lambda a: a), "is called by the names of the parameters"),
        (lambda: MODEL.potential(3.0), "but float was handed over"),
        (lambda: Parameters(t=real(3)).potential(lambda t: t), r"returned shape \(2, 3\)"),
        (lambda: Parameters(t=real(3)).potential(lambda t: 1.0), "returned float"),
        (lambda: potential_of(lambda x: x.float().sum(1), (3,)), "returned torch.float32"),
        (lambda: Parameters(t=real(3)).potential(lambda t: t.nothing()), "AttributeError"),
        (
            lambda: Parameters(t=real(3)).potential(lambda t: t.sum() if t[0] > 0 else t.max()),
            "torch.vmap refused it",
        ),
        (lambda: Parameters(t=positive()).unconstrain({"t": -1}), "t is -1, but must be > 0"),
        (lambda: Parameters(t=positive()).unconstrain({"t": 0}), "t is 0"),
        (lambda: Parameters(w=simplex(2)).unconstrain({"w": [0.5, 0.6]}), "that sum to 1"),
        (lambda: Parameters(t=real()).unconstrain({"s": 1}), "there is no parameter 's'"),
        (lambda: Parameters(t=real()).unconstrain({}), "the value of t is missing"),
        (lambda: Parameters(t=real(2)).unconstrain({"t": [[[1.0]]]}), r"shape \(1, 1, 1\)"),
        (lambda: Parameters(t=real()).unconstrain({"t": "one"}), "t is str"),
        (lambda: from_log_density(D.Poisson(3.0)), "Poisson is discrete"),
        (lambda: from_log_density(D.Wishart(torch.tensor(4.0), torch.eye(3))), "no transform"),
        (lambda: from_log_density(3), "int was handed over"),
        (lambda: from_log_density(from_log_density(torch.sum)), "is a potential already"),
    ],
)
def test_what_is_wrong_is_one_line(ask, told):
    with pytest.raises(StanleyError, match=told) as error:
        ask()
    assert "\n" not in str(error.value)


def test_a_function_of_one_point_or_of_many():
    x = torch.randn(5, 3, generator=stream(), dtype=torch.float64)
    one = potential_of(lambda x: x[0] ** 2 + x[1] * x[2], (3,))
    assert isinstance(one, PerPoint)
    torch.testing.assert_close(one(x), x[:, 0] ** 2 + x[:, 1] * x[:, 2])

    def many(x):
        return x.square().sum(-1)

    assert potential_of(many, (3,)) is many


def test_checks_of_arguments_are_as_before():
    before = D.Distribution._validate_args
    MODEL.potential(log_density)(torch.zeros(2, *MODEL.event_shape, dtype=torch.float64))
    assert D.Distribution._validate_args is before


def test_the_jacobians_of_all_parameters_are_added():
    """Of two parameters and one between without any."""
    model = Parameters(tau=positive(), mu=real(2), p=unit_interval(3))
    z = torch.randn(4, *model.event_shape, generator=stream(5), dtype=torch.float64)
    _, total = model.with_jacobian(z)
    each = [
        part.constrain(piece)[1]
        for part, piece in zip(model.parts.values(), z.split([1, 2, 3], 1), strict=True)
    ]
    torch.testing.assert_close(total, sum(each))
    assert (each[0] != 0).all()
    assert (each[2] != 0).all()


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_a_start_at_the_edge_is_told(value):
    """inf is a real number to torch."""
    with pytest.raises(StanleyError, match=r"mu is -?inf, at the edge of what is allowed"):
        Parameters(mu=real(), tau=positive()).unconstrain({"mu": value, "tau": 1.0})

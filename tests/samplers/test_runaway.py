"""Chains that run away are stopped with a question; those of a proper density never are."""

from __future__ import annotations

import pytest
import torch

from stanley.errors import StanleyError
from stanley.samplers import MALA, ChEES, Langevin, adapt
from stanley.samplers.runaway import check_mass
from stanley.samplers.warm_up import warm_up
from stanley.targets.named import TARGETS, named
from stanley.targets.parameters import Parameters, positive, real
from stanley.types import LogDensity

from .invariants import generator


def start(d: int = 3) -> torch.Tensor:
    return torch.randn(32, d, generator=generator(), dtype=torch.float64)


def log_normal(x):
    return -x.square().sum(1) / 2


def laplace(x):
    return -x.abs().sum(1)


@pytest.mark.parametrize("u", [log_normal, laplace])
@pytest.mark.parametrize("sampler", [ChEES(0.1), MALA(0.1)], ids=["chees", "mala"])
def test_a_log_density_in_place_of_a_potential(u, sampler):
    """By MALA a Gaussian with the wrong sign moves away like √n: see the test of `draw`."""
    if isinstance(sampler, MALA) and u is log_normal:
        pytest.skip("too slow for a warm-up")
    with pytest.raises(StanleyError, match="was a log-density handed over") as error:
        adapt(sampler, u, start(), 300, generator=generator())
    assert "\n" not in str(error.value)


def test_a_potential_in_place_of_a_log_density():
    with pytest.raises(StanleyError, match="was a potential U handed over as a log-density"):
        adapt(ChEES(0.1), LogDensity(lambda x: -log_normal(x)), start(), 300, generator=generator())


def test_an_unadjusted_sampler_of_a_given_step_size():
    with pytest.raises(StanleyError, match="was a log-density handed over"):
        warm_up(Langevin(0.3), log_normal, start(), 300, generator=generator(), tune=False)


def test_one_flat_coordinate_is_named():
    with pytest.raises(StanleyError, match=r"coordinate 1 went.*prior, or bounds"):
        adapt(
            ChEES(0.1), lambda x: x[:, 0] ** 2 + 0 * x[:, 1], start(2), 400, generator=generator()
        )


def test_a_parameter_without_a_prior_is_named():
    potential = Parameters(mu=real(), tau=positive()).potential(
        lambda mu, tau: -(mu**2) / 2 - tau.log()
    )
    with pytest.raises(StanleyError, match="the chains run away: tau went"):
        adapt(ChEES(0.1), potential, start(2), 400, generator=generator())


@pytest.mark.parametrize("name", TARGETS)
def test_no_proper_density_is_accused(name):
    """Ten times as far as they started; U is looked at up to 10⁷ times as far."""
    target = named(name)
    x0 = torch.randn(16, *target.event_shape, generator=generator(), dtype=torch.float64)
    for factor in (1.0, 10.0):
        check_mass(target, x0, factor * x0, far=0.5)


def test_a_density_far_away_is_not_accused():
    """N(10⁶, 1): from a start at 0 the potential falls on the way there."""

    def far(x):
        return (x - 1e6).square().sum(1) / 2

    check_mass(far, start(), 1e6 + start())
    check_mass(far, start(), 100 * start())  # on the way


def test_a_curved_density_is_not_accused():
    """Along a ray away from a banana's arm U falls in one coordinate: the other goes faster."""
    x0 = torch.full((8, 2), 0.1, dtype=torch.float64)
    x = x0.new_tensor([3.0, 4.0]).expand(8, 2)
    check_mass(named("banana"), x0, x)


def test_chains_that_left_the_finite_numbers_are_no_evidence():
    lost = start() * torch.inf
    check_mass(lambda x: -log_normal(x), start(), lost)
    with pytest.raises(StanleyError, match="run away"):
        check_mass(log_normal, start(), lost)


def test_negative_control_the_same_positions_with_the_sign_wrong():
    with pytest.raises(StanleyError, match="run away"):
        check_mass(log_normal, start(), 1e4 * start())


def test_lost_chains_are_seen():
    with pytest.raises(StanleyError, match="run away"):
        check_mass(log_normal, start(), start() * float("inf"))


def test_a_function_that_fails_so_far_out_is_no_evidence():
    def fragile(x):
        if (x.abs() > 1e5).any():
            raise ValueError("too far")
        return log_normal(x)

    check_mass(fragile, start(), 1e4 * start())

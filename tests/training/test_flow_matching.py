"""Flow matching against the optimal transport between Gaussians, which is affine and known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stanley.data import Rings
from stanley.errors import StanleyError
from stanley.judging.evaluate import evaluate, exact_kl
from stanley.judging.likelihood import held_out_likelihood
from stanley.models.export import export_energy
from stanley.models.packing import pack
from stanley.models.trained import load
from stanley.networks import MLP, LevelMLP
from stanley.networks.levels import LevelEnergy, level_energy
from stanley.plots.run import plot_run
from stanley.samplers import MALA, ladder, transport
from stanley.training.config import TrainConfig
from stanley.training.loop import train
from stanley.training.objectives import FlowMatching
from stanley.training.objectives.flow_matching import Flow, flow_loss, paired

from ..samplers.bounds import assert_mean
from ..samplers.invariants import generator

# Data N(MEAN, diag DATA²), noise N(MEAN, NOISE²·I), and the levels between them.
MEAN = torch.tensor([0.5, -1.0], dtype=torch.float64)
DATA = torch.tensor([0.3, 1.5], dtype=torch.float64)
NOISE, LOWEST, HIGHEST = 4.0, 0.01, 3.0
BATCHES, ROWS = 200, 256

Potential = Callable[[Tensor, Tensor], Tensor]


def speed(sigma: Tensor) -> Tensor:
    """a of the velocity a·(y - μ) between x = μ + DATA·g and z = μ + NOISE·g, g ~ N(0, I):

    y - μ = ((1 - τ)·DATA + τ·NOISE)·g,   ζ = (NOISE - DATA)·g/σ_max,   τ = σ/σ_max.
    """
    tau = sigma[:, None] / HIGHEST
    return (NOISE - DATA) / HIGHEST / ((1 - tau) * DATA + tau * NOISE)


def blended_speed(sigma: Tensor) -> Tensor:
    """The same for x and z that are independent: a = Cov(ζ, y)/Var(y), by coordinates."""
    tau = sigma[:, None] / HIGHEST
    covariance = (tau * NOISE**2 - (1 - tau) * DATA**2) / HIGHEST
    return covariance / ((1 - tau) ** 2 * DATA**2 + tau**2 * NOISE**2)


def bowl(slopes: Callable[[Tensor], Tensor]) -> Potential:
    """V = Σ a_i(σ)·(y - μ)_i²/2, whose gradient is the velocity a(σ)·(y - μ)."""
    return lambda y, log_ratio: (slopes(log_ratio.exp()) * (y - MEAN).square()).sum(1) / 2


def batch(g: torch.Generator, *, joined: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Data, velocities, levels and their logarithms; `joined` by the exact transport map."""
    z = torch.randn(ROWS, 2, generator=g, dtype=torch.float64)
    x = z if joined else torch.randn(ROWS, 2, generator=g, dtype=torch.float64)
    x, z = MEAN + DATA * x, MEAN + NOISE * z
    sigma = LOWEST + (HIGHEST - LOWEST) * torch.rand(ROWS, generator=g, dtype=torch.float64)
    return x, (z - x) / HIGHEST, sigma, sigma.log()


BENDS: dict[str, Potential] = {
    "a slope": lambda y, r: y[:, 0] * r,
    "a width": lambda y, r: y.square().sum(1),
    "a wave": lambda y, r: (2 * y[:, 0] - y[:, 1]).sin() * (1 + r.exp()),
}


def slopes_of_loss(potential: Potential, bend: str, *, joined: bool) -> np.ndarray:
    """d/dε of the loss at ε = 0 of V + ε·f: one number a batch."""
    g, found = generator(), []
    for _ in range(BATCHES):
        epsilon = torch.zeros((), dtype=torch.float64, requires_grad=True)
        loss = flow_loss(
            lambda y, r, e=epsilon: potential(y, r) + e * BENDS[bend](y, r),
            *batch(g, joined=joined),
        )
        found.append(float(torch.autograd.grad(loss, epsilon)[0]))
    return np.array(found)


def test_the_gradient_of_the_loss_in_closed_form() -> None:
    """V = a·|y - μ|²/2 + b·y: L = mean of |a(y - μ) + b - ζ|²/d, for every x, ζ and σ."""
    x, zeta, sigma, log_ratio = batch(generator(), joined=False)
    a = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    b = torch.tensor([0.2, -0.4], dtype=torch.float64, requires_grad=True)
    loss = flow_loss(
        lambda y, _: a * (y - MEAN).square().sum(1) / 2 + y @ b, x, zeta, sigma, log_ratio
    )
    by_a, by_b = torch.autograd.grad(loss, [a, b])
    y = x + sigma[:, None] * zeta
    miss = (a * (y - MEAN) + b - zeta).detach()
    assert float(loss.detach()) == pytest.approx(float(miss.square().mean()), rel=1e-12)
    assert float(by_a) == pytest.approx(float(2 * (miss * (y - MEAN)).mean()), rel=1e-10)
    assert torch.allclose(by_b, 2 * miss.mean(0) / 2, rtol=1e-10)


@pytest.mark.parametrize("bend", BENDS)
def test_the_potential_of_the_transport_is_stationary(bend: str) -> None:
    """Its loss is 0 but for rounding, and so is every slope."""
    assert float(flow_loss(bowl(speed), *batch(generator(), joined=True)).detach()) < 1e-25
    assert np.abs(slopes_of_loss(bowl(speed), bend, joined=True)).max() < 1e-12


@pytest.mark.parametrize("bend", BENDS)
def test_pairs_at_random_have_another_potential(bend: str) -> None:
    assert_mean(slopes_of_loss(bowl(blended_speed), bend, joined=False), 0.0)


@pytest.mark.parametrize("joined", [True, False])
def test_each_is_not_that_of_the_other(joined: bool) -> None:
    """The control."""
    other = bowl(blended_speed if joined else speed)
    with pytest.raises(AssertionError):
        assert_mean(slopes_of_loss(other, "a width", joined=joined), 0.0)


def test_pairs_are_the_best_of_all() -> None:
    """Against all 720 orders of six points."""
    g = generator()
    for shape in ((6, 3), (6, 1, 2, 2)):
        x, z = torch.randn(shape, generator=g), 3 * torch.randn(shape, generator=g)

        def cost(order: Any, x: Tensor = x, z: Tensor = z) -> float:
            return float((z[list(order)] - x).double().square().sum())

        assert cost(paired(x, z).tolist()) == pytest.approx(min(map(cost, permutations(range(6)))))


def test_the_pairs_of_a_transport_map_are_found_again() -> None:
    """T is the gradient of a convex function, so that no other order of T(z) lies nearer."""
    g = generator()
    z = NOISE * torch.randn(300, 2, generator=g, dtype=torch.float64)
    shuffled = torch.randperm(300, generator=g)
    x = (MEAN + DATA / NOISE * z)[shuffled]
    assert torch.equal(paired(x, z), shuffled)
    assert not torch.equal(paired(-x, z), shuffled)  # the control: no gradient of a convex one


@pytest.mark.parametrize("level", [0.3, 1.5])
def test_batches_paired_by_transport_have_the_velocity_of_the_transport(level: float) -> None:
    """The least squares of ζ on y at one level, in one dimension, where sorting pairs: a of pairs
    comes to that of the map as B grows, and that of pairs at random lies elsewhere."""
    g, n = generator(), 800
    x = DATA[1] * torch.randn(n, 1, generator=g, dtype=torch.float64)
    z = NOISE * torch.randn(n, 1, generator=g, dtype=torch.float64)

    def slope(z: Tensor) -> float:
        zeta = (z - x) / HIGHEST
        y = x + level * zeta
        return float((zeta * y).sum() / y.square().sum())

    sigma = torch.tensor([level], dtype=torch.float64)
    exact, blended = float(speed(sigma)[0, 1]), float(blended_speed(sigma)[0, 1])
    # six times the error 1/√(2n) of both standard deviations is 0.26 of a at most, and six of the
    # slope between random pairs at most half of the way to the other
    assert slope(z[paired(x, z)]) == pytest.approx(exact, rel=0.3)
    assert slope(z) == pytest.approx(blended, abs=0.5 * abs(exact - blended))


def known(slopes: Callable[[Tensor], Tensor]) -> Callable[[float], Callable[[Tensor], Tensor]]:
    """σ ↦ V(·, σ) of a bowl, as `transport` takes it."""

    def at(sigma: float) -> Callable[[Tensor], Tensor]:
        return lambda y: bowl(slopes)(y, y.new_full((len(y),), math.log(sigma)))

    return at


def test_points_that_follow_it_are_moved_by_the_affine_map() -> None:
    """Its lines are straight, so every rule of integration is exact on it, at one step or more."""
    g = torch.randn(50, 2, generator=generator(), dtype=torch.float64)
    tau = LOWEST / HIGHEST
    end = MEAN + ((1 - tau) * DATA + tau * NOISE) * g
    for num in (2, 9):
        found = transport(known(speed), MEAN + NOISE * g, ladder(HIGHEST, LOWEST, num))
        assert torch.allclose(found.x, end, rtol=1e-9)
        assert found.info.num_gradients == 2 * (num - 1)


def test_lines_that_bend_are_followed_to_second_order() -> None:
    """Pairs at random: half the step leaves a quarter of the error, of the standard deviation
    √((1 - τ)²·DATA² + τ²·NOISE²) of every level.
    """
    g = torch.ones(1, 2, dtype=torch.float64)
    tau = LOWEST / HIGHEST
    exact = ((1 - tau) ** 2 * DATA**2 + tau**2 * NOISE**2).sqrt()
    errors = []
    for num in (101, 201, 401):
        found = transport(known(blended_speed), MEAN + NOISE * g, ladder(HIGHEST, LOWEST, num, 3))
        errors.append((found.x - MEAN - exact).abs().max())
    assert 3.5 < float(errors[0] / errors[1]) < 4.5
    assert 3.8 < float(errors[1] / errors[2]) < 4.2


def test_states_on_the_way_are_kept() -> None:
    x, sigmas = torch.ones(3, 2, dtype=torch.float64), ladder(HIGHEST, LOWEST, 7)
    found = transport(known(speed), x, sigmas, keep_every=2)
    assert found.draws is not None
    assert found.draws.shape == (3, 3, 2)
    assert torch.equal(found.draws[-1], found.x)
    half = transport(known(speed), x, sigmas[:3])
    assert torch.equal(found.draws[0], half.x)
    with pytest.raises(StanleyError, match="keep_every is 7"):
        transport(known(speed), x, sigmas, keep_every=7)


def test_v_is_the_energy_times_a_factor_of_the_level() -> None:
    """√(σ² + f²s²)·E, with which the Gaussian part of E alone has the velocity y/σ for σ ≫ s."""
    energy = level_energy(LevelMLP(width=4, depth=1, largest_level=50.0).build((2,)))
    assert isinstance(energy, LevelEnergy)
    energy.std.fill_(0.5)
    for weight in energy.parameters():
        weight.data.zero_()
    x = torch.randn(5, 2, generator=generator(), requires_grad=True)
    (velocity,) = torch.autograd.grad(Flow(energy, 20.0)(x).sum(), x)
    assert torch.allclose(velocity, x / 20, rtol=1e-3)
    assert torch.allclose(Flow(energy, 0.2)(x), math.hypot(0.2, 0.15 * 0.5) * energy.at(0.2)(x))


# Inside the main loop: what holds for every objective is in test_objectives.


CONFIG = TrainConfig(
    data=Rings(num=500),
    network=LevelMLP(width=16, depth=2, fourier=4, damped=False),
    sampler=MALA(0.05),
    objective=FlowMatching(),
    steps=20,
    batch=32,
    save_every=10,
)


def test_it_is_sampled_by_its_flow_and_by_nothing_else(tmp_path: Path) -> None:
    model = load(train(CONFIG, tmp_path / "run"))
    assert model.flow is not None
    found = model.sample(6, seed=3, steps=5, keep_every=1)
    start = model.flow.start(6, model.stream(3, "noise"))
    assert torch.equal(model.starts(6, "noise", model.stream(3, "noise")), start)
    assert found.draws is not None
    assert torch.equal(found.draws[-1], found.x)
    assert not torch.equal(found.x, start)
    assert found.info.num_gradients == 10
    assert model.sample(6, seed=3).info.num_gradients == 80
    with pytest.raises(StanleyError, match="keeps no bank"):
        model.sample(6, start="bank")
    with pytest.raises(StanleyError, match="at least 1"):
        model.sample(6, steps=0)


def test_whoever_asks_for_a_density_is_told(tmp_path: Path) -> None:
    run = train(CONFIG, tmp_path / "run")
    model = load(run)
    asking: list[Callable[[], Any]] = [
        lambda: model.potential,
        lambda: held_out_likelihood(run),
        lambda: export_energy(model, tmp_path / "energy.pt2"),
    ]
    for ask in asking:
        with pytest.raises(StanleyError, match=r"trained by flow-matching.* no density"):
            ask()
    assert exact_kl(run) is None
    assert not (run.path / "likelihood.json").exists()


def test_it_is_judged_by_its_samples_alone(tmp_path: Path) -> None:
    run = train(CONFIG, tmp_path / "run")
    scores = evaluate(run, num=50)
    assert scores["kl"] is scores["tv"] is scores["log_z"] is None
    assert "no density" in scores["not_settled"]
    assert scores["energy"] == {}
    assert scores["sampler"] == {"kind": "flow"}
    assert "nll_held_out" not in scores
    assert scores["fresh"]["mmd2"]["n"] == 50
    assert {path.name for path in plot_run(run)} >= {"samples.png", "traces.png"}
    card = (pack(run, tmp_path / "packed") / "README.md").read_text()
    assert "no density" in card
    assert "exp(-E(x)/T)" not in card
    with pytest.raises(StanleyError, match="no density"):
        _ = load(tmp_path / "packed").potential


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: replace(CONFIG, network=MLP(width=8)), "network 'mlp' knows none"),
        (lambda: replace(CONFIG, network=LevelMLP(width=8)), "network.damped is true"),
        (lambda: replace(CONFIG, temperature=0.5), "temperature is 0.5"),
        (lambda: replace(CONFIG, reference_std=1.0), "reference_std is 1.0"),
        (lambda: FlowMatching(level_mean=math.inf), "level_mean is inf"),
        (lambda: FlowMatching(level_std=0.0), "level_std is 0.0"),
        (lambda: FlowMatching(pairing="other"), "pairing is 'other'"),  # type: ignore[arg-type]
    ],
)
def test_what_is_refused(make: Callable[[], Any], what: str) -> None:
    with pytest.raises(StanleyError, match=what):
        make()

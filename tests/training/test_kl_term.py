"""The KL term: its value is mean E(x_K), its gradient that of E held fixed at x_K(θ)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from stanley.data import Dataset
from stanley.errors import StanleyError
from stanley.networks import MLP
from stanley.ranks import World
from stanley.samplers import (
    HMC,
    MALA,
    Adjusted,
    AnySampler,
    ClippedLangevin,
    GradientDescent,
    Langevin,
    MatchedLangevin,
    Stanley,
    TamedLangevin,
    run_chains,
)
from stanley.samplers.noise import normal_like
from stanley.training.config import TrainConfig
from stanley.training.kl_term import LastStep, kl_term, why_no_gradient
from stanley.training.objectives.contrastive import backward, negative_batch
from stanley.training.opening import check_split
from stanley.training.state import TrainState
from stanley.types import Potential
from tests.conftest import changed
from tests.seeds import stream

SAMPLERS: list[AnySampler] = [
    Langevin(0.3),
    ClippedLangevin(0.3, threshold=0.2),
    ClippedLangevin(0.3, threshold=0.2, scope="sample"),
    TamedLangevin(0.3),
    Stanley(0.3, threshold=0.2),
    Stanley(0.3, threshold=0.2, scope="sample", floor=0.3),
]
T = 0.7


def generator(seed: int = 0) -> torch.Generator:
    return stream(seed)


def energy_and_starts() -> tuple[nn.Module, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        energy = MLP(width=8).build((3,)).double()
    for parameter in energy.parameters():
        parameter.data *= 3  # gradients on both sides of the thresholds
    return energy, torch.randn((64, 3), generator=generator(1), dtype=torch.float64)


def one_step(sampler: AnySampler, energy: nn.Module, x0: Tensor) -> LastStep:
    chains = run_chains(sampler, Potential(energy, T), x0, 1, generator=generator(2))
    assert torch.equal(chains.before, x0)
    return LastStep(sampler, chains.before, chains.info.threshold, T)


def gradients(
    energy: Callable[[Tensor], Tensor], x: Tensor, **options: bool
) -> tuple[Tensor, Tensor]:
    x = x.detach().requires_grad_()
    values = energy(x)
    return values, torch.autograd.grad(values.sum(), x, **options)[0]  # type: ignore[arg-type]


def term(last: LastStep, energy: nn.Module, x: Tensor) -> Tensor:
    values, grad = gradients(energy, x, retain_graph=True)
    return kl_term(last, x, values, grad, gradients(energy, last.before, create_graph=True)[1])


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_the_law_is_that_of_the_step(sampler: AnySampler) -> None:
    """(x_K - μ)/√v is the very ξ that the generator gave, to some roundings."""
    energy, x0 = energy_and_starts()
    state = sampler.init(Potential(energy, T), x0)
    after, _ = sampler.step(Potential(energy, T), state, generator(2))
    law = sampler.law(Potential(energy, T), state)
    noise = (after.x - law.mean) / law.variance.sqrt()
    assert (noise - normal_like(x0, generator(2))).abs().max() < 1e-13


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_value_and_gradient_are_those_of_the_energy_held_fixed_at_a_step_that_is_not(
    sampler: AnySampler,
) -> None:
    """Against central differences of mean E_sg(x_K(θ + ε·v)), with the step taken anew from the
    same ξ.

    Their error is a·ε² + …, so that of the finer is about a third of its distance to the coarser
    one; taken three times, besides rounding, some 1e-15/ε. ε is so small since a step with a
    threshold has kinks, one of which between -ε and ε would spoil the difference. Negative control:
    the whole derivative, in which E moves too, is another number.
    """
    energy, x0 = energy_and_starts()
    last, fixed = one_step(sampler, energy, x0), energy_and_starts()[0]
    weights = list(energy.parameters())
    direction = [torch.randn(w.shape, generator=generator(3), dtype=w.dtype) for w in weights]

    def moved(step: float) -> Tensor:
        for w, v in zip(weights, direction, strict=True):
            w.data += step * v
        x = run_chains(sampler, Potential(energy, T), x0, 1, generator=generator(2)).x
        for w, v in zip(weights, direction, strict=True):
            w.data -= step * v
        return x

    def difference(at: Callable[[Tensor], Tensor], eps: float) -> float:
        with torch.no_grad():
            return float((at(moved(eps)).mean() - at(moved(-eps)).mean()) / (2 * eps))

    x = moved(0.0)
    value = term(last, energy, x)
    assert abs(float((value - fixed(x).mean()).detach())) < 1e-14
    slopes = torch.autograd.grad(value, weights, allow_unused=True)
    slope = sum(
        float((s * v).sum()) for s, v in zip(slopes, direction, strict=True) if s is not None
    )
    coarse, fine = difference(fixed, 2e-8), difference(fixed, 1e-8)
    tolerance = 3 * abs(fine - coarse) / 3 + 1e-6
    assert abs(slope - fine) < tolerance

    moving_slopes = torch.autograd.grad(energy(x).mean(), weights)
    moving = sum(float((s * v).sum()) for s, v in zip(moving_slopes, direction, strict=True))
    assert abs(slope + moving - fine) > 100 * tolerance


class Quadratic(nn.Module):
    """E = a·|x|²/2."""

    def __init__(self, a: float) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(a, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.a * (x**2).flatten(1).sum(1) / 2


def test_closed_form() -> None:
    """E = a|x|²/2: x_K = x - (h/2T)·a·x + √h·ξ, so d/da mean E_sg(x_K) = -mean (h/2T)·a·x_K·x."""
    energy, x0 = Quadratic(1.3), energy_and_starts()[1]
    last = one_step(Langevin(0.3), energy, x0)
    x = run_chains(Langevin(0.3), Potential(energy, T), x0, 1, generator=generator(2)).x
    (slope,) = torch.autograd.grad(term(last, energy, x), [energy.a])
    expected = -(0.3 / (2 * T) * 1.3 * x * x0).sum(1).mean()
    assert abs(float(slope - expected)) < 1e-13


def test_training_adds_the_term_to_the_loss(small: TrainConfig) -> None:
    """∇_θ L with the weight minus ∇_θ L without it is weight·∇_θ of the term: float64,
    some roundings.
    """
    config = changed(small, sampler=Langevin(0.02), adapt=None, kl_weight=0.3, temperature=T)
    rows = torch.randn((64, 2), generator=generator(4), dtype=torch.float64)
    data = Dataset(rows, rows)
    torch.set_default_dtype(torch.float64)
    try:
        state = TrainState(config, data, World())
        x_pos = data.train[: config.batch]
        x_neg, _, _, last = negative_batch(config.objective, config, state, x_pos)
        assert last is not None
        totals = []
        for step in (last, None):
            loss = backward(config.objective, state, x_pos, x_neg, step).loss
            totals.append((loss, [w.grad for w in state.energy.parameters()]))
        kl = term(last, state.energy, x_neg)
        slopes = torch.autograd.grad(kl, list(state.energy.parameters()), allow_unused=True)
    finally:
        torch.set_default_dtype(torch.float32)
    assert abs(float((totals[0][0] - totals[1][0] - 0.3 * kl).detach())) < 1e-12
    for ours, plain, slope in zip(totals[0][1], totals[1][1], slopes, strict=True):
        assert ours is not None
        assert plain is not None
        expected = torch.zeros_like(plain) if slope is None else 0.3 * slope
        assert (ours - plain - expected).abs().max() < 1e-12
    # negative control: there is something
    assert max(float(s.abs().max()) for s in slopes if s is not None) > 1e-6


def test_before_is_the_state_before_the_last_step() -> None:
    """K steps are K - 1 steps and one more from there: the same numbers, bit for bit."""
    energy, x0 = energy_and_starts()
    whole = run_chains(Langevin(0.3), energy, x0, 5, generator=generator(2))
    short = run_chains(Langevin(0.3), energy, x0, 4, generator=generator(2))
    assert torch.equal(whole.before, short.x)
    assert not torch.equal(whole.before, whole.x)


class TestRefused:
    @pytest.mark.parametrize(
        "sampler",
        [
            MALA(0.1),
            HMC(0.1),
            Adjusted(Stanley(0.1)),
            GradientDescent(0.1),
            MatchedLangevin(0.1),
            Stanley(0.1, correction="drift"),
            Stanley(0.1, correction="midpoint"),
            Stanley(0.1, refresh="lagged"),
        ],
        ids=repr,
    )
    def test_samplers_without_a_gradient(self, small: TrainConfig, sampler: AnySampler) -> None:
        changed(small, sampler=sampler, adapt=None)
        with pytest.raises(
            StanleyError, match=r"objective\.kl_weight is 0\.1, but no gradient goes through"
        ):
            changed(small, sampler=sampler, adapt=None, kl_weight=0.1)
        assert why_no_gradient(sampler)

    def test_negative_weight(self, small: TrainConfig) -> None:
        with pytest.raises(StanleyError, match=r"objective\.kl_weight is -1"):
            changed(small, kl_weight=-1)

    def test_sharded_weights(self, small: TrainConfig) -> None:
        config = changed(small, sampler=Langevin(0.02), adapt=None, kl_weight=0.1)
        check_split(config, World(0, 2), "ddp", "auto")
        with pytest.raises(StanleyError, match="differentiates twice"):
            check_split(config, World(0, 2), "fsdp", "auto")

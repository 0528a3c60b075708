"""What samplers state of themselves, through wrappers, and where nothing is stated."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar, get_args

import pytest
import torch

from stanley.config import to_dict
from stanley.errors import StanleyError
from stanley.samplers import (
    HMC,
    MALA,
    Adjusted,
    AnySampler,
    Langevin,
    Preconditioned,
    RandomWalk,
    ReplicaExchange,
    Stanley,
    StepInfo,
    Traits,
    evaluate,
    run_chains,
    traits_of,
)
from stanley.samplers.base import ChainState
from stanley.samplers.named import step_is_time
from stanley.samplers.traits import leaves_out_last

from . import targets
from .cases import ADJUSTED, UNADJUSTED
from .invariants import generator, starts

WIDTHS = torch.ones(2, 3, 2, dtype=torch.float64)


@dataclass(frozen=True)
class Plain:
    """A sampler of a user's own that states nothing."""

    step_size: float

    def init(self, potential, x):
        return evaluate(potential, x)

    def step(self, potential, state, generator):
        return evaluate(potential, state.x - self.step_size / 2 * state.grad), StepInfo()


@dataclass(frozen=True)
class TwoGradients(Plain):
    traits: ClassVar[Traits] = Traits(gradients=2, init_gradients=3, potentials=5)


@dataclass(frozen=True)
class Counting(Plain):
    """A proposal whose steps are of different lengths, and which counts them."""

    traits: ClassVar[Traits] = Traits(log_ratio_gradients=4)

    def propose(self, potential, state, generator):
        candidate, _ = self.step(potential, state, generator)
        return candidate, None, StepInfo(num_gradients=7)

    def log_ratio(self, potential, state: ChainState, candidate: ChainState, move):
        return torch.zeros_like(state.potential)


def spent(sampler, steps: int) -> tuple[int, int]:
    info = run_chains(sampler, targets.coupled, starts(), steps, generator=generator()).info
    return info.num_gradients, info.num_potentials


def test_a_sampler_that_states_nothing_is_a_langevin_type_move():
    assert traits_of(Plain(0.1)) == Traits()
    assert spent(Plain(0.1), 4) == (5, 0)


def test_the_cost_of_a_run_is_the_stated_one_unless_the_step_counts_itself():
    assert spent(TwoGradients(0.1), 4) == (3 + 4 * 2, 4 * 5)
    assert spent(ReplicaExchange(TwoGradients(0.1), (1.0, 2.0)), 4) == (2 * (3 + 4 * 2), 2 * 4 * 5)
    assert spent(Adjusted(Counting(0.1)), 4) == (1 + 4 * (7 + 4), 0)
    assert spent(HMC(0.1, 6, jitter=False), 4) == (1 + 4 * 6, 0)


@dataclass(frozen=True)
class LooksBack(Langevin):
    """Langevin that ends in half a kick by the gradient it has just taken."""

    def step(self, potential, state, generator):
        after, info = super().step(potential, state, generator)
        return after._replace(x=after.x - self.step_size / 4 * after.grad), info


@dataclass(frozen=True)
class Overstates(Plain):
    """It says that it does not use the gradient at its end, and does: the control."""

    traits: ClassVar[Traits] = Traits(gradient_is_for_next=True)

    def step(self, potential, state, generator):
        after, info = super().step(potential, state, generator)
        return after._replace(x=after.x - self.step_size / 4 * after.grad), info


def ends(sampler, last_gradient: bool) -> torch.Tensor:
    return run_chains(
        sampler,
        targets.coupled,
        starts(),
        3,
        generator=generator(),
        last_gradient=last_gradient,
    ).x


def test_a_class_that_changes_the_step_leaves_no_gradient_out():
    """What Langevin states of itself says nothing of a step that extends it."""
    assert leaves_out_last(Langevin(0.1))
    assert not leaves_out_last(LooksBack(0.1))
    assert torch.equal(ends(LooksBack(0.1), True), ends(LooksBack(0.1), False))
    assert leaves_out_last(Overstates(0.1))
    assert ends(Overstates(0.1), False).isnan().all()


def test_wrappers_speak_for_the_sampler_inside():
    drift = Adjusted(Stanley(0.1, 1.0, correction="drift"))
    assert (traits_of(drift).adjusted, traits_of(drift).gradients) == (True, 5)
    ladder = traits_of(ReplicaExchange(HMC(0.1, 3), (1.0, 2.0, 3.0)))
    assert (ladder.gradients, ladder.init_gradients, ladder.step_is_time) == (9, 3, True)
    walk = traits_of(Preconditioned(RandomWalk(0.1), WIDTHS))
    assert (walk.gradients, walk.potentials, walk.target_acceptance) == (0, 1, 0.234)
    kept = traits_of(Preconditioned(Adjusted(Stanley(0.1, 1.0, refresh="start")), WIDTHS))
    assert "refresh='start'" in str(kept.not_markov)
    assert "jitter=False" in str(traits_of(Preconditioned(HMC(0.1, 3), WIDTHS)).not_traceable)


def test_a_reason_is_told_by_who_refuses():
    with pytest.raises(StanleyError, match=r"Adjusted\(Plain\): it has no propose and log_ratio"):
        Adjusted(Plain(0.1))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "sampler", [MALA(0.1), HMC(0.1), Adjusted(Langevin(0.1)), ReplicaExchange(MALA(0.1))]
)
def test_traits_are_no_part_of_a_configuration(sampler):
    assert "traits" not in to_dict(sampler)
    assert "traits" not in {f.name for f in fields(sampler)}


def test_kinds_that_take_a_time_step():
    kinds = [kind.kind for kind in get_args(AnySampler)]
    assert [kind for kind in kinds if step_is_time(kind)] == ["underdamped", "hmc", "chees"]
    assert not step_is_time("no such kind")
    assert not step_is_time(None)


@pytest.mark.parametrize("name", UNADJUSTED | ADJUSTED)
def test_every_reason_is_one_line(name):
    stated = traits_of((UNADJUSTED | ADJUSTED)[name])
    for reason in (stated.not_markov, stated.not_traceable, stated.not_adjustable):
        assert reason is None or (reason and "\n" not in reason)

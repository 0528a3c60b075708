"""Steps that are traced together are the eager steps, bit for bit before a compiler rounds them."""

from __future__ import annotations

import warnings

import pytest
import torch

from stanley.samplers import Langevin, Preconditioned, Stanley, execution, run_chains
from stanley.samplers.blocks import BLOCK, block_of_steps

from . import targets
from .cases import scope_of
from .invariants import generator, identical, starts
from .test_execution import NOT_TRACEABLE, TRACEABLE, nothing_remembered, traced

__all__ = ["nothing_remembered", "traced"]  # fixtures

STEPS = 2 * BLOCK + 4  # the first alone, two blocks, three one by one
VECTORS = {  # second derivatives make blocks too long
    name: Preconditioned(s.sampler, s.scale.flatten()) if isinstance(s, Preconditioned) else s
    for name, s in TRACEABLE.items()
    if scope_of(s) != "pixel" and "drift" not in name
}
FIELDS = ("acceptance", "step_scale", "grad_norm", "invalid", "nonfinite", "potential")


def run(sampler, how, steps=STEPS, rng=None, x0=None, **asked):
    x0 = starts((5, 12)) if x0 is None else x0
    rng = rng or generator()
    return run_chains(sampler, targets.coupled, x0, steps, generator=rng, execution=how, **asked)


def blocks() -> list[object]:
    """What came of tracing several steps together."""
    return [found for (_, act, *_), found in execution.CACHE.items() if act is block_of_steps]


def same(one, other) -> bool:
    both = [(getattr(one.info, name), getattr(other.info, name)) for name in FIELDS]
    return (
        all(identical(a, b) for a, b in [*both, (one.x, other.x), (one.before, other.before)])
        and (one.draws is None or identical(one.draws, other.draws))
        and one.info.num_gradients == other.info.num_gradients
        and one.info.num_potentials == other.info.num_potentials
    )


@pytest.mark.parametrize("name", VECTORS)
def test_several_steps_are_the_eager_steps(traced, name):
    """Every draw, every number that is told, and where the generator stands in the end."""
    here, there = generator(), generator()
    eager = run(VECTORS[name], "eager", rng=here, keep_every=1)
    other = run(VECTORS[name], "compile", rng=there, keep_every=1)
    (found,) = blocks()
    assert isinstance(found, execution.Traced)
    assert same(eager, other)
    assert torch.equal(here.get_state(), there.get_state())


def test_wrong_noise_is_seen(traced, monkeypatch):
    """Negative control."""
    monkeypatch.setattr(
        execution.Tape, "take", lambda self, draw: torch.roll(next(self.numbers), 1, 0)
    )
    assert not same(run(Langevin(0.1), "eager"), run(Langevin(0.1), "compile"))


@pytest.mark.parametrize("steps", [1, BLOCK, BLOCK + 1, BLOCK + 2, 2 * BLOCK + 1])
@pytest.mark.parametrize("last_gradient", [True, False], ids=["all", "last left out"])
def test_a_run_of_any_length(traced, steps, last_gradient):
    eager, other = (
        run(Stanley(0.1, 1.0), how, steps, last_gradient=last_gradient)
        for how in ("eager", "compile")
    )
    assert same(eager, other)
    assert len(blocks()) == (steps > BLOCK + (not last_gradient))


def test_states_are_kept_as_often_as_asked(traced):
    eager, other = (run(Langevin(0.1), how, keep_every=3) for how in ("eager", "compile"))
    assert other.draws is not None
    assert same(eager, other)


def test_steps_that_are_too_long_together_are_taken_one_by_one(traced, monkeypatch):
    monkeypatch.setattr(execution, "LONGEST", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same(run(Langevin(0.1), "eager"), run(Langevin(0.1), "compile"))
    assert blocks() == [None]


@pytest.mark.parametrize(("sampler", "reason"), NOT_TRACEABLE.values(), ids=NOT_TRACEABLE)
def test_what_cannot_be_traced_is_told_once(traced, sampler, reason):
    """Not once more of several steps."""
    eager = run(sampler, "eager")
    with pytest.warns(UserWarning, match=reason) as told:
        other = run(sampler, "compile")
    assert len(told) == 1
    assert same(eager, other)


def test_images_are_moved_step_by_step(traced):
    images = starts((5, 3, 2, 2))
    both = [run(Langevin(0.1), how, x0=images) for how in ("eager", "compile")]
    assert same(*both)
    assert not blocks()


def test_the_compiler_keeps_the_numbers():
    """Twelve coordinates, twenty steps: each may round its handful of fused operations
    differently, 1e-12 in all.
    """
    eager, other = (run(Stanley(0.1, 1.0), how, keep_every=1) for how in ("eager", "compile"))
    assert isinstance(blocks()[0], execution.Traced)
    torch.testing.assert_close(eager.draws, other.draws, rtol=0, atol=1e-12)

"""Trajectories of a length that is drawn anew, compiled in blocks: those of the eager step bit for
bit as they are traced, and to the rounding of fused operations as they are compiled.
"""

from __future__ import annotations

import warnings

import pytest
import torch

from stanley.networks import MLP, build_energy
from stanley.samplers import (
    HMC,
    MALA,
    ChEES,
    DensePreconditioned,
    Preconditioned,
    adapt,
    execution,
    run_chains,
    trajectories,
)
from stanley.samplers.base import gradients, value_and_gradient
from stanley.samplers.preconditioned import Sheared, Stretched
from stanley.samplers.trajectories import Counted
from stanley.types import Chunked, Potential

from . import targets
from .invariants import generator, identical, starts

D = 12  # numbers of one point of `starts`
WIDTHS = torch.linspace(0.5, 2, D, dtype=torch.float64).view(2, 3, 2)
FACTOR = torch.eye(D, dtype=torch.float64) + 0.1 * torch.ones(D, D, dtype=torch.float64).tril()
SAMPLERS = {
    "hmc with jitter": HMC(0.05, 12),
    "chees": ChEES(0.05, 1.5),
    "chees, rescaled": Preconditioned(ChEES(0.05, 1.5), WIDTHS),
    "hmc, rescaled": Preconditioned(HMC(0.05, 12), WIDTHS),
    "chees, dense": DensePreconditioned(ChEES(0.05, 1.5), FACTOR),
}


@pytest.fixture(autouse=True)
def nothing_remembered():
    execution.CACHE.clear()
    yield
    execution.CACHE.clear()


@pytest.fixture
def traced(monkeypatch):
    """execution='compile' without the compiler."""
    monkeypatch.setattr(execution, "compiled", lambda graph, inputs: graph)


def run(sampler, how, potential=targets.coupled, x0=None, steps=8):
    rng = generator()
    x0 = starts() if x0 is None else x0
    out = run_chains(sampler, potential, x0, steps, generator=rng, keep_every=1, execution=how)
    return out, rng.get_state()


def assert_same(eager, other):
    (a, left), (b, left_too) = eager, other
    assert identical(a.draws, b.draws)
    assert torch.equal(left, left_too)
    for field in ("acceptance", "grad_norm", "invalid", "nonfinite", "potential"):
        assert identical(getattr(a.info, field), getattr(b.info, field)), field
    assert a.info.num_gradients == b.info.num_gradients


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_traced_trajectory_is_the_eager_one_bit_for_bit(traced, name):
    """Draws, every number of the info, and where the generator stands in the end."""
    assert_same(run(SAMPLERS[name], "eager"), run(SAMPLERS[name], "compile"))
    assert execution.CACHE
    assert not any(isinstance(found, str) for found in execution.CACHE.values())


def test_a_wrong_block_is_seen(traced, monkeypatch):
    """Negative control: a block that is one leapfrog step short."""
    real = trajectories.leapfrog

    def short(potential, state, momentum, step_size, num):
        return real(potential, state, momentum, step_size, max(1, num - 1))

    monkeypatch.setattr(trajectories, "leapfrog", short)
    eager, other = (run(ChEES(0.05, 3.0), how)[0] for how in ("eager", "compile"))
    assert not identical(eager.draws, other.draws)


def test_another_step_size_length_and_scale_trace_nothing_anew(traced, monkeypatch):
    run(Preconditioned(HMC(0.05, 20), WIDTHS), "compile")

    def anew(*_):
        raise AssertionError("traced anew")

    monkeypatch.setattr(trajectories, "compiled_block", anew)
    for sampler in (
        Preconditioned(ChEES(0.1, 3.0), 2 * WIDTHS),
        ChEES(0.1, 3.0),
        Preconditioned(HMC(0.02, 30), WIDTHS),
    ):
        assert_same(run(sampler, "eager"), run(sampler, "compile"))


def test_another_scale_traces_no_step_anew(traced, monkeypatch):
    """Of a sampler whose whole step is traced."""
    run(Preconditioned(MALA(0.1), WIDTHS), "compile")
    monkeypatch.setattr(execution, "trace", None)
    sampler = Preconditioned(MALA(0.2), 2 * WIDTHS)
    assert_same(run(sampler, "eager"), run(sampler, "compile"))


@pytest.mark.parametrize("sampler", [ChEES(0.1), HMC(0.1), MALA(0.1)], ids=lambda s: s.kind)
@pytest.mark.parametrize("precondition", [None, "both", "dense"], ids=str)
def test_a_traced_warm_up_is_the_eager_one(traced, sampler, precondition):
    """Where it ends, what it finds, and the points that it counts on the way."""
    found = []
    for how in ("eager", "compile"):
        counted = Counted(targets.gaussian)
        asked = {"precondition": precondition, "execution": how}
        adapted, x = adapt(sampler, counted, starts(), 60, generator=generator(), **asked)
        found.append((x, adapted.step_size, getattr(adapted, "scale", x), counted.points))
    (x, h, scale, points), (x_too, h_too, scale_too, points_too) = found
    assert identical(x, x_too)
    assert h == h_too
    assert identical(scale, scale_too)
    assert points == points_too


def test_weights_are_seen_where_they_lie():
    """Through the compiler, which may keep what is constant: to the rounding of float32, 1e-3 of
    positions of size 1 after eight short steps.
    """
    energy = build_energy(MLP(width=8, depth=2), (2,), seed=0).eval().requires_grad_(False)
    x0 = starts((4, 2), dtype=torch.float32)
    moved = []
    for _ in range(2):
        (eager, _), (other, _) = (
            run(ChEES(0.02, 0.3), how, Potential(energy, 0.1), x0) for how in ("eager", "compile")
        )
        torch.testing.assert_close(eager.draws, other.draws, rtol=0, atol=1e-3)
        moved.append(eager.x)
        with torch.no_grad():
            for weight in energy.parameters():
                weight.mul_(1.5)
    assert (moved[0] - moved[1]).abs().max() > 1e-2
    assert not any(isinstance(found, str) for found in execution.CACHE.values())


def test_a_single_number_that_moves_is_seen():
    """A 0-d tensor, which a compiler would take into its code as a constant: 4 for 1 here."""
    steepness = torch.ones((), dtype=torch.float64)

    def potential(x):
        return steepness * targets.gaussian(x)

    for value in (1.0, 4.0):
        steepness.fill_(value)
        eager, other = (run(ChEES(0.02, 0.3), how, potential)[0] for how in ("eager", "compile"))
        torch.testing.assert_close(eager.draws, other.draws, rtol=0, atol=1e-10)


def test_the_compiler_keeps_the_numbers():
    """Twelve coordinates, three trajectories of some twenty leapfrog steps of size 0.05, which
    cannot part by more than e¹⁰ times the rounding of one: 1e-10.
    """
    eager, other = (run(ChEES(0.05, 2.0), how, steps=3)[0] for how in ("eager", "compile"))
    assert not any(isinstance(found, str) for found in execution.CACHE.values())
    torch.testing.assert_close(eager.draws, other.draws, rtol=0, atol=1e-10)


def test_what_cannot_be_traced_runs_eagerly_and_says_so_once(traced):
    def reads(x):
        return targets.coupled(x) * (1.0 if float(x.detach().sum()) < 1e9 else 2.0)

    eager = run(ChEES(0.05), "eager", reads)
    with pytest.warns(UserWarning, match="going on eagerly") as told:
        other = run(ChEES(0.05), "compile", reads)
    assert len(told) == 1
    assert_same(eager, other)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(ChEES(0.05), "compile", reads)


@pytest.mark.parametrize("wrapped", [Stretched, Sheared], ids=["widths", "dense"])
@pytest.mark.parametrize("of", ["function", "network"])
def test_a_rescaled_gradient_is_that_of_autograd(wrapped, of):
    """Bit for bit: the chain rule by hand, in the operations of autograd."""
    x = starts((7, D))
    energy = targets.coupled
    if of == "network":
        energy = build_energy(MLP(width=8, depth=2), (D,), seed=0).double().requires_grad_(False)
    potential = wrapped(energy, WIDTHS.flatten() if wrapped is Stretched else FACTOR)
    u, grad = value_and_gradient(potential, x)
    u_too, grad_too = value_and_gradient(lambda z: potential(z), x)
    assert identical(u, u_too)
    assert identical(grad, grad_too)


def test_gradients_of_chunks_are_those_of_all():
    """Each row depends on its own point alone; the last chunk is smaller."""
    x = starts((7, D))
    (u, grad), (u_too, grad_too) = (
        gradients(energy, len(x))(x) for energy in (targets.coupled, Chunked(targets.coupled, 3))
    )
    torch.testing.assert_close(u, u_too, rtol=1e-13, atol=0)
    torch.testing.assert_close(grad, grad_too, rtol=1e-12, atol=1e-13)

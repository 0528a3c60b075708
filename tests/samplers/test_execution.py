"""Every way to carry out a step gives what the eager step gives.

'trace' is the tensor graph that 'compile' compiles and 'graph' captures, run as it is: its
operations are the eager ones, so it must agree bit for bit. What a compiler makes of it may round
differently.
"""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from stanley.errors import StanleyError
from stanley.networks import MLP, ConvNet, ResNet, build_energy
from stanley.samplers import (
    AMALA,
    HMC,
    MALA,
    Barker,
    Langevin,
    Preconditioned,
    PreconditionedLangevin,
    RandomWalk,
    ReplicaExchange,
    Stanley,
    Underdamped,
    adapt,
    execution,
    run_chains,
)
from stanley.samplers.traits import with_step_size
from stanley.types import Potential

from . import targets
from .cases import ADJUSTED, UNADJUSTED
from .invariants import generator, identical, starts

WIDTHS = torch.linspace(0.5, 2, 12, dtype=torch.float64).view(2, 3, 2)
TRACEABLE = (
    UNADJUSTED
    | ADJUSTED
    | {
        "barker": Barker(0.1),
        "random-walk": RandomWalk(0.1),
        "amala": AMALA(0.1),
        "hmc": HMC(0.1, 3, jitter=False),
        "underdamped": Underdamped(0.1),
        "preconditioned": Preconditioned(MALA(0.1), WIDTHS),
    }
)
NOT_TRACEABLE = {
    "bias-corrected": (PreconditionedLangevin(0.1), "a number of its own"),
    "replicas": (ReplicaExchange(MALA(0.1)), "a number of its own"),
}


@pytest.fixture(autouse=True)
def nothing_remembered():
    execution.CACHE.clear()
    yield
    execution.CACHE.clear()


@pytest.fixture
def traced(monkeypatch):
    """execution='compile' without the compiler: seconds become milliseconds, and rounding stays."""
    monkeypatch.setattr(execution, "compiled", lambda graph, inputs: graph)


def run(sampler, how, potential=targets.coupled, x0=None, steps=5, rng=None):
    x0 = starts() if x0 is None else x0
    rng = rng or generator()
    return run_chains(
        sampler, potential, x0, steps, generator=rng, keep_every=1, execution=how
    ), rng.get_state()


@pytest.mark.parametrize("name", TRACEABLE)
def test_the_traced_step_is_the_eager_step_bit_for_bit(traced, name):
    """Draws, every number of the info, and where the generator stands in the end."""
    (eager, left), (other, left_too) = (
        run(TRACEABLE[name], "eager"),
        run(TRACEABLE[name], "compile"),
    )
    (found,) = execution.CACHE.values()
    assert isinstance(found, execution.Traced), found
    assert identical(eager.draws, other.draws)
    assert torch.equal(left, left_too)
    for field in ("acceptance", "step_scale", "grad_norm", "invalid", "nonfinite", "potential"):
        assert identical(getattr(eager.info, field), getattr(other.info, field)), field
    assert eager.info.num_gradients == other.info.num_gradients


def test_a_wrong_trace_is_seen(traced, monkeypatch):
    """Negative control: noise in another order."""
    monkeypatch.setattr(
        execution.Tape, "take", lambda self, draw: torch.roll(next(self.numbers), 1, 0)
    )
    assert not identical(
        run(Langevin(0.1), "eager")[0].draws, run(Langevin(0.1), "compile")[0].draws
    )


@pytest.mark.parametrize(("sampler", "reason"), NOT_TRACEABLE.values(), ids=NOT_TRACEABLE)
def test_what_cannot_be_traced_runs_eagerly_and_says_so_once(traced, sampler, reason):
    eager, left = run(sampler, "eager")
    with pytest.warns(UserWarning, match=reason) as told:
        other, left_too = run(sampler, "compile")
    assert len(told) == 1
    assert identical(eager.draws, other.draws)
    assert torch.equal(left, left_too)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(sampler, "compile")


def test_a_sampler_with_draws_of_its_own_runs_eagerly(traced):
    class Own(Langevin):
        def step(self, potential, state, generator):
            torch.rand(2, generator=generator)
            return super().step(potential, state, generator)

    with pytest.warns(UserWarning, match="going on eagerly"):
        other, _ = run(Own(0.1), "compile")
    assert identical(run(Own(0.1), "eager")[0].draws, other.draws)


def test_a_failing_compiler_is_survived(monkeypatch):
    def broken(graph, inputs):
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(execution, "compiled", broken)
    with pytest.warns(UserWarning, match="RuntimeError: no compiler here"):
        other, _ = run(MALA(0.1), "compile")
    assert identical(run(MALA(0.1), "eager")[0].draws, other.draws)


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        (MLP(width=8, depth=2), (3,)),
        (ConvNet(width=4), (3, 16, 16)),
        (ResNet(width=4, spectral_norm=True), (3, 16, 16)),
    ],
    ids=["mlp", "convnet", "resnet, spectral norm"],
)
def test_new_weights_are_seen(traced, spec, shape):
    """As in training: the weights move in place between runs,
    normalised ones are cached within a run.
    """
    energy = build_energy(spec, shape, seed=0).eval().requires_grad_(False)
    x0 = starts((4, *shape), dtype=torch.float32)
    seen = []
    for _ in range(2):
        with nn.utils.parametrize.cached():
            eager, _ = run(Langevin(0.01), "eager", Potential(energy, 0.5), x0)
            other, _ = run(Langevin(0.01), "compile", Potential(energy, 0.5), x0)
        assert identical(eager.draws, other.draws)
        seen.append(eager.x)
        with torch.no_grad():
            for weight in energy.parameters():
                weight.mul_(1.5)
    assert len(execution.CACHE) == 1
    assert not torch.equal(*seen)


def test_another_step_size_traces_nothing_anew(traced, monkeypatch):
    run(MALA(0.1), "compile")
    monkeypatch.setattr(execution, "trace", None)
    for h in (0.2, torch.tensor(0.3, dtype=torch.float64)):
        sampler = with_step_size(MALA(0.1), h)
        assert identical(run(sampler, "eager")[0].draws, run(sampler, "compile")[0].draws)


@pytest.mark.parametrize(
    "other",
    [
        {"sampler": Stanley(0.1, 2.0)},
        {"x0": starts((4, 2, 3, 2))},
        {"x0": starts(dtype=torch.float32)},
        {"potential": targets.gaussian},
    ],
    ids=["sampler", "chains", "type", "potential"],
)
def test_anything_else_that_is_new_is_traced(traced, other):
    run(Stanley(0.1, 1.0), "compile")
    request = {"sampler": Stanley(0.1, 1.0)} | other
    assert identical(run(how="compile", **request)[0].draws, run(how="eager", **request)[0].draws)
    assert len(execution.CACHE) == 2


def test_a_temperature_is_part_of_the_trace(traced):
    for temperature in (1.0, 2.0):
        potential = Potential(targets.coupled, temperature)
        eager, other = (run(Langevin(0.1), how, potential)[0] for how in ("eager", "compile"))
        assert identical(eager.draws, other.draws)


def test_auto_is_eager(traced):
    assert identical(run(MALA(0.1), "auto")[0].draws, run(MALA(0.1), "eager")[0].draws)
    assert not execution.CACHE


def test_few_traces_are_kept(traced):
    for n in range(1, execution.KEPT + 3):
        run(Langevin(0.1), "compile", x0=starts((n, 2)))
    assert len(execution.CACHE) == execution.KEPT


def test_an_adapted_sampler_runs_compiled(traced):
    sampler, x = adapt(
        MALA(0.1), targets.gaussian, starts(), 30, generator=generator(), precondition="both"
    )
    assert identical(run(sampler, "eager", x0=x)[0].draws, run(sampler, "compile", x0=x)[0].draws)


def test_the_compiler_keeps_the_numbers():
    """Twelve coordinates, five steps: each step may round its handful of fused operations
    differently, 1e-13 in all.
    """
    eager, other = run(Stanley(0.1, 1.0), "eager")[0], run(Stanley(0.1, 1.0), "compile")[0]
    (found,) = execution.CACHE.values()
    assert isinstance(found, execution.Traced), found
    torch.testing.assert_close(eager.draws, other.draws, rtol=0, atol=1e-13)


def test_a_potential_without_a_hash_is_refused(traced):
    class Own:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self, x):
            return targets.coupled(x)

    with pytest.raises(StanleyError, match="has no hash"):
        run(Langevin(0.1), "compile", Own())


@pytest.mark.parametrize(
    ("how", "told"), [("graph", "captures CUDA graphs"), ("fast", "execution is 'fast'")]
)
def test_bad_requests(how, told):
    with pytest.raises(StanleyError, match=told):
        run(Langevin(0.1), how)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs")
@pytest.mark.parametrize("name", TRACEABLE)
def test_a_captured_graph_is_the_eager_step(name):
    """On the device, to the rounding of sums in another order."""
    x0 = starts().cuda()
    if name == "preconditioned":
        pytest.skip("its scale is on the host")
    runs = [
        run(TRACEABLE[name], how, x0=x0, rng=torch.Generator("cuda").manual_seed(0))[0]
        for how in ("eager", "graph")
    ]
    torch.testing.assert_close(runs[0].draws, runs[1].draws, rtol=1e-9, atol=1e-9)

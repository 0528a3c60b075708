"""The chain loop: what it refuses, keeps and reports."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from stanley.errors import StanleyError
from stanley.samplers import (
    AMALA,
    MALA,
    ClippedLangevin,
    Langevin,
    MatchedLangevin,
    Stanley,
    run_chains,
)

from . import formulas, targets
from .invariants import generator, identical, starts

GOOD = {"potential": targets.gaussian, "x0": starts((4, 3)), "num_steps": 3}
BAD = {  # what is changed, what the message names; more, for every sampler, in `invariants.REFUSED`
    "constant": ({"potential": lambda x: torch.zeros(len(x))}, "does not depend on x"),
    "inf start": ({"x0": torch.tensor([[float("inf")], [float("-inf")]])}, "2 of 2 chains"),
    "negative steps": ({"num_steps": -1}, "num_steps is -1"),
    "keep 0": ({"keep_every": 0}, "keep_every is 0"),
    "keep beyond the run": ({"keep_every": 4}, "keep_every is 4"),
    "integers": ({"x0": torch.zeros(4, 3, dtype=torch.long)}, "torch.int64"),
    "one dimension": ({"x0": torch.zeros(4)}, r"\(chains, \*event\)"),
    "no chains": ({"x0": torch.zeros(0, 3)}, "at least one chain"),
}


@pytest.mark.parametrize(("change", "says"), BAD.values(), ids=list(BAD))
@pytest.mark.parametrize("sampler", [Langevin(0.1), MALA(0.1)], ids=["langevin", "mala"])
def test_refuses_in_one_line(sampler, change, says):
    request = GOOD | change
    with pytest.raises(StanleyError, match=says) as error:
        run_chains(
            sampler,
            request.pop("potential"),
            request.pop("x0"),
            request.pop("num_steps"),
            generator=generator(),
            **request,
        )
    assert "\n" not in str(error.value)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a second device")
def test_generator_and_start_share_a_device():
    with pytest.raises(StanleyError, match="the generator is on cpu"):
        run_chains(Langevin(0.1), targets.gaussian, starts().cuda(), 1, generator=generator())


@pytest.mark.parametrize(("steps", "every", "kept"), [(6, 1, 6), (6, 2, 3), (7, 3, 2), (5, 5, 1)])
def test_keeps_every_nth_state(steps, every, kept):
    thin = run_chains(
        Langevin(0.1), targets.coupled, starts(), steps, generator=generator(), keep_every=every
    )
    full = run_chains(
        Langevin(0.1), targets.coupled, starts(), steps, generator=generator(), keep_every=1
    )
    assert identical(thin.draws, full.draws[every - 1 :: every][:kept])
    assert identical(full.draws[-1], full.x)
    assert (
        run_chains(Langevin(0.1), targets.coupled, starts(), steps, generator=generator()).draws
        is None
    )


def test_reports_means_over_the_steps():
    sampler, rng = MALA(0.3), generator()
    result = run_chains(sampler, targets.coupled, starts(), 5, generator=generator())
    state, acceptance, norm = sampler.init(targets.coupled, starts()), 0, 0
    for _ in range(5):
        norm = norm + state.grad.flatten(1).norm(dim=1) / 5  # where the step begins
        state, info = sampler.step(targets.coupled, state, rng)
        acceptance = acceptance + info.acceptance / 5
    torch.testing.assert_close(result.info.acceptance, acceptance)
    torch.testing.assert_close(result.info.grad_norm, norm)
    assert (result.info.step_scale == 1).all()
    assert result.info.threshold is None


@pytest.mark.parametrize(
    ("sampler", "scope"),
    [
        (Stanley(0.3, 1.0), "element"),
        (Stanley(0.3, 1.0, "pixel"), "pixel"),
        (ClippedLangevin(0.3, 1.0), "element"),
        (MatchedLangevin(0.3, 1.0), "element"),
        (AMALA(0.3, 1.0), "sample"),
    ],
)
def test_reports_the_mean_scale_over_steps_and_event(sampler, scope):
    rng = generator()
    result = run_chains(sampler, targets.coupled, starts(), 5, generator=generator())
    state, scale = sampler.init(targets.coupled, starts()), 0
    for _ in range(5):  # γ of the states that were left
        scale = scale + formulas.gamma(state.grad, 1.0, scope).flatten(1).mean(1) / 5
        state, _ = sampler.step(targets.coupled, state, rng)
    torch.testing.assert_close(result.info.step_scale, scale)
    assert ((scale > 0) & (scale < 1)).all()


def test_progress_changes_nothing(capsys):
    a = run_chains(MALA(0.1), targets.coupled, starts(), 5, generator=generator(), progress=True)
    assert capsys.readouterr().out == ""
    assert identical(
        a.x, run_chains(MALA(0.1), targets.coupled, starts(), 5, generator=generator()).x
    )


def test_runs_under_inference_settings_of_the_caller():
    """Gradients to x are taken whether or not the caller, or the weights, ask for gradients."""
    net = nn.Sequential(nn.Linear(3, 4), nn.SiLU(), nn.Linear(4, 1)).double().requires_grad_(False)
    with torch.no_grad():
        a = run_chains(
            Langevin(0.1), lambda x: net(x).squeeze(1), starts((4, 3)), 3, generator=generator()
        )
    net.requires_grad_(True)
    b = run_chains(
        Langevin(0.1), lambda x: net(x).squeeze(1), starts((4, 3)), 3, generator=generator()
    )
    assert identical(a.x, b.x)
    assert all(p.grad is None for p in net.parameters())

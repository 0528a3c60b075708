"""Noise-matched Langevin, the control with STANLEY's mean noise."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch

from stanley.samplers import MatchedLangevin, Stanley

from . import targets
from .cases import SCOPES
from .invariants import Invariants, generator, starts


class TestMatched(Invariants):
    cases: ClassVar[dict] = {scope: MatchedLangevin(0.1, 1.0, scope) for scope in SCOPES}


def noise_variance(sampler, potential, x0) -> torch.Tensor:
    """Read off one step: the same generator gives the same ξ, so (x' - μ)²/ξ² is the variance."""
    xi = torch.randn(x0.shape, generator=generator(), dtype=x0.dtype)
    stanley = Stanley(sampler.step_size, sampler.threshold, sampler.scope)
    mean = stanley.law(potential, stanley.init(potential, x0), None).mean
    after, _ = sampler.step(potential, sampler.init(potential, x0), generator())
    return ((after.x - mean) / xi) ** 2


@pytest.mark.parametrize("scope", SCOPES)
def test_noise_is_isotropic_with_stanleys_mean_variance(scope):
    sampler, x0 = MatchedLangevin(0.1, 0.7, scope), starts()
    stanley = Stanley(0.1, 0.7, scope)
    theirs = stanley.law(
        targets.coupled, stanley.init(targets.coupled, x0), None
    ).variance.expand_as(x0)
    ours = noise_variance(sampler, targets.coupled, x0)
    torch.testing.assert_close(ours, theirs.mean().expand_as(x0), rtol=1e-9, atol=0)
    torch.testing.assert_close(ours.sum(), theirs.sum(), rtol=1e-9, atol=0)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_the_mean_is_over_finite_chains(scope, bad):
    sampler, x0 = MatchedLangevin(0.1, 0.7, scope), starts()
    x0[2, 0, 0, 0] = 60.0
    others = [0, 1, 3, 4]
    walled = targets.walled(targets.gaussian, bad)
    stanley = Stanley(0.1, 0.7, scope)
    theirs = stanley.law(
        targets.gaussian, stanley.init(targets.gaussian, x0[others]), None
    ).variance.mean()
    ours = noise_variance(sampler, walled, x0)[others]
    torch.testing.assert_close(ours, theirs.expand_as(ours), rtol=1e-9, atol=0)

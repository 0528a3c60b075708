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


def noise_variance(sampler, potential, x0) -> tuple[torch.Tensor, float]:
    """Read off one step: the same generator gives the same ξ, so (x' - μ)²/ξ² is the variance v;
    and how far it may be from a mean of N numbers, relatively.

    x' and μ are rounded by δ = 2ε·(|x'| + |μ|), so that v is by 2·δ/(√v·|ξ|). With u = ε/2 the
    root and the product of √v·ξ are rounded by u each, which the square doubles, the quotient too,
    and the square by u: 7u. A mean of N positive numbers is rounded by at most N·u, ours and
    theirs, and each times h by u: (2N + 2)·u.
    """
    xi = torch.randn(x0.shape, generator=generator(), dtype=x0.dtype)
    stanley = Stanley(sampler.step_size, sampler.threshold, sampler.scope)
    mean = stanley.law(potential, stanley.init(potential, x0), None).mean
    after, _ = sampler.step(potential, sampler.init(potential, x0), generator())
    found = ((after.x - mean) / xi) ** 2
    eps = torch.finfo(x0.dtype).eps
    delta = 2 * eps * (after.x.abs() + mean.abs())
    of_moves = float((2 * delta / (after.x - mean).abs()).nan_to_num(0.0, 0.0).max())
    return found, of_moves + (2 * x0.numel() + 9) * eps / 2


@pytest.mark.parametrize("scope", SCOPES)
def test_noise_is_isotropic_with_stanleys_mean_variance(scope):
    sampler, x0 = MatchedLangevin(0.1, 0.7, scope), starts()
    stanley = Stanley(0.1, 0.7, scope)
    theirs = stanley.law(
        targets.coupled, stanley.init(targets.coupled, x0), None
    ).variance.expand_as(x0)
    ours, rounding = noise_variance(sampler, targets.coupled, x0)
    torch.testing.assert_close(ours, theirs.mean().expand_as(x0), rtol=rounding, atol=0)
    torch.testing.assert_close(ours.sum(), theirs.sum(), rtol=rounding, atol=0)


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
    ours, rounding = noise_variance(sampler, walled, x0)
    ours = ours[others]
    torch.testing.assert_close(ours, theirs.expand_as(ours), rtol=rounding, atol=0)

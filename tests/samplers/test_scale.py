"""The threshold as a quantile."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stanley.errors import StanleyError
from stanley.samplers import ClippedLangevin, MatchedLangevin, Quantile, Stanley
from stanley.samplers.scale import magnitude, resolve_threshold

from . import formulas
from .cases import SCOPES
from .invariants import generator, starts


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("q", [0.001, 0.1, 0.37, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("chains", [1, 2, 17])
def test_quantile_is_the_nearest_order_statistic(scope, q, chains):
    """th = the round(q·(n - 1))-th smallest |∇U|: numpy's method 'nearest',
    over what the scope counts.
    """
    grad = starts((chains, 2, 3, 2))
    sizes = magnitude(grad, scope).flatten().numpy()
    assert len(sizes) == {"element": chains * 12, "pixel": chains * 6, "sample": chains}[scope]
    found = resolve_threshold(Quantile(q), grad, scope)
    assert found.shape == ()
    rank = round(q * (len(sizes) - 1))
    assert float(found) == np.sort(sizes)[rank] == np.quantile(sizes, q, method="nearest")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("scope", SCOPES)
def test_quantile_ignores_non_finite_chains(scope, bad):
    grad = starts((9, 2, 3, 2))
    spoiled = torch.cat([grad[:4], torch.full((2, 2, 3, 2), bad, dtype=grad.dtype), grad[4:]])
    assert resolve_threshold(Quantile(0.7), spoiled, scope) == resolve_threshold(
        Quantile(0.7), grad, scope
    )


def test_quantile_of_zero_gradients_gives_full_steps():
    threshold = resolve_threshold(Quantile(0.9), torch.zeros(4, 3), "element")
    assert threshold > 0
    sampler = Stanley(0.1, Quantile(0.9))
    state = sampler.init(lambda x: (0 * x).sum(1), torch.ones(4, 3))
    assert (sampler.scale(state) == 1).all()


@pytest.mark.parametrize("scope", SCOPES)
def test_magnitude(scope):
    grad = torch.randn(4, 2, 3, 2, generator=generator(), dtype=torch.float64)
    torch.testing.assert_close(
        magnitude(grad, scope).expand_as(grad), formulas.size(grad, scope), rtol=1e-13, atol=0
    )


@pytest.mark.parametrize("q", [0.0, 1.0, -0.1, float("nan")])
def test_quantile_lies_between_0_and_1(q):
    with pytest.raises(StanleyError, match="threshold quantile is"):
        Quantile(q)


@pytest.mark.parametrize("kind", [Stanley, ClippedLangevin, MatchedLangevin])
def test_quantile_is_the_default(kind):
    assert kind(0.1).threshold == Quantile(0.9)

"""Detailed balance, pointwise in float64, for anything with a Metropolis test."""

from __future__ import annotations

import pytest
import torch

from stanley.samplers.base import Law
from stanley.samplers.traits import innermost

from . import targets
from .bounds import hoeffding
from .cases import scope_of
from .invariants import Invariants, generator, identical, starts

TARGETS = {"skewed": targets.skewed, "coupled": targets.coupled, "quartic": targets.quartic}
SHAPES = {"vector": (6, 4), "image": (6, 2, 3, 2)}


def clone(rng: torch.Generator) -> torch.Generator:
    other = torch.Generator()
    other.set_state(rng.get_state())
    return other


class DetailedBalance(Invariants):
    """π(x)q(x→y)α(x→y) = π(y)q(y→x)α(y→x): for log α unclamped, log α(x→y) = -log α(y→x)."""

    def way_back(self, inner, potential, state, candidate, move):
        """What `log_ratio` must be handed for the way back, y → x: here ξ,
        of a Gaussian proposal.
        """
        if isinstance(move, Law):
            return inner.law(potential, candidate, move.signs)
        mean, variance = self.oracle(inner).law(potential, candidate.x)
        return (state.x - mean) / variance.sqrt()

    @pytest.mark.parametrize("target", list(TARGETS))
    @pytest.mark.parametrize("shape", list(SHAPES))
    def test_detailed_balance(self, sampler, target, shape):
        """Rounding: log q sums d ≤ 12 terms of size ≤ 10³ in float64, 1e-9 leaves three digits."""
        if scope_of(sampler) == "pixel" and shape == "vector":
            pytest.skip("pixels are of images")
        potential, x0 = TARGETS[target], starts(SHAPES[shape], seed=7)
        inner = innermost(sampler)
        rng = generator(5)
        state = sampler.init(potential, x0)
        for _ in range(3):
            candidate, move, _ = inner.propose(potential, state, clone(rng))
            signs = move.signs if isinstance(move, Law) else None
            oracle = self.oracle(sampler, frozen=state.scale, signs=signs)
            forward = oracle.log_alpha(potential, state.x, candidate.x)
            there = inner.log_ratio(potential, state, candidate, move)
            back = inner.log_ratio(
                potential, candidate, state, self.way_back(inner, potential, state, candidate, move)
            )
            torch.testing.assert_close(there, -back, rtol=1e-9, atol=1e-9)
            torch.testing.assert_close(
                state.potential - candidate.potential + there, forward, rtol=1e-9, atol=1e-9
            )
            flow = (
                -potential(state.x)
                + oracle.log_prob(potential, state.x, candidate.x)
                + forward.clamp(max=0)
            )
            backward = oracle.log_alpha(potential, candidate.x, state.x)
            counter = (
                -potential(candidate.x)
                + oracle.log_prob(potential, candidate.x, state.x)
                + backward.clamp(max=0)
            )
            torch.testing.assert_close(flow, counter, rtol=1e-9, atol=1e-9)

            # the same candidate, by the cloned generator
            after, info = sampler.step(potential, state, rng)
            torch.testing.assert_close(
                info.acceptance, forward.clamp(max=0).exp(), rtol=1e-9, atol=1e-12
            )
            for chain in range(len(x0)):
                moved = not identical(after.x[chain], state.x[chain])
                kept = candidate if moved else state
                for name in (
                    "x",
                    "potential",
                    "grad",
                ):  # all of the candidate or all of the state, bit for bit
                    assert identical(getattr(after, name)[chain], getattr(kept, name)[chain])
            state = after

    def test_the_coin_is_fair(self, sampler):
        """accept - α has mean 0, and so has α·(accept - α): 20,000 terms of range 1, Hoeffding."""
        x0 = starts((20_000, 1, 1, 2), seed=3)
        state = sampler.init(targets.skewed, x0)
        after, info = sampler.step(targets.skewed, state, generator(4))
        moved = (after.x != x0).flatten(1).any(1)
        for weight in (1.0, info.acceptance):
            assert abs(float((weight * (moved.double() - info.acceptance)).mean())) <= hoeffding(
                20_000
            )

    @pytest.mark.parametrize("outside", [float("nan"), float("inf"), -float("inf")])
    def test_a_hopeless_step_is_refused_and_leaves_the_chain_as_it_was(self, sampler, outside):
        """Chain 0 stands in a slit of width 2e-9, U is NaN or ±inf around it: all refused,
        all counted.
        """
        x0 = starts((4, 2, 3, 2))
        x0[0, 0, 0, 0] = 49.0

        def slit(x):
            first = x.flatten(1)[:, 0]
            return open_field(x) + torch.where(
                (first > 40) & ((first - 49).abs() > 1e-9), outside, 0.0
            )

        def open_field(x):  # no gradient of 49 along the first component
            first = x.flatten(1)[:, 0]
            return targets.gaussian(x) - first**2 / 2 + 0.5 * first.sin()

        state, twin = sampler.init(slit, x0), sampler.init(open_field, x0)
        rng, twin_rng, first = generator(), generator(), state
        for _ in range(5):
            state, info = sampler.step(slit, state, rng)
            twin, _ = sampler.step(open_field, twin, twin_rng)
            assert info.invalid.tolist() == [True, False, False, False]
            assert info.acceptance[0] == 0
            for name in ("x", "potential", "grad"):
                assert identical(getattr(state, name)[0], getattr(first, name)[0])
                assert identical(getattr(state, name)[1:], getattr(twin, name)[1:])

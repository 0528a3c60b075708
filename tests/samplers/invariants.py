"""What is true of every sampler. A test class inherits `Invariants` and names its `cases`.

A class for a sampler with other hyper-parameters needs nothing but the dictionary, one for a new
sampler its `oracle` besides. What is asked of a sampler is what its `traits` state, and they are
held to it.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import pytest
import torch

from stanley.errors import StanleyError
from stanley.samplers import run_chains
from stanley.samplers.adapt import adapt
from stanley.samplers.base import Gaussian, RandomSigns
from stanley.samplers.traits import innermost, is_adjusted, traits_of, with_step_size, wrapped_by
from stanley.targets import Banana
from stanley.types import Potential
from tests.seeds import stream

from . import formulas, targets
from .bounds import assert_mean, assert_variance
from .cases import scope_of

IMAGE = (5, 2, 3, 2)  # five chains, small enough for dense Hessians


def generator(seed: int = 0) -> torch.Generator:
    return stream(seed)


def starts(shape=IMAGE, seed: int = 1, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64).to(dtype)


def identical(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Bit for bit, NaN equal to NaN."""
    return a.dtype == b.dtype and bool(
        torch.equal(a.isnan(), b.isnan()) and torch.equal(a.nan_to_num(), b.nan_to_num())
    )


def broken(value: float) -> torch.Tensor:
    x = starts()
    x[2, 1, 0, 0] = value
    return x


WEIGHTS = torch.nn.Linear(12, 1, dtype=torch.float64)
REFUSED = {  # what is changed, what the message names
    "one column": (
        {"potential": lambda x: x.flatten(1).sum(1, keepdim=True)},
        r"returned shape \(5, 1\)",
    ),
    "scalar": ({"potential": lambda x: x.sum()}, r"returned shape \(\)"),
    "elementwise": ({"potential": lambda x: x**2}, r"returned shape \(5, 2, 3, 2\)"),
    "detached": ({"potential": lambda x: targets.coupled(x.detach())}, "does not depend on x"),
    "detached, with weights": (
        {"potential": lambda x: WEIGHTS(x.detach().flatten(1))[:, 0]},
        "does not depend on x",
    ),
    "no_grad": ({"potential": torch.no_grad()(targets.coupled)}, "does not depend on x"),
    "numpy": (
        {"potential": lambda x: torch.from_numpy(x.numpy()).flatten(1).sum(1)},
        "does not depend on x",
    ),
    "not differentiable": (
        {"potential": lambda x: (x > 0).flatten(1).sum(1)},
        "does not depend on x",
    ),
    "points of another target": (
        {"potential": Potential(Banana(), 2.0)},
        r"must be \(5, 2\): the points of Banana",
    ),
    "nan start": ({"x0": broken(float("nan"))}, "1 of 5 chains at a non-finite position"),
    "infinite start": ({"x0": broken(float("inf"))}, "1 of 5 chains at a non-finite position"),
    "no steps": ({"num_steps": 0}, "num_steps is 0"),
}


class Invariants:
    cases: ClassVar[dict] = {}

    def oracle(self, sampler, **known):
        """The law of one step, derived a second time; a sampler that `formulas` does not know
        brings its own.
        """
        return formulas.Proposal(sampler, **known)

    # --- the object

    def test_is_a_frozen_value(self, sampler):
        assert sampler == dataclasses.replace(sampler)
        assert hash(sampler) == hash(dataclasses.replace(sampler))
        field = dataclasses.fields(sampler)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(sampler, field, getattr(sampler, field))

    @pytest.mark.parametrize("value", [0.0, -0.1, float("nan"), float("inf")])
    def test_refuses_a_bad_step_size(self, sampler, value):
        with pytest.raises(StanleyError, match="step_size is") as error:
            dataclasses.replace(innermost(sampler), step_size=value)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
    def test_refuses_a_bad_threshold(self, sampler, value):
        if not hasattr(innermost(sampler), "threshold"):
            pytest.skip("has no threshold")
        with pytest.raises(StanleyError, match="threshold is"):
            dataclasses.replace(innermost(sampler), threshold=value)

    def test_refuses_an_unknown_scope(self, sampler):
        if not hasattr(innermost(sampler), "scope"):
            pytest.skip("has no scope")
        with pytest.raises(StanleyError, match="scope is 'pixels'"):
            dataclasses.replace(innermost(sampler), scope="pixels")

    # --- the request

    @pytest.mark.parametrize(("change", "says"), REFUSED.values(), ids=list(REFUSED))
    def test_refuses_a_bad_request_in_one_line(self, sampler, change, says):
        """The run and, where there is something to tune, the search for its step size."""
        if traits_of(sampler).init_gradients == 0 and "does not depend on x" in says:
            pytest.skip("asks for no gradient")
        request = {"potential": targets.coupled, "x0": starts(), "num_steps": 30} | change
        calls = [run_chains] + [adapt] * is_adjusted(sampler)
        for call in calls:
            with pytest.raises(StanleyError, match=says) as error:
                call(sampler, *request.values(), generator=generator())
            assert "\n" not in str(error.value)

    def test_adapt_wants_an_adjusted_sampler(self, sampler):
        if is_adjusted(sampler):
            pytest.skip("is adjusted")
        with pytest.raises(
            StanleyError, match="adapt needs a Metropolis-adjusted sampler, got"
        ) as error:
            adapt(sampler, targets.coupled, starts(), 30, generator=generator())
        assert "\n" not in str(error.value)

    # --- the run

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_keeps_shape_type_device_and_start(self, sampler, dtype):
        x0 = starts(dtype=dtype)
        before = x0.clone()
        result = run_chains(sampler, targets.coupled, x0, 3, generator=generator())
        assert torch.equal(x0, before)
        assert (result.x.shape, result.x.dtype, result.x.device) == (x0.shape, dtype, x0.device)
        assert not result.x.requires_grad
        assert result.x.data_ptr() != x0.data_ptr()
        info = result.info
        assert all(
            t.shape == (5,)
            for t in (
                info.acceptance,
                info.step_scale,
                info.grad_norm,
                info.invalid,
                info.nonfinite,
                info.potential,
            )
        )
        torch.testing.assert_close(info.potential, targets.coupled(result.x), rtol=1e-6, atol=1e-6)

    def test_a_start_that_requires_grad_is_a_start(self, sampler):
        a = run_chains(
            sampler, targets.coupled, starts().requires_grad_(), 2, generator=generator()
        )
        b = run_chains(sampler, targets.coupled, starts(), 2, generator=generator())
        assert identical(a.x, b.x)
        assert not a.x.requires_grad

    def test_generator_is_the_only_source_of_randomness(self, sampler):
        x0 = starts((500, *IMAGE[1:]))  # so many that not all stay where they are
        before = torch.random.get_rng_state()
        a = run_chains(sampler, targets.coupled, x0, 4, generator=generator(3))
        assert torch.equal(torch.random.get_rng_state(), before)
        torch.manual_seed(17)
        b = run_chains(sampler, targets.coupled, x0, 4, generator=generator(3))
        torch.random.set_rng_state(before)
        assert identical(a.x, b.x)
        other = run_chains(sampler, targets.coupled, x0, 4, generator=generator(4))
        assert identical(a.x, other.x) == traits_of(sampler).deterministic

    def test_two_runs_are_one_run(self, sampler):
        reason = traits_of(sampler).not_markov
        if reason is not None:
            pytest.skip(f"a step depends on more than x: {reason}")
        rng, x = generator(), starts()
        for steps in (1, 3, 2):
            x = run_chains(sampler, targets.coupled, x, steps, generator=rng).x
        assert identical(
            x, run_chains(sampler, targets.coupled, starts(), 6, generator=generator()).x
        )

    def test_draws_are_the_states(self, sampler):
        result = run_chains(
            sampler, targets.coupled, starts(), 7, generator=generator(), keep_every=2
        )
        assert result.draws.shape == (3, *IMAGE)
        rng, state = generator(), sampler.init(targets.coupled, starts())
        for n in range(1, 8):
            state, _ = sampler.step(targets.coupled, state, rng)
            if n % 2 == 0:
                assert identical(result.draws[n // 2 - 1], state.x)
        assert identical(result.x, state.x)

    def test_state_is_what_the_potential_says(self, sampler):
        """Cached U and ∇U belong to the cached x, also after rejections."""
        rng, state = generator(), sampler.init(targets.coupled, starts())
        for _ in range(5):
            state, _ = sampler.step(targets.coupled, state, rng)
            torch.testing.assert_close(
                state.potential, targets.coupled(state.x), rtol=1e-12, atol=1e-12
            )
            if traits_of(sampler).init_gradients == 0:
                assert state.grad.isnan().all()
                continue
            torch.testing.assert_close(
                state.grad, formulas.gradient(targets.coupled, state.x), rtol=1e-10, atol=1e-10
            )

    def test_counts_its_gradients(self, sampler):
        """Every backward pass to the input; a Hessian-vector product makes two.

        Left out of the count, as documented: the one product with which 'drift' looks for a kinked
        potential.
        """
        counting = targets.Counting(targets.coupled)
        result = run_chains(sampler, counting, starts(), 4, generator=generator())
        check = 2 if getattr(innermost(sampler), "correction", "none") == "drift" else 0
        assert counting.gradients == result.info.num_gradients + check
        cost, total = traits_of(sampler), result.info
        if cost.not_traceable is None:  # each step is as long as the other
            assert total.num_gradients == cost.init_gradients + 4 * cost.gradients
        assert total.num_potentials == cost.init_potentials + 4 * cost.potentials
        rng, state, gradients = generator(), sampler.init(counting, starts()), cost.init_gradients
        for _ in range(4):
            state, info = sampler.step(counting, state, rng)
            gradients += cost.gradients if info.num_gradients is None else info.num_gradients
        assert total.num_gradients == gradients

    def test_the_last_gradient_is_left_out_where_it_is_for_the_next_step_alone(self, sampler):
        """Same chains in every bit, for one gradient less; elsewhere nothing changes."""
        whole, counting = targets.Counting(targets.coupled), targets.Counting(targets.coupled)
        a = run_chains(sampler, whole, starts(), 4, generator=generator(), keep_every=1)
        b = run_chains(
            sampler, counting, starts(), 4, generator=generator(), keep_every=1, last_gradient=False
        )
        assert identical(a.draws, b.draws)
        assert identical(a.before, b.before)
        assert identical(a.info.step_scale, b.info.step_scale)
        assert identical(a.info.grad_norm, b.info.grad_norm)
        left_out = traits_of(sampler).gradient_is_for_next
        assert a.info.num_gradients - b.info.num_gradients == left_out
        assert whole.gradients - counting.gradients == left_out
        assert bool(b.info.potential.isnan().all()) == left_out
        assert not b.info.nonfinite.any()

    def test_has_an_acceptance_where_it_states_a_metropolis_test(self, sampler):
        state = sampler.init(targets.coupled, starts())
        _, info = sampler.step(targets.coupled, state, generator())
        assert (info.acceptance is not None) == is_adjusted(sampler)

    def test_a_tensor_step_size_is_the_number(self, sampler):
        h = torch.tensor(innermost(sampler).step_size, dtype=torch.float64)
        other = with_step_size(sampler, h)
        a = run_chains(sampler, targets.coupled, starts(), 3, generator=generator()).x
        b = run_chains(other, targets.coupled, starts(), 3, generator=generator()).x
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)

    # --- chains do not touch each other

    @pytest.mark.parametrize("outside", [float("nan"), float("inf")])
    def test_a_chain_that_turns_non_finite_leaves_its_neighbours_alone(self, sampler, outside):
        """Chain 2 starts beyond a wall, where U is non-finite;
        against the same run without a wall.
        """
        x0 = starts()
        x0[2] = 0.1
        x0[2, 0, 0, 0] = 20.0
        walled = targets.walled(targets.gaussian, outside, 10.0)
        poisoned = run_chains(sampler, walled, x0, 6, generator=generator())
        healthy = run_chains(sampler, targets.gaussian, x0, 6, generator=generator())
        others = [0, 1, 3, 4]
        assert poisoned.info.nonfinite.tolist() == [False, False, True, False, False]
        assert poisoned.x[others].isfinite().all()
        assert not healthy.info.nonfinite.any()
        if is_adjusted(sampler):
            assert identical(poisoned.x[2], x0[2])  # every proposal refused
            assert poisoned.info.invalid.tolist() == [0, 0, 6, 0, 0]
            assert poisoned.info.acceptance[2] == 0
        if traits_of(sampler).independent_chains:
            assert identical(poisoned.x[others], healthy.x[others])
            for name in ("acceptance", "step_scale", "grad_norm", "invalid", "potential"):
                assert identical(
                    getattr(poisoned.info, name)[others], getattr(healthy.info, name)[others]
                ), name

    # --- the step-size convention

    def test_the_law_it_states_is_its_formula(self, sampler):
        """At the points themselves, of one chain each, and with the same random signs:
        to the rounding of float64.
        """
        move = innermost(sampler)
        if not isinstance(move, Gaussian):
            pytest.skip("states no Gaussian law")
        points = starts((3, 2, 3, 1), seed=5)
        potential = targets.skewed if scope_of(sampler) == "element" else targets.coupled
        state = move.init(potential, points)
        signs = move.signs(points, generator(12)) if isinstance(move, RandomSigns) else None
        law = move.law(potential, state, signs)
        mean, variance = self.oracle(move, frozen=state.scale, signs=signs).law(potential, points)
        torch.testing.assert_close(law.mean, mean, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(
            law.variance.expand_as(mean), variance.expand_as(mean), rtol=1e-9, atol=0
        )

    def test_one_step_has_the_mean_and_variance_of_its_formula(self, sampler):
        """20,000 copies of three points, one step each, against `formulas`: h is the variance of
        the noise.

        The adjusted ones are judged by their proposal, whose acceptance the detailed-balance tests
        judge. Means of 20,000 draws, six standard errors, 36 components: false alarms below
        36·2·2e-9 ~ 1e-7. A random-sign probe has the right mean and adds variance of its own, known
        by enumeration.
        """
        if (wrapped_by(sampler) or ("",))[0] == "sampler":
            pytest.skip("its moves are those of the sampler inside")
        inner, copies = innermost(sampler), 20_000
        if is_adjusted(inner) and not hasattr(inner, "propose"):
            pytest.skip("its candidate has no density")
        points = starts((3, 2, 3, 1), seed=5)
        potential = targets.skewed if scope_of(sampler) == "element" else targets.coupled
        state = inner.init(potential, points.repeat_interleave(copies, 0))
        kept = (
            None
            if state.scale is None
            else formulas.gamma(formulas.gradient(potential, points), 1.0, inner.scope)
        )
        mean, variance = self.oracle(inner, frozen=kept).law(potential, points)
        y, *_ = getattr(inner, "propose", inner.step)(potential, state, generator(11))
        draws = y.x.reshape(3, copies, *points.shape[1:]).transpose(0, 1).numpy()
        # beside the last copy stands one of the next point, whose γ it may have been given
        draws = draws[:-1]
        if traits_of(inner).deterministic:
            np.testing.assert_allclose(
                draws, np.broadcast_to(mean, draws.shape), rtol=0, atol=1e-12
            )
            return
        assert_mean(draws, mean.numpy())
        assert_variance(draws, mean.numpy(), variance.numpy())

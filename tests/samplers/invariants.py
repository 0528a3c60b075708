"""What is true of every sampler. A test class inherits `Invariants` and names its `cases`.

A class for a sampler with other hyper-parameters needs nothing but the dictionary.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import pytest
import torch

from stanley.errors import StanleyError
from stanley.samplers import GradientDescent, MatchedLangevin, run_chains
from stanley.samplers.adapt import adapt
from stanley.samplers.traits import with_step_size
from stanley.targets import Banana
from stanley.types import Potential
from tests.seeds import stream

from . import formulas, targets
from .bounds import SIGMAS, assert_mean, assert_variance
from .cases import adjusted, density_of, frozen, gradient_free, independent, proposal_of, remembers, scope_of

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
    "one column": ({"potential": lambda x: x.flatten(1).sum(1, keepdim=True)}, r"returned shape \(5, 1\)"),
    "scalar": ({"potential": lambda x: x.sum()}, r"returned shape \(\)"),
    "elementwise": ({"potential": lambda x: x**2}, r"returned shape \(5, 2, 3, 2\)"),
    "detached": ({"potential": lambda x: targets.coupled(x.detach())}, "does not depend on x"),
    "detached, with weights": ({"potential": lambda x: WEIGHTS(x.detach().flatten(1))[:, 0]}, "does not depend on x"),
    "no_grad": ({"potential": torch.no_grad()(targets.coupled)}, "does not depend on x"),
    "numpy": ({"potential": lambda x: torch.from_numpy(x.numpy()).flatten(1).sum(1)}, "does not depend on x"),
    "not differentiable": ({"potential": lambda x: (x > 0).flatten(1).sum(1)}, "does not depend on x"),
    "points of another target": ({"potential": Potential(Banana(), 2.0)}, r"must be \(5, 2\): the points of Banana"),
    "nan start": ({"x0": broken(float("nan"))}, "1 of 5 chains at a non-finite position"),
    "infinite start": ({"x0": broken(float("inf"))}, "1 of 5 chains at a non-finite position"),
    "no steps": ({"num_steps": 0}, "num_steps is 0"),
}


def law(sampler, potential, x: torch.Tensor):
    """Mean and variance of the proposal of one step from x, second derivation."""
    if isinstance(sampler, GradientDescent):
        return x - sampler.step_size / 2 * formulas.gradient(potential, x), torch.zeros_like(x)
    if isinstance(sampler, MatchedLangevin):
        grad = formulas.gradient(potential, x)
        scale = formulas.gamma(grad, 1.0, sampler.scope)
        return x - sampler.step_size / 2 * scale * grad, torch.full_like(x, float(sampler.step_size * scale.mean()))
    kept = sampler.init(potential, x).scale if frozen(sampler) else None
    return formulas.Proposal(sampler, frozen=kept).law(potential, x)


class Invariants:
    cases: ClassVar[dict] = {}

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
            dataclasses.replace(proposal_of(sampler), step_size=value)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
    def test_refuses_a_bad_threshold(self, sampler, value):
        if not hasattr(proposal_of(sampler), "threshold"):
            pytest.skip("has no threshold")
        with pytest.raises(StanleyError, match="threshold is"):
            dataclasses.replace(proposal_of(sampler), threshold=value)

    def test_refuses_an_unknown_scope(self, sampler):
        if not hasattr(proposal_of(sampler), "scope"):
            pytest.skip("has no scope")
        with pytest.raises(StanleyError, match="scope is 'pixels'"):
            dataclasses.replace(proposal_of(sampler), scope="pixels")

    # --- the request

    @pytest.mark.parametrize(("change", "says"), REFUSED.values(), ids=list(REFUSED))
    def test_refuses_a_bad_request_in_one_line(self, sampler, change, says):
        """The run and, where there is something to tune, the search for its step size."""
        if gradient_free(sampler) and "does not depend on x" in says:
            pytest.skip("asks for no gradient")
        request = {"potential": targets.coupled, "x0": starts(), "num_steps": 30} | change
        calls = [run_chains] + [adapt] * adjusted(sampler)
        for call in calls:
            with pytest.raises(StanleyError, match=says) as error:
                call(sampler, *request.values(), generator=generator())
            assert "\n" not in str(error.value)

    def test_adapt_wants_an_adjusted_sampler(self, sampler):
        if adjusted(sampler):
            pytest.skip("is adjusted")
        with pytest.raises(StanleyError, match="adapt needs a Metropolis-adjusted sampler, got") as error:
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
        a = run_chains(sampler, targets.coupled, starts().requires_grad_(), 2, generator=generator())
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
        if not isinstance(sampler, GradientDescent):
            assert not identical(a.x, run_chains(sampler, targets.coupled, x0, 4, generator=generator(4)).x)

    def test_two_runs_are_one_run(self, sampler):
        if frozen(sampler):
            pytest.skip("γ is resolved when a run starts")
        if remembers(sampler):
            pytest.skip("a run starts without memory: fresh momenta, second moments, replicas")
        rng, x = generator(), starts()
        for steps in (1, 3, 2):
            x = run_chains(sampler, targets.coupled, x, steps, generator=rng).x
        assert identical(x, run_chains(sampler, targets.coupled, starts(), 6, generator=generator()).x)

    def test_draws_are_the_states(self, sampler):
        result = run_chains(sampler, targets.coupled, starts(), 7, generator=generator(), keep_every=2)
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
            torch.testing.assert_close(state.potential, targets.coupled(state.x), rtol=1e-12, atol=1e-12)
            if gradient_free(sampler):
                assert state.grad.isnan().all()
                continue
            torch.testing.assert_close(state.grad, formulas.gradient(targets.coupled, state.x), rtol=1e-10, atol=1e-10)

    def test_counts_its_gradients(self, sampler):
        """Every backward pass to the input; a Hessian-vector product makes two.

        Left out of the count, as documented: the one product with which 'drift' looks for a kinked potential.
        """
        counting = targets.Counting(targets.coupled)
        result = run_chains(sampler, counting, starts(), 4, generator=generator())
        check = 2 if getattr(proposal_of(sampler), "correction", "none") == "drift" else 0
        assert counting.gradients == result.info.num_gradients + check
        rng, state, total = generator(), sampler.init(counting, starts()), getattr(sampler, "init_gradients", 1)
        for _ in range(4):
            state, info = sampler.step(counting, state, rng)
            total += info.num_gradients
        assert result.info.num_gradients == total

    def test_a_tensor_step_size_is_the_number(self, sampler):
        h = torch.tensor(proposal_of(sampler).step_size, dtype=torch.float64)
        other = with_step_size(sampler, h)
        a = run_chains(sampler, targets.coupled, starts(), 3, generator=generator()).x
        b = run_chains(other, targets.coupled, starts(), 3, generator=generator()).x
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)

    # --- chains do not touch each other

    @pytest.mark.parametrize("outside", [float("nan"), float("inf")])
    def test_a_chain_that_turns_non_finite_leaves_its_neighbours_alone(self, sampler, outside):
        """Chain 2 starts beyond a wall, where U is non-finite; against the same run without a wall."""
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
        if adjusted(sampler):
            assert identical(poisoned.x[2], x0[2])  # every proposal refused
            assert poisoned.info.invalid.tolist() == [0, 0, 6, 0, 0]
            assert poisoned.info.acceptance[2] == 0
        if independent(sampler):
            assert identical(poisoned.x[others], healthy.x[others])
            for name in ("acceptance", "step_scale", "grad_norm", "invalid", "potential"):
                assert identical(getattr(poisoned.info, name)[others], getattr(healthy.info, name)[others]), name

    # --- the step-size convention

    def test_one_step_has_the_mean_and_variance_of_its_formula(self, sampler):
        """20,000 copies of three points, one step each, against `formulas`: h is the variance of the noise.

        The adjusted ones are judged by their proposal, whose acceptance the detailed-balance tests judge.
        Means of 20,000 draws, six standard errors, 36 components: false alarms below 36·2·2e-9 ~ 1e-7.
        A random-sign probe has the right mean and adds variance of its own, known by enumeration.
        """
        if hasattr(sampler, "sampler"):
            pytest.skip("its moves are those of the sampler inside")
        inner, copies = density_of(sampler) or proposal_of(sampler), 20_000
        if adjusted(inner) and not hasattr(inner, "propose"):
            pytest.skip("its candidate has no density")
        points = starts((3, 2, 3, 1), seed=5)
        potential = targets.skewed if scope_of(sampler) == "element" else targets.coupled
        mean, variance = law(inner, potential, points)
        x0 = points.repeat_interleave(copies, 0)
        if (
            getattr(inner, "refresh", "step") == "lagged"
        ):  # the next chain is a copy of the same point, but for the last
            mean, variance = formulas.Proposal(
                inner, frozen=formulas.gamma(formulas.gradient(potential, points), 1.0, inner.scope)
            ).law(potential, points)
        state = inner.init(potential, x0)
        propose = getattr(inner, "propose", inner.step)
        y, *_ = propose(potential, state, generator(11))
        draws = y.x.reshape(3, copies, *points.shape[1:]).transpose(0, 1).numpy()
        correction = getattr(inner, "correction", "none")
        if correction == "midpoint":
            self.check_midpoint(inner, potential, points, draws)
            return
        if isinstance(inner, GradientDescent):
            np.testing.assert_allclose(draws, np.broadcast_to(mean, draws.shape), rtol=0, atol=1e-12)
            return
        if correction == "drift" and scope_of(sampler) == "pixel":
            variance = variance + self.probe_variance(inner, potential, points)
        if getattr(inner, "refresh", "step") == "lagged":
            draws = draws[:-1]
        assert_mean(draws, mean.numpy())
        assert_variance(draws, mean.numpy(), variance.numpy())

    def probe_variance(self, sampler, potential, points):
        """h²·Var(Γ) over all signs of the three pixels."""
        found = []
        for bits in range(2**3):
            signs = torch.tensor([1.0 if bits >> i & 1 else -1.0 for i in range(3)], dtype=torch.float64)
            signs = signs.reshape(1, 1, 3, 1).expand(3, 1, 3, 1)
            found.append(formulas.probe(potential, points, 1.0, "pixel", sampler.floor, signs))
        return sampler.step_size**2 * torch.stack(found).var(0, correction=0)

    def check_midpoint(self, sampler, potential, points, draws):
        """The same move written out, with other random numbers: means and second moments agree."""
        copies = len(draws)
        x = points.repeat_interleave(copies, 0)
        here = formulas.gamma(formulas.gradient(potential, x), 1.0, sampler.scope, sampler.floor)
        mean = x - sampler.step_size / 2 * here * formulas.gradient(potential, x)
        noise = (sampler.step_size * here).sqrt() * torch.randn(x.shape, generator=generator(23), dtype=x.dtype)
        there = formulas.gamma(formulas.gradient(potential, mean + noise), 1.0, sampler.scope, sampler.floor)
        again = (mean + (1 + there / here) / 2 * noise).reshape(3, copies, *points.shape[1:]).transpose(0, 1).numpy()
        for power in (1, 2):
            a, b = draws**power, again**power
            error = np.abs(a.mean(0) - b.mean(0)) / np.sqrt((a.var(0) + b.var(0)) / copies)
            assert error.max() < SIGMAS

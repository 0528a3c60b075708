"""HMC: the leapfrog's geometry, detailed balance of the flow, MALA as its shortest trajectory."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch

from stanley.errors import StanleyError
from stanley.samplers import HMC, MALA, evaluate, run_chains
from stanley.samplers.hmc import leapfrog

from . import formulas, targets
from .balance import SHAPES, TARGETS, DetailedBalance, clone
from .invariants import generator, identical, starts


def hamiltonian(potential, x, p):
    return potential(x) + (p**2).flatten(1).sum(1) / 2


def verlet(potential, x, p, eps, num):
    """The leapfrog a second time: half a kick, then whole kicks between the drifts."""
    p = p - eps / 2 * formulas.gradient(potential, x)
    for n in range(num):
        x = x + eps * p
        p = p - eps * (1.0 if n < num - 1 else 0.5) * formulas.gradient(potential, x)
    return x, p


class TestHMC(DetailedBalance):
    cases: ClassVar[dict] = {
        "L=1": HMC(0.3, 1, jitter=False),
        "L=4": HMC(0.15, 4, jitter=False),
        "jitter": HMC(0.15, 3),
    }

    @pytest.mark.parametrize("target", list(TARGETS))
    @pytest.mark.parametrize("shape", list(SHAPES))
    def test_detailed_balance(self, sampler, target, shape):
        """With z = (x, p) and z* = (y, -p') the flow leads from z to z* and from z* to z, and

            π(z)·α(z) = π(z*)·α(z*),   log π(z) = -H(z),

        which, the map being volume preserving, is detailed balance. Rounding: at most 5 leapfrog
        steps whose Jacobian is below 10³ on these starts; 1e-9 leaves three digits.
        """
        potential, rng = TARGETS[target], generator(5)
        state = sampler.init(potential, starts(SHAPES[shape], seed=7))
        for _ in range(3):
            copy = clone(rng)
            num, p = (
                sampler.length(copy),
                torch.randn(state.x.shape, generator=copy, dtype=torch.float64),
            )
            y, end = verlet(potential, state.x, p, sampler.step_size, num)
            back, start = verlet(potential, y, -end, sampler.step_size, num)
            torch.testing.assert_close(back, state.x, rtol=1e-9, atol=1e-9)
            torch.testing.assert_close(start, -p, rtol=1e-9, atol=1e-9)
            here, there = hamiltonian(potential, state.x, p), hamiltonian(potential, y, -end)
            again = hamiltonian(potential, back, start)
            flow, counter = (
                -here + (here - there).clamp(max=0),
                -there + (there - again).clamp(max=0),
            )
            torch.testing.assert_close(flow, counter, rtol=1e-9, atol=1e-9)

            # the same momentum, by the cloned generator
            after, info = sampler.step(potential, state, rng)
            torch.testing.assert_close(
                info.acceptance, (here - there).clamp(max=0).exp(), rtol=1e-9, atol=1e-12
            )
            assert info.num_gradients == num
            for chain in range(len(y)):
                if identical(after.x[chain], state.x[chain]):
                    assert identical(after.potential[chain], state.potential[chain])
                    assert identical(after.grad[chain], state.grad[chain])
                else:
                    torch.testing.assert_close(after.x[chain], y[chain], rtol=1e-9, atol=1e-9)
            state = after


# --- the leapfrog


@pytest.mark.parametrize("num", [1, 2, 7])
def test_leapfrog_is_verlet(num):
    state, p = evaluate(targets.coupled, starts()), starts(seed=2)
    after, end = leapfrog(targets.coupled, state, p, 0.1, num)
    x, momentum = verlet(targets.coupled, starts(), p, 0.1, num)
    torch.testing.assert_close(after.x, x, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(end, momentum, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(after.potential, targets.coupled(after.x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("num", [1, 5, 20])
def test_leapfrog_is_reversible(num):
    """Flip the momentum, integrate again, be back: rounding grows with the flow,
    over time 2 by less than 10⁴.
    """
    state, p = evaluate(targets.coupled, starts()), starts(seed=2)
    there, end = leapfrog(targets.coupled, state, p, 0.05, num)
    back, start = leapfrog(targets.coupled, there, -end, 0.05, num)
    torch.testing.assert_close(back.x, state.x, rtol=0, atol=1e-10)
    torch.testing.assert_close(-start, p, rtol=0, atol=1e-10)
    assert (there.x - state.x).abs().max() > 0.01


def determinants(step, x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    """det ∂(x', p')/∂(x, p) by central differences of step 1e-5:
    error 1e-10·|third derivative| + 1e-16/1e-5.
    """
    z, width = torch.cat([x, p], 1), 1e-5
    columns = []
    for i in range(z.shape[1]):
        shift = torch.zeros_like(z)
        shift[:, i] = width
        above, below = (torch.cat(step(*(z + s * shift).chunk(2, 1)), 1) for s in (1, -1))
        columns.append((above - below) / (2 * width))
    return torch.linalg.det(torch.stack(columns, 2))


@pytest.mark.parametrize("num", [1, 4])
def test_leapfrog_preserves_volume(num):
    """|det J| = 1 within 1e-6, four digits above the differences' error;
    an Euler step misses it by far.
    """
    x, p, eps = starts((6, 3)), starts((6, 3), seed=2), 0.1

    def flow(x, p):
        state, end = leapfrog(targets.coupled, evaluate(targets.coupled, x), p, eps, num)
        return state.x, end

    def euler(x, p):
        return x + eps * p, p - eps * formulas.gradient(targets.coupled, x)

    torch.testing.assert_close(
        determinants(flow, x, p), torch.ones(6, dtype=torch.float64), rtol=0, atol=1e-6
    )
    assert ((determinants(euler, x, p) - 1).abs() > 1e-3).all()


def test_leapfrog_is_of_order_two():
    """ΔH over a fixed time is C·ε² + O(ε⁴): halving ε divides it by 4,
    and the distance to 4 by 4 again.
    """
    state, p = evaluate(targets.coupled, starts((20, 3))), starts((20, 3), seed=2)
    errors = []
    for n in (20, 40, 80):
        after, end = leapfrog(targets.coupled, state, p, 0.4 / n, n)
        errors.append(
            float(
                (
                    hamiltonian(targets.coupled, after.x, end)
                    - hamiltonian(targets.coupled, state.x, p)
                ).norm()
            )
        )
    first, second = errors[0] / errors[1], errors[1] / errors[2]
    assert abs(second - 4) < 0.02
    assert 3 < (first - 4) / (second - 4) < 5


# --- the sampler


@pytest.mark.parametrize("target", list(TARGETS))
def test_one_leapfrog_step_is_mala(target):
    """ε = √h: the same draws, the same candidate, the same acceptance,
    hence the same chain up to rounding.
    """
    h = 0.09
    potential, x0 = TARGETS[target], starts()
    a, b = (
        run_chains(s, potential, x0, 6, generator=generator(), keep_every=1)
        for s in (HMC(h**0.5, 1, jitter=False), MALA(h))
    )
    torch.testing.assert_close(a.draws, b.draws, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(a.info.acceptance, b.info.acceptance, rtol=1e-9, atol=1e-9)
    assert a.info.num_gradients == b.info.num_gradients


def test_jitter_is_uniform_up_to_twice_the_mean():
    """50,000 lengths over {1, …, 7}: each frequency within the Hoeffding bound at 1e-7."""
    from .bounds import hoeffding

    sampler, rng = HMC(0.1, 4), generator()
    lengths = torch.tensor([sampler.length(rng) for _ in range(50_000)])
    frequencies = torch.bincount(lengths, minlength=8) / 50_000
    assert frequencies[0] == 0
    assert len(frequencies) == 8
    assert ((frequencies[1:] - 1 / 7).abs() < hoeffding(50_000)).all()


def test_without_jitter_the_length_is_fixed_and_costs_no_draw():
    rng = generator()
    before = rng.get_state()
    assert {HMC(0.1, 4, jitter=False).length(rng) for _ in range(10)} == {4}
    assert torch.equal(rng.get_state(), before)


def test_takes_a_piecewise_linear_energy():
    """First derivatives are enough."""
    result = run_chains(
        HMC(0.3, 3), lambda x: x.abs().sum(1), starts((6, 3)), 5, generator=generator()
    )
    assert result.x.isfinite().all()
    assert (result.info.acceptance > 0).all()


@pytest.mark.parametrize("num", [0, -3, 2.5, 10**9])
def test_refuses_a_bad_number_of_steps(num):
    with pytest.raises(StanleyError, match="HMC: num_leapfrog is") as error:
        HMC(0.1, num)
    assert "\n" not in str(error.value)


def test_the_error_says_what_its_step_size_is():
    with pytest.raises(StanleyError, match="leapfrog step ε"):
        HMC(-1.0)

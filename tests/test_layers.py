"""What lies inside a potential is seen through every wrapper: networks, precision, chunks,
the shape of points.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from stanley.errors import StanleyError
from stanley.metrics.exact2d import log_z
from stanley.metrics.likelihood import Between, GaussianReference, UniformReference, bracket_log_z
from stanley.networks import MLP, build_energy
from stanley.samplers import MALA, Adjusted, Langevin, Stanley, adapt, run_chains
from stanley.samplers.base import evaluate, values
from stanley.samplers.preconditioned import Sheared, Stretched
from stanley.samplers.run import check_event
from stanley.samplers.warm_up import warm_up
from stanley.targets import Gaussian
from stanley.types import (
    Bf16,
    Chunked,
    Energy,
    Potential,
    chunk_size_of,
    in_float32,
    layers,
    networks_in,
    piecewise_linear,
    rounded,
)
from stanley.uses import Clamped, Composed, Noisy
from tests.seeds import stream

D = 4


@dataclass(frozen=True)
class Shifted:
    """A wrapper that a user wrote."""

    energy: Energy

    def __call__(self, x: Tensor) -> Tensor:
        return self.energy(x - 1)


class Loose:
    """One that is no dataclass."""

    def __init__(self, energy: Energy) -> None:
        self.energy = energy

    def __call__(self, x: Tensor) -> Tensor:
        return 2 * self.energy(x)


def quadratic(x: Tensor) -> Tensor:
    return x.square().flatten(1).sum(1)


#: A potential on (B, D) around an energy.
WRAPPERS: dict[str, Callable[[Energy], Energy]] = {
    "itself": lambda u: u,
    "potential": lambda u: Potential(u, 2.0),
    "chunked": lambda u: Chunked(u, 100),
    "sheared": lambda u: Sheared(u, torch.eye(D).mul(2.0)),
    "stretched": lambda u: Stretched(u, torch.full((D,), 2.0)),
    "noisy": lambda u: Noisy(u, torch.zeros(1, D), 1.0),
    "annealed": lambda u: Between(GaussianReference(torch.zeros(D)), u, 0.5),
    "annealed in a box": lambda u: Potential(Between(UniformReference((D,), -9.0, 9.0), u, 0.5)),
    "composed first": lambda u: Composed((u, quadratic)),
    "composed last": lambda u: Composed((quadratic, Potential(u))),
    "composed of composed": lambda u: Potential(
        Composed((quadratic, Composed((quadratic, u)))), 3.0
    ),
    "a user's": Shifted,
    "a user's without a dataclass": lambda u: Potential(Loose(u)),
}


def network(activation: str = "silu") -> nn.Module:
    """With a reference, so that its chains have somewhere to stay."""
    small = MLP(width=8, depth=2, activation=activation)  # type: ignore[arg-type]
    return build_energy(small, (D,), seed=0, reference_std=1.0).eval().requires_grad_(False)


@pytest.fixture(params=list(WRAPPERS))
def wrap(request: pytest.FixtureRequest) -> Callable[[Energy], Energy]:
    return WRAPPERS[request.param]


def test_a_metropolis_test_on_bfloat16_is_refused(wrap: Callable[[Energy], Energy]) -> None:
    g, x0 = stream(), torch.randn(3, D)
    for potential, refused in (
        (wrap(Bf16(network())), True),
        (wrap(Bf16(network(), force=True)), False),
    ):
        assert rounded(potential) is refused
    potential = wrap(Bf16(network()))
    with pytest.raises(StanleyError, match="three digits"):
        run_chains(MALA(0.1), potential, x0, 1, generator=g)
    with pytest.raises(StanleyError, match="three digits"):
        adapt(MALA(0.1), potential, x0, 3, generator=g)
    run_chains(Langevin(0.1), potential, x0, 1, generator=g)
    adapt(MALA(0.1), in_float32(potential), x0, 3, generator=g)


def test_float32_is_the_potential_without_bfloat16(wrap: Callable[[Energy], Energy]) -> None:
    net, x = network(), torch.randn(50, D)
    potential = wrap(Bf16(net))
    assert torch.equal(in_float32(potential)(x), wrap(net)(x))
    assert not torch.equal(potential(x), wrap(net)(x))  # the one that was given is as it was
    assert in_float32(wrap(net))(x).equal(wrap(net)(x))


def test_a_kinked_network_is_named(wrap: Callable[[Energy], Energy]) -> None:
    assert piecewise_linear(wrap(network("relu"))) == "ReLU"
    assert piecewise_linear(wrap(network())) is None
    drift = Adjusted(Stanley(0.1, 1.0, correction="drift"))
    with pytest.raises(StanleyError, match="ReLU"):
        run_chains(drift, wrap(network("relu")), torch.randn(3, D), 1, generator=stream())


def test_the_network_is_found(wrap: Callable[[Energy], Energy]) -> None:
    net = network()
    assert networks_in(wrap(net)) == (net,)


def test_chunks_are_kept(wrap: Callable[[Energy], Energy]) -> None:
    seen: list[int] = []

    def counted(x: Tensor) -> Tensor:
        seen.append(len(x))
        return quadratic(x)

    potential = wrap(Chunked(counted, 3))
    assert chunk_size_of(potential) == 3
    x = torch.randn(8, D)
    for compute in (evaluate, values):
        seen.clear()
        compute(potential, x)
        assert max(seen) == 3
        assert sum(seen) == 8
    seen.clear()
    warm_up(Langevin(0.1), potential, x, 2, generator=stream(), tune=False)
    assert max(seen) == 3


def test_the_shape_of_points_is_known(wrap: Callable[[Energy], Energy]) -> None:
    target = Gaussian(torch.eye(D, dtype=torch.float64))
    check_event(wrap(target), torch.randn(3, D))
    with pytest.raises(StanleyError, match="x0 has shape"):
        check_event(wrap(target), torch.randn(3, D + 1))


def test_the_shape_of_a_wrapper_comes_before_that_of_what_it_wraps() -> None:
    clamped = Clamped(
        Gaussian(torch.eye(D, dtype=torch.float64)), torch.zeros(1, D), torch.arange(D) < 1
    )
    check_event(Potential(clamped), torch.randn(3, 1))
    with pytest.raises(StanleyError, match="must be"):
        check_event(Composed((clamped, quadratic)), torch.randn(3, D))


def test_the_least_chunk_counts() -> None:
    both = Composed((Chunked(quadratic, 5), Potential(Chunked(quadratic, 2))))
    assert chunk_size_of(both) == 2
    assert chunk_size_of(Composed((quadratic, quadratic))) is None


def test_annealing_on_bfloat16_is_refused() -> None:
    reference = GaussianReference(torch.zeros(D))
    with pytest.raises(StanleyError, match="three digits"):
        bracket_log_z(
            Bf16(network()), reference, MALA(0.1), num_chains=2, num_levels=2, generator=stream()
        )


def test_exact_numbers_are_those_of_float64_whatever_the_precision_of_the_run() -> None:
    """log Z of a network in the plane: bfloat16 and chunks inside the potential change no digit of
    it.
    """
    net = (
        build_energy(MLP(width=8, depth=2), (2,), seed=0, reference_std=1.0)
        .eval()
        .requires_grad_(False)
    )
    plain = log_z(Potential(net)).value
    assert log_z(Potential(Chunked(Bf16(net), 999))).value == pytest.approx(plain, abs=1e-12)
    own = Between(GaussianReference(torch.zeros(2, dtype=torch.float64)), Bf16(net), 1.0)
    assert log_z(own).value == pytest.approx(plain, abs=1e-12)
    rough = lambda x: Bf16(net)(x.float()).double()  # noqa: E731
    # negative control: in bfloat16 it would be another
    assert abs(log_z(rough, rel_tol=1e-2).value - plain) > 1e-6


def test_what_wraps_nothing_is_a_layer_alone() -> None:
    class Odd:
        """Whose attributes only look like those of a wrapper."""

        energy = 3.0
        energies = torch.ones(2)

        def __call__(self, x: Tensor) -> Tensor:
            return quadratic(x)

    for potential in (quadratic, network(), Odd()):
        assert list(layers(potential)) == [potential]
        assert in_float32(potential) is potential
    hidden = lambda x: Bf16(network())(x)  # noqa: E731
    assert not rounded(hidden)  # negative control: nobody sees through a function


def test_wrappers_are_left_as_they_are() -> None:
    potential = Potential(Composed((Chunked(Bf16(network()), 3), quadratic)))
    before = copy.copy(list(layers(potential)))
    in_float32(potential)
    assert list(layers(potential)) == before

"""Networks that know their gradient: the numbers of autograd, bit for bit, or autograd itself."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils._python_dispatch import TorchDispatchMode

from stanley.networks import MLP, ConvNet, LevelMLP, ResNet, build_energy
from stanley.networks.mlp import MLPEnergy
from stanley.samplers import MALA, Langevin, ReplicaExchange, Stanley, run_chains, trajectories
from stanley.samplers.base import evaluate, hessian_vector, value_and_gradient
from stanley.samplers.joint import Joint, joint
from stanley.types import Bf16, Chunked, Energy, Potential

ACTIVATIONS = ("silu", "gelu", "softplus", "relu", "leaky-relu")
SHAPES = {
    "mlp": (MLP(width=33, depth=3), (2,)),
    "one layer": (MLP(width=5, depth=1), (1,)),
    "features": (MLP(width=32, depth=2, fourier=7), (2,)),
    "mlp on images": (MLP(width=16, depth=2, fourier=3), (1, 4, 5)),
    "convnet": (ConvNet(width=8), (3, 16, 16)),
    "odd convnet": (ConvNet(width=4), (1, 9, 9)),
}


def energy_of(name: str, activation: str = "silu", std: float | None = None) -> nn.Module:
    spec, event = SHAPES[name]
    spec = type(spec)(**{**vars(spec), "activation": activation})
    return build_energy(spec, event, seed=0, reference_std=std)


def points(name: str, num: int = 7, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(
        num, *SHAPES[name][1], dtype=dtype, generator=torch.Generator().manual_seed(1)
    )


def same(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> bool:
    return all(torch.equal(p, q) and p.stride() == q.stride() for p, q in zip(a, b, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", SHAPES)
def test_value_and_gradient_are_those_of_autograd_bit_for_bit(
    name: str, activation: str, dtype: torch.dtype
) -> None:
    for std in (None, 1.5):
        for temperature in (1.0, 3e-4):
            potential = Potential(energy_of(name, activation, std).to(dtype), temperature)
            for num in (1, 7, 64):
                x = points(name, num, dtype)
                known = joint(potential, x)
                sums_three = std is not None and SHAPES[name][0] in (
                    SHAPES["features"][0],
                    SHAPES["mlp on images"][0],
                )
                assert isinstance(known, Joint) != sums_three
                assert same(value_and_gradient(known, x), value_and_gradient(potential, x))


def test_a_wrong_rule_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: with the backward rule of another activation the comparison above fails."""
    from stanley.networks import by_hand

    monkeypatch.setitem(by_hand.RULES, nn.SiLU, lambda layer: by_hand.softplus(nn.Softplus()))
    potential, x = Potential(energy_of("mlp")), points("mlp")
    known = joint(potential, x)
    assert isinstance(known, Joint)
    assert not same(value_and_gradient(known, x), value_and_gradient(potential, x))


@pytest.mark.parametrize("name", ["features", "convnet"])
@pytest.mark.parametrize(
    "sampler", [Langevin(1e-2), Stanley(1e-2, 0.5), MALA(1e-2), ReplicaExchange(MALA(1e-2), (1, 2))]
)
@pytest.mark.parametrize("chunk", [None, 3])
def test_chains_are_the_same_to_the_last_bit(
    name: str, sampler: Langevin, chunk: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    energy: Energy = energy_of(name)
    energy = energy if chunk is None else Chunked(energy, chunk)
    x0, ends, asked = points(name), [], []
    for change in (lambda u, x: asked.append(joint(u, x)) or asked[-1], lambda u, x: u):
        monkeypatch.setattr(trajectories, "joint", change)
        g = torch.Generator().manual_seed(2)
        ends.append(run_chains(sampler, Potential(energy, 0.5), x0, 5, generator=g))
    assert isinstance(asked[0], Joint)
    assert torch.equal(ends[0].x, ends[1].x)
    assert torch.equal(ends[0].info.grad_norm, ends[1].info.grad_norm)


def test_no_autograd_is_left_in_a_step_of_chains() -> None:
    """What it is for: the network's forward is not called at all."""
    energy = energy_of("mlp")
    calls: list[int] = []
    x0, g = points("mlp"), torch.Generator().manual_seed(0)
    potential = joint(Potential(energy), x0)
    energy.register_forward_pre_hook(lambda *_: calls.append(1))  # after it was asked
    evaluate(potential, x0)
    assert not calls
    run_chains(Langevin(1e-3), Potential(energy), x0, 3, generator=g)  # asked anew: autograd
    assert len(calls) == 4


def test_weights_are_read_where_they_lie() -> None:
    energy, x = energy_of("mlp"), points("mlp")
    known = joint(energy, x)
    before = value_and_gradient(known, x)
    with torch.no_grad():
        for weight in energy.parameters():
            weight.add_(0.1)
    assert not same(before, value_and_gradient(known, x))
    assert same(value_and_gradient(known, x), value_and_gradient(energy, x))


def test_second_derivatives_go_through_autograd() -> None:
    energy, x = energy_of("mlp"), points("mlp")
    v = torch.ones_like(x)
    assert torch.equal(hessian_vector(joint(energy, x), x, v), hessian_vector(energy, x, v))


def test_points_that_are_not_contiguous_take_the_old_way() -> None:
    energy = energy_of("mlp")
    x = points("mlp").T.contiguous().T
    assert not x.is_contiguous()
    assert same(value_and_gradient(joint(energy, x), x), value_and_gradient(energy, x))


class Sub(MLPEnergy):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class OwnLinear(nn.Linear):
    pass


def with_layer(energy: nn.Module, place: int, layer: nn.Module) -> nn.Module:
    energy.layers[place] = layer
    return energy


def changed(energy: nn.Module, change: Callable[[nn.Module], object]) -> nn.Module:
    change(energy)
    return energy


@dataclass(frozen=True)
class Doubled:
    energy: Energy

    def __call__(self, x: Tensor) -> Tensor:
        return 2 * self.energy(x)


class HandsOn:
    """Another energy, which has the attributes of what it wraps."""

    def __init__(self, inner: nn.Module) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def __call__(self, x: Tensor) -> Tensor:
        return 2 * self.inner(x)


def mlp() -> nn.Module:
    return energy_of("mlp")


UNKNOWN: dict[str, Callable[[], Energy]] = {
    "a function": lambda: lambda x: x.square().sum(1),
    "a wrapper of one's own": lambda: Doubled(mlp()),
    "a wrapper that hands attributes on": lambda: HandsOn(mlp()),
    "bfloat16": lambda: Bf16(mlp()),
    "another network": lambda: build_energy(ResNet(width=4), (1, 8, 8), seed=0),
    "noise levels": lambda: build_energy(LevelMLP(width=8, depth=1), (2,), seed=0),
    "a subclass": lambda: Sub(mlp().layers),
    "a layer of one's own": lambda: with_layer(mlp(), 2, OwnLinear(33, 33)),
    "an unknown activation": lambda: with_layer(mlp(), 1, nn.Tanh()),
    "no bias": lambda: with_layer(mlp(), 2, nn.Linear(33, 33, bias=False)),
    "a spectral norm": lambda: changed(
        mlp(), lambda e: parametrizations.spectral_norm(e.layers[2])
    ),
    "a forward hook": lambda: changed(mlp(), lambda e: e.register_forward_hook(lambda *_: None)),
    "a hook of a layer": lambda: changed(
        mlp(), lambda e: e.layers[1].register_full_backward_hook(lambda *_: None)
    ),
    "a hook of the sequence": lambda: changed(
        mlp(), lambda e: e.layers.register_forward_pre_hook(lambda *_: None)
    ),
    "a forward put in its place": lambda: changed(
        mlp(), lambda e: setattr(e, "forward", lambda x: x.sum(1))
    ),
    "compiled": lambda: changed(mlp(), lambda e: e.compile()),
    "weights of another type": lambda: mlp().double(),
    "padding by reflection": lambda: with_layer(
        energy_of("convnet"), 0, nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect")
    ),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_it_does_not_know_is_left_to_autograd(name: str) -> None:
    potential = UNKNOWN[name]()
    for seen in (potential, Potential(potential), Chunked(potential, 3)):
        assert joint(seen, points("mlp")) is seen


class Watching(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


def test_so_is_what_somebody_else_looks_at() -> None:
    energy, x = energy_of("mlp"), points("mlp")
    assert isinstance(joint(energy, x), Joint)
    with torch.autocast("cpu", torch.bfloat16):
        assert joint(energy, x) is energy
    with Watching():
        assert joint(energy, x) is energy
    with torch.device("cpu"):  # a mode that sees every function
        assert joint(energy, x) is energy
    found = []
    torch.func.vmap(lambda row: found.append(joint(energy, row)) or row)(x[:, None])
    assert found[0] is energy
    remove = nn.modules.module.register_module_forward_hook(lambda *_: None)
    try:
        assert joint(energy, x) is energy
    finally:
        remove.remove()


def test_a_gradient_of_ones_own_is_used() -> None:
    """An energy that says how: x ↦ (E, v ↦ v·∇E), whatever wraps it."""

    class Bowl:
        asked = 0

        def __call__(self, x: Tensor) -> Tensor:
            return x.square().sum(1) / 2

        def vjp(self):
            self.asked += 1
            return lambda x: (self(x), lambda v: v[:, None] * x)

    bowl, x0 = Bowl(), points("mlp")
    known = joint(Potential(bowl, 0.5), x0)
    u, grad = value_and_gradient(known, x0)
    assert same((u, grad), (x0.square().sum(1), 2 * x0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_chains(MALA(0.1), bowl, x0, 4, generator=torch.Generator().manual_seed(0))
    assert bowl.asked == 2

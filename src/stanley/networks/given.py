"""Networks of the user's own: what files say of them, and whether one can be trained."""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from stanley.errors import StanleyError, in_one_line, require
from stanley.networks.levels import level_energy
from stanley.own_code import GivenInPython, NamedByUser
from stanley.streams import stream

#: So many times what a rounding of weights and points changes, two evaluations of one function may
#: part: see `rounding`.
ROUNDINGS = 32
#: Points at which a run keeps what its network computes.
POINTS = 8


@dataclass(frozen=True)
class GivenNetwork(GivenInPython):
    """A network that was an object in Python, and has to be handed over again.

    The fingerprint is that of the names, shapes and types of its weights, not of their values; what
    is computed with them is in the checkpoints (`require_same_values`).
    """

    class_: str
    parameters: int
    fingerprint: str
    levels: bool = False
    kind: Literal["given"] = "given"

    part: ClassVar[str] = "network"
    handed: ClassVar[str] = "energy={}(…)"

    @property
    def about(self) -> str:
        return f" ({self.parameters:,} weights)"

    def build(self, event_shape: tuple[int, ...]) -> nn.Module:
        raise StanleyError(self.why_not)


@dataclass(frozen=True)
class NamedNetwork(NamedByUser):
    """A network that was named on the command line, `module:Name` or `file.py:Name`."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    checksum: str | None = None
    levels: bool = False
    kind: Literal["by-name"] = "by-name"

    part: ClassVar[str] = "network"
    handed: ClassVar[str] = "energy={}(…)"

    def build(self, event_shape: tuple[int, ...]) -> nn.Module:
        raise StanleyError(self.why_not)


def described(energy: nn.Module, name: str) -> GivenNetwork:
    """The network as a configuration holds it."""
    number = sum(p.numel() for p in energy.parameters())
    levels = level_energy(energy) is not None
    return GivenNetwork(name, number, fingerprint(energy), levels)


def fingerprint(energy: nn.Module) -> str:
    """16 digits of SHA-256 of the names, types and shapes of weights and buffers."""
    told = [(name, str(t.dtype), list(t.shape)) for name, t in tensors_of(energy).items()]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def tensors_of(energy: nn.Module) -> dict[str, Tensor]:
    """Weights and buffers by their names; raises StanleyError for a state that is no tensor."""
    state = energy.state_dict()
    for name, value in state.items():
        require(
            isinstance(value, Tensor),
            f"{type(energy).__name__}: {name!r} of its state is {type(value).__name__}, but a "
            "checkpoint holds tensors alone; keep numbers in buffers",
        )
        require(
            not nn.parameter.is_lazy(value),
            f"{type(energy).__name__}: {name!r} has no shape yet; call the module once before",
        )
    return state


def class_name(own: Any) -> str:
    return getattr(own, "called", None) or type(own).__qualname__


def own_network(own: Any, event_shape: tuple[int, ...]) -> nn.Module:
    """A copy of the module that was handed over, or what its `build(event_shape)` returns.

    Initial weights are the module's own, and it is itself left as it is.
    """
    if isinstance(own, nn.Module):
        tensors_of(own)
        return copy.deepcopy(own).cpu()
    require(
        callable(getattr(own, "build", None)) and not isinstance(own, type),
        f"energy is {described_type(own)}, but must be a torch.nn.Module, (B, *event) -> (B,), or "
        "have a method build(event_shape) that returns one",
    )
    try:
        energy = own.build(event_shape)
    except StanleyError:
        raise
    except (Exception, SystemExit) as error:
        raise StanleyError(
            f"{class_name(own)}.build({event_shape}) raised {in_one_line(error)}"
        ) from error
    require(
        isinstance(energy, nn.Module),
        f"{class_name(own)} built {described_type(energy)}, but must return a torch.nn.Module, "
        "(B, *event) -> (B,)",
    )
    tensors_of(energy)
    return energy


def described_type(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"


def probe(energy: nn.Module, x: Tensor) -> None:
    """Raise StanleyError where E cannot be trained, judged by a copy of it at the points x (B,
    *event), B >= 2: values of another shape or type, none that are finite, no gradient, rows that
    depend on each other, random numbers, weights that are not float32.

    Returns nothing; warns of buffers that change when E is computed.
    """
    import warnings

    name = type(energy).__name__
    energy = copy.deepcopy(energy)
    weights = [p for p in energy.parameters() if p.requires_grad]
    require(weights, f"{name} has no weights to train; give it parameters with requires_grad")
    other = next((p for p in energy.parameters() if p.dtype != torch.float32), None)
    require(
        other is None,
        f"{name} has weights of {other if other is None else other.dtype}, but training is in "
        "float32; call its method float()",
    )
    energy.train()
    before = {n: b.clone() for n, b in energy.named_buffers()}
    draws = torch.get_rng_state()
    try:
        points = x.detach().clone().requires_grad_()
        u = values_of(energy, points, name)
        drew = not torch.equal(draws, torch.get_rng_state())
    finally:
        torch.set_rng_state(draws)
    changing = [n for n, b in energy.named_buffers() if not torch.equal(b, before[n])]
    kind = kinds_of(energy, changing)
    require(
        not drew,
        f"{name} draws random numbers when it is computed{random_part(energy)}, but E must be a "
        "function of its point; remove what draws them",
    )
    nonfinite = u[~u.isfinite()].tolist()
    require(not nonfinite, f"{name} gives E = {nonfinite[:1]} at a data point, must be finite")
    grads = torch.autograd.grad(u.sum(), [points, *weights], allow_unused=True)
    require(
        grads[0] is not None and bool(grads[0].isfinite().all()),
        f"{name} has no finite gradient with respect to its points, by which chains move; compute "
        "it with torch operations on x, without detach, numpy or no_grad",
    )
    require(
        any(g is not None for g in grads[1:]),
        f"{name} has weights, but no gradient reaches any of them, so nothing can be learned; use "
        "them in forward, without detach or no_grad",
    )
    far = ROUNDINGS * rounding(energy, x)
    for training in (True, False):
        energy.train(training)
        restore_buffers(energy, before)
        together = values_of(energy, x, name)[:1].detach()
        restore_buffers(energy, before)
        try:
            alone = values_of(energy, x[:1], name).detach()
        except StanleyError as error:
            raise StanleyError(
                f"{name} takes {len(x)} points and not one alone{kind}, but E of a point must not "
                f"depend on the other points; {error}"
            ) from error
        require(
            abs(float(together) - float(alone)) <= far,
            f"{name} gives {float(together):.8g} for a point among others and {float(alone):.8g} "
            f"for the same point alone, but E of a point must not depend on the other points"
            f"{kind}; normalise within a point (LayerNorm, GroupNorm)",
        )
    if changing:
        warnings.warn(
            f"{name} changes its buffers ({', '.join(changing[:3])}) when it is computed in "
            f"training{kind}: E drifts while it is judged; they are saved, and copied into the "
            "averaged weights",
            stacklevel=3,
        )


def rounding(energy: nn.Module, x: Tensor) -> float:
    """How far rounding in float32 carries E at the points x (B, *event): the largest change under
    random relative changes of weights and points by up to one rounding, and one rounding of E.

    A sum of products in float32 is the exact one of factors that are changed by a few roundings,
    so that two ways to compute the same E part by a few times this. Measured on networks of 16 to
    4,096 units, ten layers, convolutions: up to 1.6 times (a row alone and among others; float32
    and float64). Not true: that it sees what rounding does to numbers that stand in the code alone,
    such as 10⁴ that is added to each term of a sum and taken away again.
    """
    generator = stream(0, "rounding")
    unit = torch.finfo(torch.float32).eps

    def changed(t: Tensor) -> Tensor:
        shift = 2 * torch.rand(t.shape, generator=generator).to(t) - 1
        return t * (1 + unit * shift) if t.is_floating_point() else t

    u = copy.deepcopy(energy)(x).detach()
    far = 0.0
    for _ in range(4):
        other = copy.deepcopy(energy)
        other.load_state_dict({name: changed(t) for name, t in other.state_dict().items()})
        far = max(far, float((other(changed(x)).detach() - u).abs().max()))
    return far + unit * float(u.abs().max())


def kept_values(energy: nn.Module, points: Tensor) -> Tensor:
    """E (B,) of a copy of the energy, on the CPU and in evaluation mode, which changes nothing."""
    other = copy.deepcopy(energy).cpu().eval()
    return values_of(other, points, type(energy).__name__).detach().clone()


def require_same_values(energy: nn.Module, points: Tensor, values: Tensor, where: object) -> None:
    """Raise StanleyError where the energy, with the weights of a run, is another function of its
    points (B, *event) than when `values` (B,) were kept; rounding, as on another machine, is none.
    """
    now = kept_values(energy, points)
    require(
        now.shape == values.shape,
        f"{where}: 'probe.energy' has shape {tuple(values.shape)}, not that of its "
        f"{len(points)} points; restore the file",
    )
    known = values.isfinite()
    apart = torch.where(known, (now - values).abs(), 0)
    at = int(apart.argmax())
    require(
        float(apart[at]) <= ROUNDINGS * rounding(copy.deepcopy(energy).cpu().eval(), points),
        f"{where}: the network that is handed over has the weights of the run, but computes "
        f"something else with them: E of one point is {float(now[at]):.8g} and was "
        f"{float(values[at]):.8g}; use the code that the run began with",
    )


def values_of(energy: nn.Module, x: Tensor, name: str) -> Tensor:
    """E(x); raises StanleyError for whatever is not one float for each point."""
    try:
        u = energy(x)
    except StanleyError:
        raise
    except (Exception, SystemExit) as error:
        raise StanleyError(
            f"{name} failed on points of shape {tuple(x.shape)}: {in_one_line(error)}"
        ) from error
    require(
        isinstance(u, Tensor),
        f"{name} returned a {type(u).__name__} for points of shape {tuple(x.shape)}, but must "
        f"return a tensor ({len(x)},), one number for each point",
    )
    cure = ": add .squeeze(-1)" if u.shape == (len(x), 1) else ""
    require(
        u.shape == (len(x),),
        f"{name} returned shape {tuple(u.shape)} for points of shape {tuple(x.shape)}, but must "
        f"return ({len(x)},), one number for each point{cure}",
    )
    require(
        u.dtype == x.dtype and u.device == x.device,
        f"{name} returned {u.dtype} on {u.device} for points of {x.dtype} on {x.device}; compute E "
        "in the type of its points",
    )
    require(
        u.requires_grad or not x.requires_grad,
        f"{name} has no gradient: its values depend neither on the points nor on the weights "
        "through autograd; compute it with torch operations, without detach, numpy or no_grad",
    )
    return u


def restore_buffers(energy: nn.Module, before: dict[str, Tensor]) -> None:
    for name, buffer in energy.named_buffers():
        buffer.data.copy_(before[name])


def kinds_of(energy: nn.Module, buffers: list[str]) -> str:
    """` (layers.1 is a BatchNorm1d)` of the first module whose buffer it is."""
    if not buffers:
        return ""
    where = buffers[0].rpartition(".")[0]
    return f" ({where or 'it'} is a {type(energy.get_submodule(where)).__name__})"


def random_part(energy: nn.Module) -> str:
    found = next(
        (f"{n} is a {type(m).__name__}" for n, m in energy.named_modules() if is_dropout(m)), None
    )
    return f" ({found})" if found else ""


def is_dropout(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.dropout._DropoutNd)  # pyright: ignore[reportPrivateUsage]  # torch has no other name

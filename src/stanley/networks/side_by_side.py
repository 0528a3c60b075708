"""S energies of one shape as one module, whose products are batches of S matrix products.

For networks as small as those of the plane the launches of S networks cost more than their
arithmetic. Rows of a run lie together: (S·B, *event) -> (S·B,). What a run computes depends on its
own rows and weights alone, in every bit where B and the widths are multiples of 16, on one thread
of a CPU; otherwise vectorised functions may round the rows at the ends of a batch differently.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from stanley.networks.by_hand import RULES, back, rules, through, untouched
from stanley.networks.mlp import MLPEnergy
from stanley.networks.reference import WithReference
from stanley.samplers.joint import Pull, Vjp

#: Weights of a row begin at multiples of so many numbers, since products of matrices that begin
#: elsewhere may be rounded differently.
ALIGNED = 16


class Rows:
    """S lists of tensors of the same shapes as one matrix (S, P): row s holds those of run s."""

    def __init__(self, shapes: Sequence[torch.Size], num: int, like: Tensor) -> None:
        self.shapes, self.starts, end = list(shapes), [], 0
        for shape in self.shapes:
            self.starts.append(end)
            end += -(-shape.numel() // ALIGNED) * ALIGNED
        self.matrix = torch.zeros(num, end, dtype=like.dtype, device=like.device)

    def of_all(self) -> list[Tensor]:
        """The tensors of all runs, each (S, *shape), in the memory of the matrix."""
        return [
            self.matrix[:, start : start + shape.numel()].view(len(self.matrix), *shape)
            for start, shape in zip(self.starts, self.shapes, strict=True)
        ]

    def of(self, run: int) -> list[Tensor]:
        """Those of one run, likewise."""
        return [tensor[run] for tensor in self.of_all()]


def why_alone(energy: nn.Module) -> str | None:
    """Why this energy cannot be trained beside others of its shape; None where it can."""
    name = type(energy).__name__
    if any(not p.requires_grad for p in energy.parameters()):
        return f"{name} has weights that are not trained"
    if len({(p.dtype, p.device) for p in energy.parameters()}) != 1:
        return f"{name} has weights of several types, or none"
    for part in energy.modules():
        if parametrize.is_parametrized(part):
            return f"{name} has weights that are computed from others, as spectral norms are"
        if getattr(part, "track_running_stats", False) or isinstance(
            part, nn.modules.dropout._DropoutNd
        ):
            return f"{name} has a {type(part).__name__}, which is another function at each call"
    return None


def side_by_side(energies: Sequence[nn.Module], weights: Rows) -> nn.Module:
    """The energies (B, *event) -> (B,) of S runs as one, with the `weights` for parameters, which
    share their memory. `MLP` is computed by hand; any other module by `torch.func`.
    """
    first = energies[0]
    if type(first) is WithReference:
        inner = [e.energy for e in energies if isinstance(e, WithReference)]
        return WithReference(side_by_side(inner, weights), first.std)
    parameters = [nn.Parameter(tensor) for tensor in weights.of_all()]
    if type(first) is MLPEnergy and rules(first.layers) is not None:
        features = first.features
        if untouched(first) and (features is None or features.vjp() is not None):
            return MLPs([e for e in energies if isinstance(e, MLPEnergy)], parameters)
    return Networks(energies, parameters)


class MLPs(nn.Module):
    """S multilayer perceptrons: `mlp.MLPEnergy`, S times."""

    frequencies: Tensor

    def __init__(self, energies: Sequence[MLPEnergy], parameters: Sequence[nn.Parameter]) -> None:
        super().__init__()
        self.num = len(energies)
        self.weights = nn.ParameterList(parameters)  # W and b of each layer in turn
        self.activations = nn.ModuleList(
            layer for layer in energies[0].layers if not isinstance(layer, nn.Linear)
        )
        features = [e.features for e in energies if e.features is not None]
        self.scale = features[0].scale if features else None
        if features:
            self.register_buffer("frequencies", torch.stack([f.frequencies for f in features]))

    def forward(self, x: Tensor) -> Tensor:  # (S·B, *event) -> (S·B,)
        return through(self.functions(), self.rows(x))[0].flatten()

    def vjp(self) -> Vjp:
        """E and the way back to x without autograd: see `samplers.joint`."""
        functions = self.functions()

        def function(x: Tensor) -> tuple[Tensor, Pull]:
            energy, pulls = through(functions, self.rows(x))
            return energy.flatten(), lambda v: back(pulls, v.view(energy.shape)).view(x.shape)

        return function

    def rows(self, x: Tensor) -> Tensor:
        return x.reshape(self.num, len(x) // self.num, -1)

    def functions(self) -> list[Vjp]:
        """A rule for each layer, as in `by_hand`, for (S, B, in) -> (S, B, out)."""
        found = [] if self.scale is None else [features(self.frequencies, self.scale)]
        pairs = list(zip(self.weights[::2], self.weights[1::2], strict=True))
        found.append(linear(*pairs[0]))
        for layer, pair in zip(self.activations, pairs[1:], strict=True):
            found += [RULES[type(layer)](layer), linear(*pair)]
        return found


def linear(weight: Tensor, bias: Tensor) -> Vjp:
    """W h + b. A single output is a sum: as a product of matrices its rounding would depend on how
    many runs there are.
    """
    transposed, row = weight.transpose(1, 2), bias[:, None]

    def function(h: Tensor) -> tuple[Tensor, Pull]:
        return torch.baddbmm(row, h, transposed), lambda v: torch.bmm(v, weight)

    def single(h: Tensor) -> tuple[Tensor, Pull]:
        return (h * weight).sum(2, keepdim=True) + row, lambda v: v * weight

    return single if weight.shape[1] == 1 else function


def features(frequencies: Tensor, scale: float) -> Vjp:
    """(x, a·sin(Ωx), a·cos(Ωx)): see `mlp.FourierFeatures`."""
    transposed, num = frequencies.transpose(1, 2), frequencies.shape[1]

    def function(x: Tensor) -> tuple[Tensor, Pull]:
        phase = torch.bmm(x, transposed)
        sin, cos = phase.sin(), phase.cos()

        def pull(v: Tensor) -> Tensor:
            straight, of_sin, of_cos = v.split([x.shape[2], num, num], 2)
            of_phase = of_sin * scale * cos + of_cos * scale * -sin
            return straight + torch.bmm(of_phase, frequencies)

        return torch.cat([x, scale * sin, scale * cos], 2), pull

    return function


class Networks(nn.Module):
    """S networks of any kind, by `torch.func.vmap` over their weights."""

    def __init__(self, energies: Sequence[nn.Module], parameters: Sequence[nn.Parameter]) -> None:
        super().__init__()
        self.num = len(energies)
        self.names = [name for name, _ in energies[0].named_parameters()]
        self.weights = nn.ParameterList(parameters)
        self.kept = {
            name: torch.stack([dict(e.named_buffers())[name] for e in energies])
            for name, _ in energies[0].named_buffers()
        }
        # hidden from `parameters`; those of its parts that have no weights are seen by whoever
        # asks for kinks
        self.template = [copy.deepcopy(energies[0]).to("meta")]
        self.parts = nn.ModuleList(
            part
            for part in energies[0].modules()
            if not [*part.children()] and not [*part.parameters()]
        )

    def forward(self, x: Tensor) -> Tensor:  # (S·B, *event) -> (S·B,)
        weights = dict(zip(self.names, self.weights, strict=True))
        energies: Callable[..., Tensor] = torch.func.vmap(self.of_one)
        return energies(weights, self.kept, x.reshape(self.num, -1, *x.shape[1:])).flatten()

    def of_one(self, weights: dict[str, Tensor], kept: dict[str, Tensor], x: Tensor) -> Tensor:
        both: Any = {**weights, **kept}
        return torch.func.functional_call(self.template[0], both, (x,))

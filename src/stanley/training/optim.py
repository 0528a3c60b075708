"""Optimisers as values, and the learning-rate schedule as a function of the step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from stanley.errors import require
from stanley.networks.side_by_side import Rows

EPSILON = 1e-8  # of torch.optim.Adam


@dataclass(frozen=True)
class Adam:
    """torch.optim.Adam. β₁ = 0 is common, because negative samples make the gradients noisy."""

    lr: float = 1e-4  # learning rate
    beta1: float = 0.9  # decay of the mean gradient
    beta2: float = 0.999  # decay of the mean squared gradient
    kind: Literal["adam"] = "adam"

    def __post_init__(self) -> None:
        require(self.lr > 0, f"optimizer.lr is {self.lr}, but must be > 0")
        require(0 <= self.beta1 < 1, f"optimizer.beta1 is {self.beta1}, but must lie in [0, 1)")
        require(0 <= self.beta2 < 1, f"optimizer.beta2 is {self.beta2}, but must lie in [0, 1)")

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        parameters = list(parameters)
        # one launch for all weights; on a CPU its rounding would differ, that of foreach does not
        fused = parameters[0].is_cuda
        return torch.optim.Adam(
            parameters, self.lr, (self.beta1, self.beta2), fused=fused, foreach=not fused
        )


@dataclass(frozen=True)
class SGD:
    """torch.optim.SGD. A small rate suits convergent learning (Nijkamp et al. 2020)."""

    lr: float = 1e-4  # learning rate
    momentum: float = 0.0  # momentum; 0 for none
    kind: Literal["sgd"] = "sgd"

    def __post_init__(self) -> None:
        require(self.lr > 0, f"optimizer.lr is {self.lr}, but must be > 0")
        require(
            0 <= self.momentum < 1,
            f"optimizer.momentum is {self.momentum}, but must lie in [0, 1); use 0 for none",
        )

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=self.lr, momentum=self.momentum)


#: What a configuration can name.
AnyOptimizer = Adam | SGD


class SideBySide:
    """The optimisers of S runs as one, on a row of weights for each run. The moments of each lie in
    the memory of the stack's.
    """

    def __init__(
        self,
        kinds: Sequence[AnyOptimizer],
        optimizers: Sequence[torch.optim.Optimizer],
        weights: Rows,
    ) -> None:
        self.kinds, self.weights = kinds, weights.matrix
        names = ["exp_avg", "exp_avg_sq"] if isinstance(kinds[0], Adam) else ["momentum_buffer"]
        rows = [Rows(weights.shapes, len(kinds), weights.matrix) for _ in names]
        self.moments = [row.matrix for row in rows]
        self.count = torch.zeros(len(kinds))  # updates so far, as Adam keeps them
        for s, (kind, optimizer) in enumerate(zip(kinds, optimizers, strict=True)):
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            own = zip(parameters, *(row.of(s) for row in rows), strict=True)
            for parameter, *moments in own:
                state = optimizer.state[parameter]
                for name, moment in zip(names, moments, strict=True):
                    if state.get(name) is not None:
                        moment.copy_(state[name])
                self.count[s] = float(state.get("step", 0.0))
                if isinstance(kind, Adam):
                    optimizer.state[parameter] = {"step": self.count[s]}
                if isinstance(kind, Adam) or kind.momentum > 0:
                    optimizer.state[parameter].update(zip(names, moments, strict=True))

    def step(self, gradient: Tensor, rates: Sequence[float]) -> None:
        """One step of each run, with its learning rate, down its row of the gradient (S, P)."""
        self.count += 1
        adams = [kind for kind in self.kinds if isinstance(kind, Adam)]
        if adams:
            self.adam(adams, gradient, rates)
        else:
            (momentum,) = self.moments
            momentum.mul_(self.column([getattr(kind, "momentum", 0.0) for kind in self.kinds]))
            momentum += gradient
            self.weights -= self.column(rates) * momentum

    def adam(self, kinds: Sequence[Adam], gradient: Tensor, rates: Sequence[float]) -> None:
        """θ ← θ - (lr/(1 - β₁ⁿ))·m/(√v/√(1 - β₂ⁿ) + ε), in the order of torch.optim.Adam."""
        mean, square = self.moments
        fresh1, beta2, fresh2, rate, root = [], [], [], [], []
        for kind, lr, n in zip(kinds, rates, self.count.tolist(), strict=True):
            fresh1.append(1 - kind.beta1)
            beta2.append(kind.beta2)
            fresh2.append(1 - kind.beta2)
            rate.append(-lr / (1 - kind.beta1**n))
            root.append((1 - kind.beta2**n) ** 0.5)
        mean.lerp_(gradient, self.column(fresh1))
        square.mul_(self.column(beta2)).addcmul_(self.column(fresh2) * gradient, gradient)
        size = (square.sqrt() / self.column(root)).add_(EPSILON)
        self.weights.addcmul_(mean / size, self.column(rate))

    def column(self, values: Sequence[float]) -> Tensor:
        return self.weights.new_tensor(values)[:, None]


def schedule(step: int, steps: int, warmup: int, decay: float) -> float:
    """The factor on the learning rate at `step` = 0 … steps-1.

    It rises linearly over the first `warmup` steps, is 1, and falls to 0 as a cosine over the last
    share `decay` of the run.
    """
    up = min(1.0, (step + 1) / warmup) if warmup > 0 else 1.0
    start = (1 - decay) * steps
    if step <= start:
        return up
    return up * (1 + math.cos(math.pi * (step - start) / (steps - start))) / 2


@torch.no_grad()
def update_average(average: nn.Module, energy: nn.Module, decay: float, step: int) -> None:
    """θ̄ ← β_t·θ̄ + (1 - β_t)·θ, β_t = min(decay, (1 + t)/(10 + t)), so that the first weights
    fade.

    Buffers are copied.
    """
    beta = min(decay, (1 + step) / (10 + step))
    ours: list[Tensor] = list(average.parameters())
    theirs: list[Tensor] = list(energy.parameters())
    torch._foreach_lerp_(ours, theirs, 1 - beta)  # pyright: ignore[reportPrivateImportUsage]
    for ours_buffer, theirs_buffer in zip(average.buffers(), energy.buffers(), strict=True):
        ours_buffer.copy_(theirs_buffer)

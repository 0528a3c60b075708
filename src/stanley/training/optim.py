"""Optimisers as values, and the learning-rate schedule as a function of the step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from stanley.errors import require


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
        fused = parameters[0].is_cuda  # one launch for all weights; a CPU gains nothing from it
        return torch.optim.Adam(parameters, lr=self.lr, betas=(self.beta1, self.beta2), fused=fused)


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

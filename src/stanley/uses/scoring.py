"""How far outside the training data a point lies, by the energy that was trained on them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stanley.errors import require
from stanley.samplers.base import evaluate
from stanley.types import Energy

CHUNK = 256  # points at a time through the network


@dataclass(frozen=True)
class Scores:
    """Higher is more outside."""

    energy: Tensor  # (N,)     U(x), in nats up to log Z
    grad_norm: Tensor  # (N,)  |∇U(x)|₂, which needs no log Z and is small at modes


def score(potential: Energy, x: Tensor, chunk: int = CHUNK) -> Scores:
    """U and |∇U| at points (N, *event).

    Scores are compared, so of a run whose chains are in bfloat16 hand over `in_float32(model.potential)`.
    Not true: that a low density means an odd image: likelihood-like scores are known to rate smooth images of other
    data as likely (Nalisnick et al., 2019). Look at both, and at the percentile among held-out data. The gradient norm
    is the score of Grathwohl et al. (2020), with their sign turned.
    """
    states = [evaluate(potential, rows) for rows in x.split(chunk)]
    return Scores(
        torch.cat([s.potential for s in states]),
        torch.cat([torch.linalg.vector_norm(s.grad.flatten(1), dim=1) for s in states]),
    )


def percentile(values: Tensor, reference: Tensor) -> Tensor:
    """100 × the share of the reference below each value, ties counted half: 50 is typical, 100 beyond all.

    Its standard error is at most 50/√n for n reference values, and nothing beyond 100 - 100/n is told apart.
    """
    require(len(reference) >= 1, "there are no reference values; a percentile needs at least 1")
    ordered = reference.sort().values
    low = torch.searchsorted(ordered, values.to(ordered), right=False)
    high = torch.searchsorted(ordered, values.to(ordered), right=True)
    return 100 * (low + high).double() / (2 * len(ordered))

"""How far outside the training data a point lies, by the energy that was trained on them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stanley.errors import require
from stanley.metrics.detection import Detection, judge_detection
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

    Scores are compared, so of a run whose chains are in bfloat16 hand over
    `in_float32(model.potential)`. Not true: that a low density means an odd image: likelihood-like
    scores are known to rate smooth images of other data as likely (Nalisnick et al., 2019). Look at
    both, and at the percentile among held-out data. The gradient norm is the score of Grathwohl et
    al. (2020), with their sign turned.
    """
    states = [evaluate(potential, rows) for rows in x.split(chunk)]
    return Scores(
        torch.cat([s.potential for s in states]),
        torch.cat([torch.linalg.vector_norm(s.grad.flatten(1), dim=1) for s in states]),
    )


@dataclass(frozen=True)
class Outside:
    """Scores of points beside those of others; None where there are no such others."""

    scores: Scores
    held_out: Scores | None
    inside: Scores | None
    percentile: Tensor | None  # (N,) of the energy among the held-out data's
    detection: dict[str, Detection]  # for each score, against `inside`; empty without


def outside(
    potential: Energy, x: Tensor, held_out: Tensor | None = None, inside: Tensor | None = None
) -> Outside:
    """How far outside points (N, *event) lie.

    held_out   data that the energy was not trained on, among which the energies are ranked
    inside     what counts as inside when the points are told from it; may be `held_out` itself
    """
    fewest = None if inside is None else min(len(x), len(inside))
    require(
        fewest is None or fewest >= 2,
        f"{fewest} point on one side, AUROC needs 2 on each; give more",
    )
    of_x = score(potential, x)
    of_held_out = None if held_out is None else score(potential, held_out)
    same = inside is held_out
    of_inside = of_held_out if same or inside is None else score(potential, inside)
    if inside is None:
        return Outside(of_x, of_held_out, None, ranked(of_x, of_held_out), {})
    assert of_inside is not None
    found = {
        "energy": judge_detection(of_inside.energy, of_x.energy),
        "grad_norm": judge_detection(of_inside.grad_norm, of_x.grad_norm),
    }
    return Outside(of_x, of_held_out, of_inside, ranked(of_x, of_held_out), found)


def ranked(scores: Scores, reference: Scores | None) -> Tensor | None:
    return None if reference is None else percentile(scores.energy, reference.energy)


def percentile(values: Tensor, reference: Tensor) -> Tensor:
    """100 × the share of the reference below each value, ties counted half: 50 is typical, 100
    beyond all.

    Its standard error is at most 50/√n for n reference values, and nothing beyond 100 - 100/n is
    told apart.
    """
    require(len(reference) >= 1, "there are no reference values; a percentile needs at least 1")
    ordered = reference.sort().values
    low = torch.searchsorted(ordered, values.to(ordered), right=False)
    high = torch.searchsorted(ordered, values.to(ordered), right=True)
    return 100 * (low + high).double() / (2 * len(ordered))

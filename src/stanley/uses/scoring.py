"""Out-of-distribution scores: how unlike the training data a point is, by its energy."""

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
    """Scores of N points; a higher one means less like the training data.

    energy      U(x) in nats, -log p(x) up to log Z, (N,)
    grad_norm   |∇U(x)|₂, (N,), which does not depend on log Z and is small at modes
    """

    energy: Tensor
    grad_norm: Tensor


def score(potential: Energy, x: Tensor, chunk: int = CHUNK) -> Scores:
    """U and |∇U| at points (N, *event), `chunk` points at a time.

    The gradient norm is the score of Grathwohl et al. (2020) with the opposite sign. For a run
    whose chains are in bfloat16 pass `in_float32(model.potential)`, since scores are compared. Not
    true: that a low density means an odd image, or a high one an image like the data: such scores
    rate smooth images of other data as likely (Nalisnick et al., 2019). Look at both scores, and at
    the percentile among held-out data.
    """
    states = [evaluate(potential, rows) for rows in x.split(chunk)]
    return Scores(
        torch.cat([s.potential for s in states]),
        torch.cat([torch.linalg.vector_norm(s.grad.flatten(1), dim=1) for s in states]),
    )


@dataclass(frozen=True)
class Outside:
    """The result of `outside`, for N points.

    scores       of the points
    held_out     of the held-out data; None if there are none
    inside       of the points that count as inside; None if there are none
    percentile   of each energy among those of the held-out data, (N,); None without them
    detection    name of a score -> how well it separates the points from `inside`; empty without
    """

    scores: Scores
    held_out: Scores | None
    inside: Scores | None
    percentile: Tensor | None
    detection: dict[str, Detection]


def outside(
    potential: Energy, x: Tensor, held_out: Tensor | None = None, inside: Tensor | None = None
) -> Outside:
    """Score points (N, *event), and compare the scores with those of other data.

    held_out   data on which the energy was not trained, for the percentiles of the points' energies
    inside     points that count as inside, from which the scores should separate the others; it may
               be `held_out` itself

    See `score` for what is not true of these scores.
    """
    fewest = None if inside is None else min(len(x), len(inside))
    require(
        fewest is None or fewest >= 2,
        f"there is {fewest} point in one of the two sets, but AUROC needs at least 2 in each; give"
        " more",
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
    """100 × the share of the n reference values below each value, counting ties half.

    50 is typical, and 100 is above all reference values. The standard error is at most 50/√n.
    Values beyond 100 - 100/n cannot be distinguished.
    """
    require(len(reference) >= 1, "there are no reference values, but a percentile needs at least 1")
    ordered = reference.sort().values
    low = torch.searchsorted(ordered, values.to(ordered), right=False)
    high = torch.searchsorted(ordered, values.to(ordered), right=True)
    return 100 * (low + high).double() / (2 * len(ordered))

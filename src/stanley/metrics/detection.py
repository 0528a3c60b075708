"""How well a score tells points of the data ("in") from others ("out"): AUROC, AUPR, FPR at 95 %
TPR, exact with ties.

A score is high where a point looks foreign: the energy, or the norm of its gradient. Out-sets are
named by the reader of a table, and four that need no data are made here. Not true: that an energy
which tells digits from noise knows digits: a score of brightness alone may do the same, which the
constant and the permuted images show.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from stanley.batches import in_chunks
from stanley.data import centre, to_bytes
from stanley.errors import require
from stanley.samplers import evaluate
from stanley.samplers.base import values
from stanley.types import Energy

CHUNK = 512  # points at a time through the network


@dataclass(frozen=True)
class Detection:
    """auroc        P(s_out > s_in) + ½ P(s_out = s_in); 0.5 for a score that knows nothing
    auroc_error  its standard error, DeLong et al. (1988)
    aupr_out     average precision with "out" as the positive class, found by high scores
    aupr_in      the same with "in" as the positive class, found by low scores. Both depend on n_in
                 : n_out; a score that knows nothing has the share of its positive class
    fpr95        share of "out" that is taken for "in" by the lowest threshold t that takes at least
                 95 % of "in" (s <= t) for "in"
    """

    auroc: float
    auroc_error: float
    aupr_out: float
    aupr_in: float
    fpr95: float
    n_in: int
    n_out: int


def judge_detection(score_in: Tensor, score_out: Tensor) -> Detection:
    """All of them from scores (n_in,) and (n_out,); infinities count as larger than all numbers,
    NaN is refused.
    """
    inside, outside = checked(score_in, score_out)
    won_out, won_in = _placements(outside, inside), 1 - _placements(inside, outside)
    error = (won_out.var() / len(outside) + won_in.var() / len(inside)).sqrt()
    return Detection(
        auroc=auroc(inside, outside),
        auroc_error=float(error),
        aupr_out=aupr(inside, outside),
        aupr_in=average_precision(-inside, -outside),
        fpr95=fpr_at_95(inside, outside),
        n_in=len(inside),
        n_out=len(outside),
    )


def auroc(score_in: Tensor, score_out: Tensor) -> float:
    """P(s_out > s_in) + ½ P(s_out = s_in)."""
    inside, outside = checked(score_in, score_out)
    return float(_placements(outside, inside).mean())


def aupr(score_in: Tensor, score_out: Tensor) -> float:
    """Average precision with "out" as the positive class, found by high scores; `aupr_in` is that
    of the negatives of both, exchanged."""
    inside, outside = checked(score_in, score_out)
    return average_precision(outside, inside)


def fpr_at_95(score_in: Tensor, score_out: Tensor) -> float:
    """Share of "out" at or below the ⌈0.95 n⌉-th lowest score of "in"."""
    inside, outside = checked(score_in, score_out)
    threshold = inside.sort().values[-(-95 * len(inside) // 100) - 1]
    return float((outside <= threshold).double().mean())


def checked(score_in: Tensor, score_out: Tensor) -> tuple[Tensor, Tensor]:
    for name, score in (("score_in", score_in), ("score_out", score_out)):
        require(
            score.ndim == 1 and len(score) >= 2,
            f"{name} has shape {tuple(score.shape)}, must be (n,), n >= 2",
        )
        lost = int(score.isnan().sum())
        require(
            lost == 0,
            f"{lost} of {len(score)} scores in {name} are NaN; leave those points out and count"
            " them",
        )
    return score_in.detach().double(), score_out.detach().double()


def average_precision(positive: Tensor, negative: Tensor) -> float:
    """Σ_t (recall_t - recall_{t-1})·precision_t over the distinct scores t from above,
    "positive" where s >= t.
    """
    thresholds = torch.cat([positive, negative]).unique().flip(0)
    found, false = (_at_least(thresholds, s) for s in (positive, negative))
    gained = torch.diff(found, prepend=found.new_zeros(1))
    return float((gained / len(positive) * found / (found + false)).sum())


def _at_least(thresholds: Tensor, scores: Tensor) -> Tensor:
    """How many scores are >= each threshold."""
    return (
        len(scores) - torch.searchsorted(scores.sort().values, thresholds.contiguous())
    ).double()


def _placements(a: Tensor, b: Tensor) -> Tensor:
    """For each a_i the share of b below it, ties half: (n,)."""
    ordered = b.sort().values
    below, up_to = (torch.searchsorted(ordered, a, right=right) for right in (False, True))
    return (below + up_to).double() / (2 * len(b))


def energy_score(energy: Energy, x: Tensor) -> Tensor:
    """E(x): (B, *event) -> (B,) on the device of x."""
    return values(energy, x, CHUNK)


def gradient_score(energy: Energy, x: Tensor) -> Tensor:
    """|∇E(x)|₂: (B, *event) -> (B,). Low at the modes, and also at any other flat place,
    far out included.
    """
    return in_chunks(lambda part: evaluate(energy, part).grad.flatten(1).norm(dim=1), x, CHUNK)


def synthetic_out_sets(images: Tensor, generator: Generator) -> dict[str, Tensor]:
    """Out-sets of the size of `images` (n, C, H, W) in [-1, 1], n >= 2, on their device.

    noise         every value uniform on [-1, 1]
    constant      one uniform colour an image
    interpolated  ½(x_i + x_j), i ≠ j: two images in one
    permuted      the pixels of an image in an order of its own, channels together: the same
                  colours, no shapes

    All are taken to the centres of 8-bit cells, so that no score can tell them from images by their
    grid.
    """
    shape = tuple(images.shape)
    require(
        len(shape) == 4 and shape[0] >= 2,
        f"images have shape {shape}, must be (n, C, H, W) with n >= 2",
    )
    n, c, h, w = shape
    place = {"generator": generator, "device": generator.device}
    uniform = lambda *size: (2 * torch.rand(size, **place) - 1).to(images)  # noqa: E731
    shift = int(torch.randint(1, n, (), **place))
    order = torch.rand(n, 1, h * w, **place).argsort(-1).to(images.device)
    sets = {
        "noise": uniform(n, c, h, w),
        "constant": uniform(n, c, 1, 1).expand(shape),
        "interpolated": (images + images.roll(shift, 0)) / 2,
        "permuted": images.flatten(2).gather(2, order.expand(n, c, h * w)).reshape(shape),
    }
    return {name: centre(to_bytes(x)).to(images) for name, x in sets.items()}

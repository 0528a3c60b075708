"""Out-of-distribution detection: how well a score tells points of the data ("in") from others.

The measures are AUROC, AUPR and FPR at 95 % TPR, all exact with ties. A score is high where a point
looks foreign: the energy, or the norm of its gradient. `synthetic_out_sets` makes four sets of
"out" images that need no other data. Not true: that an energy which tells digits from noise has
learnt digits: brightness alone may do as well, which the constant and the permuted images reveal.
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
from stanley.streams import as_generator
from stanley.types import Energy

CHUNK = 512  # points at a time through the network


@dataclass(frozen=True)
class Detection:
    """How well a score separates n_in points of the data from n_out others.

    auroc        P(s_out > s_in) + ½ P(s_out = s_in); 0.5 for an uninformative score
    auroc_error  standard error of auroc, DeLong et al. (1988)
    aupr_out     average precision with "out" as the positive class, which has the high scores
    aupr_in      average precision with "in" as the positive class, which has the low scores. Both
                 depend on n_in : n_out; an uninformative score has the share of the positive class.
    fpr95        share of "out" with s <= t, where t is the lowest threshold with at least 95 % of
                 "in" at s <= t
    """

    auroc: float
    auroc_error: float
    aupr_out: float
    aupr_in: float
    fpr95: float
    n_in: int
    n_out: int


def judge_detection(score_in: Tensor, score_out: Tensor) -> Detection:
    """All measures of `Detection`, from scores (n_in,) and (n_out,) of at least 2 points each.

    Infinite scores are ranked like any other. Raises StanleyError for a NaN.
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
    """Area under the ROC curve, P(s_out > s_in) + ½ P(s_out = s_in)."""
    inside, outside = checked(score_in, score_out)
    return float(_placements(outside, inside).mean())


def aupr(score_in: Tensor, score_out: Tensor) -> float:
    """Average precision with "out" as the positive class, which has the high scores.

    For `Detection.aupr_in` call aupr(-score_out, -score_in).
    """
    inside, outside = checked(score_in, score_out)
    return average_precision(outside, inside)


def fpr_at_95(score_in: Tensor, score_out: Tensor) -> float:
    """Share of "out" at or below the ⌈0.95 n⌉-th lowest of the n scores of "in"."""
    inside, outside = checked(score_in, score_out)
    threshold = inside.sort().values[-(-95 * len(inside) // 100) - 1]
    return float((outside <= threshold).double().mean())


def checked(score_in: Tensor, score_out: Tensor) -> tuple[Tensor, Tensor]:
    for name, score in (("score_in", score_in), ("score_out", score_out)):
        require(
            score.ndim == 1 and len(score) >= 2,
            f"{name} has shape {tuple(score.shape)}, but must be (n,) with n >= 2",
        )
        lost = int(score.isnan().sum())
        require(
            lost == 0,
            f"{lost} of {len(score)} scores in {name} are NaN; leave those points out, and report"
            " how many",
        )
    return score_in.detach().double(), score_out.detach().double()


def average_precision(positive: Tensor, negative: Tensor) -> float:
    """Area under the precision-recall curve, Σ_t (recall_t - recall_{t-1})·precision_t.

    The sum is over the distinct scores t in decreasing order; a point with s >= t is classified as
    positive.
    """
    thresholds = torch.cat([positive, negative]).unique().flip(0)
    found, false = (_at_least(thresholds, s) for s in (positive, negative))
    gained = torch.diff(found, prepend=found.new_zeros(1))
    return float((gained / len(positive) * found / (found + false)).sum())


def _at_least(thresholds: Tensor, scores: Tensor) -> Tensor:
    """The number of scores >= each threshold."""
    return (
        len(scores) - torch.searchsorted(scores.sort().values, thresholds.contiguous())
    ).double()


def _placements(a: Tensor, b: Tensor) -> Tensor:
    """For each a_i, the share of b that is below it, counting ties half: (n,)."""
    ordered = b.sort().values
    below, up_to = (torch.searchsorted(ordered, a, right=right) for right in (False, True))
    return (below + up_to).double() / (2 * len(b))


def energy_score(energy: Energy, x: Tensor) -> Tensor:
    """The energy as a score, E(x): (B, *event) -> (B,), computed in chunks."""
    return values(energy, x, CHUNK)


def gradient_score(energy: Energy, x: Tensor) -> Tensor:
    """The gradient norm as a score, |∇E(x)|₂: (B, *event) -> (B,), computed in chunks.

    Not true: that it is low at the modes only: it is low wherever E is flat, also far away.
    """
    return in_chunks(lambda part: evaluate(energy, part).grad.flatten(1).norm(dim=1), x, CHUNK)


def synthetic_out_sets(
    images: Tensor, generator: Generator | None = None, *, seed: int | None = None
) -> dict[str, Tensor]:
    """Four sets of images that are not like the data, each shaped like `images`.

    images   (n, C, H, W) in [-1, 1], n >= 2; the sets are on the same device

    noise         every value uniform on [-1, 1]
    constant      each image of one random colour
    interpolated  ½(x_i + x_j), i ≠ j: the average of two images
    permuted      the pixels of each image in a random order, with channels kept together: the same
                  colours without shapes

    All values are rounded to the centres of 8-bit cells, as those of images are, so that no score
    can tell the sets apart by their values' grid.
    """
    shape = tuple(images.shape)
    require(
        len(shape) == 4 and shape[0] >= 2,
        f"images have shape {shape}, but must be (n, C, H, W) with n >= 2",
    )
    n, c, h, w = shape
    generator = as_generator(generator, seed, "synthetic_out_sets", device=images.device)
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

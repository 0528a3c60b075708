"""Out-of-distribution scores: how unlike the training data a point is, by its energy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stanley.errors import require
from stanley.metrics.detection import Detection, judge_detection
from stanley.samplers.base import evaluate, values
from stanley.types import Energy

CHUNK = 256  # points at a time through the network
LEVELS = 10  # noise levels of a profile
FEWEST = 20  # held-out points for each of them


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


def energies_at(levels: Sequence[Energy], x: Tensor, chunk: int = CHUNK) -> Tensor:
    """U(x, σ) of points (N, *event) at each noise level: (N, levels)."""
    return torch.stack([values(level, x, chunk) for level in levels], 1)


def unusual_profile(energies: Tensor, reference: Tensor) -> Tensor:
    """How unlike the reference's (n, K) the energies of each point at K noise levels (N, K) are:

        (e - m)ᵀ·C⁺·(e - m),   e = (U(x, σ₁), …, U(x, σ_K)),

    m and C the mean and covariance of the reference, C⁺ the inverse of C on the directions in which
    it varies beyond rounding. (N,) in float64. 0 is the middle of the data, and over the reference
    itself the mean is K·(n - 1)/n: a point may be outside by energies that are too *low*, or by a
    relation between them that no data have. The constant log Z of a level drops out.
    Not true: that it is a density, or that it is χ² of K degrees: energies of data are not normal.
    For levels as features of a detector see Mahmood, Oliva & Styner (2021), who use |∇U|.
    """
    n, k = reference.shape
    require(
        n >= FEWEST * k,
        f"there are {n} held-out points, but a profile of {k} noise levels needs at least "
        f"{FEWEST * k}; use more, or the energy of one level",
    )
    reference, energies = reference.double(), energies.double()
    mean, scale = reference.mean(0), reference.std(0).clamp(min=1e-300)
    spectrum, vectors = torch.linalg.eigh(torch.cov(((reference - mean) / scale).T))
    varies = spectrum > 1e-9 * spectrum[-1]
    parts = (energies - mean) / scale @ vectors[:, varies]
    return (parts.square() / spectrum[varies]).sum(1)


@dataclass(frozen=True)
class Outside:
    """The result of `outside`, for N points.

    scores       of the points
    held_out     of the held-out data; None if there are none
    inside       of the points that count as inside; None if there are none
    percentile   of each energy among those of the held-out data, (N,); None without them
    detection    name of a score -> how well it separates the points from `inside`; empty without
    profile      `unusual_profile` of the points among the held-out data, (N,), and `rarity`, its
                 percentile among theirs; None without both levels and enough held-out data
    """

    scores: Scores
    held_out: Scores | None
    inside: Scores | None
    percentile: Tensor | None
    detection: dict[str, Detection]
    profile: Tensor | None = None
    rarity: Tensor | None = None


def outside(
    potential: Energy,
    x: Tensor,
    held_out: Tensor | None = None,
    inside: Tensor | None = None,
    levels: Sequence[Energy] = (),
) -> Outside:
    """Score points (N, *event), and compare the scores with those of other data.

    held_out   data on which the energy was not trained, for the percentiles of the points' energies
    inside     points that count as inside, from which the scores should separate the others; it may
               be `held_out` itself
    levels     U(·, σ) at several noise levels σ, where the energy knows them. Profiles are compared
               with those of `held_out`, if it has 20 points for each level

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
    profiled = held_out is not None and len(levels) > 0 and len(held_out) >= FEWEST * len(levels)
    profile, rarity, of_inside, found = None, None, None, {}
    if inside is not None:
        of_inside = of_held_out if inside is held_out else score(potential, inside)
        assert of_inside is not None
        found["energy"] = judge_detection(of_inside.energy, of_x.energy)
        found["grad_norm"] = judge_detection(of_inside.grad_norm, of_x.grad_norm)
    if profiled:
        assert held_out is not None
        reference = energies_at(levels, held_out)
        usual = unusual_profile(reference, reference)
        profile = unusual_profile(energies_at(levels, x), reference)
        rarity = percentile(profile, usual)
        if inside is not None:
            own = inside is held_out
            theirs = usual if own else unusual_profile(energies_at(levels, inside), reference)
            found["profile"] = judge_detection(theirs, profile)
    ranks = ranked(of_x, of_held_out)
    return Outside(of_x, of_held_out, of_inside, ranks, found, profile, rarity)


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

"""The Inception Score's formula, for the class probabilities of any classifier.

Salimans et al. (2016), section 4.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stanley.errors import require


@dataclass(frozen=True)
class ClassScore:
    """The score of `class_score`.

    value         mean over the splits
    sd            population standard deviation over the splits, as in publications
    splits        number of splits
    num_classes   K
    n             number of samples

    The value lies between 1 (the classifier cannot tell the samples apart) and K. It is biased
    downwards when a split holds few samples per class, so compare at equal n and splits. Only with
    the standard Inception network may it be called Inception Score. Not true: that it compares with
    the data: K memorised images, one of each class, score K.
    """

    value: float
    sd: float
    splits: int
    num_classes: int
    n: int


def class_score(probabilities: Tensor, splits: int = 10) -> ClassScore:
    """How confident and how diverse a classifier finds the samples.

        exp( 1/n Σ_i KL(p(·|x_i) ‖ p̄) ),   p̄ = 1/n Σ_i p(·|x_i)

    It is computed in float64, with 0·log 0 = 0, in each of `splits` blocks of consecutive rows.

    probabilities   p(k|x_i), (n, K), each row with sum 1

    Raises StanleyError for rows that are no probabilities or are fewer than `splits`.
    Salimans et al. (2016), section 4.
    """
    require(
        probabilities.ndim == 2,
        f"probabilities have shape {tuple(probabilities.shape)}, but must be (n, classes)",
    )
    n, num_classes = probabilities.shape
    require(
        1 <= splits <= n,
        f"splits is {splits}, but must be from 1 to {n}, the number of samples; 10 is usual",
    )
    p = probabilities.detach().double()
    worst = float((p.sum(1) - 1).abs().max())
    require(
        worst <= 1e-3,
        f"a row of probabilities misses the sum 1 by {worst:.3g}, but must not by more than 0.001;"
        " apply a softmax first",
    )
    require(
        bool((p >= 0).all()),
        f"a probability is {float(p.min()):.3g}, but must be >= 0; apply a softmax first",
    )
    scores = torch.stack(
        [_score(p[i * n // splits : (i + 1) * n // splits]) for i in range(splits)]
    )
    return ClassScore(float(scores.mean()), float(scores.std(correction=0)), splits, num_classes, n)


def _score(p: Tensor) -> Tensor:
    """exp of the mean KL, which is H(p̄) - mean H(p_i)."""
    marginal = p.mean(0)
    kl = torch.special.entr(marginal).sum() - torch.special.entr(p).sum(1).mean()
    return kl.exp()

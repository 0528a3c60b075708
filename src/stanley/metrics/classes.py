"""Inception-style score from the class probabilities of any classifier. Salimans et al. (2016),
section 4.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stanley.errors import require


@dataclass(frozen=True)
class ClassScore:
    """value is the mean over the splits, sd their population standard deviation, as is published.

    Between 1 (all samples look alike to the classifier) and K, its number of classes. Biased
    downwards when a split holds few samples a class: compare at equal n and splits. It never looks
    at the data: a memorised set of K images scores K. May be called Inception Score only with the
    standard Inception network.
    """

    value: float
    sd: float
    splits: int
    num_classes: int
    n: int


def class_score(probabilities: Tensor, splits: int = 10) -> ClassScore:
    """exp( 1/n Σ_i KL(p(·|x_i) ‖ p̄) ),   p̄ = 1/n Σ_i p(·|x_i), within each of `splits` runs of
                                           rows in their order.

    probabilities (n, K): rows sum to 1. In float64; 0·log 0 = 0.
    """
    require(
        probabilities.ndim == 2,
        f"probabilities have shape {tuple(probabilities.shape)}, must be (n, classes)",
    )
    n, num_classes = probabilities.shape
    require(
        1 <= splits <= n,
        f"splits is {splits}, must be 1 to {n}, the number of samples; 10 is usual",
    )
    p = probabilities.detach().double()
    worst = float((p.sum(1) - 1).abs().max())
    require(
        worst <= 1e-3,
        f"probabilities sum to 1 up to {worst:.3g}, limit 0.001; apply a softmax first",
    )
    require(
        bool((p >= 0).all()),
        f"a probability is {float(p.min()):.3g}, must be >= 0; apply a softmax first",
    )
    scores = torch.stack(
        [_score(p[i * n // splits : (i + 1) * n // splits]) for i in range(splits)]
    )
    return ClassScore(float(scores.mean()), float(scores.std(correction=0)), splits, num_classes, n)


def _score(p: Tensor) -> Tensor:
    """KL averaged over rows is H(p̄) - mean H(p_i)."""
    marginal = p.mean(0)
    kl = torch.special.entr(marginal).sum() - torch.special.entr(p).sum(1).mean()
    return kl.exp()

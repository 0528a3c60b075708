"""The targets that the command line and the benchmark can name."""

from __future__ import annotations

import math

import torch

from stanley.errors import StanleyError, did_you_mean
from stanley.targets.base import Target
from stanley.targets.gaussian import Gaussian, Mixture
from stanley.targets.plane import Banana, Rings
from stanley.targets.posteriors import EightSchools, LogisticRegression
from stanley.targets.products import DoubleWell, ExpSkew, Quartic
from stanley.targets.scale_mixtures import Funnel, StudentT


def ill_conditioned(d: int = 100, condition: float = 1e4) -> Gaussian:
    """Independent coordinates with standard deviations from 1/√κ to 1, evenly on a log scale."""
    return Gaussian.from_std(torch.logspace(-math.log10(condition) / 2, 0, d, dtype=torch.float64))


def on_a_ring(num: int = 8, radius: float = 4.0, std: float = 0.5) -> Mixture:
    """Equal Gaussians at equal angles."""
    angle = 2 * math.pi * torch.arange(num, dtype=torch.float64) / num
    return Mixture(radius * torch.stack([angle.cos(), angle.sin()], dim=1), std)


TARGETS = {
    "gaussian": lambda: Gaussian.from_std(torch.ones(10, dtype=torch.float64)),
    "ill-conditioned": ill_conditioned,
    "banana": Banana,
    "funnel": Funnel,
    "double-well": lambda: DoubleWell(50),
    "quartic": lambda: Quartic(10),
    "student-t": lambda: StudentT(5.0, 10),
    "ring-mixture": on_a_ring,
    "rings": Rings,
    "exp-skew": lambda: ExpSkew(10),
    "logistic": LogisticRegression.synthetic,
    "eight-schools": EightSchools,
}

ABOUT = {
    "gaussian": "N(0, I), d = 10",
    "ill-conditioned": "independent Gaussians, standard deviations 0.01 to 1, d = 100",
    "banana": "a twisted Gaussian in the plane",
    "funnel": "Neal's funnel, d = 10",
    "double-well": "Σ (x² - 1)², d = 50, 2⁵⁰ wells",
    "quartic": "exp(-Σ x⁴), tails lighter than Gaussian, d = 10",
    "student-t": "polynomial tails, 5 degrees of freedom, d = 10",
    "ring-mixture": "eight Gaussians on a circle in the plane",
    "rings": "four concentric rings in the plane",
    "exp-skew": "Σ (eˣ - x), one heavy and one light tail, d = 10",
    "logistic": "logistic regression on made data of 1000 rows, d = 25",
    "eight-schools": "eight schools, non-centred, d = 10",
}


def named(name: str) -> Target:
    """The target of that name; raises StanleyError with the nearest one, or all,
    where there is none.
    """
    if name not in TARGETS:
        raise StanleyError(f"unknown target {name!r}: {did_you_mean(name, TARGETS)}")
    return TARGETS[name]()

"""Closed-form densities p(x) = exp(-U(x)) / Z: the oracles of the tests and the pictures of the
demo.

Each target is a frozen object that is called as a potential, U: (B, d) -> (B,), in the dtype and on
the device of x, differentiable by autograd. Beside it stands what is known exactly: log Z,
independent samples, and the moments of each coordinate. A moment that does not exist is None;
nothing is estimated from samples.
"""

from __future__ import annotations

from stanley.targets.base import Target
from stanley.targets.gaussian import Gaussian, Mixture
from stanley.targets.named import ABOUT, named
from stanley.targets.plane import Banana, Rings
from stanley.targets.posteriors import EightSchools, LogisticRegression
from stanley.targets.products import DoubleWell, ExpSkew, Quartic
from stanley.targets.scale_mixtures import Funnel, StudentT

__all__ = [
    "ABOUT",
    "Banana",
    "DoubleWell",
    "EightSchools",
    "ExpSkew",
    "Funnel",
    "Gaussian",
    "LogisticRegression",
    "Mixture",
    "Quartic",
    "Rings",
    "StudentT",
    "Target",
    "named",
]

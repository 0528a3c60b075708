"""Closed-form densities p(x) = exp(-U(x)) / Z, the reference solutions of the tests and the demo.

Each target is a frozen object that is called as a potential, U: (B, d) -> (B,), in the dtype and on
the device of x, and is differentiable by autograd. It also offers what is known exactly: log Z,
independent samples, and the mean and variance of each coordinate. A quantity that does not exist or
is not known is None; nothing is estimated from samples.
"""

from __future__ import annotations

from stanley.targets.base import Target
from stanley.targets.gaussian import Gaussian, Mixture
from stanley.targets.named import ABOUT, named
from stanley.targets.own import PerPoint, from_log_density
from stanley.targets.parameters import Parameter, ParameterPotential, Parameters
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
    "Parameter",
    "ParameterPotential",
    "Parameters",
    "PerPoint",
    "Quartic",
    "Rings",
    "StudentT",
    "Target",
    "from_log_density",
    "named",
]

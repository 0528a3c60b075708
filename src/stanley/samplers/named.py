"""The samplers that a configuration can name, but for the one that is made of several of them."""

from __future__ import annotations

from typing import get_args

from stanley.errors import did_you_mean, require
from stanley.samplers.adjusted import Adjusted
from stanley.samplers.amala import AMALA
from stanley.samplers.barker import Barker
from stanley.samplers.base import Sampler
from stanley.samplers.chees import ChEES
from stanley.samplers.clipped import ClippedLangevin
from stanley.samplers.descent import GradientDescent
from stanley.samplers.hmc import HMC
from stanley.samplers.jumps import MALAWithJumps
from stanley.samplers.langevin import Langevin
from stanley.samplers.mala import MALA
from stanley.samplers.matched import MatchedLangevin
from stanley.samplers.preconditioned_langevin import PreconditionedLangevin
from stanley.samplers.random_walk import RandomWalk
from stanley.samplers.stanley import Stanley
from stanley.samplers.tamed import TamedLangevin
from stanley.samplers.traits import traits_of
from stanley.samplers.underdamped import Underdamped

#: Told apart by `kind`.
SingleSampler = (
    Langevin
    | Stanley
    | ClippedLangevin
    | MatchedLangevin
    | TamedLangevin
    | GradientDescent
    | PreconditionedLangevin
    | Underdamped
    | MALA
    | MALAWithJumps
    | AMALA
    | Barker
    | HMC
    | ChEES
    | RandomWalk
    | Adjusted
)


def step_is_time(kind: object) -> bool:
    """Whether the step size of this kind of sampler is a time step,
    not the variance of the noise.
    """
    alone = [sampler for sampler in get_args(SingleSampler) if sampler is not Adjusted]
    return any(s.kind == kind and traits_of(s(step_size=1.0)).step_is_time for s in alone)


def sampler_named(kind: str, step_size: float) -> Sampler:
    """The sampler of a kind such as 'hmc', or 'adjusted-stanley' for that kind inside `Adjusted`.

    Raises StanleyError for an unknown kind, and one that `Adjusted` cannot hold.
    """
    known = {s.kind: s for s in get_args(SingleSampler) if s is not Adjusted}
    inner = kind.removeprefix("adjusted-")
    require(inner in known, f"unknown sampler {kind!r}: {did_you_mean(inner, known)}")
    sampler = known[inner](step_size=step_size)
    return sampler if inner == kind else Adjusted(sampler)

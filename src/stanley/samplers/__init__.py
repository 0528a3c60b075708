"""Samplers: frozen values with `init` and `step`, run by `run_chains`."""

from __future__ import annotations

from stanley.samplers.adapt import RobbinsMonro, adapt
from stanley.samplers.adjusted import Adjusted
from stanley.samplers.amala import AMALA
from stanley.samplers.annealed import anneal, ladder
from stanley.samplers.barker import Barker
from stanley.samplers.base import ChainState, Proposal, Sampler, StepInfo, evaluate, metropolis
from stanley.samplers.chees import ChEES
from stanley.samplers.clipped import ClippedLangevin
from stanley.samplers.descent import GradientDescent
from stanley.samplers.given import GivenSampler, NamedSampler
from stanley.samplers.hmc import HMC
from stanley.samplers.jumps import MALAWithJumps
from stanley.samplers.langevin import Langevin
from stanley.samplers.mala import MALA
from stanley.samplers.matched import MatchedLangevin
from stanley.samplers.named import SingleSampler
from stanley.samplers.preconditioned import DensePreconditioned, Preconditioned
from stanley.samplers.preconditioned_langevin import PreconditionedLangevin
from stanley.samplers.random_walk import RandomWalk
from stanley.samplers.replica import ReplicaExchange
from stanley.samplers.run import ChainInfo, ChainResult, run_chains
from stanley.samplers.scale import Quantile
from stanley.samplers.stanley import Stanley
from stanley.samplers.tamed import TamedLangevin
from stanley.samplers.traits import Traits, traits_of
from stanley.samplers.transport import transport
from stanley.samplers.underdamped import Underdamped

#: What a configuration can name.
AnySampler = SingleSampler | ReplicaExchange

#: What stands for a user's own in a configuration.
OwnSampler = GivenSampler | NamedSampler

__all__ = [
    "AMALA",
    "HMC",
    "MALA",
    "Adjusted",
    "AnySampler",
    "Barker",
    "ChEES",
    "ChainInfo",
    "ChainResult",
    "ChainState",
    "ClippedLangevin",
    "DensePreconditioned",
    "GivenSampler",
    "GradientDescent",
    "Langevin",
    "MALAWithJumps",
    "MatchedLangevin",
    "NamedSampler",
    "OwnSampler",
    "Preconditioned",
    "PreconditionedLangevin",
    "Proposal",
    "Quantile",
    "RandomWalk",
    "ReplicaExchange",
    "RobbinsMonro",
    "Sampler",
    "Stanley",
    "StepInfo",
    "TamedLangevin",
    "Traits",
    "Underdamped",
    "adapt",
    "anneal",
    "evaluate",
    "ladder",
    "metropolis",
    "run_chains",
    "traits_of",
    "transport",
]

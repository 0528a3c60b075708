"""Samplers: frozen values with `init` and `step`, run by `run_chains`."""

from __future__ import annotations

from stanley.samplers.adapt import RobbinsMonro, adapt
from stanley.samplers.adjusted import Adjusted
from stanley.samplers.base import ChainState, Proposal, Sampler, StepInfo, evaluate, metropolis
from stanley.samplers.clipped import ClippedLangevin
from stanley.samplers.descent import GradientDescent
from stanley.samplers.langevin import Langevin
from stanley.samplers.mala import MALA
from stanley.samplers.matched import MatchedLangevin
from stanley.samplers.run import ChainInfo, ChainResult, run_chains
from stanley.samplers.scale import Quantile
from stanley.samplers.stanley import Stanley

#: What a configuration can name.
AnySampler = Langevin | Stanley | ClippedLangevin | MatchedLangevin | GradientDescent | MALA | Adjusted

__all__ = [
    "MALA",
    "Adjusted",
    "AnySampler",
    "ChainInfo",
    "ChainResult",
    "ChainState",
    "ClippedLangevin",
    "GradientDescent",
    "Langevin",
    "MatchedLangevin",
    "Proposal",
    "Quantile",
    "RobbinsMonro",
    "Sampler",
    "Stanley",
    "StepInfo",
    "adapt",
    "evaluate",
    "metropolis",
    "run_chains",
]

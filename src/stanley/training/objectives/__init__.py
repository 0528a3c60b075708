"""What training descends: one file for each objective.

An objective is a frozen part of the configuration with

    check(config)                     raises StanleyError for what cannot work together
    descend(config, state, x_pos)     leaves ∇_θ L of one batch in the parameters; returns `Ratios`
    rate_at(config, step)             a factor on the learning rate, besides the schedule
    contrastive, denoising            the part of it that runs chains, or trains noise levels; None
    differentiates_twice              whether second derivatives of U are taken

Its mathematics stands in its own file, and the main loop calls `descend` alone.
"""

from __future__ import annotations

from torch import Tensor

from stanley.training.objectives.contrastive import Contrastive, Growth
from stanley.training.objectives.denoising import Denoising
from stanley.training.objectives.flow_matching import FlowMatching
from stanley.training.objectives.given import GivenObjective, NamedObjective
from stanley.training.objectives.named import AnyObjective
from stanley.training.objectives.noise_contrastive import NoiseContrastive
from stanley.training.objectives.score_matching import ScoreMatching
from stanley.training.objectives.warm_start import WarmStart
from stanley.training.objectives.without_chains import WithoutChains

#: Name of a number of one step's record -> two 0-d tensors: the number is the ratio of their sums
#: over the ranks.
Ratios = dict[str, tuple[Tensor, Tensor]]

#: What stands for a user's own in a configuration.
OwnObjective = GivenObjective | NamedObjective

__all__ = [
    "AnyObjective",
    "Contrastive",
    "Denoising",
    "FlowMatching",
    "GivenObjective",
    "Growth",
    "NamedObjective",
    "NoiseContrastive",
    "OwnObjective",
    "Ratios",
    "ScoreMatching",
    "WarmStart",
    "WithoutChains",
]

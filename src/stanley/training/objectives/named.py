"""The objectives that a configuration can name, told apart by `kind`."""

from __future__ import annotations

from stanley.training.objectives.contrastive import Contrastive
from stanley.training.objectives.denoising import Denoising
from stanley.training.objectives.flow_matching import FlowMatching
from stanley.training.objectives.noise_contrastive import NoiseContrastive
from stanley.training.objectives.score_matching import ScoreMatching
from stanley.training.objectives.warm_start import WarmStart

AnyObjective = Contrastive | Denoising | WarmStart | ScoreMatching | NoiseContrastive | FlowMatching

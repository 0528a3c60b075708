"""What objectives that run no chains share: their answers to the loop, and their checks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from stanley.config import kind_of
from stanley.errors import require
from stanley.networks.levels import Levels, knows_levels

if TYPE_CHECKING:
    from stanley.training.config import TrainConfig
    from stanley.training.objectives.contrastive import Contrastive
    from stanley.training.objectives.denoising import Denoising


class WithoutChains:
    """The answers of an objective that is one loss from the first iteration to the last."""

    @property
    def contrastive(self) -> Contrastive | None:
        """The part of it that runs chains: none."""
        return None

    @property
    def denoising(self) -> Denoising | None:
        """The part of it that makes E(·, σ) the density at noise level σ: none, unless it says."""
        return None

    def rate_at(self, config: TrainConfig, step: int) -> float:
        """A factor on the learning rate, besides the schedule: none."""
        return 1.0


def require_no_levels(config: TrainConfig, kind: str) -> None:
    """For objectives that see the energy of the data alone."""
    require(
        not knows_levels(config.network),
        f"network {kind_of(config.network)!r} knows noise levels, but objective {kind!r} reaches "
        "only the smallest; use objective denoising, or network mlp, convnet or resnet",
    )


def require_levels(config: TrainConfig, kind: str) -> None:
    """For objectives that train E(x, σ) at many noise levels, each at its own scale."""
    require(
        knows_levels(config.network),
        f"objective {kind!r} trains E(x, σ) at many noise levels σ, but network "
        f"{kind_of(config.network)!r} knows none; use network level-mlp for vectors, or "
        "level-convnet for images, or objective contrastive",
    )
    require(
        config.reference_std is None,
        f"reference_std is {config.reference_std}, but an energy with noise levels contains a "
        "Gaussian already; use reference_std null",
    )


def require_law_of_levels(mean: float, std: float) -> None:
    """The law of ln(σ/s), before it is cut off, is N(mean, std²)."""
    require(
        math.isfinite(mean),
        f"objective.level_mean is {mean}, but must be a finite number; -1 is usual",
    )
    require(0 < std < math.inf, f"objective.level_std is {std}, but must be > 0; 1.3 is usual")


def draw_log_ratio(
    levels: Levels, mean: float, std: float, num: int, generator: torch.Generator
) -> Tensor:
    """ln(σ/s) of `num` levels, (num,): N(mean, std²) cut off at σ_min and σ_max."""
    ends = torch.tensor([levels.smallest, levels.largest], device=generator.device).log()
    low, high = torch.special.ndtr((ends - mean) / std)
    u = torch.rand(num, generator=generator, device=generator.device)
    z = torch.special.ndtri(low + (high - low) * u)
    return (mean + std * z).clamp(ends[0], ends[1])

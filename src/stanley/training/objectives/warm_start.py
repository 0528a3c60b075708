"""Denoising first, then contrastive training from there."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from stanley.config import as_named_at
from stanley.errors import StanleyError, require
from stanley.networks.levels import LevelEnergy, level_energy
from stanley.samplers import anneal, ladder
from stanley.training.objectives.contrastive import Contrastive
from stanley.training.objectives.denoising import Denoising

if TYPE_CHECKING:
    from stanley.training.config import TrainConfig
    from stanley.training.objectives import Ratios
    from stanley.training.state import TrainState


@dataclass(frozen=True)
class WarmStart:
    """The first `share` of the iterations descend the denoising objective, the others the
    contrastive one, at σ_min.

    Denoising finds the shape soon, with no chain that could run away; contrastive training with
    exact chains then takes away what it leaves: the noise σ_min, and the error in E that a loss of
    gradients does not see. When it begins, the bank is filled with chains taken down the ladder of
    noise levels, and the learning rate rises once more, over the iterations of the warm-up, since
    the optimiser's moments are those of another loss. Without that a run of eight Gaussians ran
    away within twenty iterations.
    With `anchor` > 0 the loss of the second part is the contrastive one plus so many times that of
    denoising. Chains that hardly ever go from one mode to another say nothing of the difference of
    their energies, which then drifts; the level score holds it.
    Not true: that without it the levels above σ_min keep what they learned: they share their
    weights with it.
    """

    share: float = 0.3  # share of the iterations that denoise
    rate: float = 0.25  # factor on the learning rate of the others
    anchor: float = 0.0  # weight of the denoising loss beside the contrastive one; 0 for none
    denoising: Denoising = field(default_factory=Denoising)  # what comes first
    contrastive: Contrastive = field(default_factory=Contrastive)  # what follows
    kind: Literal["warm-start"] = "warm-start"

    def __post_init__(self) -> None:
        require(
            0 < self.share < 1,
            f"objective.share is {self.share}, but must lie between 0 and 1; use objective "
            "denoising or contrastive for one of them alone",
        )
        require(
            0 <= self.anchor < math.inf,
            f"objective.anchor is {self.anchor}, but must not be negative; 0 is none, 1 is usual",
        )
        require(
            0 < self.rate < math.inf,
            f"objective.rate is {self.rate}, but must be > 0; 0.25 is usual, 1 is no factor",
        )
        require(
            self.contrastive.start == "bank",
            f"objective.contrastive.start is {self.contrastive.start!r}, but chains go on from the "
            "ladder's end, in the bank; use bank",
        )

    def check(self, config: TrainConfig) -> None:
        """Raise StanleyError for what cannot work together with the rest of the configuration."""
        for name, part in (("denoising", self.denoising), ("contrastive", self.contrastive)):
            try:
                part.check(config)
            except StanleyError as error:
                raise StanleyError(as_named_at(f"objective.{name}", str(error))) from error

    @property
    def differentiates_twice(self) -> bool:
        return True

    def chains_begin(self, config: TrainConfig) -> int:
        """The number of iterations that denoise."""
        return round(self.share * config.steps)

    def rate_at(self, config: TrainConfig, step: int) -> float:
        """A factor on the learning rate, besides the schedule; it rises when chains begin."""
        since = step - self.chains_begin(config)
        if since < 0:
            return 1.0
        return self.rate * min(1.0, (since + 1) / max(1, config.warmup))

    def descend(self, config: TrainConfig, state: TrainState, x_pos: Tensor) -> Ratios:
        """Leave ∇_θ L of one batch x⁺ (B, *event) in the parameters; what its record says of it."""
        begin = self.chains_begin(config)
        if state.step < begin:
            return self.denoising.descend(config, state, x_pos)
        if state.step == begin:
            fill_bank(config, state)
        ratios = self.contrastive.descend(config, state, x_pos)
        if self.anchor > 0:
            anchors = self.denoising.add_gradient(config, state, x_pos, self.anchor)
            ratios |= {name: anchors[name] for name in ("score_loss", "level_loss")}
        return ratios


def fill_bank(config: TrainConfig, state: TrainState) -> None:
    """Chains from noise, taken down the ladder by the averaged weights."""
    energy = level_energy(state.average)
    assert energy is not None
    num, generator = len(state.bank.positions), state.chain_generator
    state.bank.positions.copy_(from_the_ladder(config, energy, num, generator))


def from_the_ladder(
    config: TrainConfig,
    energy: LevelEnergy,
    num: int,
    generator: torch.Generator,
    *,
    progress: bool = False,
) -> Tensor:
    """`num` chains (num, *event) from N(μ, (σ_max² + s²)·I) down to σ_min, on E(·, σ)/T."""
    return anneal(
        lambda sigma: config.potential(energy.at(sigma)),
        energy.start(num, generator),
        ladder(energy.sigma_max, energy.sigma_min),
        generator=generator,
        progress=progress,
    )

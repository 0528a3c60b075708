"""The contrastive objective: data against the ends of chains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from stanley.errors import require
from stanley.samplers import RobbinsMonro
from stanley.samplers.traits import is_adjusted
from stanley.training.augment import Augment
from stanley.training.kl_term import why_no_gradient

if TYPE_CHECKING:
    from stanley.training.config import TrainConfig


@dataclass(frozen=True)
class Growth:
    """K_t = K + ⌊(final - K)·min(1, t/(share·steps))⌉: chains that get longer as training goes on.

    K, the objective's `chain_steps`, grows to `final` over the first `share` of the run. Early
    energies are simple, and few steps find their samples; late ones need more.
    """

    final: int  # chain steps at the end of the growth
    share: float = 0.5  # share of the run over which they grow

    def __post_init__(self) -> None:
        require(
            0 < self.share <= 1,
            f"objective.growth.share is {self.share}, but must lie in (0, 1]; use objective.growth "
            "null for none",
        )


@dataclass(frozen=True)
class Contrastive:
    """Maximum likelihood by sampling: the energy goes down at data and up at the ends of chains.

        L = mean E(x⁺) - mean E(z) + α·(mean E(x⁺)² + mean E(z)²) + w·mean E_sg(z(θ))

    x⁺ are data, and z, held fixed, the ends of chains: K = `chain_steps` steps of the sampler on
    U = E/T, from a bank of persistent chains, from data or from noise. α = `energy_l2`; w is
    `kl_weight`, and in its term E is held fixed and z is not (`kl_term`). With α = w = 0 and
    z ~ exp(-E/T)/Z, ∇_θ L/T is the gradient of the mean negative log-likelihood.
    Not true: that z has this law after K steps, or that L tells how good the energy is.
    Tieleman (2008), "Training restricted Boltzmann machines using approximations to the likelihood
    gradient", for chains that persist.
    """

    # The chains
    chain_steps: int = 20  # K, the sampler steps in each iteration
    growth: Growth | None = None  # longer chains later in the run; null keeps K
    start: Literal["bank", "data", "noise"] = "bank"  # where chains start: bank, data, noise

    # The bank
    bank_size: int = 10_000  # persistent chains in the bank
    restart: float = 0.0  # probability that a chain of the bank starts from noise
    free_stuck: float = 0.0  # chains that accept less than this start anew; 0 for none
    augment: Augment | None = None  # random transformations of the bank's images; null for none

    # Penalties
    energy_l2: float = 0.0  # α of the penalty α·(E(x⁺)² + E(z)²)
    kl_weight: float = 0.0  # weight of E(z) through the last sampler step; 0 for none

    # The step size
    adapt: RobbinsMonro | None = None  # steers the step size by acceptance; null keeps it

    # Limits
    gap_limit: float = 1000.0  # |mean E(x⁺) - mean E(z)| above this is a divergence
    spread_limit: float = 5.0  # so is a median chain this many σ from the data
    kind: Literal["contrastive"] = "contrastive"

    def __post_init__(self) -> None:
        for name in ("chain_steps", "bank_size"):
            value = getattr(self, name)
            require(value >= 1, f"objective.{name} is {value}, but must be at least 1")
        for name in ("restart", "free_stuck"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"objective.{name} is {value}, but must lie in [0, 1]")
        for name in ("energy_l2", "kl_weight"):
            value = getattr(self, name)
            require(
                value >= 0,
                f"objective.{name} is {value}, but must not be negative; 0 turns it off",
            )
        for name in ("gap_limit", "spread_limit"):
            value = getattr(self, name)
            require(value > 0, f"objective.{name} is {value}, but must be > 0")
        require(
            self.growth is None or self.growth.final > self.chain_steps,
            f"objective.growth.final is {self.growth and self.growth.final}, but must be above "
            f"objective.chain_steps = {self.chain_steps}; use objective.growth null to keep it",
        )
        require(
            self.augment is None or self.start == "bank",
            "objective.augment transforms chains of the bank, but chains start from "
            f"{self.start!r}; use objective.start bank, or objective.augment null",
        )

    def check(self, config: TrainConfig) -> None:
        """Raise StanleyError for what cannot work together with the rest of the configuration."""
        sampler = config.sampler
        adjusted = is_adjusted(sampler)
        require(
            self.start != "bank" or self.bank_size >= config.batch,
            f"objective.bank_size is {self.bank_size}, but must be at least batch = "
            f"{config.batch}, because the chains of a batch are distinct ones of the bank",
        )
        require(
            self.adapt is None or adjusted,
            f"objective.adapt is set, but sampler {sampler.kind!r} never rejects; "
            "use an adjusted sampler such as mala, or objective.adapt null",
        )
        require(
            self.free_stuck == 0 or adjusted,
            f"objective.free_stuck is {self.free_stuck}, but sampler {sampler.kind!r} never "
            "rejects; use objective.free_stuck 0",
        )
        no_gradient = why_no_gradient(sampler) if self.kl_weight > 0 else None
        require(
            no_gradient is None,
            f"objective.kl_weight is {self.kl_weight}, but no gradient goes through a step of "
            f"sampler {sampler.kind!r}: {no_gradient}; use a Gaussian move that is not adjusted, "
            "such as langevin, or objective.kl_weight 0",
        )

    def chain_steps_at(self, step: int, steps: int) -> int:
        """K in iteration `step` = 0, 1, … of a run of `steps`."""
        if self.growth is None:
            return self.chain_steps
        share = min(1.0, step / (self.growth.share * steps))
        return self.chain_steps + round((self.growth.final - self.chain_steps) * share)

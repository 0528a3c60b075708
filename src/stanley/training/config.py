"""What a training run computes, as a value that checks itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch

from stanley.config import kind_of
from stanley.data import AnyData, OwnData
from stanley.device import fast_in_bf16
from stanley.errors import StanleyError, require
from stanley.networks import AnyNetwork, OwnNetwork
from stanley.samplers import AnySampler, OwnSampler
from stanley.samplers.traits import is_adjusted
from stanley.training.objectives import AnyObjective, Contrastive, OwnObjective
from stanley.training.objectives.given import taken_as
from stanley.training.optim import Adam, AnyOptimizer
from stanley.types import Bf16, Chunked, Energy, Potential, networks_in


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides what a run computes.

    Not part of it: the device, and how many processes share the work. `batch` and the
    bank's size are those of all processes together. Raises StanleyError for values that cannot work
    together. A sampler may be any frozen dataclass with `init` and `step`, an objective a loss of
    your own (`objectives.given`).
    """

    # The parts
    data: AnyData | OwnData  # the data that the energy learns: see the kinds below
    network: AnyNetwork | OwnNetwork  # the network whose output is E(x): see the kinds below
    sampler: AnySampler | OwnSampler  # the sampler that moves the chains: see the kinds below
    optimizer: AnyOptimizer = field(default_factory=Adam)  # of the weights: see the kinds below
    objective: AnyObjective | OwnObjective = field(  # what training lowers: see the kinds below
        default_factory=Contrastive
    )

    # The run
    steps: int = 10_000  # training iterations
    batch: int = 128  # data points, and chains, in each iteration

    # Data and energy
    data_noise: float = 0.0  # standard deviation of noise that is added to the data
    temperature: float = 1.0  # T in p ∝ exp(-E/T)
    precision: Literal["float32", "bf16", "auto"] = "float32"  # of the network; auto: bf16 if fast
    chunk_size: int | None = None  # points the network takes at a time; null for all
    reference_std: float | None = None  # s of |x|²/(2s²), added to E; null for none

    # Learning rate and weights
    warmup: int = 0  # iterations over which the learning rate rises linearly
    decay: float = 0.4  # last share of the run, over which it falls to 0
    clip_norm: float = 0.0  # limit on the norm of the weights' gradient; 0 for none
    ema: float = 0.999  # β of the averaged weights, which are judged and sampled

    # Safety
    on_divergence: Literal["stop", "rollback"] = "stop"  # or rollback to a checkpoint
    max_rollbacks: int = 3  # rollbacks before a divergence stops the run

    # Keeping
    save_every: int = 500  # iterations between checkpoints
    keep: int = 3  # how many of the newest checkpoints are kept
    seed: int = 0  # of the weights, the order of the data and the chains

    def __post_init__(self) -> None:
        object.__setattr__(self, "objective", taken_as(self.objective))
        for name in ("steps", "batch", "save_every", "keep"):
            value = getattr(self, name)
            require(value >= 1, f"{name} is {value}, but must be at least 1")
        require(0 <= self.decay <= 1, f"decay is {self.decay}, but must lie in [0, 1]")
        for name in ("data_noise", "clip_norm", "warmup", "max_rollbacks"):
            value = getattr(self, name)
            require(value >= 0, f"{name} is {value}, but must not be negative; 0 turns it off")
        require(self.temperature > 0, f"temperature is {self.temperature}, but must be > 0")
        require(
            self.reference_std is None or self.reference_std > 0,
            f"reference_std is {self.reference_std}, but must be > 0; use null for no reference",
        )
        require(
            0 <= self.ema < 1,
            f"ema is {self.ema}, but must lie in [0, 1); use 0 for weights that are not averaged",
        )
        require(0 <= self.seed < 2**63, f"seed is {self.seed}, but must lie in [0, 2^63)")
        require(
            self.precision in ("float32", "bf16", "auto"),
            f"precision is {self.precision!r}, but must be 'float32', 'bf16', or 'auto', which is "
            "bf16 where the hardware has it",
        )
        require(
            self.chunk_size is None or self.chunk_size >= 1,
            f"chunk_size is {self.chunk_size}, but must be at least 1; use null for all at once",
        )
        chains = self.objective.contrastive is not None
        require(
            not (chains and is_adjusted(self.sampler) and self.precision == "bf16"),
            f"precision is 'bf16', but sampler {kind_of(self.sampler)!r} accepts by differences of "
            "U, of which bfloat16 has three digits only; use float32 or auto, or an unadjusted "
            "sampler",
        )
        self.objective.check(self)

    @property
    def chains_at(self) -> str:
        """Where the fields of the chains are: objective.bank_size, or objective.contrastive.…"""
        own = self.objective.contrastive in (None, self.objective)
        return "objective" if own else "objective.contrastive"

    @property
    def chains(self) -> Contrastive:
        """The part of the objective that runs chains; raises StanleyError where there is none."""
        chains = self.objective.contrastive
        if chains is None:
            raise StanleyError(
                f"objective {kind_of(self.objective)!r} runs no chains; use contrastive or "
                "warm-start"
            )
        return chains

    def in_bf16(self, device: torch.device) -> bool:
        """Whether products and convolutions are taken in bfloat16 on this device."""
        return self.precision == "bf16" or (self.precision == "auto" and fast_in_bf16(device))

    def potential(self, energy: Energy) -> Potential:
        """U = E/T as chains see it, in training and ever after: in the run's precision, and in its
        chunks.

        Whatever compares values of U instead of following its gradient takes it through
        `types.in_float32`.
        """
        weights = (w for network in networks_in(energy) for w in network.parameters())
        device = next((w.device for w in weights), torch.device("cpu"))
        seen = Bf16(energy) if self.in_bf16(device) else energy
        return Potential(
            seen if self.chunk_size is None else Chunked(seen, self.chunk_size), self.temperature
        )


#: Fields that a resumed run may change, because they do not decide what a step computes: how long
#: it runs, where its data and the user's own code lie, how it is kept, when it diverges. (More
#: `steps` also stretch the decay of the learning rate, the growth of K and the first part of a warm
#: start.)
MAY_CHANGE = {
    *("steps", "save_every", "keep", "chunk_size"),
    *("objective.gap_limit", "objective.spread_limit", "on_divergence", "max_rollbacks"),
    *("objective.contrastive.gap_limit", "objective.contrastive.spread_limit"),
    *("objective.like.gap_limit", "objective.like.spread_limit"),
    *("objective.arguments.gap_limit", "objective.arguments.spread_limit"),
    *("data.root", "data.path", "data.download", "data.cache", "data.memory_limit_mb"),
    *(
        "data.class",
        "network.class",
        "objective.name",
        "objective.checksum",
        "data.name",
        "data.checksum",
        "network.name",
        "network.checksum",
        "sampler.name",
    ),
    *("sampler.checksum", "sampler.proposal.name", "sampler.proposal.checksum"),
}

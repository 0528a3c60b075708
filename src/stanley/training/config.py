"""What a training run computes, as a value that checks itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from stanley.data import AnyData
from stanley.errors import require
from stanley.networks import AnyNetwork
from stanley.samplers import AnySampler, RobbinsMonro
from stanley.samplers.traits import is_adjusted
from stanley.training.augment import Augment
from stanley.training.kl_term import why_no_gradient
from stanley.training.optim import Adam, AnyOptimizer
from stanley.types import Bf16, Chunked, Energy, Potential


@dataclass(frozen=True)
class Growth:
    """K_t = K + ⌊(final - K)·min(1, t/(share·steps))⌉: chains that get longer as training goes on.

    K, the configuration's `chain_steps`, grows to `final` over the first `share` of the run. Early
    energies are simple, and few steps find their samples; late ones need more.
    """

    final: int  # chain steps at the end of the growth
    share: float = 0.5  # share of the run over which they grow

    def __post_init__(self) -> None:
        require(
            0 < self.share <= 1,
            f"growth.share is {self.share}, but must lie in (0, 1]; use growth null for none",
        )


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides what a run computes.

    Not part of it: the device, and how many processes share the work. `batch` and `bank_size` are
    those of all processes together. Raises StanleyError for values that cannot work together.
    """

    # The parts
    data: AnyData  # the data that the energy learns: see the kinds below
    network: AnyNetwork  # the network whose output is the energy E(x): see the kinds below
    sampler: AnySampler  # the sampler that moves the chains: see the kinds below
    optimizer: AnyOptimizer = field(default_factory=Adam)  # of the weights: see the kinds below

    # The run
    steps: int = 10_000  # training iterations
    batch: int = 128  # data points, and chains, in each iteration
    chain_steps: int = 20  # K, the sampler steps in each iteration
    growth: Growth | None = None  # longer chains later in the run; null keeps K

    # Chains and the bank
    start: Literal["bank", "data", "noise"] = "bank"  # where chains start: bank, data, noise
    bank_size: int = 10_000  # persistent chains in the bank
    restart: float = 0.0  # probability that a chain of the bank starts from noise
    free_stuck: float = 0.0  # chains that accept less than this start anew; 0 for none
    augment: Augment | None = None  # random transformations of the bank's images; null for none

    # Data and energy
    data_noise: float = 0.0  # standard deviation of noise that is added to the data
    temperature: float = 1.0  # T in p ∝ exp(-E/T)
    precision: Literal["float32", "bf16"] = "float32"  # of the network in chains; or bf16
    chunk_size: int | None = None  # points the network takes at a time; null for all

    # Penalties and reference
    energy_l2: float = 0.0  # α of the penalty α·(E(x⁺)² + E(z)²)
    kl_weight: float = 0.0  # weight of E(z) through the last sampler step; 0 for none
    reference_std: float | None = None  # s of |x|²/(2s²), added to E; null for none

    # Learning rate and weights
    warmup: int = 0  # iterations over which the learning rate rises linearly
    decay: float = 0.4  # last share of the run, over which it falls to 0
    clip_norm: float = 0.0  # limit on the norm of the weights' gradient; 0 for none
    ema: float = 0.999  # β of the averaged weights, which are judged and sampled

    # The step size
    adapt: RobbinsMonro | None = None  # steers the step size by acceptance; null keeps it

    # Safety
    gap_limit: float = 1000.0  # |mean E(x⁺) - mean E(z)| above this is a divergence
    spread_limit: float = 5.0  # so is a median chain this many σ from the data
    on_divergence: Literal["stop", "rollback"] = "stop"  # or rollback to a checkpoint
    max_rollbacks: int = 3  # rollbacks before a divergence stops the run

    # Keeping
    save_every: int = 500  # iterations between checkpoints
    keep: int = 3  # how many of the newest checkpoints are kept
    seed: int = 0  # of the weights, the order of the data and the chains

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "chain_steps", "bank_size", "save_every", "keep"):
            value = getattr(self, name)
            require(value >= 1, f"{name} is {value}, but must be at least 1")
        for name in ("restart", "free_stuck", "decay"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"{name} is {value}, but must lie in [0, 1]")
        switched_off_by_0 = ("data_noise", "energy_l2", "kl_weight", "clip_norm", "warmup")
        for name in (*switched_off_by_0, "max_rollbacks"):
            value = getattr(self, name)
            require(value >= 0, f"{name} is {value}, but must not be negative; 0 turns it off")
        for name in ("temperature", "gap_limit", "spread_limit"):
            value = getattr(self, name)
            require(value > 0, f"{name} is {value}, but must be > 0")
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
            self.start != "bank" or self.bank_size >= self.batch,
            f"bank_size is {self.bank_size}, but must be at least batch = {self.batch}, "
            "because the chains of a batch are distinct ones of the bank",
        )
        require(
            self.precision in ("float32", "bf16"),
            f"precision is {self.precision!r}, but must be 'float32' or 'bf16'",
        )
        require(
            self.chunk_size is None or self.chunk_size >= 1,
            f"chunk_size is {self.chunk_size}, but must be at least 1; use null for all at once",
        )
        adjusted = is_adjusted(self.sampler)
        require(
            not (adjusted and self.precision == "bf16"),
            f"precision is 'bf16', but sampler {self.sampler.kind!r} accepts by differences of U, "
            "of which bfloat16 has three digits only; use float32, or an unadjusted sampler",
        )
        require(
            self.adapt is None or adjusted,
            f"adapt is set, but sampler {self.sampler.kind!r} never rejects; "
            "use an adjusted sampler such as mala, or adapt null",
        )
        require(
            self.free_stuck == 0 or adjusted,
            f"free_stuck is {self.free_stuck}, but sampler {self.sampler.kind!r} never rejects; use"
            " free_stuck 0",
        )
        require(
            self.growth is None or self.growth.final > self.chain_steps,
            f"growth.final is {self.growth and self.growth.final}, but must be above chain_steps = "
            f"{self.chain_steps}; use growth null to keep it",
        )
        require(
            self.augment is None or self.start == "bank",
            f"augment transforms chains of the bank, but chains start from {self.start!r}; "
            "use start bank, or augment null",
        )
        no_gradient = why_no_gradient(self.sampler) if self.kl_weight > 0 else None
        require(
            no_gradient is None,
            f"kl_weight is {self.kl_weight}, but no gradient goes through a step of sampler "
            f"{self.sampler.kind!r}: {no_gradient}; use a Gaussian move that is not adjusted, "
            "such as langevin, or kl_weight 0",
        )

    def potential(self, energy: Energy) -> Potential:
        """U = E/T as chains see it, in training and ever after: in the run's precision, and in its
        chunks.

        Whatever compares values of U instead of following its gradient takes it through
        `types.in_float32`.
        """
        seen = Bf16(energy) if self.precision == "bf16" else energy
        return Potential(
            seen if self.chunk_size is None else Chunked(seen, self.chunk_size), self.temperature
        )

    def chain_steps_at(self, step: int) -> int:
        """K in iteration `step` = 0, 1, …"""
        if self.growth is None:
            return self.chain_steps
        share = min(1.0, step / (self.growth.share * self.steps))
        return self.chain_steps + round((self.growth.final - self.chain_steps) * share)


#: Fields that a resumed run may change, because they do not decide what a step computes: how long
#: it runs, where its data lie, how it is kept, when it diverges. (More `steps` also stretch the
#: decay of the learning rate and the growth of K.)
MAY_CHANGE = {
    *("steps", "save_every", "keep", "chunk_size"),
    *("gap_limit", "spread_limit", "on_divergence", "max_rollbacks"),
    *("data.root", "data.path", "data.download", "data.cache", "data.memory_limit_mb"),
}

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
from stanley.training.kl_term import why_not
from stanley.training.optim import Adam, AnyOptimizer


@dataclass(frozen=True)
class Growth:
    """K_t = K + ⌊(final - K)·min(1, t/(share·steps))⌉: chains get longer over the first `share` of the run.

    Early energies are simple and few steps find their samples; late ones need more.
    """

    final: int
    share: float = 0.5

    def __post_init__(self) -> None:
        require(0 < self.share <= 1, f"growth.share is {self.share}, must lie in (0, 1]; growth null for none")


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides what a run computes. Device and number of processes are not part of it: they are where,
    not what, and `batch` and `bank_size` are those of all processes together.

    steps, batch        training iterations; data points and chains per iteration
    chain_steps         K, sampler steps per iteration
    growth              grows K to `growth.final` over the first `growth.share` of the run; null keeps it
    start               chains start from the 'bank' (persistent CD), the 'data' (CD-K) or 'noise' (short-run)
    bank_size, restart  number of persistent chains, and the chance that a drawn one restarts from noise
    free_stuck          a chain whose mean acceptance over its K steps is below this restarts from noise; 0 never
    augment             random transformations of the bank's images when chains start from them; null for none
    data_noise          standard deviation of Gaussian noise added to data, in data units
    temperature         T in p ∝ exp(-E/T)
    precision           of the network while chains run: 'float32', or 'bf16' for unadjusted samplers
    chunk_size          chains whose gradients are taken at a time, for less memory; null for all
    energy_l2           α of the penalty α·(E(x⁺)² + E(z)²)
    kl_weight           weight of mean E(z), E held fixed, with the gradient through the last chain step; 0 for none
    reference_std       s of a Gaussian reference |x|²/(2s²) added to the energy; null for none
    warmup, decay       steps of linear warm-up; last share of the run over which the rate falls to 0 as a cosine
    clip_norm           limit on the norm of the parameter gradient; 0 for none
    ema                 β of the averaged weights, which are the ones that are judged and sampled
    adapt               acceptance that the step size of an adjusted sampler is steered to; null keeps the step size
    gap_limit           |mean E(x⁺) - mean E(z)| above this is a divergence
    spread_limit        chains whose median distance from the data's mean, in the data's σ, is above this: likewise
    on_divergence       'stop' keeps the last good checkpoint; 'rollback' returns to it with half the step sizes
    """

    data: AnyData
    network: AnyNetwork
    sampler: AnySampler
    optimizer: AnyOptimizer = field(default_factory=Adam)
    steps: int = 10_000
    batch: int = 128
    chain_steps: int = 20
    growth: Growth | None = None
    start: Literal["bank", "data", "noise"] = "bank"
    bank_size: int = 10_000
    restart: float = 0.0
    free_stuck: float = 0.0
    augment: Augment | None = None
    data_noise: float = 0.0
    temperature: float = 1.0
    precision: Literal["float32", "bf16"] = "float32"
    chunk_size: int | None = None
    energy_l2: float = 0.0
    kl_weight: float = 0.0
    reference_std: float | None = None
    warmup: int = 0
    decay: float = 0.4
    clip_norm: float = 0.0
    ema: float = 0.999
    adapt: RobbinsMonro | None = None
    gap_limit: float = 1000.0
    spread_limit: float = 5.0
    on_divergence: Literal["stop", "rollback"] = "stop"
    max_rollbacks: int = 3
    save_every: int = 500
    keep: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "chain_steps", "bank_size", "save_every", "keep"):
            value = getattr(self, name)
            require(value >= 1, f"{name} is {value}, must be at least 1")
        for name in ("restart", "free_stuck", "decay"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"{name} is {value}, must lie in [0, 1]")
        for name in ("data_noise", "energy_l2", "kl_weight", "clip_norm", "warmup", "max_rollbacks"):
            value = getattr(self, name)
            require(value >= 0, f"{name} is {value}, must not be negative; 0 turns it off")
        for name in ("temperature", "gap_limit", "spread_limit"):
            value = getattr(self, name)
            require(value > 0, f"{name} is {value}, must be > 0")
        require(
            self.reference_std is None or self.reference_std > 0,
            f"reference_std is {self.reference_std}, must be > 0; null means no reference",
        )
        require(0 <= self.ema < 1, f"ema is {self.ema}, must lie in [0, 1); 0 keeps the raw weights")
        require(0 <= self.seed < 2**63, f"seed is {self.seed}, must lie in [0, 2^63)")
        require(
            self.start != "bank" or self.bank_size >= self.batch,
            f"bank_size is {self.bank_size}, must be at least batch = {self.batch}: chains of one batch are distinct",
        )
        require(self.precision in ("float32", "bf16"), f"precision is {self.precision!r}, must be 'float32' or 'bf16'")
        require(
            self.chunk_size is None or self.chunk_size >= 1,
            f"chunk_size is {self.chunk_size}, must be at least 1; null takes all chains at once",
        )
        adjusted = is_adjusted(self.sampler)
        require(
            not (adjusted and self.precision == "bf16"),
            f"precision is 'bf16' but sampler {self.sampler.kind!r} tests differences of U, which bfloat16 knows to "
            "three digits only; use float32, or an unadjusted sampler",
        )
        require(
            self.adapt is None or adjusted,
            f"adapt is set but sampler {self.sampler.kind!r} never rejects; use mala or adjusted, or adapt null",
        )
        require(
            self.free_stuck == 0 or adjusted,
            f"free_stuck is {self.free_stuck} but sampler {self.sampler.kind!r} never rejects; use 0",
        )
        require(
            self.growth is None or self.growth.final > self.chain_steps,
            f"growth.final is {self.growth and self.growth.final}, must be above chain_steps = {self.chain_steps}",
        )
        require(
            self.augment is None or self.start == "bank",
            f"augment transforms states of the bank, and chains start from {self.start!r}; use start bank, or augment "
            "null",
        )
        no_gradient = why_not(self.sampler) if self.kl_weight > 0 else None
        require(
            no_gradient is None,
            f"kl_weight is {self.kl_weight}, but no gradient goes through a step of sampler {self.sampler.kind!r}: "
            f"{no_gradient}; use a Gaussian move that is not adjusted, such as langevin, or 0",
        )

    def chain_steps_at(self, step: int) -> int:
        """K of iteration `step` = 0, 1, …"""
        if self.growth is None:
            return self.chain_steps
        share = min(1.0, step / (self.growth.share * self.steps))
        return self.chain_steps + round((self.growth.final - self.chain_steps) * share)


#: Fields that a resumed run may change: they decide how long, where from and how it is kept, not what a step computes
#: (more `steps` also stretch the learning-rate decay and the growth of K).
MAY_CHANGE = {
    *("steps", "save_every", "keep", "chunk_size", "gap_limit", "spread_limit", "on_divergence", "max_rollbacks"),
    *("data.root", "data.path", "data.download", "data.cache", "data.memory_limit_mb"),
}

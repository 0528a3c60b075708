"""The contrastive objective: data against the ends of chains."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor

from stanley.config import kind_of
from stanley.errors import require
from stanley.networks.levels import knows_levels
from stanley.samplers import ChainInfo, OwnSampler, RobbinsMonro, run_chains
from stanley.samplers.run import potential_for
from stanley.samplers.traits import is_adjusted, with_step_size
from stanley.training.augment import Augment
from stanley.training.bank import restart
from stanley.training.kl_term import LastStep, kl_term, why_no_gradient
from stanley.training.losses import contrastive_loss

if TYPE_CHECKING:
    from stanley.ranks import World
    from stanley.training.config import TrainConfig
    from stanley.training.objectives import Ratios
    from stanley.training.state import TrainState


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
        require(
            config.objective.denoising is not None or not knows_levels(config.network),
            f"network {kind_of(config.network)!r} knows noise levels, but contrastive training "
            "reaches only the smallest; use objective warm-start or denoising, or network mlp, "
            "convnet or resnet",
        )
        sampler = config.sampler
        adjusted = is_adjusted(sampler)
        require(
            self.start != "bank" or self.bank_size >= config.batch,
            f"objective.bank_size is {self.bank_size}, but must be at least batch = "
            f"{config.batch}, because the chains of a batch are distinct ones of the bank",
        )
        require(
            self.adapt is None or adjusted,
            f"objective.adapt is set, but sampler {kind_of(sampler)!r} never rejects; "
            "use an adjusted sampler such as mala, or objective.adapt null",
        )
        require(
            self.free_stuck == 0 or adjusted,
            f"objective.free_stuck is {self.free_stuck}, but sampler {kind_of(sampler)!r} never "
            "rejects; use objective.free_stuck 0",
        )
        told = self.kl_weight > 0 and not isinstance(sampler, OwnSampler)  # that says nothing yet
        no_gradient = why_no_gradient(sampler) if told else None
        require(
            no_gradient is None,
            f"objective.kl_weight is {self.kl_weight}, but no gradient goes through a step of "
            f"sampler {kind_of(sampler)!r}: {no_gradient}; use a Gaussian move that is not "
            "adjusted, such as langevin, or objective.kl_weight 0",
        )

    def chain_steps_at(self, step: int, steps: int) -> int:
        """K in iteration `step` = 0, 1, … of a run of `steps`."""
        if self.growth is None:
            return self.chain_steps
        share = min(1.0, step / (self.growth.share * steps))
        return self.chain_steps + round((self.growth.final - self.chain_steps) * share)

    @property
    def contrastive(self) -> Contrastive:
        return self

    @property
    def denoising(self) -> None:
        return None

    @property
    def differentiates_twice(self) -> bool:
        return self.kl_weight > 0

    def rate_at(self, config: TrainConfig, step: int) -> float:
        """A factor on the learning rate, besides the schedule: none."""
        return 1.0

    def contrast(self, energy_pos: Tensor, energy_neg: Tensor) -> Tensor:
        """L without its KL term, of E(x⁺) and E(z) (B,); what extends this may have another."""
        return contrastive_loss(energy_pos, energy_neg, self.energy_l2)

    def descend(self, config: TrainConfig, state: TrainState, x_pos: Tensor) -> Ratios:
        """Leave ∇_θ L of one batch x⁺ (B, *event) in the parameters; what its record says of it."""
        with state.world.agreed():
            negatives = negative_batch(self, config, state, x_pos)
        parts = backward(self, state, x_pos, negatives.x, negatives.last)
        return ratios(state.world, parts, negatives, state.noise.spread(negatives.x))


class LossParts(NamedTuple):
    """The loss and the energies that it is made of, of this rank, detached."""

    loss: Tensor  # 0-d
    energy_pos: Tensor  # (B,)   E(x⁺)
    energy_neg: Tensor  # (B,)   E(z)


class NegativeBatch(NamedTuple):
    """The ends of the chains of one training step, and how they came there."""

    x: Tensor  # (B, *event)   z, detached
    chains: ChainInfo
    restarted: Tensor  # 0-d, how many were given up: noise takes their place in the bank
    last: LastStep | None  # their last step, where the loss needs it


def negative_batch(
    objective: Contrastive, config: TrainConfig, state: TrainState, x_pos: Tensor
) -> NegativeBatch:
    """z, the ends of chains that start from the bank, the data `x_pos` (B, *event) or noise.

    The chains take K steps of the sampler on U = E/T. Those of the bank are written back to it,
    with fresh noise in place of those that are not finite or hardly moved (`free_stuck`).
    """
    slots, x0 = starts(objective, state, x_pos)
    sampler = with_step_size(config.sampler, state.step_size * state.slowdown)
    potential = potential_for(sampler, config.potential(state.energy))
    with state.frozen(potential, x0) as seen:
        chains = run_chains(
            sampler,
            seen,
            x0,
            objective.chain_steps_at(state.step, config.steps),
            generator=state.chain_generator,
            execution=state.execution,
            last_gradient=False,
        )
    lost = given_up(objective, chains.info)
    keep(state, slots, chains.x, lost)
    last = None
    if objective.kl_weight > 0:
        last = LastStep(sampler, chains.before, chains.info.threshold, config.temperature)
    return NegativeBatch(chains.x, chains.info, lost.sum(), last)


def starts(
    objective: Contrastive, state: TrainState, x_pos: Tensor
) -> tuple[Tensor | None, Tensor]:
    """Where the chains of one batch start (B, *event), and their slots of the bank, if they are
    from there.
    """
    generator, batch = state.chain_generator, len(x_pos)
    if objective.start != "bank":
        return None, x_pos if objective.start == "data" else state.noise.draw(batch, generator)
    slots, x0 = state.bank.draw(batch, generator)
    x0 = x0 if objective.augment is None else objective.augment(x0, generator)
    coins = torch.rand(batch, generator=generator, device=x0.device)
    return slots, restart(x0, coins < objective.restart, state.noise, generator)


def given_up(objective: Contrastive, chains: ChainInfo) -> Tensor:
    """Which chains do not go on: those that are not finite, or hardly moved."""
    if objective.free_stuck == 0:
        return chains.nonfinite
    return chains.nonfinite | (chains.acceptance < objective.free_stuck)


def keep(state: TrainState, slots: Tensor | None, x: Tensor, lost: Tensor) -> None:
    """Write the chains x (B, *event) back to their slots of the bank, noise in place of the `lost`
    (B,).
    """
    if slots is not None:
        state.bank.write(slots, restart(x, lost, state.noise, state.chain_generator))


def backward(
    objective: Contrastive,
    state: TrainState,
    x_pos: Tensor,
    x_neg: Tensor,
    last: LastStep | None = None,
) -> LossParts:
    """Leave ∇_θ L in the parameters; return L, E(x⁺) and E(z) of this rank.

    One forward pass of the concatenated batch goes through `state.model`, which averages the
    gradients over the ranks. Their shares are equal, so the mean of their losses is the loss of the
    whole batch. Through `state.energy` each rank would silently keep the gradient of its own share.
    The KL term also needs ∇E at both ends of the chains' last step; it comes from the same pass.
    """
    if last is None:
        energies = state.model(torch.cat([x_pos, x_neg]))
        energy_pos, energy_neg = energies.split([len(x_pos), len(x_neg)])
        loss = objective.contrast(energy_pos, energy_neg)
    else:
        x, before = (end.detach().requires_grad_() for end in (x_neg, last.before))
        energies = state.model(torch.cat([x_pos, x, before]))
        energy_pos, energy_neg, energy_before = energies.split([len(x_pos), len(x), len(before)])
        total = energy_neg.sum() + energy_before.sum()
        grad, grad_before = torch.autograd.grad(total, [x, before], create_graph=True)
        loss = objective.contrast(energy_pos, energy_neg)
        loss = loss + objective.kl_weight * kl_term(last, x_neg, energy_neg, grad, grad_before)
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    return LossParts(loss.detach(), energy_pos.detach(), energy_neg.detach())


def ratios(world: World, parts: LossParts, negatives: NegativeBatch, spread: Tensor) -> Ratios:
    """What the record of one step says of its chains, as ratios of two sums over the ranks.

    A mean over batches of equal size, a mean over the finite chains, or a count, whose divisor is 1
    on rank 0 and 0 on the others. `spread`, a median, and `threshold`, a quantile, are taken over
    each rank's chains and then averaged. Of S runs side by side everything has a row for each run.
    """
    chains = negatives.chains
    # the chains may have left out U at their ends; the loss has it
    nonfinite = chains.nonfinite | ~parts.energy_neg.isfinite()
    finite, one = ~nonfinite, torch.ones_like(parts.loss)
    first, count = one if world.first else 0 * one, finite.sum(-1)
    threshold = math.nan * one if chains.threshold is None else chains.threshold

    def over_finite(values: Tensor) -> tuple[Tensor, Tensor]:
        return torch.where(finite, values, 0).sum(-1), count

    energy_pos, energy_neg = parts.energy_pos.mean(-1), parts.energy_neg.mean(-1)
    return {
        "loss": (parts.loss, one),
        "gap": (energy_pos - energy_neg, one),
        "energy_pos": (energy_pos, one),
        "energy_neg": (energy_neg, one),
        "acceptance": over_finite(chains.acceptance),
        "scale": over_finite(chains.step_scale),
        "chain_grad_norm": over_finite(chains.grad_norm),
        "threshold": (threshold, one),
        "spread": (spread, one),
        "nonfinite": (nonfinite.sum(-1), first),
        "restarted": (negatives.restarted, first),
    }

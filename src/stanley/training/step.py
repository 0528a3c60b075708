"""One iteration of training: positives, negatives, loss, update, and the numbers of its record."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from stanley.data import Dataset, positive_batch
from stanley.device import peak_memory
from stanley.ranks import gather_weights, unsharded
from stanley.runs.directory import Record
from stanley.samplers import ChainInfo, run_chains
from stanley.samplers.traits import is_adjusted, with_step_size
from stanley.training.bank import restart
from stanley.training.config import TrainConfig
from stanley.training.kl_term import LastStep, kl_term
from stanley.training.losses import contrastive_loss
from stanley.training.optim import schedule, update_average
from stanley.training.state import TrainState


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


class StepResult(NamedTuple):
    """What one training step computed, on the device: B data points and B chains of this rank."""

    step: int  # 1, 2, …
    learning_rate: float
    step_size: float  # h of the chains
    parts: LossParts
    grad_norm: Tensor  # 0-d, |∇_θ L| before clipping
    negatives: NegativeBatch


class Measured(NamedTuple):
    """The numbers of one record, still on the device."""

    known: dict[str, Any]  # what the host knows without asking the device
    names: tuple[str, ...]
    numbers: Tensor  # (names,)


def train_step(config: TrainConfig, state: TrainState, data: Dataset) -> StepResult:
    """One iteration: x⁺, z, ∇_θ L, update, average. Nothing is read back from the device."""
    # without it a rank that fails would leave the others waiting for its gradient
    with state.world.agreed():
        x_pos = positive_batch(
            data.train,
            config.batch,
            state.data_generator,
            flip=data.flip,
            noise_std=config.data_noise,
        )
        x_pos = state.world.part(x_pos)  # (B, *event), of a batch that is the same on all ranks
        gather_weights(state.model)
        negatives = negative_batch(config, state, x_pos)

    step_size, learning_rate = state.step_size * state.slowdown, learning_rate_at(config, state)
    parts = backward(config, state, x_pos, negatives.x, negatives.last)
    grad_norm = update(config, state, learning_rate)
    state.step += 1
    return StepResult(state.step, learning_rate, step_size, parts, grad_norm, negatives)


def learning_rate_at(config: TrainConfig, state: TrainState) -> float:
    """lr · schedule(t) · slowdown of the step that comes next."""
    factor = schedule(state.step, config.steps, config.warmup, config.decay)
    return config.optimizer.lr * state.slowdown * factor


def update(config: TrainConfig, state: TrainState, learning_rate: float) -> Tensor:
    """One step of the optimiser and of the average; returns |∇_θ L| as it was before clipping."""
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate
    limit = config.clip_norm if config.clip_norm > 0 else math.inf
    grad_norm = unsharded(nn.utils.clip_grad_norm_(state.energy.parameters(), limit))
    state.optimizer.step()
    update_average(state.average, state.energy, config.ema, state.step)
    return grad_norm


def backward(
    config: TrainConfig,
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
    objective = config.objective
    state.energy.train()
    if last is None:
        energies = state.model(torch.cat([x_pos, x_neg]))
        energy_pos, energy_neg = energies.split([len(x_pos), len(x_neg)])
        loss = contrastive_loss(energy_pos, energy_neg, objective.energy_l2)
    else:
        x, before = (end.detach().requires_grad_() for end in (x_neg, last.before))
        energies = state.model(torch.cat([x_pos, x, before]))
        energy_pos, energy_neg, energy_before = energies.split([len(x_pos), len(x), len(before)])
        total = energy_neg.sum() + energy_before.sum()
        grad, grad_before = torch.autograd.grad(total, [x, before], create_graph=True)
        loss = contrastive_loss(energy_pos, energy_neg, objective.energy_l2)
        loss = loss + objective.kl_weight * kl_term(last, x_neg, energy_neg, grad, grad_before)
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    return LossParts(loss.detach(), energy_pos.detach(), energy_neg.detach())


def negative_batch(config: TrainConfig, state: TrainState, x_pos: Tensor) -> NegativeBatch:
    """z, the ends of chains that start from the bank, the data `x_pos` (B, *event) or noise.

    The chains take K steps of the sampler on U = E/T. Those of the bank are written back to it,
    with fresh noise in place of those that are not finite or hardly moved (`free_stuck`).
    """
    objective = config.objective
    generator, batch = state.chain_generator, len(x_pos)
    if objective.start == "bank":
        slots, x0 = state.bank.draw(batch, generator)
        x0 = x0 if objective.augment is None else objective.augment(x0, generator)
        coins = torch.rand(batch, generator=generator, device=x0.device)
        x0 = restart(x0, coins < objective.restart, state.noise, generator)
    else:
        slots, x0 = None, x_pos if objective.start == "data" else state.noise.draw(batch, generator)

    sampler = with_step_size(config.sampler, state.step_size * state.slowdown)
    with frozen(state.energy):
        potential = config.potential(state.energy)
        chain_steps = objective.chain_steps_at(state.step, config.steps)
        chains = run_chains(
            sampler, potential, x0, chain_steps, generator=generator, execution=state.execution
        )
    lost = chains.info.nonfinite
    if objective.free_stuck > 0:
        lost = lost | (chains.info.acceptance < objective.free_stuck)
    if slots is not None:
        state.bank.write(slots, restart(chains.x, lost, state.noise, generator))
    last = None
    if objective.kl_weight > 0:
        last = LastStep(sampler, chains.before, chains.info.threshold, config.temperature)
    return NegativeBatch(chains.x, chains.info, lost.sum(), last)


@contextmanager
def frozen(energy: nn.Module) -> Iterator[None]:
    """The energy as a function of x alone: evaluation mode, and no gradients of the parameters.

    Inside the block each spectral norm is computed once.
    """
    energy.eval().requires_grad_(False)
    try:
        with nn.utils.parametrize.cached():
            yield
    finally:
        energy.train().requires_grad_(True)


def measure(state: TrainState, result: StepResult) -> Measured:
    """The numbers of one step's record, over all ranks, which call this together.

    Each number is a ratio of two sums over the ranks: a mean over batches of equal size, a mean
    over the finite chains, or a count, whose divisor is 1 on rank 0 and 0 on the others. `spread`,
    a median, and `threshold`, a quantile, are taken over each rank's chains and then averaged.
    """
    parts, chains = result.parts, result.negatives.chains
    finite, one = ~chains.nonfinite, torch.ones_like(parts.loss)
    first, count = one if state.world.first else 0 * one, finite.sum()
    threshold = math.nan * one if chains.threshold is None else chains.threshold

    def over_finite(values: Tensor) -> tuple[Tensor, Tensor]:
        return torch.where(finite, values, 0).sum(), count

    ratios = {
        "loss": (parts.loss, one),
        "gap": (parts.energy_pos.mean() - parts.energy_neg.mean(), one),
        "energy_pos": (parts.energy_pos.mean(), one),
        "energy_neg": (parts.energy_neg.mean(), one),
        "acceptance": over_finite(chains.acceptance),
        "scale": over_finite(chains.step_scale),
        "chain_grad_norm": over_finite(chains.grad_norm),
        "threshold": (threshold, one),
        "grad_norm": (result.grad_norm, one),
        "spread": (state.noise.spread(result.negatives.x), one),
        "nonfinite": (chains.nonfinite.sum(), first),
        "restarted": (result.negatives.restarted, first),
    }
    sums = torch.stack([part.float() for ratio in ratios.values() for part in ratio])
    above, below = state.world.sum(sums).view(-1, 2).T
    known = {
        "step": result.step,
        "learning_rate": result.learning_rate,
        "step_size": result.step_size,
    }
    return Measured(known, tuple(ratios), above / below.clamp(min=1))


def to_records(
    config: TrainConfig, measured: list[Measured], seconds: float, device: torch.device
) -> list[Record]:
    """The records of some steps that took `seconds` together, brought to the host in one transfer.

    A number that is not finite becomes None, and so does the acceptance of a sampler that accepts
    everything.
    """
    numbers = torch.stack([step.numbers for step in measured]).tolist()
    cost = {"seconds": round(seconds / len(measured), 6), "peak_mib": peak_memory(device)}
    records = []
    for step, values in zip(measured, numbers, strict=True):
        finite = (value if math.isfinite(value) else None for value in values)
        records.append(step.known | dict(zip(step.names, finite, strict=True)) | cost)
    if not is_adjusted(config.sampler):
        records = [record | {"acceptance": None} for record in records]
    return records


def adapt_step_size(config: TrainConfig, state: TrainState, records: list[Record]) -> None:
    """Steer h by the acceptance of each step in turn, where the configuration asks for it."""
    adapt = config.objective.adapt
    if adapt is None:
        return
    for acceptance in (record["acceptance"] for record in records):
        if acceptance is not None:
            state.step_size = adapt.update(state.step_size, acceptance, config.sampler)

"""One iteration of training: positives, negatives, loss, update, and the numbers of its record."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from stanley.data import positive_batch
from stanley.device import peak_memory
from stanley.ranks import gather_weights, whole
from stanley.samplers import ChainInfo, run_chains
from stanley.samplers.traits import is_adjusted, with_step_size
from stanley.training.bank import restart
from stanley.training.config import TrainConfig
from stanley.training.kl_term import LastStep, kl_term
from stanley.training.losses import contrastive_loss
from stanley.training.optim import schedule, update_average
from stanley.training.state import TrainState
from stanley.types import Bf16, Chunked, Energy, Potential


class Measured(NamedTuple):
    """The record of one step, with its numbers still on the device."""

    known: dict[str, Any]
    names: tuple[str, ...]
    numbers: Tensor  # (names,)


def train_step(config: TrainConfig, state: TrainState, rows: Tensor, *, flip: bool) -> Measured:
    """One iteration. Nothing is read back from the device."""
    with state.world.agreed():  # a rank that fails here would leave the others waiting for its gradient
        batch = positive_batch(
            rows, config.batch, state.data_generator, flip=flip, noise_std=config.data_noise
        )  # (B, *event), the same on all ranks
        x_pos = state.world.part(batch)
        gather_weights(state.model)
        x_neg, chains, replaced, last = negatives(config, state, x_pos)  # like x_pos, detached

    loss, energy_pos, energy_neg = backward(config, state, x_pos, x_neg, last)

    rate = config.optimizer.lr * state.slowdown
    rate *= schedule(state.step, config.steps, config.warmup, config.decay)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    limit = config.clip_norm if config.clip_norm > 0 else math.inf
    grad_norm = whole(nn.utils.clip_grad_norm_(state.energy.parameters(), limit))
    state.optimizer.step()
    update_average(state.average, state.energy, config.ema, state.step)
    state.step += 1

    known = {"step": state.step, "learning_rate": rate, "step_size": state.step_size * state.slowdown}
    return Measured(known, *measure(state, loss, energy_pos, energy_neg, grad_norm, x_neg, chains, replaced))


def read(config: TrainConfig, state: TrainState, unread: list[Measured], began: float) -> list[dict[str, Any]]:
    """The records, brought to the host in one transfer; null where a number is not finite. Adapts the step size."""
    rows = torch.stack([measured.numbers for measured in unread]).tolist()
    seconds = round((time.perf_counter() - began) / len(unread), 6)
    records = []
    for (known, names, _), numbers in zip(unread, rows, strict=True):
        record = known | {name: v if math.isfinite(v) else None for name, v in zip(names, numbers, strict=True)}
        if not is_adjusted(config.sampler):
            record["acceptance"] = None
        elif config.adapt is not None and record["acceptance"] is not None:
            state.step_size = config.adapt.update(state.step_size, record["acceptance"], config.sampler)
        records.append(record | {"seconds": seconds, "peak_mib": peak_memory(state.world.device)})
    return records


def backward(
    config: TrainConfig, state: TrainState, x_pos: Tensor, x_neg: Tensor, last: LastStep | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Leaves ∇_θ L in the parameters; returns L, E(x⁺) and E(z) of this rank.

    One forward pass of the concatenated batch through `state.model`, which averages gradients over the ranks: shares
    are equal, so the mean of the ranks' losses is the loss of the whole batch. Through `state.energy` each rank would
    keep the gradient of its own share, without any error. The KL term wants ∇E at both ends of the chains' last
    step besides, from the same pass.
    """
    state.energy.train()
    if last is None:
        energy_pos, energy_neg = state.model(torch.cat([x_pos, x_neg])).split([len(x_pos), len(x_neg)])
        loss = contrastive_loss(energy_pos, energy_neg, config.energy_l2)
    else:
        x, before = (end.detach().requires_grad_() for end in (x_neg, last.before))
        energies = state.model(torch.cat([x_pos, x, before]))
        energy_pos, energy_neg, energy_before = energies.split([len(x_pos), len(x), len(before)])
        total = energy_neg.sum() + energy_before.sum()
        grad, grad_before = torch.autograd.grad(total, [x, before], create_graph=True)
        loss = contrastive_loss(energy_pos, energy_neg, config.energy_l2)
        loss = loss + config.kl_weight * kl_term(last, x_neg, energy_neg, grad, grad_before)
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    return loss.detach(), energy_pos.detach(), energy_neg.detach()


def negatives(
    config: TrainConfig, state: TrainState, x_pos: Tensor
) -> tuple[Tensor, ChainInfo, Tensor, LastStep | None]:
    """K steps of the sampler on U = E/T from the bank, the data or noise; how many bank slots were replaced after;
    the last step, where the loss asks for it."""
    generator, batch = state.chain_generator, len(x_pos)
    if config.start == "bank":
        slots, x0 = state.bank.draw(batch, generator)
        x0 = x0 if config.augment is None else config.augment(x0, generator)
        coins = torch.rand(batch, generator=generator, device=x0.device)
        x0 = restart(x0, coins < config.restart, state.noise, generator)
    else:
        slots, x0 = None, x_pos if config.start == "data" else state.noise.draw(batch, generator)

    sampler = with_step_size(config.sampler, state.step_size * state.slowdown)
    with frozen(state.energy):
        potential = potential_of(config, state.energy)
        chain_steps = config.chain_steps_at(state.step)
        chains = run_chains(sampler, potential, x0, chain_steps, generator=generator, execution=state.execution)
    lost = chains.info.nonfinite
    if config.free_stuck > 0:
        lost = lost | (chains.info.acceptance < config.free_stuck)
    if slots is not None:
        state.bank.write(slots, restart(chains.x, lost, state.noise, generator))
    last = LastStep(sampler, chains.before, chains.info.threshold, config.temperature) if config.kl_weight > 0 else None
    return chains.x, chains.info, lost.sum(), last


def potential_of(config: TrainConfig, energy: nn.Module) -> Potential:
    """U = E/T as the chains see it."""
    seen: Energy = Bf16(energy) if config.precision == "bf16" else energy
    return Potential(seen if config.chunk_size is None else Chunked(seen, config.chunk_size), config.temperature)


@contextmanager
def frozen(energy: nn.Module) -> Iterator[None]:
    """The energy as a function of x: evaluation mode, no parameter gradients, each spectral norm computed once."""
    energy.eval().requires_grad_(False)
    try:
        with nn.utils.parametrize.cached():
            yield
    finally:
        energy.train().requires_grad_(True)


def measure(
    state: TrainState,
    loss: Tensor,
    energy_pos: Tensor,
    energy_neg: Tensor,
    grad_norm: Tensor,
    x_neg: Tensor,
    chains: ChainInfo,
    replaced: Tensor,
) -> tuple[tuple[str, ...], Tensor]:
    """What the record of one step says of the chains and the loss: names and numbers, on the device.

    Each number is a ratio of two sums over the ranks: a mean over batches (of equal size), over finite chains, or, as
    a share of rank 0's one, a count. `spread`, a median, and `threshold`, a quantile, are of the chains of a rank,
    and then averaged.
    """
    world, finite = state.world, ~chains.nonfinite
    one = torch.ones_like(loss)
    first, count = one if world.first else 0 * one, finite.sum()

    def over_finite(values: Tensor) -> tuple[Tensor, Tensor]:
        return torch.where(finite, values, 0).sum(), count

    ratios = {
        "loss": (loss, one),
        "gap": (energy_pos.mean() - energy_neg.mean(), one),
        "energy_pos": (energy_pos.mean(), one),
        "energy_neg": (energy_neg.mean(), one),
        "acceptance": over_finite(chains.acceptance),
        "scale": over_finite(chains.step_scale),
        "chain_grad_norm": over_finite(chains.grad_norm),
        "threshold": (chains.threshold if chains.threshold is not None else math.nan * one, one),
        "grad_norm": (grad_norm, one),
        "spread": (state.noise.spread(x_neg), one),
        "nonfinite": (chains.nonfinite.sum(), first),
        "restarted": (replaced, first),
    }
    above, below = world.sum(torch.stack([part.float() for ratio in ratios.values() for part in ratio]).view(-1, 2)).T
    return tuple(ratios), above / below.clamp(min=1)

"""One iteration of training: a batch, the gradient of the objective, the update, and its record."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from stanley.config import kind_of
from stanley.data import Dataset, next_batch
from stanley.ranks import World, gather_weights, unsharded
from stanley.runs.directory import Record
from stanley.samplers.traits import is_adjusted
from stanley.training.config import TrainConfig
from stanley.training.objectives import Ratios
from stanley.training.objectives.given import is_own, ratios_of
from stanley.training.optim import schedule, update_average
from stanley.training.state import TrainState


class StepResult(NamedTuple):
    """What one training step computed, on the device."""

    step: int  # 1, 2, …
    learning_rate: float
    step_size: float  # h of the chains, if there are any
    ratios: Ratios  # what the objective says of its batch
    grad_norm: Tensor  # 0-d, |∇_θ L| before clipping


class Measured(NamedTuple):
    """The numbers of one record, still on the device."""

    known: dict[str, Any]  # what the host knows without asking the device
    names: tuple[str, ...]
    numbers: Tensor  # (names,)


def train_step(config: TrainConfig, state: TrainState, data: Dataset) -> StepResult:
    """One iteration: x⁺, ∇_θ L, update, average. Nothing is read back from the device."""
    # without it a rank that fails would leave the others waiting for its gradient
    with state.world.agreed():
        x_pos = next_batch(data, config.batch, state.data_generator, config.data_noise)
        x_pos = state.world.part(x_pos)  # (B, *event), of a batch that is the same on all ranks
        gather_weights(state.model)

    learning_rate = learning_rate_at(config, state)
    step_size = state.step_size * state.slowdown
    ratios: Any = config.objective.descend(config, state, x_pos)
    if is_own(config.objective):
        ratios = ratios_of(kind_of(config.objective), ratios, x_pos.new_zeros(()))
    grad_norm = update(config, state, learning_rate)
    state.step += 1
    return StepResult(state.step, learning_rate, step_size, ratios, grad_norm)


def learning_rate_at(config: TrainConfig, state: TrainState) -> float:
    """lr · schedule(t) · slowdown · what the objective asks for, of the step that comes next."""
    factor = schedule(state.step, config.steps, config.warmup, config.decay)
    factor *= config.objective.rate_at(config, state.step)
    return config.optimizer.lr * state.slowdown * factor


def update(config: TrainConfig, state: TrainState, learning_rate: float) -> Tensor:
    """One step of the optimiser and of the average; returns |∇_θ L| as it was before clipping."""
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate
    # those of the energy, without a walk through its modules
    weights = [p for group in state.optimizer.param_groups for p in group["params"]]
    gradients = [p.grad for p in weights if p.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if config.clip_norm > 0:
        nn.utils.clip_grads_with_norm_(weights, config.clip_norm, norm)
    grad_norm = unsharded(norm)
    state.optimizer.step()
    update_average(state.average, state.energy, config.ema, state.step)
    return grad_norm


def measure(state: TrainState, result: StepResult) -> Measured:
    """The numbers of one step's record, over all ranks, which call this together."""
    ratios = with_norm(result.ratios, result.grad_norm)
    return Measured(known_of(result), tuple(ratios), quotients(state.world, ratios))


def with_norm(ratios: Ratios, grad_norm: Tensor) -> Ratios:
    return ratios | {"grad_norm": (grad_norm, torch.ones_like(grad_norm))}


def quotients(world: World, ratios: Ratios) -> Tensor:
    """Each ratio over all ranks: (ratios,), or (ratios, S) of S runs side by side."""
    sums = world.sum(torch.stack([part.float() for ratio in ratios.values() for part in ratio]))
    above, below = sums.view(-1, 2, *sums.shape[1:]).unbind(1)
    return above / below.clamp(min=1)


def known_of(result: StepResult) -> dict[str, Any]:
    """What the host knows of a step."""
    known = {
        "step": result.step,
        "learning_rate": result.learning_rate,
    }
    if "gap" in result.ratios:
        known["step_size"] = result.step_size
    return known


def to_records(
    config: TrainConfig, measured: list[Measured], seconds: float, peak_mib: float | None
) -> list[Record]:
    """The records of some steps that took `seconds` together, brought to the host in one transfer.

    A number that is not finite becomes None, and so does the acceptance of a sampler that accepts
    everything.
    """
    numbers = torch.stack([step.numbers for step in measured]).tolist()
    cost = {"seconds": round(seconds / len(measured), 6), "peak_mib": peak_mib}
    records = []
    for step, values in zip(measured, numbers, strict=True):
        finite = (value if math.isfinite(value) else None for value in values)
        records.append(step.known | dict(zip(step.names, finite, strict=True)) | cost)
    if not is_adjusted(config.sampler):
        records = [
            record | {"acceptance": None} if "acceptance" in record else record
            for record in records
        ]
    return records


def adapt_step_size(config: TrainConfig, state: TrainState, records: list[Record]) -> None:
    """Steer h by the acceptance of each step in turn, where the configuration asks for it."""
    chains = config.objective.contrastive
    if chains is None or chains.adapt is None:
        return
    for acceptance in (record.get("acceptance") for record in records):
        if acceptance is not None:
            state.step_size = chains.adapt.update(state.step_size, acceptance, config.sampler)

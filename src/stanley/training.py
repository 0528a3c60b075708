"""The main job: positives, negatives, loss, update, record, save."""

from __future__ import annotations

import copy
import math
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from stanley import checkpoint
from stanley.bank import Bank, StartNoise, restart
from stanley.checkpoint import Checkpoint
from stanley.config import differences, from_dict, to_dict
from stanley.data import AnyData, Dataset, positive_batch
from stanley.device import pick_device
from stanley.errors import DivergenceError, require
from stanley.losses import contrastive_loss
from stanley.networks import AnyNetwork, build_energy
from stanley.optim import Adam, AnyOptimizer, schedule, update_average
from stanley.progress import Bar, training_note
from stanley.records import RunDirectory
from stanley.samplers import AnySampler, ChainInfo, RobbinsMonro, run_chains
from stanley.samplers.execution import Execution
from stanley.samplers.inside import adjustable_step, with_step_size
from stanley.signals import Interrupts
from stanley.types import Bf16, Chunked, Energy, Potential


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides what a run computes. The device is not part of it: it is where, not what.

    steps, batch        training iterations; data points and chains per iteration
    chain_steps         K, sampler steps per iteration
    start               chains start from the 'bank' (persistent CD), the 'data' (CD-K) or 'noise' (short-run)
    bank_size, restart  number of persistent chains, and the chance that a drawn one restarts from noise
    free_stuck          a chain whose mean acceptance over its K steps is below this restarts from noise; 0 never
    data_noise          standard deviation of Gaussian noise added to data, in data units
    temperature         T in p ∝ exp(-E/T)
    precision           of the network while chains run: 'float32', or 'bf16' for unadjusted samplers
    chunk_size          chains whose gradients are taken at a time, for less memory; null for all
    energy_l2           α of the penalty α·(E(x⁺)² + E(z)²)
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
    start: Literal["bank", "data", "noise"] = "bank"
    bank_size: int = 10_000
    restart: float = 0.0
    free_stuck: float = 0.0
    data_noise: float = 0.0
    temperature: float = 1.0
    precision: Literal["float32", "bf16"] = "float32"
    chunk_size: int | None = None
    energy_l2: float = 0.0
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
        for name in ("data_noise", "energy_l2", "clip_norm", "warmup", "max_rollbacks"):
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
        adjusted = adjustable_step(self.sampler)
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


#: Fields that a resumed run may change: they decide how long, where from and how it is kept, not what a step computes
#: (more `steps` also stretch the learning-rate decay).
MAY_CHANGE = {
    *("steps", "save_every", "keep", "chunk_size", "gap_limit", "spread_limit", "on_divergence", "max_rollbacks"),
    *("data.root", "data.path", "data.download", "data.cache", "data.memory_limit_mb"),
}


class TrainState:
    """What a step changes, and therefore what a checkpoint holds."""

    def __init__(self, config: TrainConfig, data: Dataset, device: torch.device, execution: Execution = "auto") -> None:
        self.execution: Execution = execution
        energy = build_energy(config.network, data.event_shape, seed=config.seed, reference_std=config.reference_std)
        self.energy = energy.to(device)
        self.average = copy.deepcopy(self.energy).requires_grad_(False)
        self.optimizer = config.optimizer.build(self.energy.parameters())
        # one stream for the data, one for the chains: changing a sampler leaves the order of the data as it was
        self.data_generator = torch.Generator(device).manual_seed(2 * config.seed)
        self.chain_generator = torch.Generator(device).manual_seed(2 * config.seed + 1)
        self.noise = StartNoise.of(data, device)
        chains = config.bank_size if config.start == "bank" else 0
        self.bank = Bank(self.noise.draw(chains, self.chain_generator))
        self.step = 0
        self.step_size = float(config.sampler.step_size)
        self.rollbacks = 0
        self.slowdown = 1.0  # factor on both step sizes, halved by each rollback

    def checkpoint(self, config: TrainConfig) -> Checkpoint:
        parts: dict[str, dict[str, Tensor]] = {
            "energy": self.energy.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": checkpoint.optimizer_tensors(self.optimizer),
            "bank": {"positions": self.bank.positions},
            "noise": {"mean": self.noise.mean, "std": self.noise.std},
            "generator": {"data": self.data_generator.get_state(), "chain": self.chain_generator.get_state()},
        }
        tensors = {f"{part}.{name}": t for part, named in parts.items() for name, t in named.items()}
        meta = {
            "step": self.step,
            "step_size": self.step_size,
            "rollbacks": self.rollbacks,
            "slowdown": self.slowdown,
            "event_shape": list(self.noise.mean.shape),
            "is_image": self.noise.is_image,
            "config": to_dict(config),
        }
        return Checkpoint(tensors, meta)

    def restore(self, saved: Checkpoint) -> None:
        shape = tuple(saved.meta["event_shape"])
        require(
            shape == tuple(self.noise.mean.shape),
            f"{saved.path} was trained on points of shape {shape}, the data now have {tuple(self.noise.mean.shape)}",
        )
        checkpoint.restore_weights(self.energy, saved.part("energy"), saved.path)
        checkpoint.restore_weights(self.average, saved.part("average"), saved.path)
        checkpoint.restore_optimizer(self.optimizer, saved.part("optimizer"))
        self.bank.positions.copy_(saved.tensors["bank.positions"])
        self.data_generator.set_state(saved.tensors["generator.data"])
        self.chain_generator.set_state(saved.tensors["generator.chain"])
        self.step = saved.step
        self.step_size = saved.meta["step_size"]
        self.rollbacks = saved.meta["rollbacks"]
        self.slowdown = saved.meta["slowdown"]


def train(
    config: TrainConfig,
    out: str | os.PathLike[str],
    *,
    device: str = "auto",
    execution: Execution = "auto",
    progress: bool = False,
    title: str = "training",
) -> RunDirectory:
    """Train an energy on data into the run directory `out`, or resume the run that is there.

    Each step descends L = mean E(x⁺) - mean E(z) + penalties, with z from K sampler steps on U = E/T. Resumed equals
    unbroken, bit for bit on CPU with the same number of threads. Ctrl-C (or SIGTERM) finishes the step, saves, and
    raises KeyboardInterrupt. A divergence raises DivergenceError with the last good checkpoint kept, unless
    config.on_divergence is 'rollback'. How a chain step is carried out (`execution`, see `run_chains`) is not part of
    the configuration: it changes the rounding at most.
    """
    place = pick_device(device)
    run = RunDirectory(out)
    try:
        prepare(config, run)
        data = config.data.load()
        state = TrainState(config, data, place, execution)
        resume(config, run, state)
        rows = data.train if data.streamed else data.train.to(place)  # the one copy, uint8 for images
        with Interrupts() as interrupts, Bar(title, config.steps, state.step, enabled=progress) as bar:
            while state.step < config.steps:
                record = train_step(config, state, rows, flip=data.flip)
                trouble = find_trouble(config, record)
                if trouble:
                    recover(config, run, state, record, trouble)
                    continue
                run.append(record)
                if bar.due(state.step):
                    bar.draw(state.step, training_note(record))
                if state.step % config.save_every == 0 or state.step == config.steps or interrupts.seen:
                    save(config, run, state)
                if interrupts.seen:
                    raise KeyboardInterrupt(f"interrupted at step {state.step}; the same command resumes there")
    finally:
        run.release()
    return run


def train_step(config: TrainConfig, state: TrainState, rows: Tensor, *, flip: bool) -> dict[str, Any]:
    """One iteration; returns its record. Nothing but the record is read back from the device."""
    began = time.perf_counter()
    x_pos = positive_batch(
        rows, config.batch, state.data_generator, flip=flip, noise_std=config.data_noise
    )  # (B, *event)
    x_neg, chains, replaced = negatives(config, state, x_pos)  # (B, *event), detached

    state.energy.train()
    energies = state.energy(torch.cat([x_pos, x_neg]))
    energy_pos, energy_neg = energies.split([len(x_pos), len(x_neg)])
    loss = contrastive_loss(energy_pos, energy_neg, config.energy_l2)

    rate = config.optimizer.lr * state.slowdown
    rate *= schedule(state.step, config.steps, config.warmup, config.decay)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    limit = config.clip_norm if config.clip_norm > 0 else math.inf
    grad_norm = nn.utils.clip_grad_norm_(state.energy.parameters(), limit)
    state.optimizer.step()
    update_average(state.average, state.energy, config.ema, state.step)
    state.step += 1

    record = {"step": state.step, "learning_rate": rate, "step_size": state.step_size * state.slowdown}
    record |= measure(
        loss.detach(),
        energy_pos.detach(),
        energy_neg.detach(),
        grad_norm,
        x_neg,
        chains,
        replaced,
        state.noise,
    )
    if not adjustable_step(config.sampler):
        record["acceptance"] = None
    elif config.adapt is not None and record["acceptance"] is not None:
        state.step_size = config.adapt.update(state.step_size, record["acceptance"], config.sampler)
    record["seconds"] = round(time.perf_counter() - began, 6)
    return record


def negatives(config: TrainConfig, state: TrainState, x_pos: Tensor) -> tuple[Tensor, ChainInfo, Tensor]:
    """K steps of the sampler on U = E/T from the bank, the data or noise; how many bank slots were replaced after."""
    generator = state.chain_generator
    if config.start == "bank":
        slots, x0 = state.bank.draw(config.batch, generator)
        coins = torch.rand(config.batch, generator=generator, device=x0.device)
        x0 = restart(x0, coins < config.restart, state.noise, generator)
    else:
        slots, x0 = None, x_pos if config.start == "data" else state.noise.draw(config.batch, generator)

    sampler = with_step_size(config.sampler, state.step_size * state.slowdown)
    with frozen(state.energy):
        potential = potential_of(config, state.energy)
        chains = run_chains(sampler, potential, x0, config.chain_steps, generator=generator, execution=state.execution)
    lost = chains.info.nonfinite
    if config.free_stuck > 0:
        lost = lost | (chains.info.acceptance < config.free_stuck)
    if slots is not None:
        state.bank.write(slots, restart(chains.x, lost, state.noise, generator))
    return chains.x, chains.info, lost.sum()


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
    loss: Tensor,
    energy_pos: Tensor,
    energy_neg: Tensor,
    grad_norm: Tensor,
    x_neg: Tensor,
    chains: ChainInfo,
    replaced: Tensor,
    noise: StartNoise,
) -> dict[str, float | None]:
    """The record of one step, brought to the host in one transfer; null where a number is not finite."""
    finite = ~chains.nonfinite
    count = finite.sum().clamp(min=1)

    def over_finite(values: Tensor) -> Tensor:
        return torch.where(finite, values, 0).sum() / count

    values = {
        "loss": loss,
        "gap": energy_pos.mean() - energy_neg.mean(),
        "energy_pos": energy_pos.mean(),
        "energy_neg": energy_neg.mean(),
        "acceptance": over_finite(chains.acceptance),
        "scale": over_finite(chains.step_scale),
        "chain_grad_norm": over_finite(chains.grad_norm),
        "threshold": chains.threshold if chains.threshold is not None else loss.new_tensor(math.nan),
        "grad_norm": grad_norm,
        "spread": noise.spread(x_neg),
        "nonfinite": chains.nonfinite.sum(),
        "restarted": replaced,
    }
    numbers = torch.stack([v.float() for v in values.values()]).tolist()
    return {name: v if math.isfinite(v) else None for name, v in zip(values, numbers, strict=True)}


def find_trouble(config: TrainConfig, record: dict[str, Any]) -> str | None:
    """What went wrong and what it most likely means, or None."""
    missing = [name for name in ("loss", "gap", "grad_norm", "spread") if record[name] is None]
    noise_std = (record["step_size"] * config.temperature) ** 0.5
    if missing:
        return (
            f"{missing[0]} is not finite ({record['nonfinite']:.0f} of {config.batch} chains are not): the chains or "
            "the weights overflowed; take a smaller sampler.step-size or optimizer.lr, or an adjusted sampler"
        )
    if abs(record["gap"]) > config.gap_limit:
        return (
            f"|gap| is {abs(record['gap']):.3g}, over gap_limit {config.gap_limit:g}: energies of data and samples run "
            f"apart; lower optimizer.lr, add energy_l2 0.01 or data_noise {noise_std:.2g} (the chain noise), or raise "
            "gap_limit if energies of this size are expected"
        )
    if record["spread"] > config.spread_limit:
        return (
            f"the median chain is {record['spread']:.3g} data standard deviations from the data's mean, over "
            f"spread_limit {config.spread_limit:g}: chains leave the data; take a smaller sampler.step-size, "
            "a reference_std, or restart 0.02"
        )
    return None


def recover(config: TrainConfig, run: RunDirectory, state: TrainState, record: dict[str, Any], trouble: str) -> None:
    """Stop with the last good checkpoint kept, or go back to it with half the step sizes, and say so."""
    step, rollbacks, slowdown = state.step, state.rollbacks + 1, state.slowdown / 2
    good = checkpoint.newest(run.checkpoints)
    assert good is not None  # step 0 is always saved
    assert good.path is not None
    if good.meta["rollbacks"] < state.rollbacks and len(checkpoint.saved(run.checkpoints)) > 1:
        good.path.unlink()  # it was gone back to before and led here again: it is not good, take the one before
        good = checkpoint.newest(run.checkpoints)
        assert good is not None
    event = {"step": step, "reason": trouble, "record": record, "checkpoint": good.step}
    if config.on_divergence == "stop" or rollbacks > config.max_rollbacks:
        run.event(kind="diverged", **event)
        after = f" after {state.rollbacks} rollbacks" if state.rollbacks else ""
        raise DivergenceError(f"diverged at step {step}{after}: {trouble}. Kept: {good.path} (step {good.step})")
    state.restore(good)
    state.rollbacks, state.slowdown = rollbacks, slowdown
    run.truncate_records(good.step)
    run.event(kind="rollback", slowdown=slowdown, **event)
    warnings.warn(f"step {step}: {trouble}. Back to step {good.step} with step sizes × {slowdown:g}", stacklevel=2)


def prepare(config: TrainConfig, run: RunDirectory) -> None:
    """Make the run directory, lock it, and write this configuration; refuse one that computes something else."""
    new = to_dict(config)
    run.create()
    run.lock()
    if run.has_begun():
        changed = differences(to_dict(from_dict(TrainConfig, run.read_config())), new)  # fields that it lacks: usual
        told = "; ".join(f"{name}: {old!r} → {now!r}" for name, (old, now) in changed.items())
        require(
            set(changed) <= MAY_CHANGE,
            f"{run.path} holds a run with another configuration ({told}); use the old values, or another --out",
        )
        if changed:
            run.event(kind="reconfigured", changed={name: list(pair) for name, pair in changed.items()})
            warnings.warn(f"resuming with changed {told}", stacklevel=2)
    run.write_config(new)


def resume(config: TrainConfig, run: RunDirectory, state: TrainState) -> None:
    """Restore the newest readable checkpoint, or save step 0 so that there always is a good one."""
    saved = checkpoint.newest(run.checkpoints) if run.has_begun() else None
    if saved is None:
        require(
            not run.records(),
            f"{run.path} holds records but no checkpoint; restore {run.checkpoints}, or start anew with another --out",
        )
        save(config, run, state)
        return
    state.restore(saved)
    run.truncate_records(state.step)
    run.event(kind="resumed", step=state.step)


def save(config: TrainConfig, run: RunDirectory, state: TrainState) -> None:
    run.sync()
    checkpoint.save(state.checkpoint(config), run.checkpoints, config.keep)

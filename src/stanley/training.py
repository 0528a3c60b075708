"""The main job: positives, negatives, loss, update, record, save."""

from __future__ import annotations

import copy
import hashlib
import math
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from stanley import checkpoint
from stanley.bank import Bank, StartNoise, restart
from stanley.checkpoint import Checkpoint
from stanley.config import differences, from_dict, to_dict
from stanley.data import Dataset, positive_batch
from stanley.device import peak_memory
from stanley.distributed import Parallel, World, gather_weights, joined, parallel_model, sharded, whole
from stanley.errors import DivergenceError, require
from stanley.last_step import LastStep, kl_term
from stanley.losses import contrastive_loss
from stanley.networks import build_energy
from stanley.optim import schedule, update_average
from stanley.progress import Bar, training_note
from stanley.records import RunDirectory
from stanley.samplers import ChainInfo, run_chains
from stanley.samplers.execution import Execution
from stanley.samplers.inside import adjustable_step, with_step_size
from stanley.signals import Interrupts
from stanley.train_config import MAY_CHANGE, TrainConfig
from stanley.types import Bf16, Chunked, Energy, Potential


class TrainState:
    """What a step changes, and therefore what a checkpoint holds. Each rank has its own chains and its own part of the
    bank; weights, data order and step sizes are the same on all."""

    def __init__(
        self,
        config: TrainConfig,
        data: Dataset,
        world: World,
        parallel: Parallel = "ddp",
        execution: Execution = "auto",
    ) -> None:
        if config.augment is not None:
            config.augment.check(data)
        self.execution: Execution = "eager" if parallel == "fsdp" else execution  # no graph may hold gathered weights
        energy = build_energy(config.network, data.event_shape, seed=config.seed, reference_std=config.reference_std)
        self.world = world
        self.energy = energy.to(world.device)  # what chains run on
        self.average = copy.deepcopy(self.energy).requires_grad_(False)
        self.model = parallel_model(self.energy, world, parallel)  # what the loss is computed with
        if parallel == "fsdp":
            sharded(self.average, world)
        self.optimizer = config.optimizer.build(self.energy.parameters())
        # one stream for the data, one for the chains: changing a sampler leaves the order of the data as it was
        self.data_generator = torch.Generator(world.device).manual_seed(2 * config.seed)
        self.chain_generator = torch.Generator(world.device).manual_seed(chain_seed(config.seed, world))
        self.noise = StartNoise.of(data, world.device)
        chains = world.share(config.bank_size, "bank_size") if config.start == "bank" else 0
        self.bank = Bank(self.noise.draw(chains, self.chain_generator))
        self.step = 0
        self.step_size = float(config.sampler.step_size)
        self.rollbacks = 0
        self.slowdown = 1.0  # factor on both step sizes, halved by each rollback

    def checkpoint(self, config: TrainConfig) -> Checkpoint:
        """Whole on rank 0, which is the one that writes it; all ranks take part."""
        generators = self.world.gather_rows(self.chain_generator.get_state()[None])
        parts: dict[str, dict[str, Tensor]] = {
            "energy": self.energy.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": checkpoint.optimizer_tensors(self.optimizer),
            "bank": {"positions": self.world.gather_rows(self.bank.positions)},
            "noise": {"mean": self.noise.mean, "std": self.noise.std},
            "generator": {"data": self.data_generator.get_state()}
            | {chain_name(rank): generator for rank, generator in enumerate(generators)},
        }
        tensors = {f"{part}.{name}": whole(t) for part, named in parts.items() for name, t in named.items()}
        meta = {
            "step": self.step,
            "step_size": self.step_size,
            "rollbacks": self.rollbacks,
            "slowdown": self.slowdown,
            "ranks": self.world.size,
            "event_shape": list(self.noise.mean.shape),
            "is_image": self.noise.is_image,
            "config": to_dict(config),
        }
        return Checkpoint(tensors, meta)

    def restore(self, saved: Checkpoint) -> None:
        """Back to what was saved. Another number of ranks gets the same weights, bank and data order, but chain
        generators seeded anew: a stream cannot be split."""
        shape = tuple(saved.meta["event_shape"])
        require(
            shape == tuple(self.noise.mean.shape),
            f"{saved.path} was trained on points of shape {shape}, the data now have {tuple(self.noise.mean.shape)}",
        )
        checkpoint.restore_weights(self.energy, saved.part("energy"), saved.path)
        checkpoint.restore_weights(self.average, saved.part("average"), saved.path)
        checkpoint.restore_optimizer(self.optimizer, saved.part("optimizer"))
        self.bank.positions.copy_(self.world.part(saved.tensors["bank.positions"]))
        self.data_generator.set_state(saved.tensors["generator.data"])
        if saved.ranks == self.world.size:
            self.chain_generator.set_state(saved.tensors[f"generator.{chain_name(self.world.rank)}"])
        else:
            self.chain_generator.manual_seed(chain_seed(saved.meta["config"]["seed"], self.world, saved.step))
        self.step = saved.step
        self.step_size = saved.meta["step_size"]
        self.rollbacks = saved.meta["rollbacks"]
        self.slowdown = saved.meta["slowdown"]


def chain_seed(seed: int, world: World, step: int | None = None) -> int:
    """For the chains of one rank: of a new run, or of one that goes on from `step` on another number of ranks."""
    if world.size == 1 and step is None:
        return 2 * seed + 1
    name = f"chains {seed} {world.rank} {world.size} {step}"
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big") >> 1


def chain_name(rank: int) -> str:
    return f"chain.{rank}" if rank else "chain"


def train(
    config: TrainConfig,
    out: str | os.PathLike[str],
    *,
    device: str = "auto",
    execution: Execution = "auto",
    parallel: Parallel = "ddp",
    read_every: int | None = None,
    progress: bool = False,
    title: str = "training",
) -> RunDirectory:
    """Train an energy on data into the run directory `out`, or resume the run that is there.

    Each step descends L = mean E(x⁺) - mean E(z) + penalties, with z from K sampler steps on U = E/T. Resumed equals
    unbroken, bit for bit on CPU with the same number of threads. Ctrl-C (or SIGTERM) finishes the step, saves, and
    raises KeyboardInterrupt. A divergence raises DivergenceError with the last good checkpoint kept, unless
    config.on_divergence is 'rollback'. How a chain step is carried out (`execution`, see `run_chains`) is not part of
    the configuration: it changes the rounding at most.

    Records are read from the device, written and judged every `read_every` steps together, and before each checkpoint:
    1 on a CPU and where a step size is adapted, 10 on a GPU unless given. It changes nothing but when a divergence is
    seen, and how finely `seconds` is told.

    In processes that torchrun started, all train one run, each with its share of the batch, the chains and the bank;
    `parallel` says whether each holds all weights ('ddp') or a shard of them ('fsdp'). Rank 0 writes the files. It
    ends on all ranks together, with the same error if with any. docs/scaling.md says what is split.
    """
    run = RunDirectory(out)
    with joined(device) as world:
        try:
            with world.agreed():
                check_split(config, world, parallel, execution)
                together = records_together(config, world, read_every)
                if world.first:
                    prepare(config, run)
            data = load_data(config, world)
            state = TrainState(config, data, world, parallel=parallel, execution=execution)
            resume(config, run, state)
            rows = data.train if data.streamed else data.train.to(world.device)  # the one copy, uint8 for images
            enabled = progress and world.first
            with Interrupts() as interrupts, Bar(title, config.steps, state.step, enabled=enabled) as bar:
                unread: list[Measured] = []
                began = time.perf_counter()
                while state.step < config.steps:
                    unread.append(train_step(config, state, rows, flip=data.flip))
                    due = state.step % config.save_every == 0 or state.step == config.steps
                    if len(unread) < together and not due:
                        continue
                    records, unread = read(config, state, unread, began), []
                    began = time.perf_counter()
                    good, trouble = until_trouble(config, records)  # the same on all ranks, as the records are
                    with world.agreed() as vote:
                        if world.first:
                            run.append(*good)
                        vote.stop = interrupts.seen
                    if trouble:
                        recover(config, run, state, records[len(good)], trouble)
                        continue
                    if bar.due(state.step):
                        bar.draw(state.step, training_note(records[-1]))
                    if due or vote.stop:
                        save(config, run, state)
                    if vote.stop:
                        raise KeyboardInterrupt(f"interrupted at step {state.step}; the same command resumes there")
        finally:
            run.release()
    return run


def check_split(config: TrainConfig, world: World, parallel: Parallel, execution: Execution) -> None:
    """Every rank gets an equal share: only then is the mean over ranks the mean over the batch."""
    require(parallel in ("ddp", "fsdp"), f"parallel is {parallel!r}, must be 'ddp' or 'fsdp'")
    require(
        parallel == "ddp" or world.size > 1,
        f"parallel is {parallel!r}, but one process has nothing to shard its weights over; leave it out, or start "
        "several with torchrun",
    )
    require(
        parallel == "ddp" or execution in ("auto", "eager"),
        f"execution is {execution!r} and parallel 'fsdp': gathered weights lie elsewhere in every iteration, a traced "
        "step would not see them; use execution eager, or ddp",
    )
    require(
        parallel == "ddp" or config.kl_weight == 0,
        f"kl_weight is {config.kl_weight} and parallel 'fsdp': the term differentiates twice, and sharded weights are "
        "given back after the first time; use ddp, or kl_weight 0",
    )
    world.share(config.batch, "batch")
    if config.start == "bank":
        world.share(config.bank_size, "bank_size")


def records_together(config: TrainConfig, world: World, read_every: int | None) -> int:
    """How many steps go by between two readings of the device."""
    if read_every is None:
        return 10 if world.device.type == "cuda" and config.adapt is None else 1
    require(read_every >= 1, f"read_every is {read_every}, must be at least 1")
    require(
        read_every == 1 or config.adapt is None,
        f"read_every is {read_every}, but adapt follows the acceptance of every step; use 1, or adapt null",
    )
    return read_every


def load_data(config: TrainConfig, world: World) -> Dataset:
    """Rank 0 first: what it downloads or decodes lies there for the others."""
    data = None
    with world.agreed():
        if world.first:
            data = config.data.load()
    with world.agreed():
        return config.data.load() if data is None else data


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
        if not adjustable_step(config.sampler):
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


def until_trouble(config: TrainConfig, records: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], str | None]:
    """The records before the first sign of a divergence, and what it is."""
    for i, record in enumerate(records):
        trouble = find_trouble(config, record)
        if trouble:
            return records[:i], trouble
    return records, None


def find_trouble(config: TrainConfig, record: dict[str, Any]) -> str | None:
    """What went wrong and what it most likely means, or None."""
    missing = [name for name in ("loss", "gap", "grad_norm", "spread") if record[name] is None]
    noise_std = record["step_size"] ** 0.5  # √h, in the units of the data at every temperature
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
    world, good = state.world, None
    rollbacks, slowdown = state.rollbacks + 1, state.slowdown / 2
    with world.agreed():
        if world.first:
            good = last_good(run, state)
            event = {"step": record["step"], "reason": trouble, "record": record, "checkpoint": good.step}
            if config.on_divergence == "stop" or rollbacks > config.max_rollbacks:
                run.event(kind="diverged", **event)
                after = f" after {state.rollbacks} rollbacks" if state.rollbacks else ""
                raise DivergenceError(
                    f"diverged at step {record['step']}{after}: {trouble}. Kept: {good.path} (step {good.step})"
                )
            run.truncate_records(good.step)
            run.event(kind="rollback", slowdown=slowdown, **event)
            warnings.warn(
                f"step {record['step']}: {trouble}. Back to step {good.step} with step sizes × {slowdown:g}",
                stacklevel=2,
            )
    good = world.broadcast(good)
    assert good is not None
    state.restore(good)
    state.rollbacks, state.slowdown = rollbacks, slowdown


def last_good(run: RunDirectory, state: TrainState) -> Checkpoint:
    """The newest checkpoint that was not gone back to before."""
    good = checkpoint.newest(run.checkpoints)
    assert good is not None  # step 0 is always saved
    assert good.path is not None
    if good.meta["rollbacks"] < state.rollbacks and len(checkpoint.saved(run.checkpoints)) > 1:
        good.path.unlink()  # it was gone back to before and led here again: it is not good, take the one before
        good = checkpoint.newest(run.checkpoints)
        assert good is not None
    return good


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
    world, saved = state.world, None
    with world.agreed():
        if world.first:
            saved = checkpoint.newest(run.checkpoints) if run.has_begun() else None
            require(
                saved is not None or not run.records(),
                f"{run.path} holds records but no checkpoint; restore {run.checkpoints}, or start anew with "
                "another --out",
            )
    saved = world.broadcast(saved)
    if saved is None:
        save(config, run, state)
        return
    with world.agreed():
        state.restore(saved)
        if world.first:
            run.truncate_records(state.step)
            ranks = {} if saved.ranks == world.size else {"ranks": {"before": saved.ranks, "now": world.size}}
            run.event(kind="resumed", step=state.step, **ranks)


def save(config: TrainConfig, run: RunDirectory, state: TrainState) -> None:
    saved = state.checkpoint(config)
    with state.world.agreed():
        if state.world.first:
            run.sync()
            checkpoint.save(saved, run.checkpoints, config.keep)

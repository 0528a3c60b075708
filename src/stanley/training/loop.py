"""The main job: iterations, their records, and checkpoints."""

from __future__ import annotations

import os
import time
import warnings
from contextlib import ExitStack
from typing import Any

import torch

from stanley.config import differences, from_dict, to_dict
from stanley.data import Dataset
from stanley.device import has_bf16_units
from stanley.errors import require
from stanley.progress import Bar, training_note
from stanley.ranks import Parallel, World, joined
from stanley.runs import checkpoint
from stanley.runs.directory import Record, RunDirectory
from stanley.samplers.execution import Execution
from stanley.training.config import MAY_CHANGE, TrainConfig
from stanley.training.divergence import Split, recover, split_at_divergence, tell
from stanley.training.former import up_to_date
from stanley.training.interrupts import Interrupts
from stanley.training.state import TrainState
from stanley.training.step import adapt_step_size, measure, to_records, train_step
from stanley.training.watch import Watch

SCALES = 10.0  # ratio of scales between columns, or of a mean to its column's, that is warned of


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

    Each step descends L = mean E(x⁺) - mean E(z) + penalties, with z from K steps of the sampler
    on U = E/T. A resumed run equals an unbroken one: bit for bit on a CPU with the same number of
    threads. Not true: that it does on another number of processes, whose chains draw other noise.

    device      'auto' takes a GPU where torch sees one
    execution   how a chain step is carried out (see `run_chains`); not part of the configuration,
                because it changes no more than the rounding
    parallel    each process that torchrun started holds all weights ('ddp') or a shard of them
                ('fsdp'), its share of the batch, of the chains and of the bank; rank 0 writes the
                files (docs/scaling.md)
    read_every  records are read from the device, checked and written after this many steps and
                before each checkpoint; None is 10 on a GPU with a fixed step size, and 1 otherwise.
                It changes when a divergence is seen and how finely `seconds` is known, nothing else
    progress    show a bar with this `title` on stderr

    Raises StanleyError for what cannot run, and DivergenceError where training diverges; the last
    good checkpoint is kept. With config.on_divergence = 'rollback' it goes back to that checkpoint
    instead. Ctrl-C or SIGTERM finishes the step, saves, and raises KeyboardInterrupt. All ranks end
    together, with the same error if there is one.
    """
    with ExitStack() as until_the_end:
        world = until_the_end.enter_context(joined(device))
        run = until_the_end.enter_context(RunDirectory(out))
        prepare(config, run, world, parallel, execution, read_every)
        data = load_data(config, world)
        if world.first:
            warn_of_scales(data)
            warn_of_precision(config, world.device)
        state = TrainState(config, data, world, parallel=parallel, execution=execution)
        data = data.with_train_on(world.device)
        resume(config, run, state)
        watch = watch_from(run, world)

        interrupts = until_the_end.enter_context(Interrupts())
        bar = Bar(title, config.steps, state.step, enabled=progress and world.first)
        until_the_end.enter_context(bar)
        began = time.perf_counter()
        while state.step < config.steps:
            steps = steps_to_reading(config, state, read_every)
            measured = [measure(state, train_step(config, state, data)) for _ in range(steps)]
            records = to_records(config, measured, time.perf_counter() - began, world.device)
            began = time.perf_counter()
            adapt_step_size(config, state, records)

            split = split_at_divergence(config, state.rollbacks, watch, records)
            stop = append_records(run, world, split, interrupts)
            if split.divergence is not None:
                recover(config, run, state, split.divergence)
                watch = watch_from(run, world)
                continue
            if bar.due(state.step):
                bar.draw(state.step, training_note(records[-1]))
            if stop or checkpoint_is_due(config, state):
                save(config, run, state)
            if stop:
                raise KeyboardInterrupt(
                    f"interrupted at step {state.step}; the same command resumes there"
                )
    return run


def prepare(
    config: TrainConfig,
    run: RunDirectory,
    world: World,
    parallel: Parallel,
    execution: Execution,
    read_every: int | None,
) -> None:
    """Refuse what cannot run, then make and lock the run directory and write its configuration."""
    with world.agreed():
        check_split(config, world, parallel, execution)
        check_reading(config, read_every)
        if world.first:
            run.create()
            run.lock()
            write_configuration(config, run)


def check_split(
    config: TrainConfig, world: World, parallel: Parallel, execution: Execution
) -> None:
    """Every rank gets an equal share: only then is the mean over ranks the mean over the batch."""
    require(parallel in ("ddp", "fsdp"), f"parallel is {parallel!r}, but must be 'ddp' or 'fsdp'")
    require(
        parallel == "ddp" or world.size > 1,
        f"parallel is {parallel!r}, but one process has nothing to shard its weights over; "
        "leave it out, or start several processes with torchrun",
    )
    require(
        parallel == "ddp" or execution in ("auto", "eager"),
        f"execution is {execution!r} but parallel is 'fsdp': gathered weights lie elsewhere in "
        "every iteration, and a traced step would not see them; use execution eager, or ddp",
    )
    chains = config.objective.contrastive
    weight = chains.kl_weight if chains is not None and chains is config.objective else 0
    cause = (
        f"objective.kl_weight is {weight}" if weight else f"objective is {config.objective.kind!r}"
    )
    require(
        parallel == "ddp" or not config.objective.differentiates_twice,
        f"{cause} but parallel is 'fsdp': the loss differentiates twice, and sharded weights are "
        "freed after the first time; use ddp" + (", or objective.kl_weight 0" if weight else ""),
    )
    world.share(config.batch, "batch")
    if chains is not None and chains.start == "bank":
        world.share(chains.bank_size, f"{config.chains_at}.bank_size")


def warn_of_precision(config: TrainConfig, device: torch.device) -> None:
    if config.precision == "bf16" and has_bf16_units(device) is False:
        warnings.warn(
            f"precision is 'bf16', but this {device.type} has no units for bfloat16, so that it is "
            "several times slower; use precision auto",
            stacklevel=3,
        )


def check_reading(config: TrainConfig, read_every: int | None) -> None:
    """A step size that is adapted needs the acceptance of every step before the next one."""
    if read_every is None:
        return
    require(read_every >= 1, f"read_every is {read_every}, but must be at least 1")
    require(
        read_every == 1 or not adapts(config),
        f"read_every is {read_every}, but {config.chains_at}.adapt follows the acceptance of every "
        f"step; use read_every 1, or {config.chains_at}.adapt null",
    )


def adapts(config: TrainConfig) -> bool:
    """Whether the acceptance of each step decides the step size of the next."""
    chains = config.objective.contrastive
    return chains is not None and chains.adapt is not None


def load_data(config: TrainConfig, world: World) -> Dataset:
    """The data on every rank. Rank 0 goes first: the others find what it downloaded or decoded."""
    data = None
    with world.agreed():
        if world.first:
            data = config.data.load()
    with world.agreed():
        return config.data.load() if data is None else data


def warn_of_scales(data: Dataset) -> None:
    """One step size and one start suit vectors whose coordinates are of one scale, and near 0."""
    if data.is_image:
        return
    x = data.train[:10_000].double()
    mean, std = x.mean(0).flatten(), x.std(0).flatten()
    least, most = float(std.min()), float(std.max())
    offset = float((mean.abs() / std.clamp(min=1e-300)).max())
    if most > SCALES * least:
        warnings.warn(
            f"the columns of the data have standard deviations from {least:.3g} to {most:.3g}: no "
            "step size suits all of them, and training may fail; standardise the columns first",
            stacklevel=3,
        )
    elif offset > SCALES:
        warnings.warn(
            f"a column of the data has its mean {offset:.3g} standard deviations from 0, where the "
            "network's first weights know nothing; subtract the mean first",
            stacklevel=3,
        )


def write_configuration(config: TrainConfig, run: RunDirectory) -> None:
    """Write the configuration; refuse it where the run began with one that computes otherwise."""
    new = to_dict(config)
    if run.has_begun():
        # a field that the old file lacks has its default
        old = to_dict(from_dict(TrainConfig, up_to_date(run.read_config())))
        changed = differences(old, new)
        changes = "; ".join(
            f"{name}: {before!r} → {now!r}" for name, (before, now) in changed.items()
        )
        require(
            set(changed) <= MAY_CHANGE,
            f"{run.path} holds a run with another configuration ({changes}); use the old values, or"
            " another --out",
        )
        if changed:
            pairs = {name: list(pair) for name, pair in changed.items()}
            event = {"kind": "reconfigured", "changed": pairs}
            if run.events()[-1:] != [event]:  # else it was told before an end that came here
                run.event(**event)
            warnings.warn(f"resuming with changed {changes}", stacklevel=3)
    run.write_config(new)


def resume(config: TrainConfig, run: RunDirectory, state: TrainState) -> None:
    """Restore the newest readable checkpoint, or save step 0 so that there always is a good one."""
    world, saved = state.world, None
    with world.agreed():
        if world.first:
            saved = checkpoint.newest(run.checkpoints) if run.has_begun() else None
            require(
                saved is not None or not run.records(),
                f"{run.path} holds records but no checkpoint; "
                f"restore {run.checkpoints}, or start again with another --out",
            )
    saved = world.broadcast(saved)
    if saved is None:
        save(config, run, state)
        return
    with world.agreed():
        state.restore(saved)
        if world.first:
            run.truncate_records(state.step)
            assert saved.path is not None
            checkpoint.prune(run.checkpoints, saved.path, config.keep)
            event: dict[str, Any] = {"kind": "resumed", "step": state.step}
            if saved.ranks != world.size:
                event["ranks"] = {"before": saved.ranks, "now": world.size}
            run.event(**event)


def steps_to_reading(config: TrainConfig, state: TrainState, read_every: int | None) -> int:
    """How many steps to take before their records are read: no further than a checkpoint."""
    if read_every is None:
        read_every = 10 if state.world.device.type == "cuda" and not adapts(config) else 1
    to_checkpoint = config.save_every - state.step % config.save_every
    return min(read_every, to_checkpoint, config.steps - state.step)


def checkpoint_is_due(config: TrainConfig, state: TrainState) -> bool:
    return state.step % config.save_every == 0 or state.step == config.steps


def watch_from(run: RunDirectory, world: World) -> Watch:
    """A watch that has seen the records of the run so far, the same on all ranks."""
    past: list[Record] | None = None
    with world.agreed():
        if world.first:
            past = run.records()[-Watch.NEEDED :]
    return Watch(world.broadcast(past) or ())


def append_records(run: RunDirectory, world: World, split: Split, interrupts: Interrupts) -> bool:
    """Rank 0 appends the good records and tells collapses; returns whether any rank was asked to
    stop.
    """
    with world.agreed() as vote:
        if world.first:
            run.append(*split.good)
            for collapse in split.collapses:
                tell(run, collapse)
        vote.stop = interrupts.seen
    return vote.stop


def save(config: TrainConfig, run: RunDirectory, state: TrainState) -> None:
    """Save a checkpoint, after the records that it stands for have reached the disk."""
    saved = state.checkpoint(config)
    with state.world.agreed():
        if state.world.first:
            run.sync()
            checkpoint.save(saved, run.checkpoints, config.keep)

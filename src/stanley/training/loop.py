"""The main job: iterations, records, checkpoints, and what to do when a run diverges."""

from __future__ import annotations

import os
import time
import warnings
from typing import Any

from stanley.config import differences, from_dict, to_dict
from stanley.data import Dataset
from stanley.errors import DivergenceError, require
from stanley.progress import Bar, training_note
from stanley.ranks import Parallel, World, joined
from stanley.runs import checkpoint
from stanley.runs.checkpoint import Checkpoint
from stanley.runs.directory import RunDirectory
from stanley.samplers.execution import Execution
from stanley.training.config import MAY_CHANGE, TrainConfig
from stanley.training.interrupts import Interrupts
from stanley.training.state import TrainState
from stanley.training.step import Measured, read, train_step


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
            f"apart; {at_once(config) if record['step'] == 1 else ''}lower optimizer.lr ({config.optimizer.lr:g}), "
            f"{more('energy_l2', config.energy_l2, 0.01)}, {more('data_noise', config.data_noise, noise_std)} (chains "
            f"have {noise_std:.2g}), or raise gap_limit if energies of this size are expected"
        )
    if record["spread"] > config.spread_limit:
        return (
            f"the median chain is {record['spread']:.3g} data standard deviations from the data's mean, over "
            f"spread_limit {config.spread_limit:g}: chains leave the data; take a smaller sampler.step-size "
            f"({record['step_size']:g}), {narrower(config)}, or {more('restart', config.restart, 0.02)}"
        )
    return None


def more(name: str, now: float, usual: float) -> str:
    """What to set a field to that is below its usual value, or that it may be too low as it is."""
    return f"set {name} to {usual:.2g}" if now < usual else f"raise {name} ({now:g})"


def narrower(config: TrainConfig) -> str:
    """A reference that keeps chains near the data: N(0, s²T) of x, so s = 1/√T is a standard deviation of 1."""
    if config.reference_std is None:
        return f"set reference_std to {config.temperature**-0.5:.3g} (that is N(0, 1) of x)"
    return f"lower reference_std ({config.reference_std:g})"


def at_once(config: TrainConfig) -> str:
    """At the first step the energy is that of the fresh network and of the reference, which may be far too narrow."""
    if config.reference_std is None:
        return ""
    sd = config.reference_std * config.temperature**0.5
    return f"nothing is learned yet, and reference_std {config.reference_std:g} is N(0, {sd:.2g}²) of x: raise it; "


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
                stops = config.on_divergence == "stop"
                way = "; --on-divergence rollback goes on from it with half the step sizes" if stops else ""
                raise DivergenceError(
                    f"diverged at step {record['step']}{after}: {trouble}. Other settings need another --out. "
                    f"Kept: {good.path} (step {good.step}){way}"
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

"""Opening a run: what is checked, read and resumed before the first step; and its checkpoints."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from stanley.config import OWN, differences, from_dict, kind_of, to_dict
from stanley.data import Dataset
from stanley.device import has_bf16_units
from stanley.errors import DivergenceError, require
from stanley.networks import WithReference
from stanley.ranks import Parallel, World, joined
from stanley.runs import checkpoint
from stanley.runs.directory import Record, RunDirectory
from stanley.samplers.execution import Execution
from stanley.samplers.given import own_inside
from stanley.training.arguments import Arguments, taking
from stanley.training.config import MAY_CHANGE, TrainConfig
from stanley.training.former import of_a_run
from stanley.training.optim import update_average
from stanley.training.own import Parts, probe, probe_loss, require_same_network, taken
from stanley.training.scales import warn_of_scales
from stanley.training.state import TrainState
from stanley.training.tracking import require_trackers, tracker_names
from stanley.training.warned import keep_warnings, overheard


class OpenRun:
    """A run directory that is open for training, for the loop of `steps` or for one of your own.

    config   the configuration, with what was handed over in the place of its parts
    run      the run directory
    state    energy, averaged weights, optimiser, bank and generators, as the newest checkpoint has
             them; `state.step` steps are done
    data     the data, on the device
    """

    def __init__(
        self, config: TrainConfig, run: RunDirectory, state: TrainState, data: Dataset
    ) -> None:
        self.config, self.run, self.state, self.data = config, run, state, data
        self.saved = state.step

    def save(self) -> None:
        """Save a checkpoint of this step, if there is none yet."""
        if self.saved != self.state.step:
            save(self.config, self.run, self.state)
            self.saved = self.state.step

    def finish_step(self, **numbers: float | Tensor) -> Record:
        """In a loop of your own: the weights have been changed once. The averaged weights follow,
        the step counts, its record {"step": …, **numbers} is written and returned, and a checkpoint
        is saved where one is due. Raises DivergenceError for a number that is not finite.
        """
        state = self.state
        update_average(state.average, state.energy, self.config.ema, state.step)
        state.step += 1
        record: Record = {"step": state.step} | {k: number_of(v) for k, v in numbers.items()}
        wrong = next((n for n, v in record.items() if not math.isfinite(v)), None)
        if wrong is not None:
            raise DivergenceError(
                f"training diverged at step {state.step}: {wrong} is {record[wrong]}; lower the "
                f"learning rate. The last checkpoint, of step {self.saved}, is kept"
            )
        self.run.append(record)
        if checkpoint_is_due(self.config, state):
            self.save()
        return record


def number_of(value: float | Tensor) -> float:
    return float(value.detach() if isinstance(value, Tensor) else value)


@taking(Arguments)
def open_run(arguments: Arguments) -> AbstractContextManager[OpenRun]:
    """The run in `out`, made or resumed, and locked for the length of the block.

    `steps` trains in such a block, and so can a loop of your own: examples/own_loop.py. At the end
    of the block the last step is saved; after an error it is not, and the last checkpoint stands.
    Arguments are those of `train`.
    """
    return opened_with(arguments)


@contextmanager
def opened_with(arguments: Arguments) -> Iterator[OpenRun]:
    with (
        joined(arguments.device) as world,
        opened_in(world, arguments, load_data) as opened,
    ):
        yield opened


@contextmanager
def opened_in(
    world: World, arguments: Arguments, load: Callable[[TrainConfig, World], Dataset]
) -> Iterator[OpenRun]:
    """The run among processes that are joined already, with data that `load` reads."""
    with RunDirectory(arguments.out) as run:
        with overheard() as heard:
            with world.agreed():
                parts = taken(arguments, lambda c: load(c, world))
            config = parts.config
            prepare(parts, run, world, arguments)
            points = load(config, world) if parts.data is None else parts.data
            if world.first:
                warn_of_scales(config, points)
                warn_of_precision(config, world.device)
            if parts.energy is not None:
                with world.agreed():
                    probe(config, parts.energy, points)
            state = TrainState(
                config,
                points,
                world,
                parallel=arguments.parallel,
                execution=arguments.execution,
                own=parts.energy,
                written=parts.written,
            )
            with world.agreed():
                probe_loss(config, state, points)
            resume(config, run, state)
        with world.agreed():
            if world.first:
                keep_warnings(run, state.step, heard)
        points = points.with_train_on(world.device).standardised_by(state.standardisation)
        opened = OpenRun(config, run, state, points)
        yield opened
        opened.save()


def prepare(parts: Parts, run: RunDirectory, world: World, arguments: Arguments) -> None:
    """Refuse what cannot run, then make and lock the run directory and write its configuration."""
    with world.agreed():
        check_split(parts.config, world, arguments.parallel, arguments.execution)
        check_reading(parts.config, arguments.read_every)
        require_trackers(tracker_names(arguments.track))
        streamed = parts.data is not None and parts.data.stream is not None
        require(
            not streamed or world.size == 1,
            f"the data are an iterable, which {world.size} processes cannot share: each would read "
            "all of it; train in one process, or hand over a tensor",
        )
        if world.first:
            run.create()
            run.lock()
            write_configuration(parts, run)


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
        f"objective.kl_weight is {weight}"
        if weight
        else f"objective is {kind_of(config.objective)!r}"
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


def write_configuration(parts: Parts, run: RunDirectory) -> None:
    """Write the configuration; refuse it where the run began with one that computes otherwise."""
    new = parts.written
    if run.has_begun():
        # a field that the old file lacks has its default
        before = from_dict(TrainConfig, of_a_run(run.read_config()))
        require_handed_over(before, new, run)
        old = to_dict(before)
        changed = differences(old, new)
        own = parts.energy if old["network"]["kind"] == new["network"]["kind"] else None
        saved = None if own is None else checkpoint.newest(run.checkpoints)
        if own is not None and saved is not None:
            whole = whole_energy(parts.config, own)
            checkpoint.require_fit(whole, saved.part("energy"), saved.path)
        changes = "; ".join(
            f"{name}: {before!r} → {now!r}" for name, (before, now) in changed.items()
        )
        require(
            set(changed) <= MAY_CHANGE,
            f"{run.path} holds a run with another configuration ({changes}); use the old values, or"
            " another --out",
        )
        if own is not None and saved is not None:
            require_same_network(whole_energy(parts.config, own), saved)
        if changed:
            pairs = {name: list(pair) for name, pair in changed.items()}
            step = max(checkpoint.steps_of(run.checkpoints), default=0)
            reason = f"resuming with changed {changes}"
            event = {"kind": "reconfigured", "step": step, "reason": reason, "changed": pairs}
            if run.events()[-1:] != [event]:  # else it was told before an end that came here
                run.event(**event)
            warnings.warn(reason, stacklevel=3)
    run.write_config(new)


def require_handed_over(before: TrainConfig, new: dict[str, Any], run: RunDirectory) -> None:
    """What the run began with and was the user's own is handed over again."""
    for name in ("network", "data", "sampler", "objective"):
        part = getattr(before, name)
        own = own_inside(part) if name == "sampler" else part
        missing = own is not None and kind_is_own(own) and not mentions_own(new[name])
        require(not missing, f"{run.path}: {getattr(own, 'why_not', '')}")


def kind_is_own(part: Any) -> bool:
    return getattr(part, "kind", None) in OWN


def mentions_own(part: dict[str, Any]) -> bool:
    inside = part.get("proposal", part.get("sampler"))
    return part["kind"] in OWN or (isinstance(inside, dict) and mentions_own(inside))


def whole_energy(config: TrainConfig, energy: nn.Module) -> nn.Module:
    """A copy of the user's network with what the configuration adds to it."""
    energy = copy.deepcopy(energy)
    return WithReference(energy, config.reference_std) if config.reference_std else energy


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


def checkpoint_is_due(config: TrainConfig, state: TrainState) -> bool:
    return state.step % config.save_every == 0 or state.step == config.steps


def save(config: TrainConfig, run: RunDirectory, state: TrainState) -> None:
    """Save a checkpoint, after the records that it stands for have reached the disk."""
    saved = state.checkpoint(config)
    with state.world.agreed():
        if state.world.first:
            run.sync()
            checkpoint.save(saved, run.checkpoints, config.keep)

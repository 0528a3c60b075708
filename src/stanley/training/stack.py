"""Many small runs as one: `train` for runs that share a network, a sampler and an objective."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stanley.config import kind_of
from stanley.data import Dataset, centre
from stanley.device import peak_memory
from stanley.errors import DivergenceError, in_one_line, require
from stanley.networks.side_by_side import Rows, side_by_side, why_alone
from stanley.progress import Bar, training_note
from stanley.ranks import World, joined
from stanley.runs.directory import Record, RunDirectory
from stanley.samplers.side_by_side import why_not_beside
from stanley.training.arguments import Arguments
from stanley.training.config import TrainConfig
from stanley.training.divergence import recover, split_at_divergence
from stanley.training.interrupts import Interrupts
from stanley.training.loop import (
    append_records,
    steps_to_reading,
    tracked,
    watch_from,
)
from stanley.training.objectives import Contrastive
from stanley.training.opening import OpenRun, checkpoint_is_due, load_data, opened_in
from stanley.training.stack_step import Stack
from stanley.training.step import adapt_step_size, to_records
from stanley.training.tracking import Tracking, tracker_names

#: Parts of a configuration in which the runs of a stack are alike.
SHARED = (
    *("data", "network", "steps", "batch", "temperature", "precision", "reference_std"),
    *("objective.chain_steps", "objective.growth", "objective.start", "objective.augment"),
    "objective.energy_l2",
)


def train_stack(
    configs: Sequence[TrainConfig],
    outs: Sequence[str | os.PathLike[str]],
    *,
    energy: Any = None,
    data: Any = None,
    device: str = "auto",
    read_every: int | None = None,
    track: str | Sequence[str] | None = None,
    progress: bool = False,
    title: str = "training",
) -> list[RunDirectory]:
    """Train S runs side by side, each into its directory of `outs`, or resume those that are there.

    Every run is what `train(config, out)` makes of it, up to rounding: it has its own weights, data
    order, chains and random numbers, its own records, checkpoints and events, and can be resumed
    alone, as a run that was begun alone can be resumed in a stack. What S networks, S chains and S
    optimisers cost in launches is paid once. Arguments are those of `train`; `seconds` of a record
    is the run's share of the time.

    Runs may differ in seed, in the numbers of optimiser and averaging, in the step size, threshold
    and jumps of the sampler, in restarts and limits: `why_not_stackable` says what stands in the
    way of others. Those that are furthest behind, after a rollback or as they were left, go first
    and alone.
    A run that diverges ends there, as its event says; a warning tells, and the others go on. Not
    true: that it raises DivergenceError. Ctrl-C or SIGTERM finishes the step, saves all runs, and
    raises KeyboardInterrupt. A resumed stack equals an unbroken one bit for bit on one thread of a
    CPU, where batch and widths are multiples of 16; elsewhere to rounding, if the runs were left at
    different steps.
    Raises StanleyError for runs that cannot be trained as one, and for what `train` refuses.
    """
    require(len(configs) > 0, "there are no runs to train; give a configuration for each")
    require(
        len(configs) == len(outs),
        f"there are {len(configs)} configurations and {len(outs)} run directories; give one for"
        " each",
    )
    paths = [Path(out).resolve() for out in outs]
    twice = next((out for out, path in zip(outs, paths, strict=True) if paths.count(path) > 1), "")
    require(twice == "", f"{twice} is given for two runs; give each a directory of its own")
    reason = why_not_stackable(configs, energy=energy)
    require(reason is None, f"these runs cannot be trained as one: {reason}; train each alone")
    require(
        "wandb" not in tracker_names(track),
        "track is 'wandb', which follows one run of a process; use tensorboard, or train each"
        " alone",
    )
    with ExitStack() as until_the_end:
        world = until_the_end.enter_context(joined(device))
        require(
            world.size == 1,
            f"runs side by side are trained in one process, of which torchrun started {world.size};"
            " start it without",
        )
        load = once(load_data)
        runs = []
        for config, out in zip(configs, outs, strict=True):
            opened = until_the_end.enter_context(
                opened_in(
                    world,
                    Arguments(
                        config, out, energy=energy, data=data, read_every=read_every, track=track
                    ),
                    load,
                )
            )
            require(
                opened.data.stream is None,
                "the data are an iterable, which the runs of a stack cannot share; hand over a"
                " tensor",
            )
            if energy is not None:
                require_together(opened.state.energy, opened.data)
            telling = tracked(track, opened.config, opened.run, opened.state)
            runs.append(Run(opened, until_the_end.enter_context(telling)))
        interrupts = until_the_end.enter_context(Interrupts())
        bar = Bar(title, configs[0].steps, min(run.step for run in runs), enabled=progress)
        go_on(runs, interrupts, read_every, until_the_end.enter_context(bar))
    return [RunDirectory(out) for out in outs]


def once(load: Callable[[TrainConfig, World], Dataset]) -> Callable[[TrainConfig, World], Dataset]:
    """The same for runs on the same data, which are read for the first of them."""
    found: list[Dataset] = []

    def first(config: TrainConfig, world: World) -> Dataset:
        if not found:
            found.append(load(config, world))
        return found[0]

    return first


def why_not_stackable(configs: Sequence[TrainConfig], *, energy: Any = None) -> str | None:
    """Why runs of these configurations, with this `energy` if one is handed over, cannot be trained
    as one; None where they can.
    """
    for config in configs:
        reason = why_never(config)
        if reason is not None:
            return reason
    first = configs[0]
    for config in configs[1:]:
        reason = why_not_beside(first.sampler, config.sampler)
        if reason is not None:
            return reason
        if kind_of(first.optimizer) != kind_of(config.optimizer):
            one, two = kind_of(first.optimizer), kind_of(config.optimizer)
            return f"optimizer is {one!r} in one and {two!r} in another"
        for name in SHARED:
            one, two = (value_at(c, name) for c in (first, config))
            if one != two:
                return f"{name} is {one!r} in one and {two!r} in another"
    return why_alone(energy) if isinstance(energy, nn.Module) else None


def why_never(config: TrainConfig) -> str | None:
    """Why a run of this configuration cannot be trained beside another."""
    if not isinstance(config.objective, Contrastive):
        return f"objective is {kind_of(config.objective)!r}, and must be contrastive"
    if config.objective.kl_weight > 0:
        return f"objective.kl_weight is {config.objective.kl_weight}, and must be 0"
    if config.chunk_size is not None:
        return f"chunk_size is {config.chunk_size}, and must be null"
    if getattr(config.network, "spectral_norm", False):
        return "network.spectral_norm is set: weights that are computed from others"
    return why_not_beside(config.sampler, config.sampler)


def require_together(energy: nn.Module, data: Dataset) -> None:
    """Raise StanleyError where a network of the user's cannot be computed for several runs at once,
    which only a look at the module that was built, and at its forward pass, tells.
    """
    reason = why_alone(energy)
    if reason is None:
        x = data.train[:2]
        x = (centre(x) if data.is_image else x.float()).to(next(energy.parameters()))
        weights = Rows([p.shape for p in energy.parameters()], 2, x)
        try:
            side_by_side([energy, energy], weights)(torch.cat([x, x]))
        except Exception as error:  # whatever the user's code raises, or torch of it
            reason = f"{type(energy).__name__} is no function for torch.vmap ({in_one_line(error)})"
    require(reason is None, f"these runs cannot be trained as one: {reason}; train each alone")


def value_at(config: TrainConfig, name: str) -> Any:
    value: Any = config
    for part in name.split("."):
        value = getattr(value, part)
    return value


class Run:
    """One of the runs of a stack, open for training."""

    def __init__(self, opened: OpenRun, tracking: Tracking) -> None:
        self.opened, self.tracking = opened, tracking
        self.watch = watch_from(opened.run, opened.state.world)
        self.over = False  # since it diverged

    @property
    def left(self) -> bool:
        """Whether there are steps to do."""
        return not self.over and self.step < self.opened.config.steps

    @property
    def step(self) -> int:
        return self.opened.state.step

    def take(self, records: list[Record], interrupts: Interrupts) -> None:
        """Write the records of some steps, and do what is to be done after them: steer the step
        size, go back from a divergence, or end with it, and save where that is due.
        """
        opened = self.opened
        config, run, state = opened.config, opened.run, opened.state
        adapt_step_size(config, state, records)
        split = split_at_divergence(config, state.rollbacks, self.watch, records)
        append_records(run, state.world, split, interrupts)
        self.tracking.records(split.good)
        if split.divergence is not None:
            try:
                recover(config, run, state, split.divergence)
            except DivergenceError as error:
                self.over = True
                warnings.warn(f"{run.path}: {error}", stacklevel=4)
            else:
                self.tracking.went_back(state.step)
                self.watch = watch_from(run, state.world)
            opened.saved = state.step  # there is a checkpoint, or there must be none
        elif checkpoint_is_due(config, state):
            opened.save()
            self.tracking.samples(config, state)


def go_on(runs: Sequence[Run], interrupts: Interrupts, read_every: int | None, bar: Bar) -> None:
    """Iterations until no run has steps left: of those that are furthest behind, as one."""
    stack, beside, began = None, [], time.perf_counter()
    while left := [run for run in runs if run.left]:
        level = min(run.step for run in left)
        behind = [run for run in left if run.step == level]
        if stack is None or behind != beside:
            stack, beside = stack_of(behind), behind
        opened = [run.opened for run in behind]
        num = min(steps_to_reading(o.config, o.state, read_every) for o in opened)
        measured = zip(*[stack.step() for _ in range(num)], strict=True)
        seconds = (time.perf_counter() - began) / len(behind)
        began, peak = time.perf_counter(), peak_memory(behind[0].opened.state.world.device)
        records = [
            to_records(o.config, list(own), seconds, peak)
            for o, own in zip(opened, measured, strict=True)
        ]
        for run, own in zip(behind, records, strict=True):
            run.take(own, interrupts)
        if any(run.step != level + num for run in behind):
            stack = None  # weights are those of a checkpoint
        if bar.due(level + num):
            bar.draw(level + num, f"{len(behind)} runs  {training_note(records[0][-1])}")
        if interrupts.seen:
            for run in runs:
                run.opened.save()
            raise KeyboardInterrupt(
                f"interrupted at step {level + num}; the same call resumes there"
            )


def stack_of(runs: Sequence[Run]) -> Stack:
    opened = [run.opened for run in runs]
    return Stack([o.config for o in opened], [o.state for o in opened], [o.data for o in opened])

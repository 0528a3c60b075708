"""The main job: iterations, their records, and checkpoints."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack

from stanley.device import peak_memory
from stanley.progress import Bar, training_note
from stanley.ranks import World
from stanley.runs.directory import Record, RunDirectory
from stanley.training.arguments import ShownArguments, taking
from stanley.training.config import TrainConfig
from stanley.training.divergence import Split, recover, split_at_divergence, tell
from stanley.training.interrupts import Interrupts
from stanley.training.opening import adapts, checkpoint_is_due, opened_with
from stanley.training.portrait import portrait_of
from stanley.training.state import TrainState
from stanley.training.step import adapt_step_size, measure, to_records, train_step
from stanley.training.tracking import Tracking
from stanley.training.watch import Watch


@taking(ShownArguments)
def train(arguments: ShownArguments) -> RunDirectory:
    """Train an energy on data into the run directory `out`, or resume the run that is there.

    Each step descends L = mean E(x⁺) - mean E(z) + penalties, with z from K steps of the sampler
    on U = E/T. A resumed run equals an unbroken one: bit for bit on a CPU with the same number of
    threads. Not true: that it does on another number of processes, whose chains draw other noise.

    energy      in place of the configuration's network: a torch.nn.Module, (B, *event) -> (B,), of
                which a copy is trained from its own weights, or anything whose build(event_shape)
                returns one
    data        in place of the configuration's data: a tensor or array (N, *event), of whose rows a
                tenth is held out, a torch Dataset, a stanley.Dataset, or an iterable of batches
                such as a DataLoader, which is read as training goes
    standardise whether such rows of vectors (N, d) are standardised as those of a file are
                (`data.Array`); None does it. A stanley.Dataset, an iterable, images and points of
                other shapes stay as they are
    sampler     in place of the configuration's sampler: a frozen dataclass with step_size, init and
                step (examples/own_sampler.py)
    objective   in place of the configuration's objective: a function loss(potential, x, generator),
                an object with such a method, or what extends an objective of the library
                (`training.objectives.given`)
    device      'auto' takes a GPU where torch sees one
    execution   how a chain step is carried out (see `run_chains`); not part of the configuration,
                because it changes no more than the rounding
    parallel    each process that torchrun started holds all weights ('ddp') or a shard of them
                ('fsdp'), its share of the batch, of the chains and of the bank; rank 0 writes the
                files (docs/scaling.md)
    read_every  records are read from the device, checked and written after this many steps and
                before each checkpoint; None is 10 on a GPU with a fixed step size, and 1 otherwise.
                It changes when a divergence is seen and how finely `seconds` is known, nothing else
    track       'tensorboard', 'wandb' or both: records, configuration and samples at checkpoints go
                there too (`training.tracking`), into the same tracker run when it is resumed
    progress    show a bar with this `title` on stderr
    picture     show above it, in a terminal with colours, what the energy knows so far: in the
                plane the data and the density, of images some of the bank or restored ones; it
                takes less than a hundredth of the time

    What is handed over is not written to the run, only what it is called, so it has to be handed
    over again wherever the run is resumed, loaded or judged.

    Raises StanleyError for what cannot run, and DivergenceError where training diverges; the last
    good checkpoint is kept. With config.on_divergence = 'rollback' it goes back to that checkpoint
    instead. Ctrl-C or SIGTERM finishes the step, saves, and raises KeyboardInterrupt. All ranks end
    together, with the same error if there is one.
    """
    for _ in steps(**vars(arguments)):
        pass
    return RunDirectory(arguments.out)


@taking(ShownArguments)
def steps(arguments: ShownArguments) -> Generator[Record, None, None]:
    """The records of a training run, one for each step, as `train` computes them: `train` is this
    loop without a body.

        for record in stanley.steps(config, "runs/mine"):
            print(record["step"], record["loss"])

    Arguments and errors are those of `train`; they are raised where the first record is asked for.
    Leaving the loop early saves a checkpoint of the last step that was computed and closes the run,
    and the same call goes on there. A record is in the run's files before it is yielded, and so is
    a checkpoint that is due. After a rollback the steps that are computed again come again. Where
    `read_every` is above 1, as on a GPU, records come that many at a time: those of a group that
    was left in its midst are in the run's files alone. Ctrl-C in the body of the loop is answered
    after the body. Not true: that a loop which is left by an error, whose traceback is kept, closes
    the run at once; `with contextlib.closing(stanley.steps(…)) as records` does.
    """
    with ExitStack() as until_the_end:
        opened = until_the_end.enter_context(opened_with(arguments))
        config, run, state, points = opened.config, opened.run, opened.state, opened.data
        world = state.world
        watch = watch_from(run, world)
        tracking = until_the_end.enter_context(tracked(arguments.track, config, run, state))

        interrupts = until_the_end.enter_context(Interrupts())
        shown = arguments.progress and world.first
        painted = shown and arguments.picture and arguments.parallel == "ddp"
        picture = portrait_of(config, state, points) if painted else None
        bar = Bar(arguments.title, config.steps, state.step, enabled=shown, picture=picture)
        until_the_end.enter_context(bar)
        began = time.perf_counter()
        while state.step < config.steps:
            num = steps_to_reading(config, state, arguments.read_every)
            measured = [measure(state, train_step(config, state, points)) for _ in range(num)]
            seconds = time.perf_counter() - began
            records = to_records(config, measured, seconds, peak_memory(world.device))
            began = time.perf_counter()
            adapt_step_size(config, state, records)

            split = split_at_divergence(config, state.rollbacks, watch, records)
            stop = append_records(run, world, split, interrupts)
            if split.divergence is not None:
                tracking.records(split.good)
                yield from split.good
                recover(config, run, state, split.divergence)
                tracking.went_back(state.step)
                watch, opened.saved = watch_from(run, world), state.step
                continue
            tracking.records(split.good)
            if bar.due(state.step):
                bar.draw(state.step, training_note(records[-1]))
            if stop or checkpoint_is_due(config, state):
                opened.save()
                tracking.samples(config, state)
            try:
                yield from split.good
            except GeneratorExit:  # whoever reads them has seen enough
                opened.save()
                raise
            if stop:
                raise KeyboardInterrupt(
                    f"interrupted at step {state.step}; the same command resumes there"
                )


def tracked(
    track: str | Sequence[str] | None, config: TrainConfig, run: RunDirectory, state: TrainState
) -> Tracking:
    """The trackers that rank 0 tells of the run, from the step that it is at."""
    tracking = Tracking({})
    with state.world.agreed():
        if state.world.first:
            tracking = Tracking.of(track, run, state.step)
            tracking.configuration(state.written)
    return tracking


def steps_to_reading(config: TrainConfig, state: TrainState, read_every: int | None) -> int:
    """How many steps to take before their records are read: no further than a checkpoint."""
    if read_every is None:
        read_every = 10 if state.world.device.type == "cuda" and not adapts(config) else 1
    to_checkpoint = config.save_every - state.step % config.save_every
    return min(read_every, to_checkpoint, config.steps - state.step)


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

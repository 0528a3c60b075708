"""stanley train, demo: energies from data."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from stanley.cli.figures import Dpi, Format, Size, drawing_of
from stanley.cli.flags import Device, Execution, Extra, Json, Real, Seed, Track, Whole
from stanley.cli.output import say, show

if TYPE_CHECKING:
    from stanley.runs.directory import Record, RunDirectory
    from stanley.training.config import TrainConfig

#: Seconds of training after which the rest is estimated.
SOON = 3.0
#: Seconds between two pages of a run that is trained, each of which takes one or two.
PAGE_EVERY = 60.0
#: And at least so many times as long as it took: a hundredth of the time of a training.
PAGE_REST = 100


def train(
    recipe: Annotated[
        str,
        Parameter(
            help="Name of a recipe, which stanley recipes lists, or your own TrainConfig: "
            "module:name or file.py:name."
        ),
    ],
    *fields: Extra,
    out: Annotated[
        str | None,
        Parameter(help="Run directory. [default: runs/RECIPE] A run that is there is resumed."),
    ] = None,
    config: Annotated[
        Path | None,
        Parameter(help="YAML or TOML file with fields that replace those of the recipe."),
    ] = None,
    seed: Annotated[Whole | None, Parameter(help="Seed of weights, data order and chains.")] = None,
    steps: Annotated[Whole | None, Parameter(help="Training iterations.")] = None,
    batch: Annotated[
        Whole | None, Parameter(help="Data points, and chains, of an iteration.")
    ] = None,
    chain_steps: Annotated[
        Whole | None,
        Parameter(name="--objective.chain-steps", help="Sampler steps of an iteration."),
    ] = None,
    save_every: Annotated[Whole | None, Parameter(help="Iterations between checkpoints.")] = None,
    data_root: Annotated[
        str | None,
        Parameter(name="--data.root", help="Folder that holds the official files of the data."),
    ] = None,
    data_path: Annotated[
        str | None,
        Parameter(name="--data.path", help="Folder of images, or a .csv, .npy or .npz file."),
    ] = None,
    step_size: Annotated[
        Real | None,
        Parameter(name="--sampler.step-size", help="Variance of the noise of a chain step."),
    ] = None,
    threshold: Annotated[
        Real | None,
        Parameter(name="--sampler.threshold", help="STANLEY's threshold, in units of |∇U|."),
    ] = None,
    device: Device = "auto",
    execution: Execution = "auto",
    parallel: Annotated[
        Literal["ddp", "fsdp"],
        Parameter(
            help="Under torchrun keep whole weights on each process (ddp) or shards of them (fsdp)."
        ),
    ] = "ddp",
    read_every: Annotated[
        Whole | None,
        Parameter(
            help=(
                "Iterations whose records are read together. [default: 1, or 10 on a GPU where"
                " nothing is adapted]"
            )
        ),
    ] = None,
    trust: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Import the code that --config names, without naming it. It can do anything.",
        ),
    ] = False,
    track: Track = None,
    quiet: Annotated[
        bool, Parameter(negative="", show_default=False, help="Show no progress bar.")
    ] = False,
    picture: Annotated[
        bool,
        Parameter(
            negative="--no-picture",
            show_default=False,
            help="Show what the energy knows so far above the progress bar, in a terminal with "
            "colours. --no-picture shows the bar alone.",
        ),
    ] = True,
    json_: Json = False,
) -> None:
    """Train an energy by a recipe, or resume the run that is in --out.

    Every field of the configuration is a flag, with dots between its parts: --network.width 64,
    --sampler stanley, --sampler.threshold.quantile 0.9, --optimizer.lr=1e-3, --data.flip false. All
    fields are listed below, and stanley recipes NAME prints those of a recipe.

    --network, --data, --sampler and --objective also take code of your own, module:Name or
    file.py:Name, which is called with the fields of that part: --network mine.py:MyNet
    --network.width 64.

    torchrun --nproc-per-node N -m stanley train RECIPE … trains on N processes; a run may go on
    with another N.
    """
    from stanley.cli.config_file import read_config_file
    from stanley.cli.values import parse_fields
    from stanley.errors import DivergenceError
    from stanley.runs.directory import RunDirectory
    from stanley.torchrun import this_process
    from stanley.training.by_name import ForTraining
    from stanley.training.loop import steps as training_steps
    from stanley.training.resolve import resolve

    named = {
        "seed": seed,
        "steps": steps,
        "batch": batch,
        "objective.chain_steps": chain_steps,
        "save_every": save_every,
        "data.root": data_root,
        "data.path": data_path,
        "sampler.step_size": step_size,
        "sampler.threshold": threshold,
    }
    flags = {
        **parse_fields(fields),
        **{name: value for name, value in named.items() if value is not None},
    }
    own = ForTraining(flags, trust)
    resolved = resolve(recipe, read_config_file(config) if config else {}, flags, own)
    if own.parts:
        tell_of_objective(recipe, resolved)
    if resolved.steps <= resolved.warmup:
        say(
            f"warning: {resolved.steps} steps are no more than the warm-up ({resolved.warmup}):"
            f" the learning "
            f"rate never reaches {resolved.optimizer.lr:g}; use more --steps, or --warmup"
            f" {resolved.steps // 10}"
        )
    out = out or f"runs/{recipe.rpartition(':')[2]}"
    records = training_steps(
        resolved,
        out,
        device=device,
        execution=execution,
        parallel=parallel,
        read_every=read_every,
        track=track,
        progress=not quiet and sys.stderr.isatty(),
        picture=picture,
        **own.parts,
    )
    first = this_process().rank == 0
    if first:
        records = with_page(records, RunDirectory(out), resolved)
    try:
        for _ in with_time_to_go(records, resolved, device, enabled=first and not quiet):
            pass
    except (DivergenceError, KeyboardInterrupt):
        if first:
            leave_page(RunDirectory(out))
        raise
    if first:
        report_training(RunDirectory(out), json_, own.of_the_model, track)


def with_time_to_go(
    records: Iterable[Record], config: TrainConfig, device: str = "cpu", *, enabled: bool = True
) -> Iterator[Record]:
    """The same records; as soon as iterations have taken `SOON` seconds, one line on stderr says
    what the rest will take, where that is more than a minute, and what would make it less.

    The first iteration, which warms up, counts only where it takes so long by itself.
    """
    first = took = 0.0
    for done, record in enumerate(records, 1):
        took += record["seconds"]
        first = took if done == 1 else first
        if enabled and took > SOON:
            each, enabled = (took if done == 1 else (took - first) / (done - 1)), False
            if (left := each * (config.steps - record["step"])) > 60:
                say(
                    f"about {in_minutes(left)} to go on this machine, at {each:.2g} s an iteration"
                    f"{pace_of(config, record['step'])}; {less_time(config, device)} would take "
                    "less, and Ctrl-C saves what is done"
                )
        yield record


def pace_of(config: TrainConfig, step: int) -> str:
    """What the estimate does not know: iterations of later parts are others."""
    part = getattr(config.objective, "share", 0.0) * config.steps
    return " of the first part, and the chains that follow it take longer" * (step < part)


def less_time(config: TrainConfig, device: str) -> str:
    """What a user can change: fewer iterations, smaller images, another machine."""
    from stanley.device import pick_device

    ways = ["fewer --steps"]
    ways += ["a smaller --data.size"] if getattr(config.data, "size", None) is not None else []
    ways += ["a GPU"] if pick_device(device).type == "cpu" else []
    return " or ".join(", ".join(ways).rsplit(", ", 1))


def with_page(
    records: Iterable[Record], run: RunDirectory, config: TrainConfig
) -> Iterator[Record]:
    """The same records; after a checkpoint the page of the run is written anew, but not within
    `PAGE_EVERY` seconds nor `PAGE_REST` times as long as the last one took, and not after the last
    step, whose page says what the energy is worth.
    """
    next_time = -math.inf
    for record in records:
        yield record
        due = record["step"] % config.save_every == 0 and record["step"] < config.steps
        if due and (began := time.monotonic()) > next_time:
            leave_page(run)
            ended = time.monotonic()
            next_time = ended + max(PAGE_EVERY, PAGE_REST * (ended - began))


def leave_page(run: RunDirectory, said: Sequence[str] = ()) -> None:
    """Write the page of the run. A training does not fail by it, and says why there is none."""
    from stanley.errors import StanleyError
    from stanley.reports import report_run

    try:
        report_run(run, said=said)
    except StanleyError as error:
        say(f"warning: the page of the run could not be written: {error}")


def in_minutes(seconds: float) -> str:
    """`12 minutes`, `1.5 hours`, `3 days`."""
    for unit, size in (("days", 86_400), ("hours", 3_600)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.2g} {unit}"
    return f"{max(2, round(seconds / 60))} minutes"


def tell_of_objective(recipe: str, config: TrainConfig) -> None:
    """That a network without noise levels changed the objective of the recipe."""
    from stanley.training.resolve import recipe_of

    usual = recipe_of(recipe).objective.kind
    if usual == "warm-start" and config.objective.kind == "contrastive":
        say(
            "note: your network knows no noise levels, so that chains train it from the beginning: "
            f"objective contrastive, where {recipe} has {usual}"
        )


def report_training(
    run: RunDirectory,
    as_json: bool,
    own: dict[str, Any] | None = None,
    track: str | None = None,
) -> None:
    """Where the run is, and what can be done with it; a run that was finished before is not called
    done again.
    """
    from stanley.cli.own import flags_in_words
    from stanley.reports.of_run import page_step

    last, config = run.last_record() or {}, run.read_config()
    numbers = {k: last.get(k) for k in ("step", "gap", "acceptance", "step_size")}
    summary = "  ".join(f"{k} {v:.4g}" for k, v in numbers.items() if v is not None)
    events = [event for event in run.events() if event["kind"] != "warned"]
    trained = not (
        events and events[-1]["kind"] == "resumed" and events[-1]["step"] == last.get("step")
    )
    lacks_page = page_step(run) != last.get("step")  # also where an end came before it was written
    reading, words = read_quality(run, own or {}) if trained or lacks_page else ({}, [])
    if reading:  # before the page, which says that all was written
        keep_reading(run, last["step"], reading)
    if trained or lacks_page:
        leave_page(run, words)
    if track is not None and reading:
        from stanley.training.tracking import track_scores

        track_scores(run, track, int(last["step"]), reading)
    lines = [
        (
            f"done: {summary}"
            if trained
            else (
                f"nothing was left to do: {summary}; the same command with --steps"
                f" {2 * (last.get('step') or 1)} goes on"
            )
        ),
        *words,
        (
            f"next: stanley evaluate {run.path}{flags_in_words(config)}; stanley sample {run.path}"
            f"{flags_in_words(config | {'data': None})}; stanley report {run.path}"
        ),
        f"page: {run.path / 'index.html'}",
    ]
    told = {"run": str(run.path), **numbers, "trained": trained, "kl": None, "fresh": None}
    show(told | reading, as_json, lines)


def keep_reading(run: RunDirectory, step: int, reading: dict[str, Any]) -> None:
    """Write down what the energy was found to be worth at its last step, once for each step."""
    from stanley.judging.in_words import reading_in_words

    event = {"kind": "judged", "step": step, "reason": reading_in_words(reading)}
    if event not in run.events():
        run.event(**event)


def read_quality(run: RunDirectory, own: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What the energy is worth, and in words: the exact KL in the plane, and where there is none,
    how far fresh chains end from the data. A training that is done does not fail by it.

    own   what was handed over in the place of the configuration's parts
    """
    from stanley.errors import StanleyError
    from stanley.judging.evaluate import exact_kl, relative_frechet
    from stanley.judging.in_words import fresh_in_words, kl_in_words

    try:
        if (kl := exact_kl(run, **own)) is not None:
            line = f"KL(data‖model) {kl:.4f} nats (exact): {kl_in_words(kl)}"
            return {"kl": kl}, [line]
        fresh = relative_frechet(run, **own)
    except StanleyError as error:
        return {}, [f"warning: the energy could not be judged: {error}"]
    return ({}, []) if fresh is None else ({"fresh": asdict(fresh)}, [fresh_in_words(fresh)])


def demo(
    *,
    out: Annotated[Path, Parameter(help="Folder for the runs, the tables and the figures.")] = Path(
        "runs/demo"
    ),
    seed: Seed = 0,
    seeds: Annotated[Whole, Parameter(help="Seeds of each sampler, from --seed on.")] = 1,
    steps: Annotated[Whole, Parameter(help="Training iterations of each sampler.")] = 3000,
    workers: Annotated[
        Whole | None,
        Parameter(
            help="Runs at the same time, of one core each. [default: one for each core, up to 3]"
        ),
    ] = None,
    format_: Format = None,
    dpi: Dpi = None,
    size: Size = None,
    json_: Json = False,
) -> None:
    """Train rings with three samplers on one budget, and judge each exactly: a small comparison.

    Goes on where it was stopped; with more --seeds it adds them.
    """
    from stanley.cli.demo import ARMS, run_demo

    drawing = drawing_of(format_, dpi, size)
    at_once = min(len(ARMS), os.cpu_count() or 1) if workers is None else workers
    progress = sys.stderr.isatty()
    result, lines = run_demo(
        out, drawing, seed=seed, seeds=seeds, steps=steps, workers=at_once, progress=progress
    )
    show(result, json_, lines)

"""stanley sample, diagnose: chains on a trained energy or any density, and whether to believe them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from stanley.cli.flags import (
    Device,
    DTypeFlag,
    Extra,
    Json,
    Pretrained,
    RunOrNone,
    Scale,
    Shape,
    StartStd,
    Target,
    WarmUp,
    WeightsOfRun,
    Whole,
)
from stanley.cli.output import show


def sample(
    run: RunOrNone = None,
    *fields: Extra,
    target: Target = None,
    pretrained: Pretrained = None,
    num: Annotated[Whole, Parameter(help="How many chains, one sample of each.")] = 64,
    start: Annotated[
        Literal["noise", "bank"] | None, Parameter(help="Of a run: fresh chains from noise, or the bank.")
    ] = None,
    steps: Annotated[
        Whole | None, Parameter(help="Chain steps. A run: from the bank K, from noise 10 K or more; a density: 1,000.")
    ] = None,
    warm_up: WarmUp = 500,
    precondition: Scale = None,
    keep_every: Annotated[
        Whole | None,
        Parameter(help="Also keep every n-th state: NAME-every-n.npy, of images a film, NAME-every-n.png."),
    ] = None,
    shape: Shape = None,
    start_std: StartStd = None,
    dtype: DTypeFlag = None,
    seed: Whole = 0,
    weights: WeightsOfRun = None,
    out: Annotated[Path | None, Parameter(help="Folder; RUN/samples or samples/NAME unless given.")] = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Sample a trained energy (RUN or --pretrained) or any density (--target): array, picture, and how it was made.

    --target NAME is one that stanley targets lists; --target module:function or file.py:function is your own
    potential U, (B, *event) -> (B,), p ∝ exp(-U), imported because you name it. --sampler KIND and
    --sampler.step-size, --sampler.threshold, … choose the sampler (mala, hmc, barker, adjusted-stanley, …); on a
    density it is stanley unless given, which is not exact. Without a step size one is found in the warm-up.
    """
    from dataclasses import replace

    import torch

    from stanley.cli.names import file_name, folder_for
    from stanley.cli.overwriting import claim_samples
    from stanley.cli.sample_files import write_array, write_film, write_samples
    from stanley.cli.what_to_sample import refuse_unused, what_to_sample
    from stanley.cli.wording import how_it_went, sampler_as_json, sampler_in_words
    from stanley.files import write_json
    from stanley.samplers import run_chains
    from stanley.samplers.warm_up import Ready

    what = what_to_sample(run, fields, target, pretrained, shape, start_std, dtype, weights, device)
    model, bar = what.model, sys.stderr.isatty()
    own_step = model is not None and not what.tune
    if model is not None and own_step:
        refuse_unused(precondition=precondition)
        model = replace(model, sampler=what.sampler)
        start = start or "noise"
        steps = model.default_steps(start) if steps is None else steps
    else:
        refuse_unused(start=start)
        steps, start = 1000 if steps is None else steps, "noise"
    folder = out or folder_for("samples", what.name, what.folder)
    kind = ("preconditioned " if precondition else "") + sampler_in_words(what.sampler).split(",")[0]
    name = f"{start if model else file_name(kind)}-n{num}-seed{seed}"
    asked = {"sampled": what.name, "num": num, "start": start, "steps": steps, "seed": seed}
    asked |= {"trained": model.step, "weights": model.weights} if model else {}
    claim_samples(folder / f"{name}.json", asked)  # before any chain runs
    if model is not None and own_step:
        claim_samples(folder / f"{name}.json", asked | {"sampler": sampler_as_json(model.sampler)})
        chains = model.sample(num, steps=steps, start=start, seed=seed, keep_every=keep_every, progress=bar)
        x0 = model.starts(num, start, torch.Generator(what.device).manual_seed(seed))  # those of the chains above
        ready = Ready(model.sampler, x0, "the run")
    else:
        ready, generator = what.start(num, warm_up, seed, precondition)
        claim_samples(folder / f"{name}.json", asked | {"sampler": sampler_as_json(ready.sampler)})
        chains = run_chains(
            ready.sampler, what.potential, ready.x, steps, generator=generator, keep_every=keep_every, progress=bar
        )
    asked |= {"sampler": sampler_as_json(ready.sampler)}
    density = None if model else what.potential
    files = write_samples(chains.x, folder, name, density=density)
    if chains.draws is not None:
        files.append(write_array(chains.draws, folder, f"{name}-every-{keep_every}"))
        if model is not None and model.is_image and keep_every:
            files.append(write_film(ready.x, chains.draws, keep_every, folder, f"{name}-every-{keep_every}"))
    lost = int(chains.info.nonfinite.sum())
    summary = asked | ready.numbers(chains.info)
    write_json(folder / f"{name}.json", summary)
    lines = [
        how_it_went(ready, chains.info),
        *(f"wrote {f}" for f in (*files, folder / f"{name}.json")),
    ]
    if lost:
        lines.append(
            f"{lost} of {num} chains are not finite; use a smaller --sampler.step-size, or an adjusted sampler"
        )
    if summary["acceptance"] is not None and summary["acceptance"] < 0.02:
        lines.append("almost nothing was accepted: these points are near the start; more --warm-up, or a nearer start")
    show(summary | {"files": [str(f) for f in files]}, json_, lines)


def diagnose(
    run: RunOrNone = None,
    *fields: Extra,
    target: Target = None,
    pretrained: Pretrained = None,
    num: Annotated[Whole | None, Parameter(help="Chains; 64, for images 16.")] = None,
    steps: Annotated[Whole | None, Parameter(help="Steps of each chain; 2,000, for images 500.")] = None,
    warm_up: WarmUp = 500,
    precondition: Scale = None,
    pairs: Annotated[Whole | None, Parameter(help="Coupled pairs, 0 for none; 200, for images none.")] = None,
    coupled_steps: Annotated[Whole | None, Parameter(help="Steps after which pairs are given up; 5,000.")] = None,
    rays: Annotated[Whole | None, Parameter(help="Rays for the growth of U, 0 for none; 64, for images 16.")] = None,
    copies: Annotated[
        Whole | None, Parameter(help="Copies a point for the drift condition, 0 for none; 1,000, for images none.")
    ] = None,
    shape: Shape = None,
    start_std: StartStd = None,
    dtype: DTypeFlag = None,
    seed: Whole = 0,
    weights: WeightsOfRun = None,
    out: Annotated[Path | None, Parameter(help="Folder; RUN/diagnosis or diagnosis/NAME unless given.")] = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Whether to believe a sampler on a trained energy (RUN or --pretrained) or any density (--target).

    A table, a verdict and figures: R̂, ESS and Monte Carlo errors of every coordinate and of U; steps to equilibrium
    from coupled chains; growth of U on rays (H1); the drift condition ΠV/V; the bias of an unadjusted sampler against
    its adjusted twin. Samplers and targets are chosen as for stanley sample; a run is judged with its own sampler
    unless --sampler names another. The figures are the newest request's; the numbers of another one are kept, as
    diagnosis-stepN.json of a run and diagnosis-former.json of anything else.
    """
    from dataclasses import replace

    from stanley.cli.names import folder_for
    from stanley.cli.sample_files import make_folder
    from stanley.cli.tables import diagnosis_json, diagnosis_lines
    from stanley.cli.what_to_sample import what_to_sample
    from stanley.cli.wording import sampler_as_json, sampler_in_words
    from stanley.judging.diagnose import IMAGES, VECTORS
    from stanley.judging.diagnose import diagnose as judge
    from stanley.plots.diagnosis import plot_diagnosis
    from stanley.runs.directory import write_answer

    what = what_to_sample(run, fields, target, pretrained, shape, start_std, dtype, weights, device)
    wanted = {
        "chains": num, "steps": steps, "pairs": pairs, "coupled_steps": coupled_steps, "rays": rays, "copies": copies
    }  # fmt: skip
    usual = VECTORS if len(what.event_shape) == 1 else IMAGES
    effort = replace(usual, **{name: value for name, value in wanted.items() if value is not None})
    folder = out or folder_for("diagnosis", what.name, what.folder)
    make_folder(folder)
    ready, generator = what.start(effort.chains, warm_up, seed, precondition)
    found = judge(
        ready.sampler,
        what.potential,
        what.initial,
        ready.x,
        generator=generator,
        effort=effort,
        progress=sys.stderr.isatty(),
    )
    how = {"sampled": what.name, "seed": seed, "warm_up": warm_up, "effort": vars(effort)}
    how |= {"sampler": sampler_as_json(ready.sampler), "step_size": float(ready.sampler.step_size)}
    how |= {"step_size_from": ready.step_size_from}
    of_run = {"step": what.model.step, "weights": what.model.weights} if what.model else {}
    value = {"asked": how | of_run} | how | of_run | diagnosis_json(found)
    write_answer(folder / "diagnosis.json", value)
    files = plot_diagnosis(found, folder, sampler_in_words(ready.sampler))
    lines = [
        f"{what.name}: {sampler_in_words(ready.sampler)}",
        f"(step size from {ready.step_size_from})",
        *diagnosis_lines(found),
        f"wrote {folder / 'diagnosis.json'} and {', '.join(f.name for f in files)}",
    ]
    show(value | {"files": [str(f) for f in files]}, json_, lines)

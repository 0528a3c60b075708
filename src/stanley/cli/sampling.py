"""stanley sample: chains on a trained energy or any density."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from stanley.cli.figures import Dpi, Format, Size, drawing_of
from stanley.cli.flags import (
    AllRows,
    Device,
    DTypeFlag,
    Extra,
    Json,
    LogDensity,
    OwnFlags,
    OwnNetworkName,
    Pretrained,
    Real,
    RunOrNone,
    Scale,
    Seed,
    Shape,
    StartStd,
    Target,
    Trust,
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
    num: Annotated[Whole, Parameter(help="Number of chains, each of which gives one sample.")] = 64,
    start: Annotated[
        Literal["noise", "bank"] | None,
        Parameter(help="Start the chains of a run from noise or from its bank. [default: noise]"),
    ] = None,
    steps: Annotated[
        Whole | None,
        Parameter(
            help="Chain steps. [default: for a density as many as it takes, or 1,000 where a "
            "sampler is named; for a run objective.chain_steps from the bank or after a ladder of "
            "noise levels, ten times as many or more from noise]"
        ),
    ] = None,
    warm_up: WarmUp = 500,
    precondition: Scale = None,
    keep_every: Annotated[
        Whole | None,
        Parameter(
            help=(
                "Also keep every n-th state, in NAME-every-n.npy, and for images as a film in"
                " NAME-every-n.png."
            )
        ),
    ] = None,
    ess: Annotated[
        Real | None,
        Parameter(
            help="Bulk and tail effective sample size after which chains on a density may end. "
            "[default: 400]"
        ),
    ] = None,
    mcse: Annotated[
        Real | None,
        Parameter(help="Monte Carlo error of every mean at which they may end. [default: any]"),
    ] = None,
    budget: Annotated[
        Whole | None,
        Parameter(
            help="Gradients of each chain after which they end in any case. [default: 100,000]"
        ),
    ] = None,
    log_density: LogDensity = None,
    all_: AllRows = False,
    shape: Shape = None,
    start_std: StartStd = None,
    dtype: DTypeFlag = None,
    seed: Seed = 0,
    weights: WeightsOfRun = None,
    network: OwnNetworkName = None,
    trust: Trust = False,
    out: Annotated[
        Path | None,
        Parameter(
            help="Folder to write to, or the picture, NAME.png, .pdf or .svg. "
            "[default: RUN/samples, or samples/NAME]"
        ),
    ] = None,
    format_: Format = None,
    dpi: Dpi = None,
    size: Size = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Sample a trained energy (RUN or --pretrained) or any density (--target).

    An array, a picture, and a JSON file that says how they were made are written; of a density also
    a table of all coordinates (NAME.csv), and the draws that are in it; of a run whose data had
    names of columns the samples as NAME.csv. Samples are in the units of the data; steps of a run
    that standardised its vectors are in units of their standard deviations.

    --target NAME is one that stanley targets lists; --target module:function or file.py:function is
    your own potential U, (B, *event) -> (B,) or (*event) -> (), p ∝ exp(-U), one of
    stanley.Parameters, or a distribution of torch, imported because you name it; with --log-density
    the function is log p. On a density chains of ChEES-HMC, which is exact, run until R̂ is below
    1.01 and the effective sample sizes reach --ess at every coordinate, or the --budget is used up.
    --sampler KIND and --sampler.step-size, … choose another sampler (mala, hmc, barker,
    adjusted-stanley, …), and --steps another end. Without a step size one is found in the warm-up.
    """
    from stanley.cli.names import answer_files, file_name, folder_for
    from stanley.cli.sample_files import write_array, write_film, write_samples
    from stanley.cli.what_to_sample import refuse_unused, what_to_sample
    from stanley.cli.wording import how_it_went, sampler_as_json, sampler_in_words
    from stanley.files import make_folder, write_json
    from stanley.models.sampling import DENSITY_STEPS, sample_density, sample_trained
    from stanley.overwriting import make_room
    from stanley.plots.figures import FORMATS

    drawing = drawing_of(format_, dpi, size, out)
    own_code = OwnFlags(network=network, trust=trust)
    what = what_to_sample(
        run,
        fields,
        target,
        pretrained,
        shape,
        start_std,
        dtype,
        weights,
        device,
        own_code,
        log_density,
    )
    model, own, progress = what.model, what.own_sampler, sys.stderr.isatty()
    folder = out or folder_for("samples", what.name, what.folder)
    picture = out if out is not None and out.suffix.lower()[1:] in FORMATS else None
    folder = folder if picture is None else picture.parent
    make_folder(folder)
    kind = ("preconditioned " if precondition else "") + sampler_in_words(what.sampler).split(",")[
        0
    ]
    beginning = file_name(kind) if model is None else start or "noise"
    name = f"{beginning}-n{num}-seed{seed}" if picture is None else picture.stem
    record, every = folder / f"{name}.json", f"{name}-every-{keep_every}"

    if model is None:
        from stanley.cli.densities import (
            BUDGET,
            sample_a_density,
            until_trusted,
            write_density_samples,
        )
        from stanley.judging.draw import ESS, Wanted

        refuse_unused(start=start)
        trusted = until_trusted(what, steps, keep_every, precondition)
        if not trusted:
            refuse_unused(ess=ess, mcse=mcse, budget=budget)
        wanted = Wanted(ESS if ess is None else ess, mcse=mcse)
        found = sample_a_density(
            what,
            num,
            steps,
            warm_up=warm_up,
            precondition=precondition,
            keep_every=keep_every,
            seed=seed,
            wanted=wanted,
            budget=BUDGET if budget is None else budget,
            progress=progress,
        )
        asked = {"sampled": what.name, "num": num, "start": "noise", "seed": seed}
        asked |= {
            "warm_up": warm_up,
            "precondition": precondition,
            "log_density": bool(log_density),
        }
        if trusted:
            asked |= {
                "ess": wanted.ess,
                "mcse": mcse,
                "budget": BUDGET if budget is None else budget,
            }
        else:
            asked |= {"steps": DENSITY_STEPS if steps is None else steps, "tune": what.tune}
        value = asked | found.json()
        asked |= {"sampler": "by the rules" if trusted else sampler_as_json(what.sampler)}
        make_room(record, asked, beside=answer_files(folder, name))
        files = write_density_samples(
            found, what, folder, name, f"{name}-draws" if trusted else every, drawing
        )
        numbers, lines = found.numbers, found.lines(all_)
    else:
        refuse_unused(ess=ess, mcse=mcse, budget=budget, all=all_ or None)
        if own is not None:
            refuse_unused(precondition=precondition)
            start = start or "noise"
            steps = own.default_steps(start) if steps is None else steps
            asked = {"sampler": own.sampled_by}
            samples = sample_trained(
                own, num, steps, start=start, seed=seed, keep_every=keep_every, progress=progress
            )
        else:
            refuse_unused(start=start)
            start = "noise"
            steps = DENSITY_STEPS if steps is None else steps
            asked = {"sampler": sampler_as_json(what.sampler), "tune": what.tune}
            asked |= {"warm_up": warm_up, "precondition": precondition}
            samples = sample_density(
                what.sampler,
                what.potential,
                what.initial,
                num,
                steps,
                warm_up_steps=warm_up,
                seed=seed,
                device=what.device,
                tune=what.tune,
                precondition=precondition,
                keep_every=keep_every,
                progress=progress,
            )
        of_it = {"sampled": what.name, "num": num, "start": start, "steps": steps, "seed": seed}
        of_it |= {"trained": model.step, "weights": model.weights}
        asked = of_it | asked
        make_room(record, asked, beside=answer_files(folder, name))
        ready, chains, numbers = samples.ready, samples.chains, samples.numbers
        titled = f"Samples of {what.name}"
        files = write_samples(chains.x, folder, name, drawing, titled, model=model)
        if chains.draws is not None:
            files.append(write_array(model.original(chains.draws), folder, every))
            if model.is_image and keep_every:
                files += write_film(ready.x, chains.draws, keep_every, folder, every, drawing)
        sampler, went = sampler_as_json(ready.sampler), how_it_went(ready, chains.info)
        if own is not None and own.flow is not None:
            sampler, numbers = own.sampled_by, numbers | {"step_size": None, "acceptance": None}
            went = f"a flow of {steps} steps, {chains.info.num_gradients} gradients a sample"
        value = of_it | {"sampler": sampler} | numbers
        lines = [went]
    write_json(record, {"asked": asked} | value)
    files.append(record)
    lines += [f"wrote {f}" for f in files]
    if lost := numbers["nonfinite"]:
        lines.append(
            f"{lost} of {num} chains are not finite; use a smaller --sampler.step-size, or an"
            " adjusted sampler"
        )
    if numbers["acceptance"] is not None and numbers["acceptance"] < 0.02:
        lines.append(
            "almost nothing was accepted: these points are near the start; more --warm-up, or a"
            " nearer start"
        )
    show(value | {"files": [str(f) for f in files]}, json_, lines)

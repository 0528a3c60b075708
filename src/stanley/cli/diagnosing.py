"""stanley diagnose: whether chains on a trained energy, or any density, can be believed."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

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

STANDARDISED = (
    "mean, sd and mcse are in the units of the data; steps, coupling, growth, drift and bias in",
    "standard deviations of its columns, in which the chains ran",
)


def diagnose(
    run: RunOrNone = None,
    *fields: Extra,
    target: Target = None,
    pretrained: Pretrained = None,
    num: Annotated[
        Whole | None, Parameter(help="Number of chains. [default: 64, for images 16]")
    ] = None,
    steps: Annotated[
        Whole | None, Parameter(help="Steps of each chain. [default: 2,000, for images 500]")
    ] = None,
    warm_up: WarmUp = 500,
    precondition: Scale = None,
    pairs: Annotated[
        Whole | None,
        Parameter(
            help="Number of coupled pairs of chains, 0 for none. [default: 200, for images 0]"
        ),
    ] = None,
    coupled_steps: Annotated[
        Whole | None,
        Parameter(
            help=(
                "Steps after which pairs that have not met are given up. [default: 5,000, for"
                " images 500]"
            )
        ),
    ] = None,
    rays: Annotated[
        Whole | None,
        Parameter(
            help=(
                "Number of rays on which the growth of U is measured, 0 for none. [default: 64, for"
                " images 16]"
            )
        ),
    ] = None,
    copies: Annotated[
        Whole | None,
        Parameter(
            help=(
                "Copies of each point for the drift condition, 0 for none. [default: 1,000, for"
                " images 0]"
            )
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
        Parameter(help="Folder to write to. [default: RUN/diagnosis, or diagnosis/NAME]"),
    ] = None,
    format_: Format = None,
    dpi: Dpi = None,
    size: Size = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Judge a sampler on a trained energy (RUN or --pretrained) or on any density (--target).

    A table, a verdict and figures: R̂, ESS and Monte Carlo errors of every coordinate and of U;
    steps to equilibrium from coupled chains; growth of U on rays (H1); the drift condition ΠV/V;
    the bias of an unadjusted sampler against its adjusted twin. Samplers and targets are chosen as
    for stanley sample. All coordinates are in diagnosis.csv (and shown by --all), the draws in
    diagnosis-draws.npy. A run is judged with its own sampler unless --sampler names another. The
    diagnosis of another request that is there is kept as diagnosis-former.json, and its figures
    likewise.
    """
    from stanley.cli.densities import scale_by_rules
    from stanley.cli.names import folder_for
    from stanley.cli.sample_files import write_array
    from stanley.cli.tables import diagnosis_json, diagnosis_lines
    from stanley.cli.what_to_sample import what_to_sample
    from stanley.cli.wording import sampler_as_json, sampler_in_words
    from stanley.files import make_folder, write_json
    from stanley.judging.diagnose import diagnose as judge
    from stanley.judging.diagnose import effort_for, in_units_of_data
    from stanley.models.sampling import start_chains
    from stanley.overwriting import make_room
    from stanley.plots.diagnosis import figure_files, plot_diagnosis

    drawing = drawing_of(format_, dpi, size)
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
    precondition = scale_by_rules(what, precondition, warm_up)
    effort = effort_for(
        what.event_shape,
        chains=num,
        steps=steps,
        pairs=pairs,
        coupled_steps=coupled_steps,
        rays=rays,
        copies=copies,
    )
    folder = out or folder_for("diagnosis", what.name, what.folder)
    make_folder(folder)
    ready, generator = start_chains(
        what.sampler,
        what.potential,
        what.initial,
        effort.chains,
        warm_up,
        seed=seed,
        device=what.device,
        tune=what.tune,
        precondition=precondition,
    )
    found = judge(
        ready.sampler,
        what.potential,
        what.initial,
        ready.x,
        generator=generator,
        effort=effort,
        progress=sys.stderr.isatty(),
    )
    standard = None if what.model is None else what.model.standardisation
    names = None if what.model is None else what.model.columns
    if standard is not None:
        found = in_units_of_data(found, standard)
    if names is not None:
        found = replace(found, table=replace(found.table, names=(*names, "U")))
    how = {"sampled": what.name, "seed": seed, "warm_up": warm_up, "effort": vars(effort)}
    how |= {"step": what.model.step, "weights": what.model.weights} if what.model else {}
    asked = how | {
        "sampler": sampler_as_json(what.sampler),
        "tune": what.tune,
        "precondition": precondition,
    }
    record = folder / "diagnosis.json"
    others = [folder / name for name in ("diagnosis.csv", "diagnosis-draws.npy")]
    make_room(record, asked, beside=[*figure_files(folder), *others])
    files = plot_diagnosis(found, folder, sampler_in_words(ready.sampler), names, drawing)
    found.table.to_csv(folder / "diagnosis.csv")
    files += [folder / "diagnosis.csv", write_array(found.draws, folder, "diagnosis-draws")]
    value = {"asked": asked} | how | {"sampler": sampler_as_json(ready.sampler)}
    value |= diagnosis_json(found, names) | {"standardised": standard is not None}
    value |= {"step_size": float(ready.sampler.step_size), "step_size_from": ready.step_size_from}
    write_json(record, value)
    lines = [
        f"{what.name}: {sampler_in_words(ready.sampler)}",
        f"(step size from {ready.step_size_from})",
        *diagnosis_lines(found, names, all_),
        *(STANDARDISED if standard is not None else ()),
        f"wrote {record} and {', '.join(f.name for f in files)}",
    ]
    show(value | {"files": [str(f) for f in files]}, json_, lines)

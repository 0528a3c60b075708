"""stanley compose: samples of a sum of energies."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from stanley.cli.figures import Dpi, Format, Size, drawing_of
from stanley.cli.flags import Device, Json, OwnFlags, OwnNetworkName, Seed, Trust, WarmUp, Whole
from stanley.cli.images.answer import Answer, made_from, sampler_numbers
from stanley.cli.images.request import model_of, prepare, split_words
from stanley.cli.names import file_name, folder_for
from stanley.cli.values import number
from stanley.errors import require


def compose(
    *words: Annotated[
        str,
        Parameter(
            name="RUN1 RUN2 ...",
            allow_leading_hyphen=True,
            help="Runs on points of one shape, and flags of the sampler as for stanley sample.",
        ),
    ],
    weights: Annotated[
        str | None, Parameter(help="A number for each run, such as 1,0.5. [default: all 1]")
    ] = None,
    num: Annotated[Whole, Parameter(help="Number of chains, each of which gives one sample.")] = 64,
    steps: Annotated[
        Whole | None,
        Parameter(help="Chain steps. [default: the most that any of the runs takes from noise]"),
    ] = None,
    warm_up: WarmUp = 500,
    pretrained: Annotated[
        str | None,
        Parameter(
            help="A model that comes with the library, put before the runs: mnist or cifar10."
        ),
    ] = None,
    network: OwnNetworkName = None,
    trust: Trust = False,
    seed: Seed = 0,
    out: Annotated[
        Path | None, Parameter(help="Folder to write to. [default: composed/RUN1-RUN2]")
    ] = None,
    format_: Format = None,
    dpi: Dpi = None,
    size: Size = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Sample the sum of the energies of several runs, p ∝ Π p_i^w_i: likely where all of them are.

    Chains start from the first run's noise, come down the noise levels that all energies know, if
    they know any, and use the first run's sampler: an adjusted one finds its step size
    in the warm-up, an unadjusted one takes 1/Σ(w_i/h_i) of the runs' own, since curvatures add up.
    Averaged weights.
    """  # fmt: skip
    from dataclasses import replace

    from stanley.cli.sample_files import write_samples
    from stanley.cli.wording import how_it_went
    from stanley.models.trained import potential_on, sampler_on, starts_of_sum
    from stanley.samplers import run_chains
    from stanley.samplers.run import potential_for
    from stanley.samplers.traits import is_adjusted
    from stanley.streams import stream
    from stanley.uses import Composed, sampler_of_sum
    from stanley.uses.composition import require_same_shape

    drawing = drawing_of(format_, dpi, size)
    names, fields = split_words(words)
    require(
        len(names) + (pretrained is not None) >= 2,
        "give two runs or more to compose: stanley compose RUN1 RUN2",
    )
    models = [model_of(None, pretrained, None, device)] if pretrained is not None else []
    own = OwnFlags(network, trust=trust)
    models += [model_of(Path(name), None, None, device, own) for name in names]
    called = ([pretrained] if pretrained is not None else []) + names
    require_same_shape([(name, m.event_shape) for name, m in zip(called, models, strict=True)])
    numbers = [] if weights is None else [number(w.strip()) for w in weights.split(",")]
    require(
        None not in numbers, f"--weights is {weights!r}, must be numbers with commas, such as 1,0.5"
    )
    given = tuple(float(n or 0) for n in numbers)
    # on points as training of the first run saw them; its sampler knows their scale
    potential = Composed(tuple(potential_on(m, models[0]) for m in models), given)
    samplers = [sampler_on(m, models[0]) for m in models]
    models = [m.standardised for m in models]
    first = models[0]
    generator = stream(seed, "compose", device=first.device)
    sizes = any("step-size" in f or "step_size" in f for f in fields)
    model, tune = first, is_adjusted(first.sampler) and not fields
    if not sizes and not tune:
        model = replace(first, sampler=sampler_of_sum(samplers, potential.weights))
    ready, asked_sampler = prepare(
        model,
        fields,
        potential,
        starts_of_sum(models, potential.weights, num, generator),
        warm_up,
        generator,
        tune=tune,
    )
    steps = max(m.default_steps("noise") for m in models) if steps is None else steps
    parts = [made_from(m) | {"weight": w} for m, w in zip(models, potential.weights, strict=True)]
    asked = {
        "use": "compose",
        "parts": parts,
        "num": num,
        "steps": steps,
        "seed": seed,
    } | asked_sampler
    parts_named = "-".join(file_name(Path(c).name) for c in called)
    folder = out or folder_for("composed", parts_named, None)
    name = f"compose-{parts_named}-n{num}-seed{seed}"
    answer = Answer(folder, name, asked)
    fitting = potential_for(ready.sampler, potential)
    chains = run_chains(
        ready.sampler, fitting, ready.x, steps, generator=generator, progress=sys.stderr.isatty()
    )
    answer.make_room()
    files = write_samples(
        chains.x,
        folder,
        name,
        drawing,
        f"Samples of the sum of {len(models)} energies",
        density=None if first.is_image else potential,
        model=first,
    )
    lost = int(chains.info.nonfinite.sum())
    lines = [how_it_went(ready, chains.info)]
    if lost:
        lines.append(
            f"{lost} of {num} chains are not finite; use a smaller --sampler.step-size, or an"
            " adjusted one"
        )
    answer.report(sampler_numbers(ready, chains.info), files, lines, json_)

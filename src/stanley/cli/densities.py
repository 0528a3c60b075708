"""Samples of a density on the command line: until they can be trusted, or by the sampler and steps
that were asked for; judged in either case.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from stanley.batches import finite_chains
from stanley.cli.sample_files import coordinates, write_array, write_named, write_samples
from stanley.cli.what_to_sample import WhatToSample
from stanley.cli.wording import how_it_went, json_ready, sampler_as_json, sampler_in_words
from stanley.diagnostics.table import Summary
from stanley.errors import require
from stanley.judging.coordinates import (
    columns_of,
    names_of,
    parameters_of,
    potential_at,
    table_of,
    values_of,
)
from stanley.judging.draw import NotConverged, Wanted, draw
from stanley.models.sampling import DENSITY_STEPS, sample_density
from stanley.plots import Drawing
from stanley.samplers import Sampler
from stanley.samplers.adapt import FEWEST, Precondition
from stanley.samplers.traits import innermost, is_adjusted, why_not_adjustable

BUDGET = 100_000  # gradients of each chain
JUDGED = 1 << 24  # numbers in the draws that are judged, where nobody asked for more
ROWS = 6  # coordinates in the table of many


@dataclass(frozen=True, eq=False)
class DensitySamples:
    """What chains on a density came to.

    x       (B, *event), where they ended
    points  (n, B, *event), the draws that were judged
    table   None where they are too few to be judged
    kept    whether the draws were asked for, and are written
    """

    sampler: Sampler
    x: Tensor
    points: Tensor
    table: Summary | None
    missing: tuple[str, ...]
    numbers: dict[str, Any]
    how: str
    kept: bool

    def json(self) -> dict[str, Any]:
        """For a program: what was reached, and the worst coordinate of each number."""
        value = {"exact": is_adjusted(self.sampler), "missing": list(self.missing)}
        if self.table is not None:
            worst = {key: worst_of(self.table, key) for key in ("rhat", "ess_bulk", "ess_tail")}
            value["worst"] = {
                key: {"coordinate": name, "value": number} for key, (name, number) in worst.items()
            }
        return json_ready({"sampler": sampler_as_json(self.sampler), **self.numbers, **value})

    def lines(self, all_rows: bool) -> list[str]:
        """For a person: how it went, the table, whether to believe it."""
        lines = [self.how]
        if self.table is not None:
            lines += ["", *table_lines(self.table, all_rows), ""]
            rhat, bulk, tail = (
                worst_of(self.table, key) for key in ("rhat", "ess_bulk", "ess_tail")
            )
            lines.append(
                f"R̂ at most {rhat[1]:.3f} ({rhat[0]}), bulk ESS at least {bulk[1]:,.0f}"
                f" ({bulk[0]}), tail ESS at least {tail[1]:,.0f} ({tail[0]})"
            )
        else:
            lines.append(
                "R̂ and ESS are not known: they take two chains and four draws; --num, --steps"
            )
        if self.missing:
            lines.append(f"do not trust these draws yet: {'; '.join(self.missing)}")
        return lines if is_adjusted(self.sampler) else [*lines, biased(self.sampler)]


def sample_a_density(
    what: WhatToSample,
    num: int,
    steps: int | None,
    *,
    warm_up: int,
    precondition: Precondition | None,
    keep_every: int | None,
    seed: int,
    wanted: Wanted,
    budget: int,
    progress: bool,
) -> DensitySamples:
    if until_trusted(what, steps, keep_every, precondition):
        return by_rules(what, num, warm_up, seed, wanted, budget, progress)
    steps = DENSITY_STEPS if steps is None else steps
    size = num * math.prod(what.event_shape)
    every = keep_every or min(max(1, math.ceil(steps * size / JUDGED)), max(steps, 1))
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
        precondition=scale_by_rules(what, precondition, warm_up),
        keep_every=every,
        progress=progress,
    )
    points = samples.chains.draws
    assert points is not None
    table = None
    if len(points) >= 4 and points.shape[1] >= 2:
        table = table_of(what.potential, points, potential_at(what.potential, points))
    return DensitySamples(
        samples.ready.sampler,
        samples.chains.x,
        points,
        table,
        () if table is None else tuple(wanted.missing(table)),
        samples.numbers,
        how_it_went(samples.ready, samples.chains.info),
        keep_every is not None,
    )


def scale_by_rules(
    what: WhatToSample, precondition: Precondition | None, warm_up: int
) -> Precondition | None:
    """A dense scale, or where that does not pay one for each coordinate, where the rules choose the
    sampler and the warm-up is long enough.
    """
    rules = what.by_rules and precondition is None and warm_up >= FEWEST
    return "dense" if rules else precondition


def until_trusted(
    what: WhatToSample,
    steps: int | None,
    keep_every: int | None,
    precondition: Precondition | None,
) -> bool:
    """Whether the rules of `draw` say how long the chains run."""
    return what.by_rules and steps is None and keep_every is None and precondition is None


def by_rules(
    what: WhatToSample,
    num: int,
    warm_up: int,
    seed: int,
    wanted: Wanted,
    budget: int,
    progress: bool,
) -> DensitySamples:
    require(
        num >= 4,
        f"num is {num}, must be at least 4 chains, for R̂ to compare them; or give --steps, after"
        " which the chains end in any case",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotConverged)  # it is told with the table
        out = draw(
            what.potential,
            what.event_shape,
            ess=wanted.ess,
            mcse=wanted.mcse,
            budget=budget,
            chains=num,
            warm_up=warm_up,
            start_std=what.start_std,
            seed=seed,
            dtype=what.dtype,
            device=what.device,
            progress=progress,
        )
    numbers = {
        "step_size": float(out.sampler.step_size),
        "step_size_from": f"adapt, {warm_up} steps",
        "acceptance": out.acceptance,
        "gradients_per_chain": out.gradients,
        "nonfinite": 0,
        "draws_per_chain": len(out.points),
        "converged": out.converged,
        "history": list(out.history),
    }
    how = (
        f"{sampler_in_words(out.sampler)} (chosen by the rules of draw); acceptance"
        f" {out.acceptance:.2f}; {out.gradients:,} gradients a chain"
    )
    return DensitySamples(
        out.sampler, out.points[-1], out.points, out.table, out.reasons, numbers, how, True
    )


def write_density_samples(
    found: DensitySamples, what: WhatToSample, folder: Path, name: str, every: str, drawing: Drawing
) -> list[Path]:
    """NAME.npy, the last states, and NAME.png of them; of named parameters NAME.npz, all draws by
    name, and NAME.png of these; NAME.csv, the table; and the draws in a file of their own where
    they were asked for."""
    named = parameters_of(what.potential) is not None
    if named:
        files = [
            write_named(
                {k: v.cpu().numpy() for k, v in values_of(what.potential, found.points).items()},
                folder,
                name,
            )
        ]
        columns = columns_of(what.potential, found.points).flatten(0, 1)
        finite = columns[finite_chains(columns)]
        if len(finite):
            names = names_of(what.potential, what.event_shape)
            files += drawing.write({name: coordinates(finite, names)}, folder)
    else:
        title = f"Samples of {what.name}"
        files = write_samples(found.x, folder, name, drawing, title, density=what.potential)
        if found.kept:
            files.append(write_array(found.points, folder, every))
    if found.table is not None:
        found.table.to_csv(folder / f"{name}.csv")
        files.append(folder / f"{name}.csv")
    return files


def worst_of(table: Summary, key: str) -> tuple[str, float]:
    """The coordinate with the largest R̂, or the least ESS, and that number; NaN counts last."""
    column = table.column(key).cpu().numpy()
    if np.isnan(column).all():
        return "none is known", math.nan
    i = int(np.nanargmax(column) if key == "rhat" else np.nanargmin(column))
    return table.names[i], float(column[i])


def table_lines(table: Summary, all_rows: bool) -> list[str]:
    """The table; of more than twelve coordinates the six with the largest R̂, and U."""
    head, *rows = table.lines()
    num = len(rows) - 1  # U is the last
    if all_rows or num <= 2 * ROWS:
        return [head, *rows]
    rhat = table.chains.rhat[:-1].nan_to_num(math.inf)
    worst = rhat.argsort(descending=True, stable=True)[:ROWS].sort().values.tolist()
    more = f"(the {ROWS} of {num:,} coordinates with the largest R̂; --all shows all of them)"
    return [head, *(rows[i] for i in worst), rows[-1], more]


def biased(sampler: Sampler) -> str:
    """One line on a sampler whose law is not exp(-U)."""
    kind = getattr(innermost(sampler), "kind", type(sampler).__name__)
    exact = f"adjusted-{kind}" if why_not_adjustable(innermost(sampler)) is None else "mala"
    return (
        f"{kind} is biased: it never rejects, so its draws have another law than exp(-U), however"
        f" long it runs; --sampler {exact} is exact, and so is the default"
    )

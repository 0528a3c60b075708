"""stanley compare: the same question to several settings."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from stanley.cli.figures import Dpi, Format, Size, drawing_of
from stanley.cli.flags import Extra, Json, LogDensity, Real, Shape, Whole
from stanley.cli.output import show
from stanley.cli.question import FILES, apart, asked
from stanley.errors import require

if TYPE_CHECKING:
    from stanley.comparing import Comparison
    from stanley.plots.figures import Drawing


def compare(
    *what: Extra,
    samplers: Annotated[
        str | None,
        Parameter(help="Samplers to compare: langevin,stanley,adjusted-stanley,mala and so on."),
    ] = None,
    target: Annotated[
        str | None,
        Parameter(
            help="Density that the samplers are compared on, in place of a recipe: a name that "
            "stanley targets lists, module:function, file.py:function, or a run."
        ),
    ] = None,
    shape: Shape = None,
    log_density: LogDensity = None,
    vary: Annotated[
        str | None,
        Parameter(help="One field, each of whose values is an arm: optimizer.lr=1e-3,4e-3."),
    ] = None,
    seeds: Annotated[
        Whole | None, Parameter(help="Reported seeds of every arm. [default: 5]")
    ] = None,
    first_seed: Annotated[Whole | None, Parameter(help="The first of them. [default: 0]")] = None,
    steps: Annotated[
        Whole | None,
        Parameter(
            help="Training iterations of the recipe, from which budgets come; of a density "
            "gradients, or steps, of each chain. [default: the recipe's, or 5000]"
        ),
    ] = None,
    budget: Annotated[
        Literal["gradients", "iterations", "seconds"] | None,
        Parameter(
            help="What is equal for all arms: gradient evaluations, iterations, or CPU --seconds. "
            "[default: gradients]"
        ),
    ] = None,
    seconds: Annotated[Real | None, Parameter(help="CPU seconds of each run.")] = None,
    grid: Annotated[
        tuple[str, ...],
        Parameter(
            help="Values to tune over, FIELD=A,B,C; may be given again for another field. "
            "[default: with --samplers five step sizes around the recipe's, or around MALA's on "
            "the density, two thresholds, and on a density two numbers of leapfrog steps]",
            consume_multiple=False,
            negative="",
            show_default=False,
        ),
    ] = (),
    search: Annotated[
        tuple[str, ...],
        Parameter(
            help="Range to search in place of a grid, FIELD=LOW:HIGH or FIELD=LOW:HIGH:log, or "
            "choices, FIELD=A,B; may be given again for another field. [default: with --samplers "
            "and --trials the ranges of the grid]",
            consume_multiple=False,
            negative="",
            show_default=False,
        ),
    ] = (),
    trials: Annotated[
        Whole | None,
        Parameter(help="Settings that a search tries for every arm; needs stanley[optuna]."),
    ] = None,
    by: Annotated[
        Literal["tpe", "random", "qmc"] | None,
        Parameter(help="What proposes them: this sampler of optuna. [default: tpe]"),
    ] = None,
    tuning: Annotated[
        bool, Parameter(negative="--no-tuning", help="Tune every arm first, on seeds of its own.")
    ] = True,
    tuning_seeds: Annotated[
        Whole | None,
        Parameter(
            help="Seeds to tune on, which are not reported. [default: 1, or 3 with --target]"
        ),
    ] = None,
    extend: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Where an end of the grid is best, try further values there.",
        ),
    ] = False,
    scores: Annotated[
        str | None,
        Parameter(
            help="Scores, the first of which decides: kl,tv or fresh.fd_mnist and so on; of a "
            "density bias2,ess_per_gradient,ess_per_second,rhat,gradients_to_bias2. "
            "[default: exact ones where there are, else of fresh samples]"
        ),
    ] = None,
    baseline: Annotated[
        str | None, Parameter(help="Arm that the others are compared with. [default: the first]")
    ] = None,
    out: Annotated[
        Path | None,
        Parameter(help="Folder of the comparison. [default: comparisons/NAME] Goes on there."),
    ] = None,
    workers: Annotated[Whole, Parameter(help="Runs at the same time, of one core each.")] = 1,
    on: Annotated[
        str,
        Parameter(
            help="Where runs are computed: local, dask, dask:tcp://HOST:PORT, slurm, "
            "submitit-local."
        ),
    ] = "local",
    trust: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Import the code that a file names, without naming it. It can do anything.",
        ),
    ] = False,
    format_: Format = None,
    dpi: Dpi = None,
    size: Size = None,
    quiet: Annotated[
        bool, Parameter(negative="", show_default=False, help="Show no progress bar.")
    ] = False,
    json_: Json = False,
) -> None:
    """Compare settings on one budget, each tuned in the same way, over several seeds.

    WHAT is a recipe, whose arms are named by --samplers or --vary; a .yaml or .toml file that says
    everything; the folder of a comparison, which goes on or is shown again; a .json record of one,
    which is shown; or several runs that are there already, or seeds of samplers on a density,
    grouped by their configurations. Any field of the recipe is a flag for all arms, as in stanley
    train.

    With --target samplers are compared on a density, by their squared error, effective draws and
    R̂; --chains, --adapt, --start-std and so on are flags for all arms. WHAT is then left out, or
    a file whose question is asked of another density.

    Every run of a recipe is an ordinary run directory. One that diverges counts as a failure and is
    never dropped. The folder gets comparison.json, tables (.md, .tex, .csv) and a figure.
    """
    from stanley.cli.what_to_sample import shape_of
    from stanley.comparing.record import read_record
    from stanley.comparing.tables import terminal_lines
    from stanley.comparing.task import RECORD

    paths, fields = apart(what)
    require(
        paths or target,
        "nothing to compare; give a recipe, --target, a .yaml file, a folder of a comparison, or "
        "runs",
    )
    given = {
        "target": target,
        "shape": None if shape is None else list(shape_of(shape) or ()),
        "log_density": log_density,
        "samplers": samplers,
        "vary": vary,
        "seeds": seeds,
        "first_seed": first_seed,
        "steps": steps,
        "budget": budget,
        "seconds": seconds,
        "grid": grid or None,
        "search": search or None,
        "trials": trials,
        "by": by,
        "tuning_seeds": tuning_seeds,
    }
    drawing = drawing_of(format_, dpi, size)  # before hours of work
    asked_scores = [] if scores is None else scores.split(",")
    is_record = len(paths) == 1 and paths[0].endswith(".json")
    if is_record or len(paths) > 1:
        given |= {"no_tuning": None if tuning else True, "on": None if on == "local" else on}
        given |= {"extend": extend or None, "trust": trust or None}
        given |= {"workers": None if workers == 1 else workers}
        given |= {"scores": scores, "baseline": baseline} if is_record else {}
        there = f"{paths[0]} is a record" if is_record else f"{len(paths)} are given"
        require_no_question(there, given, fields)
        require_figures(out, {"format": format_, "dpi": dpi, "size": size})
    if is_record:
        result = read_record(Path(paths[0]))
    elif len(paths) > 1:
        result = of_runs(paths, asked_scores, baseline, out)
    else:
        what_is_asked = paths[0] if paths else None
        comparison = asked(what_is_asked, given, fields, tuning)
        words = (vary or "").replace("=", ",").split(",") + (samplers or "").split(",")
        require_trusted(comparison, [what_is_asked, target, *fields.values(), *words], trust)
        comparison = changed(comparison, scores=asked_scores or None, baseline=baseline)
        out = out or folder_of(what_is_asked, target)
        how = {"workers": workers, "on": on, "extend": extend}
        result = carried_out(comparison, out, how, quiet)
    lines = terminal_lines(result)
    if out is not None:
        drawn = write_all(result, out, drawing)
        files = drawn if is_record else [out / RECORD, *drawn]
        lines += ["", f"written: {files[0]}, {', '.join(file.name for file in files[1:])}"]
    show(result, json_, lines)


def require_no_question(there: str, given: dict[str, Any], fields: dict[str, Any]) -> None:
    """Runs that are there have been asked already."""
    unused = [name for name, value in given.items() if value is not None] + list(fields)
    require(
        not unused,
        f"--{(unused or [''])[0].replace('_', '-')} is for runs that are yet to be made, and "
        f"{there}",
    )


def require_figures(out: Path | None, flags: dict[str, Any]) -> None:
    """Only a folder has figures."""
    unused = next((f"--{name}" for name, value in flags.items() if value is not None), None)
    require(
        out is not None or unused is None,
        f"{unused} is of the figures, which are written where --out names a folder; give --out, or "
        f"leave {unused} out",
    )


def of_runs(
    paths: list[str], scores: list[str], baseline: str | None, out: Path | None
) -> dict[str, Any]:
    """The comparison of runs that are there, written to a folder where one is named."""
    from stanley.comparing.given import compare_runs
    from stanley.comparing.task import RECORD
    from stanley.files import make_folder
    from stanley.overwriting import write_answer

    result = compare_runs(paths, scores=scores, baseline=baseline)
    if out is not None:
        make_folder(out)
        write_answer(out / RECORD, result)
    return result


def carried_out(
    comparison: Comparison, out: Path, how: dict[str, Any], quiet: bool
) -> dict[str, Any]:
    """The comparison of runs that are made, or went on with, in a folder."""
    from stanley.comparing.carry_out import compare as carry_out

    return carry_out(comparison, out, progress=not quiet and sys.stderr.isatty(), **how)


def folder_of(path: str | None, target: str | None) -> Path:
    """Where the comparison of a recipe, a file or a density goes; the folder of one that is
    there.
    """
    from stanley.comparing.task import RECORD

    if path is not None and (Path(path) / RECORD).is_file():
        return Path(path)
    given = [Path(word) for word in (path, target) if word is not None]
    names = [(word.stem if word.suffix in FILES else word.name) for word in given]
    return Path("comparisons") / "-".join(name.rpartition(":")[2] for name in names)


def write_all(result: dict[str, Any], out: Path, drawing: Drawing) -> list[Path]:
    """The tables and figures of a comparison, in a folder."""
    from stanley.comparing.tables import write_tables
    from stanley.files import make_folder
    from stanley.plots.comparison import write_figures

    make_folder(out)
    return [*write_tables(result, out), *write_figures(result, out, drawing)]


def require_trusted(comparison: Comparison, named: list[Any], trust: bool) -> None:
    """Nothing is imported because a file names it."""
    from stanley.config import leaves, to_dict
    from stanley.overwriting import json_object
    from stanley.own_code import is_named

    plain, file = to_dict(comparison), Path(comparison.target or "") / "config.json"
    if file.is_file():  # a run, which may name code of its own
        plain |= {comparison.target or "": json_object(file)}
    for path, value in leaves(plain):
        values = value if isinstance(value, list) else [value]
        code = next((v for v in values if is_named(v) and v not in named), None)
        require(
            code is None or trust,
            f"{'.'.join(path)} names code, {code}, which is imported only where you name it; pass "
            "--trust, or it as a flag",
        )


def changed(comparison: Comparison, **fields: Any) -> Comparison:
    """With the fields that are not None."""
    from dataclasses import replace

    return replace(comparison, **{k: v for k, v in fields.items() if v is not None})

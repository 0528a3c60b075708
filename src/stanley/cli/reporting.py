"""stanley report: a run or a comparison in one file to hand on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from stanley.cli.flags import Json
from stanley.cli.output import show
from stanley.errors import require


def report(
    what: Annotated[
        Path,
        Parameter(help="Run directory, folder of a comparison, or its comparison.json."),
    ],
    *,
    out: Annotated[
        Path | None, Parameter(help="The .html file. [default: index.html in that folder]")
    ] = None,
    json_: Json = False,
) -> None:
    """Write a run or a comparison as one HTML file: what was asked, how it went, its scores, its
    figures, and how to do it again.

    The file needs no other and no script. Nothing is trained or sampled for it: a run has the
    scores and samples of its last stanley evaluate.
    """
    from stanley.comparing.record import read_record
    from stanley.comparing.task import RECORD
    from stanley.reports import report_comparison, report_run
    from stanley.reports.of_run import NAME
    from stanley.runs.directory import RunDirectory

    require(
        out is None or out.suffix == ".html",
        f"--out {out} is no .html file; give one, such as {NAME}",
    )
    record = what / RECORD if what.is_dir() else what
    if record.is_file():
        beside = what / NAME if what.is_dir() else what.with_suffix(".html")
        written = report_comparison(read_record(record), record.parent, out or beside)
    else:
        require(
            what.is_dir(),
            f"{what} is neither a run directory nor a comparison; give the --out of stanley train "
            "or of stanley compare",
        )
        written = report_run(RunDirectory.existing(what), out)
    show({"file": str(written)}, json_, [f"wrote {written}"])

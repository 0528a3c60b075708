"""The page of a comparison: what was asked, the verdicts, every seed, and how to do it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stanley.comparing.tables import (
    HEAD,
    budget_lines,
    edge_lines,
    heading,
    ordered,
    rows_of,
    tuning_rows,
)
from stanley.config import flatten
from stanley.plots.comparison import figures_of_comparison
from stanley.reports.page import Shown, as_data, in_yaml, write_page

#: What a reader sees in a figure of `plots.comparison`.
WORDS = {
    "comparison": (
        "Every seed",
        "A dot is a seed, the line is the mean and the bar a 95 % interval of it; below, the first "
        "score along the run.",
    ),
    "samples": ("What each arm ends with", "Of every arm the seed with its median score."),
}


def report_comparison(result: dict[str, Any], folder: Path, out: Path) -> Path:
    """Write the page of a comparison to `out`; returns it.

    result   what `compare` returns, or the contents of comparison.json
    folder   where its runs are; without them there are no pictures of what an arm ends with
    """
    asked, figures = result["asked"], figures_of_comparison(result, folder)
    names, first = asked["scores"], result["scores"][asked["scores"][0]]
    as_yaml = in_yaml({k: v for k, v in asked.items() if v not in (None, {}, [])})
    return write_page(
        out,
        "comparison.html",
        [Shown(*WORDS[name], figure) for name, figure in figures.items()],
        title=f"{heading(result, names[0]).partition(':')[0]}, compared by {names[0]}",
        converted=result.get("converted", ""),
        verdicts=[(arm, first[arm]["verdict"]) for arm in ordered(result, names[0])],
        first=names[0],
        head=HEAD,
        tables=[(heading(result, name), rows_of(result, name)) for name in names],
        tuning=tuning_rows(result),
        budget=[*budget_lines(result), *edge_lines(result)],
        failures=failures_of(result),
        fields=list(flatten(asked).items()),
        asked_file="" if "runs" in asked else as_data(as_yaml.encode(), "text/yaml"),
    )


def failures_of(result: dict[str, Any]) -> list[str]:
    """One line for every run that failed, and for those that were lost."""
    failed = [
        f"{arm}, seed {run['seed']}: {run['failure']}"
        for arm, about in result["arms"].items()
        for run in about["runs"]
        if run["failure"]
    ]
    return failed + list(result["lost"])

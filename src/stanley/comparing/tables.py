"""A comparison as text: for a terminal, as Markdown, as LaTeX, as CSV."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from stanley.comparing.comparison import setting_name
from stanley.comparing.subject import Share
from stanley.comparing.task import more_is_better
from stanley.files import write_atomic

HEAD = ("arm", "setting", "mean ± sd", "median", "every seed", "failed", "difference", "verdict")


def ordered(result: dict[str, Any], score: str) -> list[str]:
    """The arms, best first; those that failed everywhere last."""
    found = result["scores"][score]
    sign = -1 if more_is_better(score) else 1

    def rank(arm: str) -> tuple[bool, int, float]:
        own = found[arm]
        return own["mean"] is None, 0, sign * (own["mean"] or 0.0)

    return sorted(found, key=rank)


def named(result: dict[str, Any], arm: str) -> str:
    """The arm, with a word where it samples another law than the one that is asked for."""
    return f"{arm} (biased)" if result["arms"][arm].get("biased") else arm


def bias_lines(result: dict[str, Any]) -> list[str]:
    """What the effective draws of a biased sampler are not, where there are both."""
    biased = [arm for arm, about in result["arms"].items() if about.get("biased")]
    effective = [name for name in result["asked"]["scores"] if name.startswith("ess")]
    if not biased or not effective:
        return []
    return [
        f"biased: {', '.join(biased)} {'never rejects' if len(biased) == 1 else 'never reject'}, "
        f"so {effective[0]} counts draws of another law than exp(-U) there, however long the "
        "chains run: it says how fast they move, nothing of whether they are right"
    ]


def rows_of(result: dict[str, Any], score: str) -> list[tuple[str, ...]]:
    """The cells of one score's table, an arm a row, best first."""
    rows = []
    for arm in ordered(result, score):
        own, about = result["scores"][score][arm], result["arms"][arm]
        setting = setting_in_words(about)
        rows.append(
            (
                named(result, arm),
                setting,
                spread(own["mean"], own["sd"]),
                number(own["median"]),
                " ".join(number(value) for value in own["values"].values()),
                f"{own['failed']} of {len(own['values'])}",
                with_interval(own.get("difference"), own.get("difference_interval")),
                own["verdict"],
            )
        )
    return rows


def setting_in_words(about: dict[str, Any]) -> str:
    """What was tuned, or else what the arm itself says beyond its sampler."""
    if about["setting"]:
        return about["setting_name"] + (" (edge)" if about["edges"] else "")
    own = {name: value for name, value in about["changes"].items() if name != "sampler"}
    return setting_name(own) if own else about["setting_name"]


def number(value: float | None) -> str:
    """Three significant digits."""
    if value is None:
        return "–"
    text = f"{value:.3g}"
    return f"{value:.0f}" if "e+" in text and abs(value) < 1e6 else text


def spread(mean: float | None, sd: float | None) -> str:
    return number(mean) if sd is None else f"{number(mean)} ± {number(sd)}"


def with_interval(value: float | None, interval: Any) -> str:
    if value is None:
        return ""
    words = f"{value:+.3g}"
    return words if interval is None else f"{words} [{interval[0]:+.3g}, {interval[1]:+.3g}]"


def heading(result: dict[str, Any], score: str) -> str:
    better = "more" if more_is_better(score) else "less"
    asked = result["asked"]
    where = asked.get("recipe") or asked.get("target") or "runs that were there"
    return f"{where}: {score}, {better} is better; {seeds_in_words(result)}"


def seeds_in_words(result: dict[str, Any]) -> str:
    """`seeds 0 to 4, n = 5`, of the arm that has most."""
    arms = result["arms"].values()
    seeds = max(([run["seed"] for run in about["runs"]] for about in arms), key=len)
    if len(seeds) == 1:
        return f"seed {seeds[0]}, n = 1"
    if seeds == list(range(seeds[0], seeds[-1] + 1)):
        return f"seeds {seeds[0]} to {seeds[-1]}, n = {len(seeds)}"
    return f"seeds {', '.join(map(str, seeds))}, n = {len(seeds)}"


def budget_lines(result: dict[str, Any]) -> list[str]:
    """What each arm got of the budget, as far as it is known."""
    lines = []
    for arm, about in result["arms"].items():
        words = [] if about["share"] is None else [Share(**about["share"]).in_words()]
        if seconds := [run["seconds"] for run in about["runs"] if run["seconds"]]:
            ends = dict.fromkeys(number(end(seconds)) for end in (min, max))
            words.append(f"{' to '.join(ends)} s a run")
        lines += [f"{arm}: {', '.join(words)}"] if words else []
    return lines


def tuning_rows(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(arm, setting, score on the tuning seeds or where it failed), all that was tried."""
    rows = []
    for arm, about in result["arms"].items():
        for setting, trial in about["tuning"].items():
            failures = [row["failure"] for row in trial["rows"] if row["failure"]]
            cell = number(trial["score"]) if trial["score"] is not None else short(failures)
            chosen = " ←" if setting == about["setting_name"] else ""
            rows.append((arm, setting, cell + chosen))
    return rows


def short(failures: list[str]) -> str:
    """`diverged at 251` of a failure's sentence."""
    words = failures[0].split() if failures else ["–"]
    step = words[words.index("step") + 1].strip(":;,") if "step" in words[:-1] else ""
    return f"diverged at {step}" if step.isdigit() else failures[0].partition(":")[0]


def terminal_lines(result: dict[str, Any]) -> list[str]:
    """The table that a person reads after the command."""
    lines: list[str] = []
    if all(len(about["runs"]) == 1 for about in result["arms"].values()):
        lines += ["", *lines_of_one_seed(result)]
    else:
        for score in result["asked"]["scores"]:
            rows = [HEAD, *rows_of(result, score)]
            shown = [(r[0], r[1], r[2], r[3], r[5], r[7]) for r in rows]
            lines += ["", heading(result, score), *aligned(shown)]
    if tuned := tuning_rows(result):
        asked = result["asked"]
        first, n = asked["first_tuning_seed"], asked["tuning_seeds"]
        which = f"seed {first}" if n == 1 else f"seeds {first} to {first + n - 1}"
        lines += ["", f"tuned on {which}, not reported: {asked['scores'][0]} of {tried(asked)}"]
        lines += aligned(tuned)
    lines += ["", "budget", *(f"  {line}" for line in budget_lines(result))]
    lines += bias_lines(result)
    lines += [f"edge: {line}" for line in edge_lines(result)]
    lines += [f"lost: {line}" for line in result["lost"]]
    lines += [f"converted: {result['converted']}"] if "converted" in result else []
    return lines[1:]


def lines_of_one_seed(result: dict[str, Any]) -> list[str]:
    """All scores in one table, where there is nothing to take a mean of, or to test."""
    names = result["asked"]["scores"]
    rows = [("arm", "setting", *names, "")]
    for arm in ordered(result, names[0]):
        about = result["arms"][arm]
        (run,) = about["runs"]
        failure = short([run["failure"]]) if run["failure"] else ""
        values = (number(run["scores"].get(name)) for name in names)
        rows.append((named(result, arm), setting_in_words(about), *values, failure))
    return [f"{heading(result, names[0])}; three seeds and more are tested", *aligned(rows)]


def tried(asked: dict[str, Any]) -> str:
    if not asked.get("search"):
        return "every setting"
    return f"every trial, proposed by optuna's {asked['by']}"


def edge_lines(result: dict[str, Any]) -> list[str]:
    searched = result["asked"].get("search")
    where, cure = "at an end of the grid", "--extend tries more"
    if searched:
        where, cure = "within 5 % of an end of the range", "widen it in the question"
    return [
        f"{arm} is best {where} of {', '.join(about['edges'])}; {cure}"
        for arm, about in result["arms"].items()
        if about["edges"]
    ]


def aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return [
        "  " + "  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def markdown(result: dict[str, Any]) -> str:
    parts = []
    for score in result["asked"]["scores"]:
        table = markdown_table(HEAD, rows_of(result, score))
        parts.append(f"**{heading(result, score)}**\n\n{table}")
    if any(about["tuning"] for about in result["arms"].values()):
        what = f"{result['asked']['scores'][0]} of {tried(result['asked'])}"
        parts.append(f"**Tuning: {what}**\n\n{tuning_table(result)}")
    lines = [*budget_lines(result), *bias_lines(result), *edge_lines(result)]
    budget = [f"* {line}" for line in lines]
    parts.append("\n".join(["**Budget**", "", *budget]))
    return "\n\n".join(parts) + "\n"


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join([row_md(head), "|" + "---|" * len(head), *map(row_md, rows)])


def row_md(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def scores_table(result: dict[str, Any], scores: Sequence[str]) -> str:
    """Markdown: an arm a row, best first; mean ± sd of every score, and of the first one its
    median, the seeds that failed, and the verdict.
    """
    first = scores[0]
    tuned = any(about["setting"] for about in result["arms"].values())
    head = ["arm", *(["setting"] if tuned else []), "n", *scores, f"median {first}", "failed"]
    head += ["verdict"] if len(result["arms"]) > 1 else []
    rows = []
    for arm, row in zip(ordered(result, first), rows_of(result, first), strict=True):
        found = [result["scores"][score].get(arm) for score in scores]
        cells = [row[0], *([row[1]] if tuned else []), str(result["scores"][first][arm]["n"])]
        cells += ["–" if own is None else spread(own["mean"], own["sd"]) for own in found]
        cells += [row[3], row[5], row[7]]
        rows.append(cells[: len(head)])
    return markdown_table(head, rows)


def seeds_table(result: dict[str, Any], score: str) -> str:
    """Markdown: what every seed of every arm gave, and how often a run went wrong on its way."""
    rows = []
    for arm in ordered(result, score):
        own, runs = result["scores"][score][arm], result["arms"][arm]["runs"]
        known = [value for value in own["values"].values() if value is not None]
        worst = (min if more_is_better(score) else max)(known, default=None)
        each = " ".join("failed" if v is None else number(v) for v in own["values"].values())
        alarms = sum(len(run["went_wrong"]) for run in runs)
        rows.append((arm, each, number(own["median"]), number(worst), str(alarms)))
    return markdown_table(("arm", f"{score} of every seed", "median", "worst", "alarms"), rows)


def tuning_table(result: dict[str, Any]) -> str:
    """Markdown: the first score on every tuning seed, or where that failed, of all that was tried.
    The field with most values has a column for each of them; what was chosen is bold.
    """
    score = result["asked"]["scores"][0]
    cells: dict[tuple[str, ...], dict[str, str]] = {}  # arm, other fields -> value -> cell
    tried = [setting for about in result["arms"].values() for setting in about["tuning"]]
    values: dict[str, list[str]] = {}  # of each field
    for name, value in (pair for setting in tried for pair in pairs(setting).items()):
        values[name] = list(dict.fromkeys([*values.get(name, []), value]))
    field = max(values, key=lambda name: len(values[name]))
    for arm, about in result["arms"].items():
        for setting, trial in about["tuning"].items():
            fields = pairs(setting)
            value = fields.pop(field, "–")
            cell = ", ".join(of_trial(row, score) for row in trial["rows"])
            row = (arm, ", ".join(f"{name} {value}" for name, value in fields.items()))
            cells.setdefault(row, {})[value] = (
                f"**{cell}**" if setting == about["setting_name"] else cell
            )
    columns = sorted(values[field], key=in_order)
    columns += ["–"] if any("–" in row for row in cells.values()) else []
    others = any(row[1] for row in cells)
    head = ["arm", *([""] if others else []), *(f"{field} {value}" for value in columns)]
    rows = [
        [row[0], *([row[1]] if others else []), *(found.get(value, "–") for value in columns)]
        for row, found in cells.items()
    ]
    return markdown_table(head, rows)


def of_trial(row: dict[str, Any], score: str) -> str:
    """The score of one run of the tuning, or how it failed."""
    return short([row["failure"]]) if row["failure"] else number(row["scores"].get(score))


def also_table(result: dict[str, Any]) -> str:
    """Markdown: mean ± sd of what is known of arms beside their scores."""
    told = {arm: about["also"] for arm, about in result["arms"].items() if about.get("also")}
    names = list(dict.fromkeys(name for also in told.values() for name in also))
    rows = [
        (arm, *(over_seeds(also.get(name, {})) for name in names)) for arm, also in told.items()
    ]
    return markdown_table(("arm", *names), rows)


def over_seeds(values: dict[str, float]) -> str:
    known = list(values.values())
    sd = statistics.stdev(known) if len(known) > 1 else None
    return spread(statistics.fmean(known), sd) if known else "–"


def pairs(setting: str) -> dict[str, str]:
    """The fields and values in the name of a setting."""
    return dict(word.split("=", 1) for word in setting.split(","))


def in_order(value: str) -> tuple[bool, float]:
    """Numbers by size, before all else."""
    try:
        return False, float(value)
    except ValueError:
        return True, 0.0


def latex(result: dict[str, Any]) -> str:
    r"""A `tabular` for each score, for \input; it needs booktabs."""
    parts = []
    for score in result["asked"]["scores"]:
        rows = [
            " & ".join((escaped(r[0]), math_mode(r[2]), r[3].replace("–", "--"), r[5])) + r" \\"
            for r in rows_of(result, score)
        ]
        head = " & ".join(("arm", f"{escaped(score)}, mean $\\pm$ sd", "median", "failed"))
        parts.append(
            "\n".join(
                [
                    f"% {heading(result, score)}",
                    r"\begin{tabular}{lrrr}",
                    r"\toprule",
                    head + r" \\",
                    r"\midrule",
                    *rows,
                    r"\bottomrule",
                    r"\end{tabular}",
                ]
            )
        )
    return "\n\n".join(parts) + "\n"


def math_mode(cell: str) -> str:
    plus_minus = cell.replace("±", r"\pm")
    return "--" if cell == "–" else f"${plus_minus}$"


def escaped(text: str) -> str:
    """Text that LaTeX prints as it is."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {c: "\\" + c for c in "&%$#_{}"}
    return "".join(special.get(c, c) for c in text)


def csv_text(result: dict[str, Any]) -> str:
    """One line a run: arm, setting, seed, what became of it, every score."""
    scores = list(result["asked"]["scores"])
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["arm", "setting", "seed", "failure", "seconds", *scores])
    for arm, about in result["arms"].items():
        for run in about["runs"]:
            values = [run["scores"].get(name) for name in scores]
            line = [arm, about["setting_name"], run["seed"], run["failure"] or ""]
            writer.writerow([*line, run["seconds"], *("" if v is None else v for v in values)])
    return file.getvalue()


def write_tables(result: dict[str, Any], folder: Path) -> list[Path]:
    """comparison.md, .tex and .csv beside comparison.json."""
    texts = {"md": markdown(result), "tex": latex(result), "csv": csv_text(result)}
    files = [folder / f"comparison.{suffix}" for suffix in texts]
    for file, text in zip(files, texts.values(), strict=True):
        write_atomic(file, text.encode())
    return files

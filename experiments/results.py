"""The tables and figures of docs/results.md, docs/results/ and docs/samplers.md, made from records:
`make results`.

A page says what stands where, in a comment; what is between it and the next `end` is made here:

    <!-- scores of experiments/records/rings.json: kl, tv -->      an arm a row, with its verdict
    <!-- seeds of experiments/records/rings.json: kl -->           every seed of every arm
    <!-- tuning of experiments/records/rings.json -->              every setting tried
    <!-- also of experiments/records/rings.json -->                what is known beside the scores
    <!-- record of experiments/records/rings.json -->              the file, the budget, losses
    <!-- figure of experiments/records/rings.json: ../images/rings.png -->
    <!-- overview: Langevin | STANLEY | best                       a record a row, an arm a column
    rings: kl of experiments/records/rings.json
    mixture: kl of experiments/records/gmm.json: Langevin | STANLEY, th 3 | –   other names there
    -->
    <!-- side by side: reached                                 an arm a row, a record a column
    banana of experiments/records/samplers-banana.json
    -->
    <!-- end -->

What stands side by side is `reached` (thousands of gradients of each chain until the score),
`effective draws` (per 1,000 gradients) or `effective draws a second` (as a ratio to MALA's).

The text around the blocks is written by hand. A record is what `stanley compare` writes as
comparison.json, or what another program found before, converted to that form.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from stanley.comparing.record import read_record, score_of
from stanley.comparing.subject import Share
from stanley.comparing.tables import (
    also_table,
    heading,
    markdown_table,
    number,
    ordered,
    scores_table,
    seeds_table,
    spread,
    tuning_table,
)
from stanley.errors import StanleyError, did_you_mean, require
from stanley.files import write_atomic

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("scores", "seeds", "tuning", "also", "record", "figure", "overview", "side")
END = "end"
DPI = 130
MOST_NAMED = 3  # arms of one budget that are named


@dataclass(frozen=True)
class Block:
    """One comment of a page: what is asked for, and of which record."""

    page: Path
    line: int  # from 1
    words: str  # of the comment
    root: Path

    @property
    def kind(self) -> str:
        return re.split(r"[\s:]", self.words, maxsplit=1)[0]

    def parts(self) -> tuple[Path, str]:
        """The file of the record, and what stands behind the colon."""
        found = re.fullmatch(r"\w+ of (\S+?\.json)(?:: (.+))?", self.words)
        require(found, f"write {self.kind} of experiments/records/NAME.json, not {self.words!r}")
        assert found is not None
        return self.root / found[1], (found[2] or "").strip()

    def text(self) -> str:
        """What the block shall hold. Raises StanleyError, with the page and line."""
        try:
            require(
                self.kind in KINDS, f"{self.kind!r} is no block: {did_you_mean(self.kind, KINDS)}"
            )
            if self.kind == "overview":
                return overview(self.words, self.root)
            if self.kind == "side":
                return side_by_side(self.words, self.root)
            file, rest = self.parts()
            record = read_record(file)
            if self.kind == "figure":
                return f"![{alternative(record)}]({rest})"
            return table(self.kind, record, rest, self.link(file))
        except StanleyError as error:
            where = self.page.relative_to(self.root)
            raise StanleyError(f"{where} line {self.line}: {error}") from error

    def link(self, file: Path) -> str:
        name = file.relative_to(self.root)
        return f"[{name}]({Path(os.path.relpath(file, self.page.parent)).as_posix()})"


def table(kind: str, record: dict[str, Any], rest: str, link: str) -> str:
    if kind == "record":
        return about(record, link)
    if kind == "tuning":
        tuned = any(arm["tuning"] for arm in record["arms"].values())
        require(tuned, "nothing was tuned in this record; leave the block out")
        return tuning_table(record)
    if kind == "also":
        told = any(arm.get("also") for arm in record["arms"].values())
        require(told, "nothing is known beside the scores of this record; leave the block out")
        return also_table(record)
    scores = [score_of(record, score.strip()) for score in rest.split(",") if score.strip()]
    require(scores, f"name the scores, as in `{kind} of FILE: {record['asked']['scores'][0]}`")
    require(kind == "scores" or len(scores) == 1, "seeds are shown of one score at a time")
    rows = scores_table(record, scores) if kind == "scores" else seeds_table(record, scores[0])
    return f"{heading(record, scores[0])}.\n\n{rows}"


def about(record: dict[str, Any], link: str) -> str:
    lines = [f"record: {link}", *budgets(record), *edges(record)]
    lines += [f"lost: {line}" for line in record["lost"]]
    lines += [f"converted: {record['converted']}"] if "converted" in record else []
    return "\n".join(f"* {line}" for line in lines)


def budgets(record: dict[str, Any]) -> list[str]:
    """What was spent; arms that got the same stand together, and most of all last."""
    same: dict[str, list[str]] = {}
    for arm, own in record["arms"].items():
        words = "" if own["share"] is None else Share(**own["share"]).in_words()
        same.setdefault(words, []).append(arm)
    lines, most = [], max(same, key=lambda words: len(same[words]))
    for words, arms in sorted(same.items(), key=lambda group: group[0] == most):
        runs = [run for arm in arms for run in record["arms"][arm]["runs"]]
        seconds = [run["seconds"] for run in runs if run["seconds"]]
        took = [f"{number(min(seconds))} to {number(max(seconds))} s a run"] if seconds else []
        others = len(arms) > MOST_NAMED and words == most
        who = "every other arm" if others else "; ".join(arms)
        who = "every arm" if len(same) == 1 else who
        if told := ", ".join([*([words] if words else []), *took]):
            lines.append(f"{who}: {told}")
    return lines


def edges(record: dict[str, Any]) -> list[str]:
    """The arms whose best setting lies at an end of the grid, by its field."""
    at_end: dict[str, list[str]] = {}
    for arm, own in record["arms"].items():
        for field in own["edges"]:
            at_end.setdefault(field, []).append(arm)
    return [f"best at an end of the grid of {f}: {'; '.join(arms)}" for f, arms in at_end.items()]


def alternative(record: dict[str, Any]) -> str:
    """What a reader is told who does not see the figure."""
    arms, scores = len(record["arms"]), record["asked"]["scores"]
    what = f"every seed of {arms} arms" if arms > 1 else "every seed"
    return f"{heading(record, scores[0])}: {what}, means and intervals"


def overview(words: str, root: Path) -> str:
    """A record a row, mean ± sd of one score of the arms that a row names, or of those that the
    columns are called by; `best` is the best arm of all, and – is none.
    """
    first, *lines = [line.strip() for line in words.splitlines() if line.strip()]
    columns = names_in(first.partition(":")[2])
    require(all(columns) and lines, "write overview: ARM | ARM | best, and a line for each record")
    return markdown_table(("", *columns), [overview_row(line, columns, root) for line in lines])


def overview_row(line: str, columns: list[str], root: Path) -> list[str]:
    found = re.fullmatch(r"(.+?): (\S+) of (\S+?\.json)(?:: (.+))?", line)
    require(found, f"{line!r} says no record; write NAME: SCORE of FILE.json")
    assert found is not None
    record = read_record(root / found[3])
    score = score_of(record, found[2])
    arms, best = record["scores"][score], ordered(record, score)[0]
    shown = {arm: cell(own) for arm, own in arms.items()} | {"–": "–"}
    shown["best"] = f"{best}: {shown[best]}"
    wanted = names_in(found[4]) if found[4] else columns
    require(
        len(wanted) == len(columns),
        f"{found[1]} names {len(wanted)} arms for {len(columns)} columns; write – for none",
    )
    for arm in wanted:
        require(arm in shown, f"{found[3]} has no arm {arm!r}: {did_you_mean(arm, arms)}")
    n = max(arm["n"] + arm["failed"] for arm in arms.values())
    return [f"{found[1]}, n = {n}", *(shown[arm] for arm in wanted)]


def side_by_side(words: str, root: Path) -> str:
    """One quantity of all arms that have it in any of several records, a record a column."""
    first, *lines = [line.strip() for line in words.splitlines() if line.strip()]
    what = first.partition(":")[2].strip()
    require(what in QUANTITIES, f"{what!r} is no quantity: {did_you_mean(what, QUANTITIES)}")
    columns: dict[str, dict[str, str]] = {}
    for line in lines:
        found = re.fullmatch(r"(.+?) of (\S+?\.json)", line)
        require(found, f"{line!r} says no record; write NAME of FILE.json")
        assert found is not None
        columns[found[1]] = QUANTITIES[what](read_record(root / found[2]))
    require(columns, "write side by side: QUANTITY, and a line for each record")
    arms = dict.fromkeys(arm for column in columns.values() for arm in column)
    rows = [[arm, *(column.get(arm, "") for column in columns.values())] for arm in arms]
    return markdown_table(("sampler", *columns), rows)


def reached(record: dict[str, Any]) -> dict[str, str]:
    """Thousands of gradients until the score, over seeds; how many came there where not all did;
    where none did × and the median b² at the end, if that is a number.
    """
    shown: dict[str, str] = {}
    for arm, own in record["scores"][record["asked"]["scores"][0]].items():
        at_end = record["arms"][arm].get("also", {}).get("b² at the end")
        if not own["failed"]:
            shown[arm] = spread(own["mean"] / 1000, own["sd"] and own["sd"] / 1000)
        elif own["n"]:
            shown[arm] = f"{own['n']} of {own['n'] + own['failed']}"
        else:
            shown[arm] = "diverged" if at_end is None else f"× b² {number(median(at_end.values()))}"
    return shown


def effective_draws(record: dict[str, Any]) -> dict[str, str]:
    """Per 1,000 gradients, mean and standard deviation over seeds."""
    per = {arm: [1000 * v for v in values] for arm, values in ess(record).items()}
    return {arm: spread(mean(v), stdev(v) if len(v) > 1 else None) for arm, v in per.items()}


def effective_draws_a_second(record: dict[str, Any]) -> dict[str, str]:
    """As a ratio to MALA's, whose gradient takes 1 by a timing of its own; its row is another."""
    took = {arm: record["arms"][arm]["also"][SECONDS] for arm in ess(record)}
    speed = {arm: mean(v) / mean(took[arm].values()) for arm, v in ess(record).items()}
    unit = mean(ess(record)["MALA"]) if speed else 1.0
    return {arm: number(value / unit) for arm, value in speed.items()}


def ess(record: dict[str, Any]) -> dict[str, list[float]]:
    """ESS per gradient of every seed, of the arms of which it is known."""
    also = {arm: own.get("also", {}).get("ESS per gradient") for arm, own in record["arms"].items()}
    return {arm: list(values.values()) for arm, values in also.items() if values}


SECONDS = "seconds per gradient, MALA 1"
QUANTITIES = {
    "reached": reached,
    "effective draws": effective_draws,
    "effective draws a second": effective_draws_a_second,
}


def names_in(words: str) -> list[str]:
    return [name.strip() for name in words.split("|")]


def cell(found: dict[str, Any]) -> str:
    lost = f", {found['failed']} failed" if found["failed"] else ""
    return spread(found["mean"], found["sd"]) + lost


def blocks(text: str, page: Path, root: Path) -> Iterator[tuple[Block, int, int]]:
    """Every block of a page, with where its content begins and ends."""
    open_: tuple[Block, int] | None = None
    for comment in re.finditer(r"<!--(.*?)-->", text, re.S):
        words, line = comment[1].strip(), text.count("\n", 0, comment.start()) + 1
        where = f"{page.relative_to(root)} line {line}"
        if words == END:
            require(open_, f"{where}: <!-- end --> without a block before it; remove it")
            assert open_ is not None
            yield open_[0], open_[1], comment.start()
            open_ = None
            continue
        require(not open_, f"{where}: the block before it has no end; add <!-- end -->")
        open_ = Block(page, line, words, root), comment.end()
    if open_:
        block = open_[0]
        where = f"{page.relative_to(root)} line {block.line}"
        raise StanleyError(f"{where}: the block has no end; add <!-- end --> behind it")


def filled(page: Path, root: Path = ROOT) -> str:
    """The page with what its blocks shall hold now."""
    text, done, parts = page.read_text(encoding="utf-8"), 0, []
    for block, begin, end in blocks(text, page, root):
        parts += [text[done:begin], f"\n\n{block.text()}\n\n"]
        done = end
    return "".join([*parts, text[done:]])


def pages(root: Path = ROOT) -> list[Path]:
    docs = root / "docs"
    found = [docs / "results.md", *sorted((docs / "results").glob("*.md")), docs / "samplers.md"]
    return [page for page in found if page.is_file()]


def figures(page: Path, root: Path = ROOT) -> Iterator[tuple[Path, Path]]:
    """(file of the figure, file of its record) of every figure that is made of a record."""
    for block, _, _ in blocks(page.read_text(encoding="utf-8"), page, root):
        if block.kind == "figure":
            record, name = block.parts()
            yield page.parent / name, record


def mark(record: Path) -> str:
    """What a figure's file says of the record that it was drawn from."""
    return f"{record.name} {hashlib.sha256(record.read_bytes()).hexdigest()}"


def draw(file: Path, record: Path) -> None:
    from stanley.plots.comparison import comparison

    buffer = io.BytesIO()
    comparison(read_record(record)).savefig(
        buffer, format="png", dpi=DPI, metadata={"Description": mark(record)}
    )
    write_atomic(file, buffer.getvalue())


def main(root: Path = ROOT) -> None:
    new = {page: filled(page, root) for page in pages(root)}  # all of them, before one is written
    for page, text in new.items():
        changed = text != page.read_text(encoding="utf-8")
        if changed:
            write_atomic(page, text.encode())
        print(f"{page.relative_to(root)}: {'written' if changed else 'as it was'}")
        for file, record in figures(page, root):
            draw(file, record)
            print(f"  {os.path.relpath(file, root)}: drawn")


if __name__ == "__main__":
    try:
        main()
    except StanleyError as error:
        sys.exit(f"make results: {error}")

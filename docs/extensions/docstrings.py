"""Docstrings of the library as pages show them.

They are written to be read in a terminal: formulas in plain characters, columns of names and what
they mean. Three kinds of paragraph are told apart:

    a column of names           a list of definitions
    lines that are indented     a block that keeps its lines
    all else                    text, in which `…` is code and nothing else is markup; what is
                                not true of it stands apart

A first paragraph that puts formulas side by side, three spaces apart, gets a line for each. Fields
of a dataclass that its docstring does not name are listed with the comments that stand beside them.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any

from sphinx.application import Sphinx

NAME = r"[A-Za-z_]\w*"
ROW = re.compile(rf"({NAME}(?:, {NAME})*) {{2,}}(\S.*)")  # threshold   th in units of |∇U|
NARROW = re.compile(rf"({NAME}) (\S.*)")
GAP = re.compile(r" {3,}")  # between formulas
CAVEAT = re.compile(r"(?<=[.;]) (?=Not true\b)")
CODE = re.compile(r"`([^`]+)`")


def restructured(lines: list[str]) -> list[str]:
    """The lines of a docstring as reStructuredText."""
    out: list[str] = []
    for place, paragraph in enumerate(paragraphs(lines)):
        out += [*block(paragraph, first=place == 0), ""]
    return out


def paragraphs(lines: list[str]) -> Iterator[list[str]]:
    """Runs of lines without a blank one between them."""
    current: list[str] = []
    for line in [*lines, ""]:
        if line.strip():
            current.append(line.rstrip())
        elif current:
            yield current
            current = []


def block(paragraph: list[str], first: bool) -> list[str]:
    if paragraph[0].startswith(" "):
        return ["::", "", *("    " + line for line in dedented(paragraph))]
    if rows := rows_of(paragraph):
        return listed(rows)
    if first and any(GAP.search(line.strip()) for line in paragraph):
        joined = " ".join(line.strip() for line in paragraph)
        if len(paragraph) > 1:  # a formula that was wrapped: its gaps are where it may break
            joined = "   ".join(part.strip() for part in GAP.split(joined))
        return [".. rst-class:: formula", "", *("| " + escaped(f) for f in GAP.split(joined))]
    text = " ".join(line.strip() for line in paragraph)
    return "\n\n".join(with_caveat(part) for part in CAVEAT.split(text)).split("\n")


def with_caveat(text: str) -> str:
    return re.sub(r"^Not true\b", r"**Not true**\\ ", escaped(text))


def dedented(paragraph: list[str]) -> list[str]:
    return textwrap.dedent("\n".join(paragraph)).split("\n")


def rows_of(paragraph: list[str]) -> list[tuple[str, str]]:
    """Names and what they mean, where all of a paragraph is that. A name that reaches the column of
    the others, so that one space is left, is one as well.
    """
    first = ROW.fullmatch(paragraph[0])
    rows: list[tuple[str, str]] = []
    for line in paragraph:
        row = ROW.fullmatch(line) or (first and column(line, first.start(2)))
        if row:
            rows.append((row[1], row[2]))
        elif rows and line.startswith(" "):
            name, text = rows[-1]
            rows[-1] = name, f"{text} {line.strip()}"
        else:
            return []
    return rows


def column(line: str, start: int) -> re.Match[str] | None:
    row = NARROW.fullmatch(line)
    return row if row and row.start(2) == start else None


def listed(rows: list[tuple[str, str]]) -> list[str]:
    out = []
    for name, text in rows:
        names = ", ".join(f"``{one}``" for one in name.split(", "))
        out += [names, f"    {escaped(text)}"]
    return out


def escaped(text: str) -> str:
    """Text in which only `…` is markup."""
    parts = CODE.split(text)
    for k, part in enumerate(parts):
        # a blank that is escaped lets code end anywhere
        parts[k] = rf"\ ``{part}``\ " if k % 2 else re.sub(r"([\\*|_`])", r"\\\1", part)
    return "".join(parts)


def comments_of(cls: type) -> dict[str, str]:
    """Field of a dataclass or named tuple -> the comment on its line."""
    source = textwrap.dedent(inspect.getsource(cls))
    lines = source.splitlines()
    body = next(node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)).body
    return {
        ast.unparse(node.target): lines[node.lineno - 1].partition("  # ")[2]
        for node in body
        if isinstance(node, ast.AnnAssign)
    }


def render(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    named = {n for line in lines if (row := ROW.fullmatch(line)) for n in row[1].split(", ")}
    lines[:] = restructured(lines)
    if what == "class" and (is_dataclass(thing) or hasattr(thing, "_fields")):
        about = comments_of(thing)
        rows = [(k, v) for k, v in about.items() if v and k not in named | {"kind"}]
        if rows:
            lines += [".. rubric:: Fields", "", *listed(rows), ""]


def skipped(app: Sphinx, what: str, name: str, thing: Any, skip: bool, options: Any) -> bool | None:
    """A field of a named tuple, of which Python says 'Alias for field number 0'."""
    return True if (inspect.getdoc(thing) or "").startswith("Alias for field number") else None


def without_kind(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, signature: str, returns: str
) -> tuple[str, str]:
    """A sampler's or network's `kind` is a tag for files, and nobody passes it."""
    if signature and what == "class":
        signature = re.sub(r",? ?kind: [^=]*=\s*'[^']*'", "", signature).replace("(, ", "(")
    return signature, returns


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", render)
    app.connect("autodoc-process-signature", without_kind)
    app.connect("autodoc-skip-member", skipped)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

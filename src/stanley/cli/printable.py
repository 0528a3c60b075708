"""Text that may hold the names of other people's files, for a terminal, a JSON reader, or a
spreadsheet.

A file may be called anything: with an escape sequence that clears the screen, a newline that starts
a line of its own, a sign that turns a name around, or a formula that a spreadsheet carries out.
"""

from __future__ import annotations

import json
import unicodedata
from typing import Any

LONGEST = 1500  # characters of an error

#: Of Unicode: controls, signs that change direction or do not show, halves of pairs.
HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")

#: What a spreadsheet takes for the beginning of a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def one_line(text: str, longest: int | None = None) -> str:
    """The text in one line, what does not show written as \\x1b or \\u202e; cut where it is longer
    than `longest`.
    """
    shown = "".join(escaped(c) if unicodedata.category(c) in HIDDEN else c for c in text)
    if longest is None or len(shown) <= longest:
        return shown
    return f"{shown[: longest - 30]} … ({len(shown):,} characters)"


def escaped(character: str) -> str:
    code = ord(character)
    short = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character)
    return short or (
        f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
    )


def as_json(value: Any) -> str:
    """One JSON object in one line, strict, and free of what a terminal would act on."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return "".join(json.dumps(c)[1:-1] if unicodedata.category(c) in HIDDEN else c for c in text)


def cell(text: str) -> str:
    """A text as a spreadsheet shows it and does not carry it out."""
    return f"'{text}" if text.startswith(FORMULA) else text

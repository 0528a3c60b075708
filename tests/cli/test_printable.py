"""Names of files are shown, never carried out: by a terminal, a reader of JSON, or a
spreadsheet.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanley.cli.printable import FORMULA, LONGEST, as_json, cell, one_line

NAMES = {
    "a\nb": "a\\nb",
    "a\x1b[2Jb": "a\\x1b[2Jb",
    "\x9b31m": "\\x9b31m",
    "\u202egnp.exe": "\\u202egnp.exe",
    "a\u2028b": "a\\u2028b",
    "\udcff": "\\udcff",
    "Flügel γ ‖ 日本": "Flügel γ ‖ 日本",
    "a\\nb": "a\\nb",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_one_line(name: str) -> None:
    assert one_line(name) == NAMES[name]


@given(st.text())
def test_any_text_is_one_printable_line(text: str) -> None:
    shown = one_line(text, LONGEST)
    assert shown.isprintable() or not shown.isascii()
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in shown)
    assert len(shown.splitlines()) <= 1
    assert len(shown) <= LONGEST


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.none()))
def test_json_says_the_same_without_a_control_character(value: dict[str, object]) -> None:
    text = as_json(value)
    assert json.loads(text) == value
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u202e\u2028" for c in text)


def test_numbers_that_json_does_not_have_are_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        as_json({"kl": float("inf")})


@pytest.mark.parametrize("start", FORMULA)
def test_a_cell_is_no_formula(start: str) -> None:
    assert cell(f"{start}cmd|' /C calc'!A1.png") == f"'{start}cmd|' /C calc'!A1.png"
    assert cell(f"a{start}b.png") == f"a{start}b.png"

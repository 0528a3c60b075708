"""One grammar of values for flags and files: what it reads, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from stanley.cli.config_file import read_config_file
from stanley.cli.flags import real, whole
from stanley.cli.values import MOST_VALUES, load, number, parse_fields, whole_number
from stanley.config import to_dict
from stanley.errors import StanleyError
from stanley.training.recipes import RECIPES, recipe
from stanley.training.resolve import resolve

NUMBERS = {
    "12": 12, "-3": -3, "+3": 3, "0": 0, "-0": 0, "0.5": 0.5, ".5": 0.5, "-.5": -0.5, "5.": 5.0,
    "1e3": 1000.0, "1e-3": 1e-3, "2.5E+2": 250.0,
}  # fmt: skip
#: What YAML 1.1, int() or float() take for a number and a person may not.
WORDS = (
    *(
        "010",
        "00.5",
        "0x10",
        "0o17",
        "0b11",
        "1_000",
        "1:30",
        "1:30.5",
        "٣",
        "１２",
        "½",
        "²",
        "1e",
    ),
    *("infinity", "nan", ".inf", ".nan", "2026-01-01", "1,5", "--1", "1e99999", ""),
)


@pytest.mark.parametrize("text", NUMBERS)
def test_numbers(text: str) -> None:
    assert number(text) == load(text) == NUMBERS[text]
    assert type(number(text)) is type(NUMBERS[text])


@pytest.mark.parametrize("text", WORDS)
def test_words_that_look_like_numbers(text: str) -> None:
    assert number(text) is None
    assert not isinstance(load(text), int | float)
    if text.strip():
        with pytest.raises(StanleyError, match=r"steps is .*, but must be a "):
            resolve("rings", {}, parse_fields([f"--steps={text}"]))


def test_digits_without_end_are_no_number() -> None:
    assert number("9" * 5000) is None
    assert number("9" * 25) == int("9" * 25)


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**20), 10**20))
def test_what_python_writes_is_read_back(value: float) -> None:
    assert number(repr(value)) == load(repr(value)) == value


@pytest.mark.parametrize(
    ("text", "value"), [("1e3", 1000), ("7", 7), ("7.0", 7), ("7.5", None), ("1e30", None)]
)
def test_whole_numbers(text: str, value: int | None) -> None:
    assert whole_number(text) == value


@pytest.mark.parametrize("text", WORDS)
def test_flags_of_commands_have_the_same_grammar(text: str) -> None:
    class Token:
        value = text

    for convert in (whole, real):
        with pytest.raises(ValueError, match="is not a"):
            convert(None, [Token()])  # type: ignore[list-item]


REFUSED = {
    "a: 1\na: 2\n": r"'a' is given twice in line 2",
    "data: {num: 1, num: 2}\n": r"'num' is given twice in line 1",
    "a: !!int x\n": "is a tag in line 1",
    "a: !!python/object/apply:os.system [ls]\n": "is a tag in line 1",
    "a: &x [*x]\n": "nested over 20 levels deep",
    "[" * 5000: "nested too deeply",
    "? [1]\n: 2\n": "a field is named by a list",
    "a: 1\n--- \nb: 2\n": "expected a single document",
}


@pytest.mark.parametrize("text", REFUSED)
def test_refused_texts(text: str) -> None:
    with pytest.raises(StanleyError, match=REFUSED[text]) as error:
        load(text)
    assert "\n" not in str(error.value)


def test_aliases_are_counted_as_if_they_were_written_out() -> None:
    """Thirty lines that are a billion values; a few aliases are fine."""
    lines = ["a0: &a0 [1, 1]"] + [f"a{k}: &a{k} [*a{k - 1}, *a{k - 1}]" for k in range(1, 30)]
    with pytest.raises(StanleyError, match=f"over {MOST_VALUES:,} values"):
        load("\n".join(lines))
    assert load("a: &x [1, 2]\nb: *x\n") == {"a": [1, 2], "b": [1, 2]}


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_read_as_it_is_printed(name: str, tmp_path: Path) -> None:
    full = to_dict(recipe(name))
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(full, sort_keys=False))
    assert read_config_file(tmp_path / "c.yaml") == full
    assert resolve(name, full, {}) == recipe(name)


@pytest.mark.parametrize("suffix", [".yaml", ".toml"])
def test_a_device_or_a_folder_is_no_configuration(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"zero{suffix}").symlink_to("/dev/zero")
    (tmp_path / f"folder{suffix}").mkdir()
    for name in ("zero", "folder"):
        with pytest.raises(StanleyError, match=r"is no file|cannot be read"):
            read_config_file(tmp_path / f"{name}{suffix}")


@pytest.mark.parametrize("value", ["3", "[1]", "null", "2.5", "true", "{}"])
@pytest.mark.parametrize("part", ["data", "network", "sampler", "optimizer"])
def test_a_part_that_is_no_kind(part: str, value: str) -> None:
    with pytest.raises(StanleyError, match=f"{part} is .*, but must be one of its kinds"):
        resolve("rings", {}, parse_fields([f"--{part}={value}"]))

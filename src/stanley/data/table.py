"""Numbers from text files of separated values: .csv and .tsv."""

from __future__ import annotations

import csv
import re
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TextIO

import numpy as np

from stanley.errors import StanleyError, did_you_mean, require

SUFFIXES = (".csv", ".tsv")
DELIMITERS = (",", ";", "\t", "|")
#: What stands for a value that is not there, in small letters.
MISSING = ("", "na", "n/a", "nan", "null", "none")
SEEN = 50  # rows from which the delimiter is told
WHOLE = re.compile(r"[+-]?\d+")
DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Table:
    """Rows of numbers (N, d), NaN where a value is missing, and what is known of where they stood.

    columns   names of the d columns, None where the file has none
    lines     the line of the file that each row ends in, from 1; None for a file without lines
    """

    rows: np.ndarray
    columns: tuple[str, ...] | None = None
    lines: Sequence[int] | None = None

    def row_name(self, row: int) -> str:
        return f"row {row}" if self.lines is None else f"line {self.lines[row]}"

    def column_name(self, column: int) -> str:
        return f"column {column}" if self.columns is None else repr(self.columns[column])


def is_table(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def read_table(
    path: Path, header: bool | None = None, columns: Sequence[str | int] | None = None
) -> Table:
    """The numbers of a .csv or .tsv file.

    header    whether the first line names the columns; None: whether it holds text above numbers
    columns   names of the columns to take, or their numbers from 0; None for all

    Values are separated by commas, semicolons, tabs or bars, whichever splits the first rows into
    the most columns of equal number; beside semicolons and tabs 1,5 is 1.5. Cells may be quoted,
    blank lines are skipped. Raises StanleyError, with line and column, for text among the numbers,
    rows of different lengths, a first line of numbers that may be names, and an index that pandas
    left in the first column.
    """
    with _reading(path):
        delimiter = _delimiter(path)
        with path.open(newline="", encoding="utf-8-sig") as file:
            return _parsed(path, file, delimiter, header, columns)


def first_cells(path: Path) -> tuple[str, ...]:
    """What stands in the first line, without the space around it; these may be names."""
    with _reading(path):
        delimiter = _delimiter(path)
        with path.open(newline="", encoding="utf-8-sig") as file:
            _, cells = next(_filled_rows(file, delimiter), (0, []))
            return _as_names(cells)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Tell in one line what is wrong with a file that is no text, or not well formed."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise StanleyError(
            f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8"
        ) from error
    except (OSError, csv.Error, MemoryError) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise StanleyError(f"cannot read {path}: {why}; save it again as CSV") from error


def _delimiter(path: Path) -> str:
    """The delimiter that gives the most cells, all rows having as many; else the most in the
    first row.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        head = [line for line in islice(file, SEEN) if line.strip()]
    require(head, f"{path} is empty; save a table of numbers, a row a line")

    def cells(delimiter: str) -> tuple[bool, int]:
        try:
            counts = [len(row) for row in csv.reader(head, delimiter=delimiter) if row]
        except csv.Error:
            return False, 0
        return len(set(counts[:-1] or counts)) == 1 and counts[0] > 1, counts[0]

    return max(DELIMITERS, key=cells)


def _parsed(
    path: Path,
    file: TextIO,
    delimiter: str,
    header: bool | None,
    columns: Sequence[str | int] | None,
) -> Table:
    rows = _filled_rows(file, delimiter)
    first = next(rows, None)
    require(first is not None, f"{path} holds no row of numbers; save a table of numbers")
    assert first is not None
    second = next(rows, None)
    width, comma = len(first[1]), delimiter in (";", "\t")
    names, given = None, first[1]
    if header if header is not None else _names_columns(given, second, comma):
        names = _as_names(given)
        body = rows if second is None else chain([second], rows)
        if width > 1 and not names[-1] and second is not None and _is_blank(second[1][-1:]):
            names = names[:-1]  # every line ends in a delimiter
    else:
        body = chain([first], rows if second is None else chain([second], rows))
    chosen = _chosen(path, names, width, columns)
    numbers, lines, others_whole = array("d"), array("q"), second is None
    for count, (line, cells) in enumerate(body):
        require(
            len(cells) == width,
            f"{path} line {line} has {len(cells)} cells, the first row has {width}; give all rows "
            "as many, and quote cells that hold the delimiter",
        )
        others_whole = others_whole or (count > 0 and all(map(WHOLE.fullmatch, cells)))
        lines.append(line)
        for column in chosen:
            number = _number(cells[column], comma)
            if number is None:
                name = f"column {column}" if names is None else f"column {names[column]!r}"
                some = "0,1" if names is None else ",".join(n for n in names if n)[:60]
                raise StanleyError(
                    f"{path} line {line}, {name} is {cells[column][:40]!r}, which is no number; "
                    f"remove it, or name the columns to take with --data.columns (of {some})"
                )
            numbers.append(number)
    table = np.frombuffer(numbers, dtype=np.float64).reshape(len(lines), len(chosen)).copy()
    if header is None and names is None and width > 1 and all(map(WHOLE.fullmatch, given)):
        counting = width > 2 and [int(c) for c in given] == list(range(width))
        _refuse_numbers_that_may_be_names(path, given, counting or not others_whole)
    if names is not None and columns is None:
        _refuse_an_index(path, names, table)
    picked = None if names is None else tuple(names[column] for column in chosen)
    return Table(table, picked, lines)


def _filled_rows(file: TextIO, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The line that each row ends in, and its cells; blank rows are left out."""
    reader = csv.reader(file, delimiter=delimiter)
    for cells in reader:
        if not _is_blank(cells):
            yield reader.line_num, cells


def _as_names(cells: Sequence[str]) -> tuple[str, ...]:
    names = tuple(cell.strip() for cell in cells)
    return (names[0].lstrip("# "), *names[1:]) if names else ()  # numpy.savetxt writes "# a,b"


def _is_blank(cells: Sequence[str]) -> bool:
    return not any(cell.strip() for cell in cells)


def _number(cell: str, comma: bool) -> float | None:
    """The number in a cell, NaN where none is there, None where it is text."""
    try:
        return float(cell)
    except ValueError:
        text = cell.strip()
    if text.lower() in MISSING:
        return np.nan
    return float(text.replace(",", ".")) if comma and DECIMAL_COMMA.fullmatch(text) else None


def _names_columns(first: list[str], second: tuple[int, list[str]] | None, comma: bool) -> bool:
    """Whether the first row holds names: nothing but text, or text above a number."""
    text = [_number(cell, comma) is None for cell in first]
    if all(text) or second is None:
        return all(text)
    blank = [is_text or not cell.strip() for is_text, cell in zip(text, first, strict=True)]
    above = zip(text, (_number(cell, comma) for cell in second[1]), strict=False)
    return (any(text) and all(blank)) or any(
        is_text and below is not None and not np.isnan(below) for is_text, below in above
    )


def _chosen(
    path: Path, names: tuple[str, ...] | None, width: int, columns: Sequence[str | int] | None
) -> list[int]:
    """The numbers of the columns to take."""
    last = width if names is None else len(names)
    return list(range(last)) if columns is None else chosen_columns(path, names, last, columns)


def chosen_columns(
    path: Path, names: tuple[str, ...] | None, width: int, columns: Sequence[str | int]
) -> list[int]:
    """The numbers of the columns that are named, or numbered from 0; names come first."""
    require(columns, "data.columns is empty; name the columns to take, or leave it out for all")
    found = []
    for column in columns:
        there = [k for k, name in enumerate(names or ()) if name == str(column)]
        require(len(there) <= 1, f"{path} has {len(there)} columns {column!r}; give their numbers")
        if not there and re.fullmatch(r"\d+", str(column)):
            there = [int(column)] if int(column) < width else []
        if not there:
            have = (
                f"its columns are 0 to {width - 1}, and have no names"
                if names is None
                else did_you_mean(str(column), names)
            )
            raise StanleyError(f"data.columns has {column!r}, which {path} has not: {have}")
        found += there
    twice = [column for column in found if found.count(column) > 1]
    require(not twice, f"data.columns names column {twice[0] if twice else 0} twice; give it once")
    return found


def _refuse_numbers_that_may_be_names(path: Path, first: Sequence[str], doubtful: bool) -> None:
    require(
        not doubtful,
        f"the first line of {path} ({', '.join(first)[:60]}) may be names of columns or numbers: "
        "say which with --data.header true or false",
    )


def _refuse_an_index(path: Path, names: tuple[str, ...], table: np.ndarray) -> None:
    """A column without a name that counts the rows is what pandas writes beside a table."""
    unnamed = names[0] == "" or names[0].startswith("Unnamed:")
    first = table[:, 0]
    counts = len(first) > 1 and np.array_equal(first - first[0], np.arange(len(first)))
    others = ",".join(name for name in names[1:])[:60]
    require(
        not (unnamed and counts),
        f"the first column of {path} has no name and counts the rows; leave it out with "
        f"--data.columns {others}, or save the table without its index",
    )

"""Vectors from .csv and .tsv files: what is read, and the one line for what cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from stanley.data import Array
from stanley.data.table import read_table
from stanley.errors import StanleyError
from tests import seeds


def numbers(n: int = 40, d: int = 3) -> np.ndarray:
    return seeds.RNG.standard_normal((n, d)) * 10.0 ** seeds.RNG.integers(-5, 5, d)


def text(x: np.ndarray, head: str | None = "height,weight,b", by: str = ",") -> str:
    body = "\n".join(by.join(map(repr, row)) for row in x.tolist()) + "\n"
    return body if head is None else f"{head.replace(',', by)}\n{body}"


def write(folder: Path, content: str, name: str = "x.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode())
    return path


NAMES = ("height", "weight", "b")


def quoted(x: np.ndarray) -> str:
    return "\n".join(",".join(f'"{v!r}"' for v in row) for row in x.tolist())


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (text, NAMES),
        (lambda x: text(x, None), None),
        (lambda x: text(x, by=";"), NAMES),
        (lambda x: text(x, by="\t"), NAMES),
        (lambda x: text(x, by="|"), NAMES),
        (lambda x: text(x, by=";").replace(".", ","), NAMES),
        (lambda x: text(x).replace("\n", "\r\n"), NAMES),
        (lambda x: "\ufeff" + text(x), NAMES),
        (lambda x: text(x).replace("\n", "\n\n"), NAMES),
        (lambda x: text(x).replace("\n", ",\n"), NAMES),
        (lambda x: text(x).replace(",", " , "), NAMES),
        (lambda x: "# " + text(x), NAMES),
        (quoted, None),
        (lambda x: '"height","we,ight","b"\n' + quoted(x), ("height", "we,ight", "b")),
        (lambda x: text(x, "height,2020,b"), ("height", "2020", "b")),
        (lambda x: text(x, "height,,b"), ("height", "", "b")),
    ],
    ids=range(16),
)
def test_tables_that_are_read(tmp_path: Path, make, names) -> None:
    x = numbers()
    table = read_table(write(tmp_path, make(x)))
    assert table.columns == names
    assert np.array_equal(table.rows, x)  # repr and float are inverse


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "a,b\n1,2.5\n\n3,4.5\n"))
    assert list(table.lines or ()) == [2, 4]
    assert (table.row_name(1), table.column_name(1)) == ("line 4", "'b'")


def test_a_table_trains_as_the_array_does(tmp_path: Path) -> None:
    x = numbers()
    np.save(tmp_path / "x.npy", x)
    table = Array(path=str(write(tmp_path, text(x)))).load()
    plain = Array(path=str(tmp_path / "x.npy")).load()
    assert torch.equal(table.train, plain.train)
    assert torch.equal(table.test, plain.test)
    assert (table.columns, plain.columns) == (NAMES, None)


@pytest.mark.parametrize("columns", ["b,height", ("b", "height"), (2, 0), "2,height"])
def test_columns_that_are_named(tmp_path: Path, columns) -> None:
    """Text in the others is not looked at."""
    x = numbers()
    lines = text(x, "height,species,b").splitlines()
    lines = [lines[0], *(f"{line.split(',')[0]},setosa,{line.split(',')[2]}" for line in lines[1:])]
    path = write(tmp_path, "\n".join(lines))
    data = Array(path=str(path), columns=columns, standardise=False).load()
    assert data.columns == ("b", "height")
    both = torch.cat([data.train, data.test]).numpy()
    assert np.array_equal(np.sort(both, 0), np.sort(x[:, [2, 0]].astype(np.float32), 0))


def test_a_first_line_of_numbers(tmp_path: Path) -> None:
    """It may be names: then the user says so. A row of integers among integers is a row."""
    x = numbers()
    for head in ("2019,2020,2021", "0,1,2", "17,4,99"):
        path = write(tmp_path, text(x, head))
        with pytest.raises(StanleyError, match=r"first line .*--data\.header true or false"):
            read_table(path)
        assert read_table(path, header=True).columns == tuple(head.split(","))
        assert read_table(path, header=False).rows.shape == (41, 3)
        assert read_table(path, header=True, columns=[head.split(",")[1]]).rows.shape == (40, 1)
    whole = seeds.RNG.integers(0, 9, (40, 2))
    assert read_table(write(tmp_path, text(whole, None))).rows.shape == (40, 2)


GOOD = "a,b\n" + "".join(f"{k},{k * k / 7}\n" for k in range(30))


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("", ("is empty",)),
        ("\n \n", ("is empty",)),
        ("a,b\n", ("(0, 2)", "empty")),
        (GOOD + "1\n", ("line 32 has 1 cells", "the first row has 2")),
        (GOOD + "1,2,3\n", ("line 32 has 3 cells",)),
        (GOOD + "1,x\n", ("line 32, column 'b' is 'x'", "no number", "--data.columns")),
        (GOOD + '1,"1,234.5"\n', ("column 'b' is '1,234.5'",)),
        ("1.5,2.5,setosa\n2.5,3.5,setosa\n", ("line 1, column 2 is 'setosa'",)),
        ("name,city\nBob,Paris\n", ("line 2, column 'name' is 'Bob'",)),
        (GOOD + "1,\n", ("1 missing, NaN or infinite", "line 32, 'b'", "remove their rows")),
        (GOOD + "NA,nan\n", ("2 missing", "line 32, 'a'")),
        (GOOD + "inf,1\n", ("1 missing, NaN or infinite", "line 32, 'a'")),
        (GOOD.replace("\n", ",7\n"), ("1 constant column(s) of 3: 7",)),
        (",a\n" + GOOD[4:], ("no name and counts the rows", "--data.columns a")),
        ('a,b\n"1,2\n3,4', ("line 3 has 1 cells",)),
    ],
)
def test_tables_that_are_refused(tmp_path: Path, refused, content: str, parts) -> None:
    path = write(tmp_path, content)
    with refused(path, *parts):
        Array(path=str(path)).load()


def test_other_refusals(tmp_path: Path, refused) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes("gr\u00f6\u00dfe,b\n1,2\n".encode("latin-1"))
    with refused(path, "not UTF-8"):
        Array(path=str(path)).load()
    path = write(tmp_path, GOOD)
    with refused("data.key is 'x'", "leave it out"):
        Array(path=str(path), key="x").load()
    with refused("data.columns has 'hieght'", "height"):
        Array(path=str(write(tmp_path, text(numbers()))), columns="hieght").load()
    with refused("data.columns is empty"):
        Array(path=str(path), columns=()).load()
    with refused("2 columns 'a'", "numbers"):
        Array(path=str(write(tmp_path, GOOD.replace("a,b", "a,a"))), columns="a").load()
    with refused("not a .npy or .npz file", "ending .csv"):
        Array(path=str(write(tmp_path, GOOD, "x.txt"))).load()


def test_any_damage_to_a_table_is_told_in_one_line(tmp_path: Path) -> None:
    whole = text(numbers()).encode()
    refusals: list[str] = []
    for _ in range(200):
        damaged = bytearray(whole)
        for at in seeds.RNG.integers(0, len(whole), 3):
            damaged[at] = seeds.RNG.integers(256)
        path = tmp_path / "x.csv"
        path.write_bytes(damaged)
        try:
            Array(path=str(path)).load()
        except StanleyError as error:
            refusals.append(str(error))
    assert refusals
    assert all("x.csv" in told and "\n" not in told for told in refusals)

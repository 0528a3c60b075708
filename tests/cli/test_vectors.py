"""The commands on a table of a user's own, with columns of very different scale."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import stanley
from stanley.cli import main
from stanley.types import in_float32
from tests import seeds

MEAN, SCALE = np.array([1.75, 6e4, 1.6e9]), np.array([0.1, 2e4, 1e3])
NAMES = ["height", "income", "$when$"]
TRAINED = ("--steps", 30, "--batch", 32, "--save-every", 30, "--warmup", 5, "--network.width", 16)


def write(path: Path, rows: np.ndarray, names: list[str] | None = None) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([] if names is None else [names])
        writer.writerows(rows.tolist())
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table, and runs on all of its columns and on the first two."""
    seeds.begin(seeds.fresh_seed(), "place")
    folder = tmp_path_factory.mktemp("vectors")
    x = MEAN + SCALE * seeds.RNG.standard_normal((400, 3))
    write(folder / "table.csv", x, NAMES)
    for name, words in (("run", ()), ("plane", ("--data.columns", "height,income"))):
        words = ("train", "array", "--data.path", folder / "table.csv", *TRAINED, *words)
        with pytest.raises(SystemExit) as ended:
            main([str(w) for w in (*words, "--out", folder / name, "--quiet")])
        assert not ended.value.code
    return folder


def run(capsys: pytest.CaptureFixture[str], *words: object) -> dict:
    with pytest.raises(SystemExit) as ended:
        main([*map(str, words), "--json"])
    told = capsys.readouterr()
    assert not ended.value.code, told.err
    return json.loads(told.out)


def error(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    with pytest.raises(SystemExit) as ended:
        main([*map(str, words)])
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    return told


def test_samples_are_in_the_units_of_the_table(place: Path, capsys, tmp_path: Path) -> None:
    """As an array and as CSV with its names: five standard errors of 64 means, of chains that are
    anywhere near the data."""
    told = run(capsys, "sample", place / "run", "--num", 64, "--steps", 20, "--out", tmp_path)
    x = np.load(told["files"][0])
    assert (np.abs(x.mean(0) - MEAN) < 5 * SCALE).all()
    with Path(told["files"][1]).open(newline="") as file:
        names, *rows = csv.reader(file)
    assert names == NAMES
    assert np.array_equal(np.array(rows, float), x)
    assert Path(told["files"][2]).suffix == ".png"
    other = ("--sampler", "mala", "--warm-up", 20, "--keep-every", 5)
    told = run(
        capsys, "sample", place / "run", "--num", 8, "--steps", 10, *other, "--out", tmp_path
    )
    draws = np.load(next(f for f in told["files"] if "every" in f))
    assert (np.abs(draws.mean((0, 1)) - MEAN) < 5 * SCALE).all()


def test_evaluate_plot_diagnose_and_likelihood(place: Path, capsys) -> None:
    for name in ("run", "plane"):
        scores = run(capsys, "evaluate", place / name, "--num", 32, "--steps", 10)
        assert scores["standardised"]["columns"] == NAMES[: 3 if name == "run" else 2]
        assert len(run(capsys, "plot", place / name)["files"]) == (5 if name == "run" else 6)
    assert scores["nll_held_out"]["value"] == pytest.approx(np.log(SCALE[:2]).sum() + 2.84, abs=1)
    few = ("--num", 4, "--steps", 8, "--warm-up", 2, "--pairs", 0, "--rays", 0, "--copies", 0)
    table = run(capsys, "diagnose", place / "run", *few)["table"]
    assert [row["name"] for row in table] == ["U", *NAMES]
    assert table[3]["mean"] == pytest.approx(1.6e9, abs=5e3)
    words = ("likelihood", place / "run", "--levels", 5, "--chains", 4, "--model-steps", 2)
    assert run(capsys, *words)["held_out"]["lower"] > 10


def test_ood_scores_rows(place: Path, capsys, tmp_path: Path) -> None:
    """U of each row in the units of the table, its percentile, and where the row stands; columns
    are found by name, rows with gaps are skipped and named."""
    model = stanley.load(place / "run", device="cpu")
    x = MEAN + SCALE * seeds.RNG.standard_normal((5, 3))
    x[4] = MEAN + 40 * SCALE
    mixed = tmp_path / "rows.csv"
    lines = [f"{when!r},row {k},{a!r},{b!r}" for k, (a, b, when) in enumerate(x.tolist())]
    lines.insert(2, "1.6e9,a gap,,5e4")
    mixed.write_text("\n".join([f"{NAMES[2]},id,height,income", *lines]) + "\n")
    told = run(capsys, "ood", place / "run", mixed, "--out", tmp_path / "found.csv")
    assert told["skipped"] == ["line 4: a value is missing, NaN or infinite"]
    assert told["n_held_out"] == 40
    rows = list(csv.DictReader((tmp_path / "found.csv").read_text().splitlines()))
    assert [row["row"] for row in rows] == ["2", "3", "5", "6", "7"]
    u = in_float32(model.potential)(torch.from_numpy(x))
    for k, row in enumerate(rows):
        assert float(row["energy"]) == pytest.approx(float(u[k]), rel=1e-4)
        assert [float(row[name]) for name in NAMES] == x[k].tolist()
    assert rows[4]["percentile"] == "100.00"

    np.save(tmp_path / "rows.npy", x)
    again = run(capsys, "ood", place / "run", tmp_path / "rows.npy", "--against", "held-out")
    assert again["energy"]["n_out"] == 5
    found = list(csv.DictReader((place / "run" / "ood" / "rows.csv").read_text().splitlines()))
    assert [row["energy"] for row in found] == [row["energy"] for row in rows]
    assert [row["row"] for row in found] == list("01234")
    inside = write(tmp_path / "inside.csv", x[:4])
    words = ("ood", place / "run", mixed, "--against", inside, "--out", tmp_path / "three.csv")
    assert run(capsys, *words)["energy"]["n_in"] == 4


def test_ood_of_a_packed_model_knows_its_columns(place: Path, capsys, tmp_path: Path) -> None:
    run(capsys, "pack", place / "plane", "--out", tmp_path / "packed")
    told = run(capsys, "ood", tmp_path / "packed", place / "table.csv")
    assert "--data.path" in told["no_held_out"]
    with (tmp_path / "packed" / "ood" / "table.csv").open(newline="") as file:
        assert next(csv.reader(file))[-2:] == NAMES[:2]


def test_what_ood_refuses(place: Path, capsys, tmp_path: Path) -> None:
    x = MEAN + SCALE * seeds.RNG.standard_normal((5, 3))
    for content, names, parts in (
        (x, ["a", "height", "income"], ("no column '$when$'", "its columns: a, height, income")),
        (x[:, :2], None, ("has 2 columns, the model knows 3: height, income, $when$",)),
        (x * np.nan, NAMES, ("no row without a value that is missing",)),
    ):
        path = write(tmp_path / "rows.csv", content, names)
        told = error(capsys, "ood", place / "run", path)
        assert all(part in told for part in parts), told
    assert "is not a file" in error(capsys, "ood", place / "run", tmp_path)
    assert "--resize" in error(capsys, "ood", place / "run", place / "table.csv", "--resize")
    assert "not images" in error(capsys, "interpolate", place / "run", *[place / "table.csv"] * 2)


def test_sums_of_runs_are_in_the_units_of_the_data(place: Path, capsys, tmp_path: Path) -> None:
    words = ("compose", place / "run", place / "run", "--num", 16, "--steps", 5, "--warm-up", 20)
    told = run(capsys, *words, "--out", tmp_path)
    assert (np.abs(np.load(told["files"][0]).mean(0) - MEAN) < 5 * SCALE).all()
    assert told["files"][1].endswith(".csv")


def test_a_header_with_a_formula_is_not_carried_out(place: Path, capsys, tmp_path: Path) -> None:
    x = seeds.RNG.standard_normal((60, 2))
    path = write(tmp_path / "x.csv", x, ["=1+1", "\x1b[2J"])
    run(capsys, "train", "array", "--data.path", path, *TRAINED, "--out", tmp_path / "run")
    told = run(capsys, "sample", tmp_path / "run", "--num", 2, "--steps", 2)
    assert Path(told["files"][1]).read_text().startswith("'=1+1,")
    run(capsys, "evaluate", tmp_path / "run", "--num", 16, "--steps", 4)
    run(capsys, "plot", tmp_path / "run")
    with pytest.raises(SystemExit):
        main(["diagnose", str(tmp_path / "run"), "--num", "4", "--steps", "8", "--pairs", "0"])
    assert "\x1b" not in capsys.readouterr().out


def test_without_standardising_scales_are_warned_of(place: Path, capsys, tmp_path: Path) -> None:
    """The negative control: the same table as it is."""
    shutil.copy(place / "table.csv", tmp_path)
    words = ("train", "array", "--data.path", tmp_path / "table.csv", *TRAINED)
    plain = ("--data.standardise", "false", "--steps", 1, "--out", tmp_path / "run")
    words = [w for w in words if w not in ("--steps", 30)]
    with pytest.raises(SystemExit):
        main([str(w) for w in (*words[:4], *plain)])
    told = capsys.readouterr().err
    assert "data.standardise true" in told

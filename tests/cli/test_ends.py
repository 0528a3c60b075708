"""How commands end: closed and full streams, a target that fails late, a fault, names of files."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stanley.cli import main

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
SAMPLE = ("--num", "4", "--steps", "2", "--warm-up", "2")


def shell(words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = f"{sys.executable} -m stanley {words}"
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip


def ended(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Exit code and stderr."""
    code = 0
    try:
        main(list(words))
    except SystemExit as end:
        code = int(end.code or 0)
    return code, capsys.readouterr().err


@pytest.mark.parametrize("words", ["recipes", "--help", "train --help", "sample --help"])
def test_a_reader_that_has_seen_enough(tmp_path: Path, words: str) -> None:
    """`| head` is no error of the command, whose work was done."""
    done = shell(f"{words} | :", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("closed", ["2>&-", ">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams(tmp_path: Path, closed: str) -> None:
    """No file of the answer gets the number, and with it the words, of a stream."""
    done = shell(f"sample --target banana {' '.join(SAMPLE)} --out new {closed}", tmp_path)
    assert done.returncode == 0
    (record,) = (tmp_path / "new").glob("*.json")
    assert json.loads(record.read_text())["num"] == 4
    assert np.load(record.with_suffix(".npy")).shape == (4, 2)


def test_the_picture_that_is_asked_for(tmp_path: Path, monkeypatch, capsys) -> None:
    """`--out x.png` is that picture, with its array and record beside it, and no folder."""
    monkeypatch.chdir(tmp_path)
    assert ended(capsys, "sample", "--target", "banana", *SAMPLE, "--out", "deep/x.png")[0] == 0
    assert sorted(p.name for p in (tmp_path / "deep").iterdir()) == ["x.json", "x.npy", "x.png"]
    with Image.open(tmp_path / "deep/x.png") as picture:
        assert picture.width > 100


LATE = """
calls = []
def U(x):
    calls.append(1)
    if len(calls) > 6:
        {}
    return (x**2).sum(1)
"""


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        ("raise ValueError('late\\nand long')", "ValueError: late and long"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("raise BaseException('x')", "BaseException: x"),
        ("open('/nowhere')", "FileNotFoundError"),
    ],
)
def test_a_target_that_fails_late(tmp_path, monkeypatch, capsys, raised: str, said: str) -> None:
    """One line that names the user's own line, and no 0 for what was not done."""
    monkeypatch.chdir(tmp_path)
    Path("torch.py").write_text(LATE.format(raised))
    before = sys.modules["torch"]
    code, err = ended(
        capsys, "sample", "--target", "torch.py:U", "--shape", "2", "--num", "2", "--steps", "50"
    )
    assert sys.modules["torch"] is before
    assert code == 2
    assert err.count("\n") == 1
    assert f"torch.py, line 6 raised {said}" in err


def test_a_fault_is_one_line_and_shown_on_request(tmp_path, monkeypatch, capsys) -> None:
    def broken(*_: object) -> None:
        raise KeyError("oops")

    monkeypatch.setattr("stanley.training.recipes.recipe", broken)
    monkeypatch.delenv("STANLEY_TRACEBACK", raising=False)
    code, err = ended(capsys, "recipes", "rings")
    assert code == 2
    assert err.count("\n") == 1
    assert "KeyError: 'oops' in test_ends.py, line" in err
    assert "a fault of stanley" in err
    monkeypatch.setenv("STANLEY_TRACEBACK", "1")
    with pytest.raises(KeyError):
        main(["recipes", "rings"])


@pytest.mark.parametrize("name", ["x" * 300, "a\nb", "\x1b[2J", "a/" * 200])
def test_names_that_are_no_names(tmp_path: Path, monkeypatch, capsys, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (
        ["plot", name],
        ["sample", name],
        ["train", name],
        # where the name can be a folder's, 0 steps are what is refused
        ["train", "rings", "--out", name * 20, "--steps", "0"],
    ):
        code, err = ended(capsys, *words)
        assert code == 2
        assert err.count("\n") == 1
        assert err.rstrip("\n").isprintable()
        assert len(err) < 2000


def test_names_of_pictures_are_no_formulas(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("=p").mkdir()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (28, 28), np.uint8)).save("=p/a.png")
    words = ["ood", "--pretrained", "mnist", "=p", "--out", "a.csv"]
    assert ended(capsys, *words)[0] == 0
    with Path("a.csv").open() as file:
        assert [row["file"] for row in csv.DictReader(file)] == ["'=p/a.png"]

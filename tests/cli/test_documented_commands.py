"""Every command that a page tells a reader to type is one that the program takes: its name,
its flags, their types.
"""

from __future__ import annotations

import argparse
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
from cyclopts import CycloptsError

from stanley.cli import app
from stanley.cli.question import apart, asked
from stanley.cli.values import parse_fields
from stanley.comparing.record import read_record
from stanley.errors import StanleyError
from stanley.training.resolve import resolve

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
#: Flags of stanley compare that say what is asked.
ASKED = (
    *("samplers", "vary", "seeds", "first_seed", "steps", "budget", "seconds", "grid"),
    *("search", "trials", "by", "tuning_seeds", "target", "shape", "log_density"),
)
PROGRAMS = ("stanley", "python", "torchrun", "make")
# of numbers; RUN, DIR, IMAGE are paths as they stand
PLACEHOLDERS = {"S": "0", "H": "1e-4", "N": "8"}


def commands(page: Path) -> list[str]:
    """Lines of code blocks, fenced or indented, and code in rows of tables;
    cut at && and at comments.
    """
    text = page.read_text().replace("\\\n", " ")
    lines = re.findall(r"^ {4}(\S.*)$", text, re.M) + re.findall(
        r"^\|.*`(stanley [^`]+)`", text, re.M
    )
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S):
        lines += block.splitlines() if language in ("", "sh") else []
    parts = (
        part.strip().removeprefix(".venv/bin/")
        for line in lines
        for part in re.sub(r"(^|\s)#.*", "", line).split("&&")
    )
    return [
        part
        for part in dict.fromkeys(parts)
        if re.fullmatch(rf"({'|'.join(PROGRAMS)}) .*[^;,…]", part)
    ]


def found():
    for page in PAGES:
        for command in commands(page):
            yield pytest.param(command, id=f"{page.stem}: {command[:70]}")


def words_of(command: str) -> list[str]:
    return [PLACEHOLDERS.get(word, word) for word in shlex.split(command)]


def check(command: str) -> None:
    """Raises or exits where the program would refuse the words before it does any work."""
    program, *words = words_of(command)
    if program == "make":
        assert all(
            re.search(rf"^{word}:", (ROOT / "Makefile").read_text(), re.M) for word in words
        ), command
        return
    if program == "torchrun":
        words = words[words.index("--nproc-per-node") + 2 :]
        words = words[1:] if words[:2] == ["-m", "stanley"] else ["python", *words]
        program, *words = words
    if program == "python":
        script(*words)
        return
    function, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    if function.__name__ == "train":
        recipe, *fields = bound.args
        resolve(recipe, {}, parse_fields(fields))
    if function.__name__ == "compare":
        paths, fields = apart(bound.args)
        given = {name: bound.arguments.get(name) for name in ASKED}
        target = given["target"] or ""
        if len(paths) == 1 and paths[0].startswith("experiments/records/"):
            read_record(ROOT / paths[0])
            return
        there = paths and ("comparisons/" in paths[0] or paths[0].endswith(".json"))
        if there or len(paths) > 1 or ":" in target or "/" in target:
            return  # a folder, a record, runs, or a density that a reader has and nobody else
        asked(paths[0] if paths else None, given, fields, tuning=True).check()


class Parsed(Exception):
    """The script took its words."""


def script(path: str, *words: str) -> None:
    """Run up to the point where its arguments are read; `-m` comes before the name of a module."""
    if path == "-m":
        path, words = f"{words[0].replace('.', '/')}.py", words[1:]
    read = argparse.ArgumentParser.parse_args

    def parse_args(self, args=None, namespace=None):
        read(self, args, namespace)
        raise Parsed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [path, *words])
        patch.syspath_prepend(str((ROOT / path).parent))
        patch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
        with pytest.raises(Parsed):
            runpy.run_path(str(ROOT / path), run_name="__main__")


@pytest.mark.parametrize("command", found())
def test_a_documented_command_is_taken(command: str):
    check(command)


def test_there_are_many():
    assert len(list(found())) > 50


@pytest.mark.parametrize(
    "command",
    [
        "stanley trian rings",
        "stanley train ringz",
        "stanley train rings --network.depht 3",
        "stanley evaluate RUN --nmu 256",
        "stanley sample RUN --steps many",
        "stanley compare experiments/records/rnigs.json",
        "python benchmarks/chain_speed.py --jsno FILE",
        "python -m benchmarks.studio_soak 30 --uot FILE",
        "make tset",
    ],
)
def test_negative_control_a_misspelt_command_is_not(command: str):
    with pytest.raises((CycloptsError, StanleyError, SystemExit, AssertionError)):
        check(command)

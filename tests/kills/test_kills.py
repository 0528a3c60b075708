"""A command is stopped at a file operation, and asked again."""

from __future__ import annotations

import functools
import os
import random
import shutil
import tempfile
from pathlib import Path

import pytest

from .points import HOWS, KILLED, Ended, How, run
from .requests import REQUESTS, base, contents, fresh, leftovers

#: At how many operations each command is stopped in each way: in `make test` at one, and each in
#: one of the ways; at all of them where it is 0.
POINTS = int(os.environ.get("STANLEY_KILLS", "1"))
SEED = int(os.environ.get("STANLEY_KILLS_SEED", "0"))

#: Commands whose second run takes longer than the whole slice in `make test` may.
LONG = ("demo", "export", "features train")


@functools.cache
def unbroken(command: str) -> tuple[Ended, dict[str, bytes]]:
    """The command carried out at once, and what it leaves."""
    with tempfile.TemporaryDirectory(prefix="kills-") as temporary:
        folder = fresh(Path(temporary).resolve() / "box")
        end = run(REQUESTS[command], folder)
        return end, contents(folder)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("command", REQUESTS)
def test_the_same_command_again(command: str, how: How) -> None:
    ways = [HOWS[(list(REQUESTS).index(command) + SEED) % len(HOWS)]]
    if POINTS == 1 and (command in LONG or how not in ways):
        pytest.skip("in make kills")
    end, whole = unbroken(command)
    assert end.code == (2 if command == "train back" else 0), end.err
    operations = end.operations
    assert operations, f"{command} writes nothing"
    chosen = range(len(operations))
    if POINTS:
        chosen = sorted(
            random.Random(f"{SEED} {command} {how}").sample(chosen, min(POINTS, len(operations)))
        )
    for at in chosen:
        with tempfile.TemporaryDirectory(prefix="kills-") as temporary:
            folder = fresh(Path(temporary).resolve() / "box")
            stopped(command, how, at, operations, folder, whole)
        count()


def stopped(
    command: str, how: How, at: int, operations: list[str], folder: Path, whole: dict[str, bytes]
) -> None:
    words, before = REQUESTS[command], contents(base())
    where = f"{command}, {how} at operation {at} ({operations[at]})"
    first = run(words, folder, at, how)
    told = f"{where}: ended with {first.code}: {first.err[-600:]}"
    expected = {"kill": (KILLED,), "torn": (KILLED,), "interrupt": (130, 0), "full": (2, 0)}[how]
    assert first.code in (*expected, *((2,) if command == "train back" else ())), told
    assert "Traceback" not in first.err, told
    lost(before, folder, f"{where}, at once")
    again = run(words, folder)
    assert again.code == (2 if command == "train back" else 0), (
        f"{where}; the same again: {again.code} {again.err[-600:]}"
    )
    after = contents(folder)
    lost(before, folder, where)
    assert not leftovers(folder), f"{where} leaves {leftovers(folder)}"
    missing = sorted(set(whole) ^ set(after))
    assert not missing, (
        f"{where}: unbroken has {sorted(set(whole) - set(after))}, broken"
        f" {sorted(set(after) - set(whole))}"
    )
    # it diverges once more, which its page tells as well
    again = ("new/events.jsonl", "new/index.html") if command == "train back" else ()
    differ = [name for name in whole if whole[name] != after[name] and name not in again]
    assert not differ, f"{where}: {differ} differ from the unbroken ones"


def lost(before: dict[str, bytes], folder: Path, where: str) -> None:
    """Nothing that was there before is gone: it has its name, or another one beside it."""
    now = contents(folder)
    kept = set(now.values())
    gone = [
        n for n, c in before.items() if n not in now and c not in kept and "/checkpoints/" not in n
    ]
    assert not gone, f"{where}: {gone} is lost"


COUNT = {"stops": 0}


def count() -> None:
    COUNT["stops"] += 1
    where = os.environ.get("STANLEY_KILLS_COUNTS")
    if where:
        (Path(where) / str(os.getpid())).write_text(str(COUNT["stops"]))


def test_the_stopper_sees_every_way_to_write(tmp_path: Path) -> None:
    """A control: the operations of a command that writes one file are known, and a kill at each
    leaves what it must.
    """
    folder = fresh(tmp_path / "box")
    end = run(("pack", "plane", "--out", "new"), folder)
    names = [operation.split()[0] for operation in end.operations]
    assert names[0] == "mkdir"
    for what in ("create", "write", "fsync", "replace"):
        assert what in names
    shutil.rmtree(folder / "new")
    killed = run(("pack", "plane", "--out", "new"), folder, names.index("replace"), "kill")
    assert killed.code == KILLED
    assert not (folder / "new/model.safetensors").exists()

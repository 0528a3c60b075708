"""The files of a run that are not checkpoints: configuration, records, events, scores, answers and
kept arrays.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from .damage import altered, as_text, damaged, fuzzed, values
from .sandbox import SMALL, attempt, judged

FILES = ("config.json", "records.jsonl", "events.jsonl", "scores.json", "likelihood.json")
READERS = (
    ["plot", "run"],
    ["evaluate", "run", "--num", "4", "--steps", "1"],
    ["likelihood", "run", "--levels", "2", "--chains", "2", "--rows", "4"],
    ["sample", "run", "--num", "2", "--steps", "1"],
    ["pack", "run", "--out", "new"],
    ["train", "rings", "--out", "run", "--steps", "4", "--data.num", "60", *SMALL],
)

readers = st.sampled_from(READERS)


def tried(command: list[str], changed: dict[str, bytes | None]) -> None:
    """What was damaged may be replaced by the command; what it holds of others may not go."""
    attempt(command, judged(), changed, may_change=("run/", "new"))


@fuzzed(80)
@given(st.data(), readers)
def test_damaged_bytes(data: st.DataObject, command: list[str]) -> None:
    name = "run/" + data.draw(st.sampled_from((*FILES, "events.jsonl")))
    path = judged() / name
    content = data.draw(
        damaged(path.read_bytes() if path.exists() else b'{"kind": "rollback", "step": 1}\n')
    )
    tried(command, {name: content})


@fuzzed(120)
@given(st.data(), readers)
def test_another_shape_of_json(data: st.DataObject, command: list[str]) -> None:
    name = "run/" + data.draw(st.sampled_from(FILES))
    path = judged() / name
    if name.endswith("l"):
        lines = (
            [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        )
        lines = lines or [
            {"kind": "rollback", "step": 2, "reason": "x", "checkpoint": 0, "slowdown": 0.5}
        ]
        at = data.draw(st.integers(0, len(lines) - 1))
        lines[at] = data.draw(altered(lines[at]))
        tried(command, {name: b"".join(as_text(line) + b"\n" for line in lines)})
    else:
        tried(command, {name: as_text(data.draw(altered(json.loads(path.read_text()))))})


@fuzzed(40)
@given(values, readers, st.sampled_from(FILES))
def test_no_json_that_was_meant(value: object, command: list[str], name: str) -> None:
    tried(command, {f"run/{name}": as_text(value) + b"\n"})


@fuzzed(30)
@given(st.data())
def test_kept_arrays(data: st.DataObject) -> None:
    name = "run/samples/evaluated.npz"
    tried(["plot", "run"], {name: data.draw(damaged((judged() / name).read_bytes()))})


@fuzzed(30)
@given(st.data(), st.booleans())
def test_an_answer_that_is_there(data: st.DataObject, shape: bool) -> None:
    """The file beside samples that says how they were made."""
    found = sorted((judged() / "run/samples").glob("*.json"))[0]
    old = found.read_bytes()
    content = as_text(data.draw(altered(json.loads(old)))) if shape else data.draw(damaged(old))
    command = ["sample", "run", "--num", "2", "--steps", "1"]
    tried(command, {str(found.relative_to(judged())): content})


@fuzzed(30)
@given(
    readers,
    st.sampled_from(
        (
            *FILES,
            "checkpoints",
            "samples",
            "plots",
            "samples/evaluated.npz",
            "samples/noise-n2-seed0.npy",
        )
    ),
    st.sampled_from(("folder", "file", "gone", "loop", "nowhere", "empty")),
)
def test_something_else_of_that_name(command: list[str], name: str, what: str) -> None:
    def prepare(folder: Path) -> None:
        path = folder / "run" / name
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        match what:
            case "folder":
                (path / "inside").mkdir(parents=True)
            case "file":
                path.write_bytes(b"mine\n")
            case "empty":
                path.write_bytes(b"")
            case "loop":
                path.symlink_to(path.name)
            case "nowhere":
                path.symlink_to("nowhere/at/all")

    attempt(command, judged(), may_change=("run/", "new"), prepare=prepare)

"""Files of others: read whole and checked, or refused in one line that names the place."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stanley.errors import StanleyError
from stanley.reading import checked, checked_lines, read_archive, read_json, read_whole
from stanley.runs.contents import Event, Meta, Record

META = {
    **{"step": 3, "step_size": 0.1, "slowdown": 1.0},
    **{"event_shape": [2], "is_image": False, "config": {}},
}


def test_what_is_no_file(tmp_path: Path) -> None:
    """A pipe that nobody writes to, a device without end and a folder are refused at once."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    for name in ("pipe", "folder", "loop", "gone", "a\0b", "x" * 300):
        with pytest.raises(StanleyError, match=r"(is no file|cannot be read).*; try again"):
            read_whole(tmp_path / name, 100, "try again")
    with pytest.raises(StanleyError, match="is no file"):
        read_whole(Path("/dev/zero"), 100, "try again")


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 101)
    with pytest.raises(StanleyError, match="over 0"):
        read_whole(tmp_path / "a", 100, "")
    assert read_whole(tmp_path / "a", 101, "") == b"x" * 101


BAD: dict[str, tuple[Any, str]] = {
    "missing": ({k: v for k, v in META.items() if k != "step_size"}, "step_size is missing"),
    "a word": (META | {"step": "3"}, r"step is '3', must be a valid integer"),
    "a truth value": (META | {"step": True}, "step is True"),
    "negative": (META | {"step": -1}, "step is -1"),
    "null": (META | {"config": None}, "config is None"),
    "nothing": (META | {"event_shape": []}, "event_shape is "),
    "no size": (META | {"event_shape": [0]}, r"event_shape.0 is 0"),
    "a list": ([META], "must be an object"),
    "infinite": (META | {"step_size": float("inf")}, "step_size is inf"),
    "faster": (META | {"slowdown": 2.0}, "slowdown is 2.0"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_header_that_does_not_hold_what_it_must(name: str) -> None:
    value, message = BAD[name]
    assert checked(json.dumps(META).encode(), Meta, "f", "c") == META
    with pytest.raises(StanleyError, match=f"f is damaged: .*{message}.*; c"):
        checked(json.dumps(value).encode(), Meta, "f", "c")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[" * 9999, b'{"a": ' + b"9" * 5000 + b"}", b"\xff"]
)
def test_what_is_no_json(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(StanleyError, match=r"a.json is damaged: .*; restore it") as error:
        read_json(tmp_path / "a.json", dict[str, Any], "restore it")
    assert len(str(error.value)) < 600


def test_the_line_is_named() -> None:
    assert checked_lines(['{"step": 1, "gap": null}'], Record, "r", "c") == [
        {"step": 1, "gap": None}
    ]
    with pytest.raises(StanleyError, match=r"r line 2 is damaged .step is 'x'"):
        checked_lines(['{"step": 1}', '{"step": "x"}'], Record, "r", "c")
    with pytest.raises(StanleyError, match=r"r line 1 is damaged"):
        checked_lines(["1, 2"], Record, "r", "c")
    with pytest.raises(StanleyError, match=r"r line 1 is damaged .kind is missing"):
        checked_lines(["{}"], Event, "r", "c")


def test_arrays_are_bounded_and_never_objects(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.zeros(3))
    assert read_archive(tmp_path / "a.npz", "c")["a"].shape == (3,)
    np.savez(tmp_path / "b.npz", a=np.array([{}], object))
    with pytest.raises(StanleyError, match=r"b\.npz is damaged: Object arrays"):
        read_archive(tmp_path / "b.npz", "c")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, a=np.zeros(1 << 20))
    (tmp_path / "bomb.npz").write_bytes(buffer.getvalue())
    with pytest.raises(StanleyError, match="unpacks to 8 MiB"):
        read_archive(tmp_path / "bomb.npz", "c", most=1 << 20)


@pytest.mark.parametrize(
    ("lines", "bad"),
    [
        (['{"a": 1}', "[1", "2]"], 2),
        (['{"a": 1}, {"a": 2}'], 1),
        (['{"a": 1}', ""], 2),
        (['{"a": 1}', "[" * 100_000], 2),
    ],
    ids=["a value on two lines", "two values on a line", "an empty line", "deep"],
)
def test_a_line_is_one_value(lines: list[str], bad: int) -> None:
    """Also where all lines together would be JSON."""
    with pytest.raises(StanleyError, match=f"records.jsonl line {bad} is damaged"):
        checked_lines(lines, dict[str, float], "records.jsonl", "restore the file")


def test_names_in_lines_are_in_memory_once() -> None:
    first, second = checked_lines(['{"gap": 1}', '{"gap": 2}'], dict[str, int], "it", "restore it")
    assert (first, second) == ({"gap": 1}, {"gap": 2})
    assert next(iter(first)) is next(iter(second))

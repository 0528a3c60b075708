"""Files of numbers: the newest answer has the plain name, and no request loses another's."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest

from stanley.runs.directory import write_answer


def test_requests_that_take_turns_have_a_file_each(tmp_path: Path) -> None:
    """A, A, B, A, C, A, C: one file for each former request, and the newest answer in the plain one."""
    file = tmp_path / "scores.json"
    for turn, num in enumerate((1, 1, 2, 1, 3, 1, 3)):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            write_answer(file, {"asked": {"num": num}, "step": 7, "value": turn})
        assert len(told) == (turn >= 2)
        assert json.loads(file.read_text())["value"] == turn
    kept = {f.name: json.loads(f.read_text()) for f in tmp_path.glob("scores-*.json")}
    assert {name: (k["asked"]["num"], k["value"]) for name, k in kept.items()} == {
        "scores-step7.json": (1, 5), "scores-step7-2.json": (2, 2), "scores-step7-3.json": (3, 4)
    }  # fmt: skip


def test_an_answer_of_unknown_origin_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "scores.json"
    for k, content in enumerate(["no json", '{"kl": 1}', '{"step": 7, "asked": 3}']):
        file.write_text(content)
        with pytest.warns(UserWarning, match="of a request that is not written in it"):
            write_answer(file, {"asked": {"num": k}})
        name = "scores-step7.json" if "step" in content else f"scores-former{'' if k == 0 else '-2'}.json"
        assert (tmp_path / name).read_text() == content
        assert json.loads(file.read_text()) == {"asked": {"num": k}}
    write_answer(file, {"asked": {"num": 2}, "value": 1})
    assert len(list(tmp_path.iterdir())) == 4

"""The one rule of all answers: the newest has the plain name, and no request loses another's."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path

import pytest

from stanley.errors import StanleyError
from stanley.overwriting import keep_former, make_room, write_answer


def test_requests_that_take_turns_have_a_file_each(tmp_path: Path) -> None:
    """A, A, B, A, C, A: each change of the request keeps what was there,
    and the newest has the plain name.
    """
    file = tmp_path / "scores.json"
    before = None
    for turn, num in enumerate((1, 1, 2, 1, 3, 1)):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            write_answer(file, {"asked": {"num": num}, "step": 7, "value": turn})
        number = "" if turn == 2 else f"-{turn - 1}"
        kept_as = (
            f"kept the former answer (num {before}, now {num}) as"
            f" {tmp_path}/scores-former{number}.json"
        )
        assert [str(w.message) for w in told] == ([] if before in (None, num) else [kept_as])
        before = num
        assert json.loads(file.read_text())["value"] == turn
    kept = {f.name: json.loads(f.read_text()) for f in tmp_path.glob("scores-*.json")}
    assert {name: (k["asked"]["num"], k["value"]) for name, k in kept.items()} == {
        "scores-former.json": (1, 1),
        "scores-former-2.json": (2, 2),
        "scores-former-3.json": (1, 3),
        "scores-former-4.json": (3, 4),
    }


def test_an_answer_of_unknown_origin_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "scores.json"
    for k, content in enumerate(["no json", '{"kl": 1}', '{"step": 7, "asked": 3}', "[1]"]):
        file.write_text(content)
        with pytest.warns(UserWarning, match="to a request that is not written down"):
            write_answer(file, {"asked": {"num": k}})
        assert (
            tmp_path / f"scores-former{'' if k == 0 else f'-{k + 1}'}.json"
        ).read_text() == content
        assert json.loads(file.read_text()) == {"asked": {"num": k}}
    write_answer(file, {"asked": {"num": 3}, "value": 1})
    assert len(list(tmp_path.iterdir())) == 5


def test_all_files_of_an_answer_get_one_number(tmp_path: Path) -> None:
    record, array, other = tmp_path / "x.json", tmp_path / "x.npy", tmp_path / "x-mean.npy"
    make_room(record, {"num": 1}, beside=[array, other])
    array.write_text("1")
    (tmp_path / "x-former.npy").write_text("of somebody else")
    with pytest.warns(UserWarning, match=r"as .*x-former-2.json, and x-former-2.npy$"):
        make_room(record, {"num": 2}, beside=[array, other])
    assert {f.name for f in tmp_path.iterdir()} == {
        "x.json",
        "x-former-2.json",
        "x-former-2.npy",
        "x-former.npy",
    }


def test_what_was_left_by_a_kill_is_known_by_the_same_request_alone(tmp_path: Path) -> None:
    record, array = tmp_path / "x.json", tmp_path / "x.npy"
    for request in ({"num": 1}, {"num": 1}):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            make_room(record, request, beside=[array])
        array.write_text("half")  # and the record is never completed
    assert json.loads(record.read_text()) == {"asked": {"num": 1}, "unfinished": True}
    with pytest.warns(UserWarning, match="num 1, now 2"):
        make_room(record, {"num": 2}, beside=[array])
    assert (tmp_path / "x-former.npy").read_text() == "half"


def test_a_kill_between_two_renames_parts_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, array = tmp_path / "x.json", tmp_path / "x.npy"
    record.write_text('{"asked": {"num": 1}}')
    array.write_text("1")
    rename = Path.rename

    def killed_after_the_first(path: Path, target: Path) -> Path:
        if path == array:
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed_after_the_first)
        with pytest.raises(KeyboardInterrupt):
            make_room(record, {"num": 2}, beside=[array])
    with pytest.warns(UserWarning, match="x-former.npy"):
        make_room(record, {"num": 2}, beside=[array])
    assert (tmp_path / "x-former.npy").read_text() == "1"
    assert json.loads((tmp_path / "x-former.json").read_text())["asked"] == {"num": 1}


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, "a.1.b 2, now 3"),
        ({"z": 1, "a": 1}, {"z": 2, "a": 2}, "z 1, now 2"),
        ({"a": 1, "b": 1}, {"a": 1}, "b 1, now None"),
        ({"a": "x" * 200}, {"a": 1}, f"a {'x' * 80}, now 1"),
    ],
)
def test_what_differs_is_named(tmp_path: Path, old: dict, new: dict, told: str) -> None:
    write_answer(tmp_path / "x.json", {"asked": old})
    with pytest.warns(UserWarning, match=re.escape(f"({told})")):
        write_answer(tmp_path / "x.json", {"asked": new})


def test_what_cannot_be_renamed_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").touch()

    def refuse(path: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(
        StanleyError, match=r"cannot rename .*x: Permission denied; choose another --out"
    ):
        keep_former([tmp_path / "x"], "another")

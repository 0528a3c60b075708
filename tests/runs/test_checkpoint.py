"""Checkpoints and records as files: what is damaged is seen, what is whole is used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from stanley.errors import StanleyError
from stanley.runs import checkpoint
from stanley.runs.checkpoint import Checkpoint, NewerFormatError
from stanley.runs.directory import RunDirectory
from stanley.training.config import TrainConfig
from stanley.training.loop import train

META = {
    **{"step": 0, "step_size": 0.1, "slowdown": 1.0},
    **{"event_shape": [2], "is_image": False, "config": {}},
}
TENSORS = {
    "noise.mean": torch.zeros(2), "noise.std": torch.ones(2), "bank.positions": torch.zeros(3, 2),
    "energy.w": torch.arange(6.0).view(2, 3),
}  # fmt: skip


def saved(folder: Path, step: int = 0, keep: int = 9) -> Path:
    return checkpoint.save(Checkpoint(TENSORS, META | {"step": step}), folder, keep)


def test_every_byte_of_a_checkpoint_is_vouched_for(tmp_path: Path) -> None:
    """A bit anywhere, in the tensors or in what is said of them, is seen."""
    path = saved(tmp_path)
    whole = path.read_bytes()
    assert torch.equal(checkpoint.load(path).tensors["energy.w"], TENSORS["energy.w"])
    for at in torch.randint(len(whole), (200,)).tolist():
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        with pytest.raises(StanleyError, match=r"corrupt|no 'stanley' entry|states no format"):
            checkpoint.load(path)


def test_shapes_and_the_header_are_in_the_checksum() -> None:
    sums = {
        checkpoint.checksum({"a": torch.zeros(6)}, {}),
        checkpoint.checksum({"a": torch.zeros(2, 3)}, {}),
        checkpoint.checksum({"a": torch.zeros(6)}, {"step": 1}),
        checkpoint.checksum({"b": torch.zeros(6)}, {}),
        checkpoint.checksum({"a": torch.zeros(6, dtype=torch.int32)}, {}),
    }
    assert len(sums) == 5


def test_the_newest_are_kept_and_the_newest_whole_one_is_used(tmp_path: Path) -> None:
    paths = [saved(tmp_path, step, keep=3) for step in range(5)]
    assert checkpoint.saved(tmp_path) == paths[2:]
    newest = checkpoint.newest(tmp_path)
    assert newest is not None
    assert newest.step == 4
    paths[4].write_bytes(paths[4].read_bytes()[:-9])
    with pytest.warns(
        UserWarning, match=r"step-00000004.* the previous checkpoint is used instead"
    ):
        newest = checkpoint.newest(tmp_path)
    assert newest is not None
    assert newest.step == 3


def test_pruning_counts_from_the_one_that_was_read(tmp_path: Path) -> None:
    """A newer one that is broken is neither removed nor counted among those to keep."""
    paths = [saved(tmp_path, step) for step in range(5)]
    checkpoint.prune(tmp_path, paths[3], keep=2)
    assert checkpoint.saved(tmp_path) == paths[2:]


def test_a_newer_format_is_no_reason_to_go_back(tmp_path: Path, monkeypatch) -> None:
    """Also where the path of a damaged file holds the words of that error."""
    folder = tmp_path / "update stanley"
    folder.mkdir()
    saved(folder, 1)
    broken = saved(folder, 2)
    broken.write_bytes(b"")
    with pytest.warns(UserWarning, match="the previous checkpoint is used instead"):
        assert checkpoint.newest(folder) is not None
    monkeypatch.setattr(checkpoint, "FORMAT", checkpoint.FORMAT + 1)
    saved(folder, 3)
    monkeypatch.undo()
    with pytest.raises(NewerFormatError, match="update stanley"):
        checkpoint.newest(folder)


@pytest.mark.parametrize("name", ["noise.mean", "noise.std", "bank.positions"])
def test_points_of_another_shape_are_refused(tmp_path: Path, name: str) -> None:
    for wrong in (
        torch.zeros(3),
        torch.zeros(1, 5),
        torch.zeros(2).long(),
        torch.tensor(0.0),
        None,
    ):
        tensors = TENSORS | {name: wrong} if wrong is not None else dict(TENSORS)
        if wrong is None:
            del tensors[name]
        path = checkpoint.save(Checkpoint(tensors, META), tmp_path, 1)
        with pytest.raises(StanleyError, match=name):
            checkpoint.load(path)


def test_a_header_without_what_is_needed_is_refused(tmp_path: Path) -> None:
    path = checkpoint.save(Checkpoint(TENSORS, META | {"slowdown": "half"}), tmp_path, 1)
    with pytest.raises(StanleyError, match="slowdown is 'half', must be a valid number"):
        checkpoint.load(path)


def test_weights_that_do_not_fit_are_named() -> None:
    layer = torch.nn.Linear(2, 3)
    for weights, name in (
        ({"weight": torch.zeros(3, 2)}, "bias"),
        ({"weight": torch.zeros(2, 3), "bias": torch.zeros(3)}, "weight"),
        ({"weight": torch.zeros(3, 2), "bias": torch.zeros(3), "more": torch.zeros(1)}, "more"),
    ):
        with pytest.raises(StanleyError, match=f"do not fit .* first at '{name}'"):
            checkpoint.restore_weights(layer, weights, "x")


def test_records_are_cut_to_the_checkpoint(tmp_path: Path) -> None:
    """A torn last line is left out, and what comes after the checkpoint is computed again."""
    run = RunDirectory(tmp_path)
    run.append(*({"step": k} for k in range(1, 6)))
    assert (tmp_path / "records.jsonl").read_bytes().count(b"\n") == 5
    with (tmp_path / "records.jsonl").open("a") as file:
        file.write('{"step": 6}')
    assert [r["step"] for r in run.records()] == [1, 2, 3, 4, 5]
    run.truncate_records(3)
    assert [r["step"] for r in run.records()] == [1, 2, 3]
    with pytest.raises(StanleyError, match="has no record of step 4"):
        run.truncate_records(4)
    run.close()


def test_events_are_kept(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    for k in range(3):
        run.event(kind="resumed", step=k)
    assert [e["step"] for e in run.events()] == [0, 1, 2]


def test_two_cannot_train_in_one_folder(tmp_path: Path) -> None:
    first, second = RunDirectory(tmp_path), RunDirectory(tmp_path)
    first.lock()
    with pytest.raises(StanleyError, match="in use by another training process"):
        second.lock()
    first.release()
    second.lock()
    second.release()


@pytest.mark.parametrize("content", ["[]", "3", '{"data": 3}', '{"data": null}', "{}", "[" * 9999])
def test_a_configuration_of_another_shape(tmp_path: Path, small: TrainConfig, content: str) -> None:
    from stanley.models.trained import load

    run = train(replace(small, steps=1), tmp_path / "run", device="cpu")
    run.config_file.write_text(content)
    if content == "{}":  # then the checkpoint says what they are
        assert load(run).config.data == small.data
        return
    with pytest.raises(StanleyError, match=r"config\.json"):
        load(run)

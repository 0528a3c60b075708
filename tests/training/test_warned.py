"""What a training warns of is written down with the run."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from stanley.data import Folder
from stanley.networks import ConvNet
from stanley.runs.directory import RunDirectory
from stanley.training.config import TrainConfig
from stanley.training.loop import train
from stanley.training.warned import overheard
from tests.conftest import changed
from tests.seeds import RNG


def warned_of(run: RunDirectory) -> list[tuple[int, str]]:
    return [(e["step"], e["reason"]) for e in run.events() if e["kind"] == "warned"]


def far() -> torch.Tensor:
    """Rows of N(0, 1)² of which some, so that one is trained on, are far off."""
    x = torch.from_numpy(RNG.standard_normal((2000, 2)))
    x[:4, 1] = 900.0
    return x


def test_far_rows_are_kept_as_an_event_once(small: TrainConfig, tmp_path: Path):
    """Also where the run is resumed and warns again; the new steps are told with their step."""
    config, data = replace(small, steps=6), far()
    with pytest.warns(UserWarning, match="variance") as told:
        run = train(config, tmp_path / "run", data=data)
    (line,) = {str(one.message) for one in told}
    assert warned_of(run) == [(0, line)]
    with pytest.warns(UserWarning, match="variance|steps: 6 → 8"):
        train(replace(config, steps=8), tmp_path / "run", data=data)
    assert warned_of(run) == [(0, line)]
    (again,) = [e for e in run.events() if e["kind"] == "reconfigured"]
    assert (again["step"], again["changed"]) == (6, {"steps": [6, 8]})
    assert "steps: 6 → 8" in again["reason"]


def test_a_training_that_warns_of_nothing_has_no_such_event(small: TrainConfig, tmp_path: Path):
    run = train(replace(small, steps=2), tmp_path / "run")
    assert run.events() == []


def test_skipped_pictures_are_kept(small: TrainConfig, tmp_path: Path):
    (tmp_path / "pictures").mkdir()
    for k in range(20):
        pixels = RNG.integers(0, 256, (8, 8, 3), dtype="uint8")
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{k}.png")
    (tmp_path / "pictures" / "z.png").write_text("no picture")
    data = Folder(path=str(tmp_path / "pictures"), size=8)
    config = changed(small, steps=1, batch=2, bank_size=8, data=data, network=ConvNet(width=4))
    with pytest.warns(UserWarning, match="skipped 1 of 21 pictures"):
        run = train(config, tmp_path / "run")
    ((step, reason),) = warned_of(run)
    assert step == 0
    assert "z.png" in reason


@pytest.mark.parametrize("ends", [True, False], ids=["with an error", "well"])
def test_whoever_started_it_is_told_all_the_same(ends: bool):
    """Negative control: what is for developers of other packages is told and not kept."""

    def block() -> Any:
        with overheard() as heard:
            warnings.warn("far", stacklevel=2)
            warnings.warn("old", FutureWarning, stacklevel=2)
            assert not ends, "an error"
        return heard

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        if ends:
            with pytest.raises(AssertionError, match="an error"):
                block()
        else:
            assert block() == ["far"]
    assert [str(one.message) for one in told] == ["far", "old"]

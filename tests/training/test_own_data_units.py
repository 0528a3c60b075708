"""Vectors that are handed over are standardised as those of a file are: a run on a tensor is, bit
for bit, the run on the file that holds it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import stanley
from stanley.data.given import dataset_of, fingerprint, for_training
from stanley.errors import StanleyError
from stanley.files import write_json
from stanley.models.trained import data_of
from stanley.runs.directory import RunDirectory
from stanley.training.config import TrainConfig
from stanley.training.former import of_a_run
from stanley.training.loop import train
from tests import seeds
from tests.conftest import without_time
from tests.training.test_loop import newest, same_state

#: float32 has steps of 128 about 1.6e9, and columns whose scales part by 10⁵.
MEAN, STD = torch.tensor([1.6e9, -20.0]).double(), torch.tensor([10.0, 1e-4]).double()


def vectors(num: int = 300) -> Tensor:
    y = torch.randn(num, 2, dtype=torch.float64, generator=seeds.fresh())
    return MEAN + STD * y


@pytest.fixture
def short(small: TrainConfig) -> TrainConfig:
    return replace(small, steps=12)


KINDS: dict[str, Callable[[Tensor], Any]] = {
    "tensor": lambda x: x,
    "array": lambda x: x.numpy(),
    "lists": lambda x: x.tolist(),
    "TensorDataset": lambda x: TensorDataset(x, torch.zeros(len(x))),
    "list of points": lambda x: list(x),
}


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_run_on_the_file(short: TrainConfig, tmp_path: Path, kind: str) -> None:
    x = vectors()
    np.save(tmp_path / "x.npy", x.numpy())
    file = train(replace(short, data=stanley.Array(path=str(tmp_path / "x.npy"))), tmp_path / "f")
    given: Any = KINDS[kind](x)
    run = train(short, tmp_path / "run", data=given)
    assert without_time(file.records()) == without_time(run.records())
    same_state(newest(file), newest(run))
    assert run.read_config()["data"]["standardise"] is True

    theirs, ours = stanley.load(file), stanley.load(run, data=given)
    assert ours.standardisation is not None
    assert ours.standardisation.equals(theirs.standardisation)
    assert torch.equal(theirs.sample(8, steps=3).x, ours.sample(8, steps=3).x)
    assert torch.equal(theirs.potential(x[:5]), ours.potential(x[:5]))
    assert torch.equal(data_of(theirs).test, data_of(ours).test)
    scores = [
        stanley.evaluate(file, num=20, steps=2),
        stanley.evaluate(run, num=20, steps=2, data=given),
    ]
    assert scores[0] == scores[1]

    packed = stanley.pack(run, tmp_path / "packed")
    assert torch.equal(stanley.load(packed).standardisation.std, ours.standardisation.std)
    before = newest(run)
    newest(run).path.unlink()  # type: ignore[union-attr]
    same_state(before, newest(train(short, tmp_path / "run", data=given)))


def test_other_data_are_refused(short: TrainConfig, tmp_path: Path) -> None:
    """By their values in float64: in float32 a tenth of this standard deviation is hardly one."""
    x = vectors()
    run = train(short, tmp_path / "run", data=x)
    other = x + torch.tensor([1.0, 0.0]).double()
    with pytest.raises(StanleyError, match=r"another configuration \(data.fingerprint"):
        train(short, tmp_path / "run", data=other)
    with pytest.raises(StanleyError, match=r"data.standardise: True → False"):
        train(short, tmp_path / "run", data=x, standardise=False)
    with pytest.raises(StanleyError, match=r"rows of other values"):
        stanley.evaluate(run, data=other)


def test_turned_off_nothing_is_done(short: TrainConfig, tmp_path: Path) -> None:
    x = torch.randn(300, 2, dtype=torch.float64) * 2
    run = train(short, tmp_path / "run", data=x, standardise=False)
    assert run.read_config()["data"]["standardise"] is False
    assert not newest(run).part("standardisation")
    model = stanley.load(run, data=x)
    assert model.standardisation is None
    held_out = data_of(model).test
    assert held_out.dtype == torch.float32
    assert bool((held_out[:, None] == x.float()[None]).all(2).any(1).all())
    with pytest.warns(UserWarning, match="columns of the data have standard deviations"):
        train(short, tmp_path / "scales", data=x * torch.tensor([1.0, 50.0]), standardise=False)
    with pytest.raises(StanleyError, match=r"data \(Tensor\) have values up to 1e\+300.*float32"):
        train(short, tmp_path / "large", data=x / x.abs().max() * 1e300, standardise=False)
    train(short, tmp_path / "narrow", data=x / x.abs().max() * 1e90)


LEFT_ALONE: dict[str, Callable[[], Any]] = {
    "images in bytes": lambda: torch.randint(0, 256, (60, 3, 4, 4), dtype=torch.uint8),
    "events (C, H, W)": lambda: 5 + torch.randn(60, 2, 4, 4),
    "matrices": lambda: 5 + torch.randn(60, 2, 3),
    "a Dataset": lambda: stanley.Dataset(5 + torch.randn(60, 2), torch.randn(9, 2)),
    "an iterable": lambda: DataLoader(TensorDataset(5 + torch.randn(60, 2)), batch_size=20),
}


@pytest.mark.parametrize("kind", LEFT_ALONE)
def test_what_is_left_alone(short: TrainConfig, tmp_path: Path, kind: str) -> None:
    given = LEFT_ALONE[kind]()
    data = dataset_of(given)
    assert for_training(data, "mine", None) is data
    assert data.standardisation is None
    with pytest.raises(StanleyError, match=r"standardise is True, but the data \(.* stay as they"):
        train(short, tmp_path / "run", data=given, standardise=True)
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_standardised_is_told(short: TrainConfig, tmp_path: Path) -> None:
    x = vectors()
    x[:, 1] = 3.5
    with pytest.raises(
        StanleyError,
        match=r"data \(Tensor\) has 1 column\(s\) that are constant .*: 1; leave them out, or pass "
        r"standardise=False",
    ):
        train(short, tmp_path / "run", data=x)
    with pytest.raises(StanleyError, match="standardise is False, but no data are handed over"):
        train(short, tmp_path / "run", standardise=False)
    x = vectors()
    x[17, 1] = torch.inf
    with pytest.raises(StanleyError, match="NaN or infinite values in row 17;"):
        train(short, tmp_path / "run", data=x)


def test_a_fingerprint_is_that_of_the_values_not_of_their_type() -> None:
    x = torch.randn(50, 3, generator=seeds.fresh())
    for wide in (True, False):
        same = {fingerprint(dataset_of(rows), wide) for rows in (x, x.double(), x.numpy())}
        assert len(same) == 1
    y = x.double()
    y[0, 0] += 1e-12  # nothing in float32
    assert fingerprint(dataset_of(x), True) != fingerprint(dataset_of(y), True)
    assert fingerprint(dataset_of(x), False) == fingerprint(dataset_of(y), False)


def test_a_run_of_before_is_read_as_it_was(short: TrainConfig, tmp_path: Path) -> None:
    """Its configuration has no field standardise, and nothing was."""
    x = torch.randn(300, 2)
    run = train(short, tmp_path / "run", data=x, standardise=False)
    config = run.read_config()
    del config["data"]["standardise"]
    write_json(run.path / "config.json", config)
    for kind in ("given", "by-name"):
        assert of_a_run({"data": {"kind": kind}})["data"]["standardise"] is False
    assert stanley.evaluate(run, data=x, num=20, steps=2)["energy"]["held_out"]["n"] == 30
    longer = replace(short, steps=14)
    with pytest.raises(StanleyError, match=r"data.standardise: False → True"):
        train(longer, tmp_path / "run", data=x)
    with pytest.warns(UserWarning, match="steps"):
        train(longer, tmp_path / "run", data=x, standardise=False)


def test_by_name_it_is_a_field_of_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from stanley.cli import main

    monkeypatch.chdir(tmp_path)
    np.save("x.npy", vectors().numpy())
    Path("mine.py").write_text("import numpy as np\ndef load(path):\n    return np.load(path)\n")
    short = ["--steps", "4", "--batch", "16", "--warmup", "1", "--data", "mine.py:load"]
    short += ["--data.path", "x.npy"]

    def ask(*words: str) -> str:
        with pytest.raises(SystemExit) as end:
            main(words)
        assert end.value.code == 0, capsys.readouterr().err
        return capsys.readouterr().out

    ask("train", "array-contrastive", *short, "--out", "run")
    written = RunDirectory("run").read_config()["data"]
    assert written["standardise"] is True
    assert written["arguments"] == {"path": "x.npy"}
    model = stanley.load("run")
    assert float(model.sample(20, steps=2).x[:, 0].mean()) == pytest.approx(1.6e9, abs=100)
    few = ("--num", "20", "--steps", "2")
    told = json.loads(ask("evaluate", "run", "--data", "mine.py:load", *few, "--json"))
    assert told["standardised"]["mean"][0] == pytest.approx(1.6e9, abs=10)
    np.save("x.npy", torch.randn(300, 2, dtype=torch.float64).numpy())
    ask("train", "array-contrastive", *short, "--data.standardise", "false", "--out", "other")
    written = RunDirectory("other").read_config()["data"]
    assert written["standardise"] is False
    assert written["arguments"] == {"path": "x.npy"}

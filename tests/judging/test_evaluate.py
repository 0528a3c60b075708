"""What a run's scores say of how it went, and the exact number that training ends with."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from stanley.cli.judging import wrong_lines
from stanley.cli.training import report_training
from stanley.data import Array
from stanley.errors import StanleyError
from stanley.judging.evaluate import (
    RelativeFrechet,
    evaluate,
    exact_kl,
    relative_frechet,
    what_went_wrong,
)
from stanley.judging.in_words import fresh_in_words, kl_in_words
from stanley.models.trained import Trained, data_of, load
from stanley.runs.directory import RunDirectory
from stanley.training.config import TrainConfig
from stanley.training.loop import train
from tests.conftest import replace
from tests.seeds import RNG


def test_the_number_that_training_ends_with_is_that_of_evaluate(
    small: TrainConfig, tmp_path: Path
) -> None:
    run = train(replace(small, reference_std=4.0), tmp_path / "run")
    scores = evaluate(run, num=8, steps=1, device="cpu")
    assert exact_kl(run) == scores["kl"]
    assert scores["went_wrong"] == []


def test_data_without_a_density_have_no_such_number(small: TrainConfig, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", RNG.normal(size=(200, 2)))
    data = Array(path=str(tmp_path / "x.npy"))
    assert exact_kl(train(replace(small, data=data), tmp_path / "run")) is None


def test_what_went_wrong_is_told_with_the_scores(small: TrainConfig, tmp_path: Path) -> None:
    run = train(small, tmp_path / "run")
    run.event(kind="collapsed", step=1799, reason="energies swing", record={})
    run.event(kind="resumed", step=2000)
    run.event(kind="rollback", step=2100, reason="|gap| is 60", record={})
    told = what_went_wrong(run)
    assert [(e["kind"], e["step"]) for e in told] == [("collapsed", 1799), ("rollback", 2100)]
    assert wrong_lines(told) == [
        "on the way the run collapsed at step 1,799, went back from step 2,100: see events.jsonl"
    ]
    assert wrong_lines([]) == []


@pytest.mark.parametrize("missing", ["step", "reason"])
@pytest.mark.parametrize("kind", ["collapsed", "rollback", "diverged"])
def test_an_event_that_lacks_something_is_damaged(kind: str, missing: str, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    event = {"kind": kind, "step": 3, "reason": "|gap| is 60"}
    run.event(**event)
    assert what_went_wrong(run) == [event]
    del event[missing]
    run.event(**event)
    with pytest.raises(
        StanleyError, match=rf"events.jsonl line 2 is damaged \({missing} is missing"
    ):
        what_went_wrong(run)


@pytest.mark.parametrize(
    ("kl", "word"), [(0.004, "close"), (0.02, "close"), (0.05, "shape is there"), (0.418, "poor")]
)
def test_a_poor_number_is_called_poor(kl: float, word: str) -> None:
    assert word in kl_in_words(kl)


@pytest.fixture
def run_on_vectors(small: TrainConfig, tmp_path: Path) -> RunDirectory:
    np.save(tmp_path / "x.npy", RNG.normal(size=(600, 3)) * [1, 2, 3])
    data = Array(path=str(tmp_path / "x.npy"))
    return train(replace(small, data=data, steps=6), tmp_path / "run")


def sampling(monkeypatch: pytest.MonkeyPatch, x: torch.Tensor) -> None:
    monkeypatch.setattr(Trained, "sample", lambda *_, **__: SimpleNamespace(x=x))


def test_fresh_chains_are_as_far_as_what_they_drew(
    run_on_vectors: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Points of the data are as far as points of the data, copies of the mean are at 1, and points
    c spreads from the mean, |m|²/tr C = c², at 1 + c².
    """
    x = data_of(load(run_on_vectors)).train
    sampling(monkeypatch, x[:100])
    fresh = relative_frechet(run_on_vectors, num=100, device="cpu")
    assert fresh is not None
    assert fresh.value == fresh.of_data
    mean = x.double().mean(0, keepdim=True)
    spread = x.double().T.cov().trace().sqrt()
    for c in (0.0, 3.0):
        copies = (mean + c * spread / 3**0.5).expand(100, 3).float()
        sampling(monkeypatch, copies)
        fresh = relative_frechet(run_on_vectors, num=100, device="cpu")
        assert fresh is not None
        assert fresh.value == pytest.approx(1 + c**2, rel=1e-5)  # positions are float32
    copies = copies.clone()
    copies[3, 1] = torch.nan
    sampling(monkeypatch, copies)
    fresh = relative_frechet(run_on_vectors, num=100, device="cpu")
    assert fresh is not None
    assert fresh.value is None
    assert "diverged" in fresh_in_words(fresh)


def test_the_units_of_the_data_do_not_matter(small: TrainConfig, tmp_path: Path) -> None:
    """Where vectors are standardised, to the rounding of the columns' means and deviations."""
    x = RNG.normal(size=(600, 3))
    found = []
    for name, scale, shift in (("a", 1.0, 0.0), ("b", 2.0**10, 2.0**14)):
        np.save(tmp_path / f"{name}.npy", x * scale + shift)
        data = Array(path=str(tmp_path / f"{name}.npy"))
        run = train(replace(small, data=data, steps=6), tmp_path / name)
        found.append(relative_frechet(run, device="cpu"))
    first, second = found
    assert first is not None
    assert second is not None
    assert second.of_data == pytest.approx(first.of_data, rel=1e-2)
    assert second.value == pytest.approx(first.value, rel=0.5)  # chains part by their rounding


def test_training_ends_with_how_far_its_chains_are(
    run_on_vectors: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    report_training(run_on_vectors, as_json=False)
    assert "128 fresh chains are " in capsys.readouterr().out
    report_training(run_on_vectors, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert (told["kl"], told["fresh"]["num"]) == (None, 128)


def test_a_finished_training_does_not_fail_where_it_cannot_be_judged(
    run_on_vectors: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(str(run_on_vectors.path)).parent / "x.npy"
    path.unlink()
    report_training(run_on_vectors, as_json=False)
    out = capsys.readouterr().out
    assert "done: " in out
    assert "could not be judged" in out


@pytest.mark.parametrize(
    ("value", "word"), [(0.1, "close"), (0.4, "not all"), (0.51, "poor"), (6.4, "poor")]
)
def test_chains_that_end_elsewhere_are_called_poor(value: float, word: str) -> None:
    assert word in fresh_in_words(RelativeFrechet(value, 0.06, 128, "pixels-8x8"))

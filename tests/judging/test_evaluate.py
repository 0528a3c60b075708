"""What a run's scores say of how it went, and the exact number that training ends with."""

from __future__ import annotations

from pathlib import Path

import pytest

from stanley.cli.judging import wrong_lines
from stanley.cli.training import in_plain_words
from stanley.data import Array
from stanley.judging.evaluate import evaluate, exact_kl, what_went_wrong
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
    import numpy as np

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


@pytest.mark.parametrize(
    ("kl", "word"), [(0.004, "close"), (0.02, "close"), (0.05, "shape is there"), (0.418, "poor")]
)
def test_a_poor_number_is_called_poor(kl: float, word: str) -> None:
    assert word in in_plain_words(kl)

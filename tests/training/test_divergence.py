"""Detection reads records alone: the good ones before the first that is not,
and what is wrong with that one.
"""

from __future__ import annotations

import re

import pytest

from stanley.runs.directory import Record, RunDirectory
from stanley.training.config import TrainConfig
from stanley.training.divergence import Split, split_at_divergence
from stanley.training.watch import Watch

GOOD: Record = {
    "loss": 0.0,
    "gap": 0.0,
    "grad_norm": 1.0,
    "spread": 1.0,
    "step_size": 0.01,
    "nonfinite": 0.0,
}


def records(*changes: Record) -> list[Record]:
    return [GOOD | {"step": step} | change for step, change in enumerate(changes, 1)]


def test_records_within_the_limits_are_all_good(small: TrainConfig) -> None:
    run = records({}, {"gap": -small.objective.gap_limit}, {"spread": small.objective.spread_limit})
    assert split_at_divergence(small, 0, Watch(), run) == Split(run, None, [])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"loss": None, "nonfinite": 3.0}, "loss is not finite, and 3 of 32 chains are not finite"),
        ({"gap": -2e3}, r"\|gap\| is 2e\+03, above objective.gap_limit = 1000"),
        (
            {"spread": 7.0},
            "7 standard deviations of the data away from their mean, above objective.spread_limit ="
            " 5",
        ),
    ],
)
def test_the_first_divergence_ends_the_good_records(
    small: TrainConfig, change: Record, reason: str
) -> None:
    run = records({}, {}, change, {"gap": None})
    good, divergence, collapses = split_at_divergence(small, 0, Watch(), run)
    assert good == run[:2]
    assert not collapses
    assert divergence is not None
    assert divergence.step == 3
    assert divergence.record == run[2]
    assert re.search(reason, divergence.reason)


def test_a_run_directory_is_released_at_the_end_of_its_block(tmp_path) -> None:
    for _ in range(2):  # a second lock is refused while the first is held
        with RunDirectory(tmp_path / "run") as run:
            run.create()
            run.lock()

"""Detection reads records alone: the good ones before the first that is not,
and what is wrong with that one.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Generator
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stanley import steps
from stanley.data import Dataset
from stanley.errors import DivergenceError
from stanley.runs import checkpoint
from stanley.runs.directory import Record, RunDirectory
from stanley.samplers import Langevin
from stanley.training.config import TrainConfig
from stanley.training.divergence import Split, split_at_divergence
from stanley.training.watch import Watch
from tests.conftest import changed, without_time
from tests.seeds import stream

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
        (
            {"loss": None, "energy_pos": 0.1, "nonfinite": 3.0, "restarted": 1.0},
            "because 2 of 32 chains ended at a finite place where E is not",
        ),
        (
            {"loss": None, "energy_pos": 0.1, "nonfinite": 3.0, "restarted": 3.0},
            "and 3 of 32 chains are not finite",
        ),
        (
            {"loss": None, "energy_pos": None, "nonfinite": 32.0, "restarted": 0.0},
            "loss is not finite, nor is E at the data: the weights overflowed",
        ),
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


class Walled(nn.Module):
    """E = w·|x|²/2 inside a ball, and infinite outside: finite places where E is not."""

    def __init__(self, radius: float) -> None:
        super().__init__()
        self.width, self.radius = nn.Parameter(torch.ones(())), radius

    def forward(self, x: Tensor) -> Tensor:
        square = x.square().sum(1)
        inside = square < self.radius**2
        return torch.where(inside, self.width * square / 2, math.inf)


class TestChainsWhereEIsNotFinite:
    """A Langevin step does not look at E where it ends, so that the loss is the first to see it."""

    def taught(
        self, small: TrainConfig, out: Path, radius: float, **values: Any
    ) -> Generator[Any, None, None]:
        """The steps of a run on data in [0, 1]², chains of which reach N(0, 1.14·I) at h = ½."""
        values = {"sampler": Langevin(0.5), "adapt": None, "chain_steps": 20} | values
        config = changed(small, steps=30, save_every=4, **values)
        uniform = torch.rand(110, 2, generator=stream())
        data = Dataset(uniform[:100], uniform[100:])
        return steps(config, out, energy=Walled(radius), data=data)

    def test_the_cause_is_told_and_the_checkpoint_is_good(
        self, small: TrainConfig, tmp_path: Path
    ) -> None:
        """Beyond 3 a chain ends with chance e^{-9/2.28} = 2 %, so one of 900 does but for 1e-8."""
        with pytest.raises(DivergenceError, match=r"[1-9]\d* of 32 chains ended at a finite place"):
            list(self.taught(small, tmp_path / "run", 3.0))
        saved = checkpoint.newest(RunDirectory(tmp_path / "run").checkpoints)
        assert saved is not None
        assert all(t.isfinite().all() for t in saved.tensors.values() if t.is_floating_point())

    def test_a_run_that_goes_back_and_is_resumed_is_the_unbroken_one(
        self, small: TrainConfig, tmp_path: Path
    ) -> None:
        """Bit for bit, with the same events; at 3.6 one step in ten has such a chain."""
        again = {"on_divergence": "rollback", "max_rollbacks": 2}
        ends = []
        for name, stops in (("unbroken", (None,)), ("broken", (3, 7, None))):
            with warnings.catch_warnings(), suppress(DivergenceError):
                warnings.simplefilter("ignore")
                for stop in stops:
                    with closing(self.taught(small, tmp_path / name, 3.6, **again)) as records:
                        for _ in islice(records, stop):
                            pass
            run = RunDirectory(tmp_path / name)
            newest = checkpoint.newest(run.checkpoints)
            assert newest is not None
            wrong = [(e["kind"], e["step"], e["reason"]) for e in run.went_wrong()]
            ends.append((without_time(run.records()), newest.tensors, wrong))
        (records_a, tensors_a, wrong_a), (records_b, tensors_b, wrong_b) = ends
        assert wrong_a == wrong_b
        assert records_a == records_b
        assert all(torch.equal(tensors_a[name], tensors_b[name]) for name in tensors_a)


def test_a_run_directory_is_released_at_the_end_of_its_block(tmp_path) -> None:
    for _ in range(2):  # a second lock is refused while the first is held
        with RunDirectory(tmp_path / "run") as run:
            run.create()
            run.lock()

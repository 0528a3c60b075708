"""The watch over a run's own past: it sees a collapse in time, and no healthy run as one."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path

import numpy as np
import pytest

from stanley.runs.directory import Record, RunDirectory
from stanley.training import loop
from stanley.training.config import TrainConfig
from stanley.training.loop import train
from stanley.training.watch import FEWEST, PAST, RECENT, SWINGS, Watch
from tests.conftest import replace
from tests.seeds import RNG

#: `stanley train rings --seed 202` with Adam at 2e-3, steps 1,300 to 1,859: it begins to swing at
#: about 1,790.
COLLAPSE = Path(__file__).parent / "rings_seed_202.csv"
BEGINS = 1790


def records(gaps: np.ndarray, gradients: np.ndarray) -> list[Record]:
    pairs = zip(gaps, gradients, strict=True)
    return [{"gap": float(gap), "grad_norm": float(gradient)} for gap, gradient in pairs]


def recorded() -> list[Record]:
    with COLLAPSE.open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def alarms(watch: Watch, history: list[Record]) -> list[int]:
    return [i for i, record in enumerate(history) if watch.see(record)]


def healthy(num: int) -> tuple[np.ndarray, np.ndarray]:
    """Gaps around zero and gradients around one, neither with more than common tails."""
    return RNG.normal(size=num), np.exp(0.4 * RNG.normal(size=num))


def test_a_recorded_collapse_is_seen_once_and_within_fifty_steps() -> None:
    history = recorded()
    seen = [int(history[i]["step"]) for i in alarms(Watch(), history)]
    assert len(seen) == 1
    assert BEGINS <= seen[0] <= BEGINS + 50


def test_the_same_run_before_its_collapse_is_healthy() -> None:
    assert not alarms(Watch(), [r for r in recorded() if r["step"] < BEGINS])


def test_healthy_runs_raise_no_alarm() -> None:
    """An alarm needs three swings in 20 records. One swing of these needs |ξ| > 8·0.674 and,
    independent of it, a log-gradient above log 4 / 0.4: P < 1e-7 · 3e-4 a record, so three in
    10,000 records have P < 1e-20; medians over 200 and more records are within 20 % of the true
    ones with a failure rate below 1e-3, and then P < 1e-14."""
    assert not alarms(Watch(), records(*healthy(10_000)))


@pytest.mark.parametrize("factor", [2.0**-40, 2.0**20])
def test_units_do_not_matter(factor: float) -> None:
    history = recorded()
    scaled = [{name: value * factor for name, value in r.items()} for r in history]
    assert alarms(Watch(), scaled) == alarms(Watch(), history)


def test_one_wild_step_is_no_collapse_and_neither_is_one_sign_alone() -> None:
    for gap_factor, gradient_factor, every in ((50, 50, RECENT), (50, 1, 1), (1, 50, 1)):
        gaps, gradients = healthy(1000)
        gaps, gradients = np.sign(gaps), np.ones_like(gradients)
        gaps[600:800:every] *= gap_factor
        gradients[600:800:every] *= gradient_factor
        assert not alarms(Watch(), records(gaps, gradients))


def test_negative_control_three_wild_steps_are() -> None:
    gaps, gradients = np.ones(1000), np.ones(1000)
    wild = [600, 605, 610]
    gaps[wild], gradients[wild] = -9.0, 5.0
    assert alarms(Watch(), records(gaps, gradients)) == [wild[SWINGS - 1]]


def test_nothing_is_judged_before_there_is_a_past() -> None:
    gaps, gradients = healthy(FEWEST)
    gaps[-100:] *= 1000
    gradients[-100:] *= 1000
    assert not alarms(Watch(), records(gaps, gradients))


def test_a_resumed_watch_is_an_unbroken_one() -> None:
    gaps, gradients = healthy(4 * PAST)
    for start in RNG.integers(FEWEST, 4 * PAST, 12):
        gaps[start : start + 15 : 3] *= 30
        gradients[start : start + 15 : 3] *= 30
    history = records(gaps, gradients)
    unbroken = Watch()
    said = [unbroken.see(record) for record in history]
    assert any(said)
    for cut in RNG.integers(1, len(history), 20):
        resumed = Watch(history[max(0, cut - Watch.NEEDED) : cut])
        assert [resumed.see(record) for record in history[cut:]] == said[cut:]


class Alarm(Watch):
    """A watch that sees a collapse at step 15, the first time that a run is there."""

    rung = False

    def see(self, record: Record) -> str | None:
        super().see(record)
        if record["step"] == 15 and not Alarm.rung:
            Alarm.rung = True
            return "energies swing"
        return None


@pytest.fixture
def alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Alarm, "rung", False)
    monkeypatch.setattr(loop, "Watch", Alarm)


def test_a_run_that_may_goes_back_to_a_checkpoint_from_before(
    small: TrainConfig, tmp_path: Path, alarm: None
) -> None:
    """Checkpoints at 6 and 12: the one of 12 is closer to step 15 than swings may be old,
    as is that of 6.
    """
    config = replace(small, on_divergence="rollback", save_every=6, keep=5)
    with pytest.warns(UserWarning, match="collapsed at step 15.*goes back to step 0"):
        run = train(config, tmp_path / "run")
    event = next(e for e in run.events() if e["kind"] == "rollback")
    assert event["after"] == "collapsed"
    assert event["checkpoint"] == 0
    assert [r["step"] for r in run.records()] == [*range(1, small.steps + 1)]
    assert run.last_record()["learning_rate"] == pytest.approx(last_rate(small, tmp_path) / 2)


def last_rate(config: TrainConfig, tmp_path: Path) -> float:
    last = train(config, tmp_path / "calm").last_record()
    assert last is not None
    return last["learning_rate"]


@pytest.mark.parametrize(
    "changes", [{"on_divergence": "stop"}, {"on_divergence": "rollback", "max_rollbacks": 0}]
)
def test_a_run_that_may_not_goes_on_as_if_unwatched_and_says_so(
    small: TrainConfig, tmp_path: Path, alarm: None, changes: dict
) -> None:
    config = replace(small, **changes)
    with pytest.warns(UserWarning, match=r"collapsed at step 15.*Lower optimizer\.lr"):
        run = train(config, tmp_path / "watched")
    assert [e["step"] for e in run.events() if e["kind"] == "collapsed"] == [15]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the alarm rings once: this run is not told of
        other = train(config, tmp_path / "other")
    assert gaps_of(run) == gaps_of(other)


def gaps_of(run: RunDirectory) -> list[float]:
    return [r["gap"] for r in run.records()]

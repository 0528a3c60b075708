"""Tuning by trials that optuna proposes: the same again, as many for every arm, edges, refusals."""

from __future__ import annotations

import json
import sys
from concurrent.futures import Future
from contextlib import nullcontext
from pathlib import Path
from typing import Any, get_args

import pytest

from stanley.comparing import Comparison, carry_out, compare, trained
from stanley.comparing.search import BATCH, DIGITS, By, Search, require_space, side
from stanley.comparing.tables import terminal_lines
from stanley.config import from_dict, to_dict
from stanley.errors import StanleyError
from tests.comparing.here import Here
from tests.comparing.test_carry_out import TINY, values
from tests.comparing.test_carry_out import asked as with_arms
from tests.seeds import fresh_seed

WAYS = get_args(By)
ARMS = {"MALA": {"sampler": "mala"}, "STANLEY": {"sampler": "stanley"}}
RANGE = {"low": 1e-3, "high": 1.0, "log": True}
SPACE = {"sampler.step_size": RANGE, "sampler.threshold": [1.0, {"quantile": 0.5}]}


@pytest.fixture
def optuna():
    return pytest.importorskip("optuna", reason="optuna is an extra")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(carry_out, "workers_on", lambda *_: nullcontext(Here()))


def asked(**fields: Any) -> Comparison:
    usual: dict[str, Any] = {"search": SPACE, "trials": 7, "by": "random", "seeds": 1}
    usual["arms"] = ARMS
    return with_arms(**(usual | fields))


def proposals(search: Search, batches: int, until: int = 10**9) -> list[dict[str, Any]]:
    """Settings that are scored by how far their step size is from 0.03; large ones fail."""
    found = []
    for _ in range(batches):
        settings = search.ask(BATCH)
        steps = [setting["sampler.step_size"] for setting in settings]
        search.tell([None if step > 0.3 else abs(step - 0.03) for step in steps])
        found += settings
    return found[:until]


@pytest.mark.parametrize("by", WAYS)
def test_a_search_that_begins_again_proposes_the_same(optuna: Any, by: By):
    seed = fresh_seed() % 2**31
    whole = proposals(Search(SPACE, by, seed, more_is_better=False), 5)
    assert proposals(Search(SPACE, by, seed, more_is_better=False), 5) == whole
    assert proposals(Search(SPACE, by, seed + 1, more_is_better=False), 5) != whole
    steps = [setting["sampler.step_size"] for setting in whole]
    assert all(1e-3 <= step <= 1.0 for step in steps)
    assert all(step == float(f"{step:.{DIGITS}g}") for step in steps)
    assert {json.dumps(s["sampler.threshold"]) for s in whole} == {"1.0", '{"quantile": 0.5}'}


def test_what_is_told_decides_what_tpe_proposes_and_not_what_the_others_do(optuna: Any):
    """The control of the scores: with their sign turned tpe proposes others after its first ten."""
    seed = fresh_seed() % 2**31
    for by in WAYS:
        less = proposals(Search(SPACE, by, seed, more_is_better=False), 5)
        more = proposals(Search(SPACE, by, seed, more_is_better=True), 5)
        assert less[:10] == more[:10]
        assert (less == more) == (by != "tpe")


def test_a_trial_that_failed_is_worse_than_any_other(optuna: Any):
    """It counts as a number beyond all others does, which leaves tpe with the same good trials: two
    of 15, and fewer have come to their end with probability 1e-10.
    """
    seed = fresh_seed() % 2**31
    one, other = (Search(SPACE, "tpe", seed, more_is_better=False) for _ in range(2))
    for _ in range(3):
        settings = one.ask(BATCH)
        assert settings == other.ask(BATCH)
        scores = [setting["sampler.step_size"] for setting in settings]
        one.tell([None if score < 0.003 else score for score in scores])
        other.tell([10.0 if score < 0.003 else score for score in scores])
    assert one.ask(BATCH) == other.ask(BATCH)
    states = [trial.state.name for trial in one.study.get_trials(deepcopy=False)[:15]]
    assert set(states) <= {"COMPLETE", "PRUNED"}


def test_every_arm_gets_as_many_trials_in_the_fields_that_it_has(
    optuna: Any, here: None, tmp_path: Path
):
    arms = {"a": {"sampler": "langevin"}, "b": {"sampler": "stanley"}, "c": {"sampler": "hmc"}}
    arms["set"] = {"sampler": "stanley", "sampler.step_size": 0.05, "sampler.threshold": 2.0}
    result = compare(asked(arms=arms), tmp_path / "c")
    tried = {arm: about["tuning"] for arm, about in result["arms"].items()}
    assert [len(tried[arm]) for arm in arms] == [7, 7, 7, 0]
    assert all("threshold" in name for name in tried["b"])
    assert not any("threshold" in name for name in (*tried["a"], *tried["c"]))
    assert list(tried["a"]) == list(tried["c"])  # the same seed, the same trials
    for arm in ("a", "b", "c"):
        scores = {name: t["score"] for name, t in tried[arm].items() if t["score"] is not None}
        assert result["arms"][arm]["setting_name"] == min(scores, key=lambda n: scores[n])
    lines = "\n".join(terminal_lines(result))
    assert "every trial, proposed by optuna's random" in lines
    assert all(name in lines for name in tried["b"])


class Backwards(Here):
    """Workers that take several tasks, and end with the last one first."""

    at_once = 4

    def __init__(self) -> None:
        self.queue: list[tuple[Any, Any, Future[Any]]] = []

    def submit(self, function: Any, argument: Any) -> Any:
        future: Future[Any] = Future()
        self.queue.append((function, argument, future))
        return Asked(self, future)


class Asked:
    def __init__(self, pool: Backwards, future: Future[Any]) -> None:
        self.pool, self.future = pool, future

    def done(self) -> bool:
        if self.pool.queue and not self.future.done():
            function, argument, future = self.pool.queue.pop()
            future.set_result(function(argument))
        return self.future.done()

    def result(self) -> Any:
        return self.future.result()


@pytest.mark.parametrize("by", ["tpe", "qmc"])
def test_trials_do_not_depend_on_the_workers(
    optuna: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: By
):
    comparison = asked(by=by, trials=13, fields=TINY | {"steps": 2}, stacks=False)
    results = []
    for pool in (Here(), Backwards()):
        monkeypatch.setattr(carry_out, "workers_on", lambda *_, pool=pool: nullcontext(pool))
        results.append(compare(comparison, tmp_path / type(pool).__name__))
    one, several = ([r["arms"][arm]["tuning"] for arm in r["arms"]] for r in results)
    assert [list(t) for t in one] == [list(t) for t in several]
    assert [[t["score"] for t in tried.values()] for tried in one] == [
        [t["score"] for t in tried.values()] for tried in several
    ]
    assert values(results[0]) == values(results[1])


def test_stopped_in_the_middle_it_goes_on_with_the_same_trials(
    optuna: Any, here: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    comparison = asked(by="tpe", trials=12, fields=TINY | {"steps": 2})
    whole = compare(comparison, tmp_path / "whole")
    original, calls = trained.scored, []

    def stopped(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 17:
            raise KeyboardInterrupt
        return original(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(trained, "scored", stopped)
        with pytest.raises(KeyboardInterrupt):
            compare(comparison, tmp_path / "parts")
    rows = {p: p.read_bytes() for p in (tmp_path / "parts").rglob("compared.json")}
    assert len(rows) == 16
    parts = compare(comparison, tmp_path / "parts")
    assert {p: p.read_bytes() for p in rows} == rows
    for arm in comparison.arms:
        assert list(parts["arms"][arm]["tuning"]) == list(whole["arms"][arm]["tuning"])
    assert values(parts) == values(whole)
    more = compare(asked(**(to_dict(comparison) | {"trials": 14})), tmp_path / "parts")
    first = list(whole["arms"]["MALA"]["tuning"])
    assert list(more["arms"]["MALA"]["tuning"])[: len(first)] == first


@pytest.mark.parametrize(
    ("of", "value", "where"),
    [
        (RANGE, 1e-3, True),
        (RANGE, 1.3e-3, True),  # log(1.3)/log(1000) = 0.038
        (RANGE, 1.5e-3, None),  # 0.059
        (RANGE, 0.9, False),
        ({"low": 0.0, "high": 1.0}, 0.06, None),
        ({"low": 0.0, "high": 1.0}, 0.96, False),
        ({"low": 1, "high": 5}, 5, False),
        ([1, 2, 3], 1, None),
    ],
    ids=["low", "low-by-log", "inside", "high", "inside-plain", "high-plain", "whole", "choices"],
)
def test_edges_are_the_last_twentieth_of_a_range(of: Any, value: float, where: bool | None):
    assert side(of, value) is where


def test_a_value_at_the_edge_is_reported(optuna: Any, here: None, tmp_path: Path):
    narrow = {"sampler.step_size": {"low": 0.02, "high": 0.02001}}  # in four digits: an end
    result = compare(asked(search=narrow, trials=2), tmp_path / "c")
    assert result["arms"]["MALA"]["edges"] == ["sampler.step_size"]
    assert "within 5 % of an end of the range" in "\n".join(terminal_lines(result))
    with pytest.raises(StanleyError, match="extend is for a grid"):
        compare(asked(), tmp_path / "d", extend=True)
    assert not (tmp_path / "d").exists()


def test_a_range_is_of_whole_numbers_where_its_field_takes_no_others():
    space = {
        "sampler.threshold": {"low": 1, "high": 3},
        "network.width": {"low": 8.0, "high": 64, "log": True},
    }
    found = asked(arms={"own": {"sampler": "stanley"}}, search=space, fields={}).space("own")
    kinds = {name: (type(of["low"]), type(of["high"])) for name, of in found.items()}
    assert kinds == {"sampler.threshold": (float, float), "network.width": (int, int)}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"search": {"a": 3}}, "search.a is 3; give {low"),
        ({"search": {"a": {"low": 1}}}, "give {low"),
        ({"search": {"a": {"low": 1, "high": 2, "step": 1}}}, "unknown field 'step'"),
        ({"search": {"a": {"low": 1, "high": 2, "lag": True}}}, "did you mean 'log'"),
        ({"search": {"a": {"low": 2, "high": 1}}}, "from 2 to 1"),
        ({"search": {"a": {"low": 2, "high": float("inf")}}}, "from 2 to inf"),
        ({"search": {"a": {"low": 0.0, "high": 1.0, "log": True}}}, "must be > 0 where log"),
        ({"search": {"a": {"low": 0.1, "high": 1.0, "log": 1}}}, "log is 1"),
        ({"search": {"a": [1]}}, "at least two choices"),
        ({"search": {"a": [1, 1]}}, "twice"),
        ({"trials": None}, "trials is None"),
        ({"trials": 1}, "at least 2"),
        ({"search": {}}, "trials is 7 and search is empty"),
        ({"search": {}, "trials": None}, "by is 'random'"),
        ({"grid": {"sampler.step_size": [1, 2]}}, "grid and search are both given"),
        ({"search": {"steps": [1, 2]}}, "steps would be tuned"),
        ({"trials": 10**6}, "at most"),
        ({"first_seed": 10_000}, "tuned on and reported"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_searched_is_one_line(fields: dict[str, Any], message: str):
    with pytest.raises(StanleyError, match=message):
        asked(**fields)


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"sampler.step_size": {"low": -1.0, "high": 1.0}}, "step_size is -1"),
        ({"sampler.friction": [1.0, 2.0]}, "search.sampler.friction is a field that no arm has"),
    ],
    ids=["an end", "a field"],
)
def test_what_cannot_be_trained_is_found_before_the_first_trial(search: Any, message: str):
    with pytest.raises(StanleyError, match=message):
        asked(search=search).check()


def test_without_optuna_it_is_one_line_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(StanleyError, match=r"not installed; pip install 'stanley\[optuna\]'"):
        compare(asked(), tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_a_search_is_a_value_that_files_hold():
    comparison = asked()
    assert from_dict(Comparison, to_dict(comparison)) == comparison
    require_space(SPACE)
